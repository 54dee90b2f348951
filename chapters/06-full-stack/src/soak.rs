//! A soak: what the drills say is kept, is kept for half an hour.
//!
//! Clients come and go, requests and messages go on, and by chance a server or Redis is
//! killed and started again. The seed of that chance is printed: the same seed kills the
//! same parts in the same order.

mod people;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use fastrand::Rng;
use lab::{Load, Part, Stage};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::people::People;
use crate::drill::speaker::Speaker;

/// All servers may be gone once in ten seconds, so none is ever left alone for that.
const CONFIG: &str = "06-max-fails-0.conf";
/// Everything works again so long after Redis' return.
const REDIS_BACK: Duration = Duration::from_secs(2);
/// What a server may take to end after SIGTERM.
const END: Duration = Duration::from_secs(5);
/// Memory at the end is compared with that of this minute: by then everything has been used.
const WARM: usize = 5;
/// The memory may grow by a tenth, and by a MiB more: allocators keep what they had.
const MARGIN: (u64, u64) = (10, 1 << 20);

/// How long, and by which chance.
#[derive(Args)]
pub struct Soak {
    /// How long it lasts.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// The seed of all that happens by chance; a new one if none is given.
    #[arg(long)]
    seed: Option<u64>,
}

impl Soak {
    /// Runs it, and claims what must have been kept.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn run(self, stage: &mut Stage) -> Result<()> {
        ensure!(
            (0.05..=10_000.0).contains(&self.minutes),
            "--minutes {} makes no sense: give 0.05 (three seconds) or more",
            self.minutes
        );
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        stage.note(format!("{} minutes, seed {seed}\n\n", self.minutes));
        let mut chance = Rng::with_seed(seed);

        let redis = stage.start_redis().await?;
        stage.start_servers(3, &[("REDIS_URL", &redis)]).await?;
        let url = stage.start_nginx(CONFIG).await?;
        let speaker = Speaker::start(&redis).await?;
        let mut people = People::gather(&url, &mut chance).await?;

        let lasts = Duration::from_secs_f64(self.minutes * 60.0);
        let events = happen(stage, &mut people, &speaker, &mut chance, lasts);
        let (memory, requests) = Load::get("/").during(&url, events).await?;

        people.say_goodbye(speaker).await?;
        stage.step("What was kept");
        let failed = requests.failed().count();
        stage.claim_seen(
            "every request through nginx was answered",
            format!("{} requests, {failed} not", requests.all.len()),
            failed == 0,
        );
        for (reason, times) in requests.reasons() {
            stage.note(format!("{times} × {reason}"));
        }
        people.claim(stage);
        claim_memory(stage, &memory);
        Ok(())
    }
}

/// Bytes of all parts together.
#[derive(Default)]
struct Memory {
    /// After each minute.
    minutes: Vec<u64>,
    end: u64,
}

async fn happen(
    stage: &mut Stage,
    people: &mut People,
    speaker: &Speaker,
    chance: &mut Rng,
    lasts: Duration,
) -> Result<Memory> {
    const MINUTE: Duration = Duration::from_mins(1);
    let began = Instant::now();
    let mut killed = Killed::default();
    let mut memory = Memory::default();
    let mut next = Duration::from_secs(3);
    let mut turns = interval(Duration::from_secs(1));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while began.elapsed() < lasts {
        turns.tick().await;
        people.listen(speaker);
        people.come_and_go(chance);
        if began.elapsed() > next {
            killed.one(stage, speaker, chance).await?;
            next = began.elapsed() + Duration::from_secs(chance.u64(6..12));
        }
        let minutes = u32::try_from(memory.minutes.len())? + 1;
        if began.elapsed() > MINUTE * minutes {
            let bytes = tell(stage, &format!("minute {minutes}"), people, &killed).await?;
            memory.minutes.push(bytes);
        }
    }
    // The last that was killed is back; the last that it broke may not be.
    people.all_return().await;
    people.listen(speaker);
    memory.end = tell(stage, "at the end", people, &killed).await?;
    Ok(memory)
}

#[derive(Default)]
struct Killed {
    servers: u32,
    redis: u32,
}

impl Killed {
    /// Kills a part, and starts it again.
    async fn one(&mut self, stage: &mut Stage, speaker: &Speaker, chance: &mut Rng) -> Result<()> {
        let away = Duration::from_millis(chance.u64(200..3000));
        let (what, gently) = (chance.u8(..4), chance.bool());
        if what == 3 && stage.owns_redis() {
            self.redis += 1;
            speaker.redis_goes();
            stage.kill_redis().await;
            sleep(away).await;
            stage.restart_redis().await?;
            sleep(REDIS_BACK).await;
            speaker.redis_is_back();
        } else {
            self.servers += 1;
            let letter = char::from(b'A' + what % 3);
            if gently {
                stage.end_server(letter, END).await?;
            } else {
                stage.kill_server(letter).await?;
            }
            sleep(away).await;
            stage.start_server(letter).await?;
        }
        Ok(())
    }
}

/// Says how it goes. Returns the memory of all parts together, in bytes.
async fn tell(stage: &Stage, when: &str, people: &People, killed: &Killed) -> Result<u64> {
    let (mut servers, mut others) = (0, 0);
    let mut told = String::new();
    for (part, bytes) in stage.memory().await? {
        if let Part::Server(_) = part {
            servers += bytes;
        } else {
            others += bytes;
            told = format!("{told}, {part} {}", mebibytes(bytes));
        }
    }
    stage.note(format!(
        "{when}: {} servers killed, Redis {} times; {people}; memory: servers {}{told}",
        killed.servers,
        killed.redis,
        mebibytes(servers),
    ));
    Ok(servers + others)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Claims that the memory at the end is that of minute 5.
fn claim_memory(stage: &Stage, memory: &Memory) {
    let (tenth, more) = MARGIN;
    let Some(warm) = memory.minutes.get(WARM - 1) else {
        stage.note("Too short to compare memory with that of minute 5.");
        return;
    };
    stage.claim_seen(
        "memory at the end is that of minute 5, within a tenth and 1 MiB",
        format!("{} and {}", mebibytes(memory.end), mebibytes(*warm)),
        memory.end <= warm + warm / tenth + more,
    );
}
