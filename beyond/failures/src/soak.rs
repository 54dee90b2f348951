//! A soak test: does everything that the drills promise hold for half an hour?
//!
//! Clients come and go, and requests and messages go on. At random, a server or Redis is killed
//! and started again. The seed of the random numbers is printed: the same seed kills the same
//! parts in the same order.

mod guests;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use drills::{Load, Requests};
use fastrand::Rng;
use lab::{Part, Stage};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::guests::Guests;
use crate::{broadcaster::Broadcaster, sockets::start_servers};

/// All servers may have failed once within ten seconds, so nginx must not skip a failed server.
const CONFIG: &str = "beyond/06-max-fails-0.conf";
/// How long after Redis is back everything must work again.
const REDIS_BACK: Duration = Duration::from_secs(2);
/// How long a server may take to end after SIGTERM.
const END_WITHIN: Duration = Duration::from_secs(5);
/// The memory at the end is compared with that of this minute: by then everything was used once.
const WARM: usize = 5;
/// The memory may grow by a tenth and 1 MiB: allocators keep what they have freed.
const MARGIN: (u64, u64) = (10, 1 << 20);

/// The options of the soak test.
#[derive(Args)]
pub struct Soak {
    /// How many minutes it takes.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// The seed of the random numbers [default: a new one].
    #[arg(long)]
    seed: Option<u64>,
}

impl Soak {
    /// Runs it, and claims what must hold.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn run(self, stage: &mut Stage) -> Result<()> {
        ensure!(
            (0.05..=10_000.0).contains(&self.minutes),
            "--minutes {} is not possible: give 0.05 (three seconds) or more",
            self.minutes
        );
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        stage.note(format!("{} minutes, seed {seed}\n\n", self.minutes));
        let mut random = Rng::with_seed(seed);

        let redis = start_servers(stage).await?;
        let url = stage.nginx.start(CONFIG).await?;
        let broadcaster = Broadcaster::start(&redis).await?;
        let mut guests = Guests::connect(&url, &mut random).await?;

        let lasts = Duration::from_secs_f64(self.minutes * 60.0);
        let events = run_events(stage, &mut guests, &broadcaster, &mut random, lasts);
        let (memory, requests) = Load::get("/").during(&url, events).await?;

        guests.finish(broadcaster).await?;
        stage.step("What held");
        claim_requests(stage, &requests);
        guests.claim(stage);
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

async fn run_events(
    stage: &mut Stage,
    guests: &mut Guests,
    broadcaster: &Broadcaster,
    random: &mut Rng,
    lasts: Duration,
) -> Result<Memory> {
    const MINUTE: Duration = Duration::from_mins(1);
    let began = Instant::now();
    let mut kills = Kills::default();
    let mut memory = Memory::default();
    let mut next = Duration::from_secs(3);
    let mut turns = interval(Duration::from_secs(1));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while began.elapsed() < lasts {
        turns.tick().await;
        guests.receive(broadcaster);
        guests.come_and_go(random);
        if began.elapsed() > next {
            kills.kill_one(stage, broadcaster, random).await?;
            next = began.elapsed() + Duration::from_secs(random.u64(6..12));
        }
        let minutes = u32::try_from(memory.minutes.len())? + 1;
        if began.elapsed() > MINUTE * minutes {
            let bytes = report(stage, &format!("minute {minutes}"), guests, &kills).await?;
            memory.minutes.push(bytes);
        }
    }
    // The part that was killed last is back, but its clients may not be.
    guests.all_return().await;
    guests.receive(broadcaster);
    memory.end = report(stage, "at the end", guests, &kills).await?;
    Ok(memory)
}

/// How often each kind of part was killed.
#[derive(Default)]
struct Kills {
    servers: u32,
    redis: u32,
}

impl Kills {
    /// Kills a part, and starts it again.
    async fn kill_one(
        &mut self,
        stage: &mut Stage,
        broadcaster: &Broadcaster,
        random: &mut Rng,
    ) -> Result<()> {
        let away = Duration::from_millis(random.u64(200..3000));
        let (part, with_sigterm) = (random.u8(..4), random.bool());
        if part == 3 && stage.redis.is_own() {
            self.redis += 1;
            broadcaster.redis_goes_away();
            stage.redis.kill().await;
            sleep(away).await;
            stage.redis.restart().await?;
            sleep(REDIS_BACK).await;
            broadcaster.redis_is_back();
        } else {
            self.servers += 1;
            let letter = char::from(b'A' + part % 3);
            if with_sigterm {
                stage.servers.end(letter, END_WITHIN).await?;
            } else {
                stage.servers.kill(letter).await?;
            }
            sleep(away).await;
            stage.servers.start_one(letter).await?;
        }
        Ok(())
    }
}

/// Shows the counts so far. Returns the memory of all parts together, in bytes.
async fn report(stage: &Stage, when: &str, guests: &Guests, kills: &Kills) -> Result<u64> {
    let (mut servers, mut others) = (0, 0);
    let mut of_others = String::new();
    for (part, bytes) in stage.memory().await? {
        if let Part::Server(_) = part {
            servers += bytes;
        } else {
            others += bytes;
            of_others = format!("{of_others}, {part} {}", mebibytes(bytes));
        }
    }
    stage.note(format!(
        "{when}: {} servers killed, Redis {} times\n  {guests}\n  memory: servers {}{of_others}",
        kills.servers,
        kills.redis,
        mebibytes(servers),
    ));
    Ok(servers + others)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn claim_requests(stage: &Stage, requests: &Requests) {
    let failed = requests.failed().count();
    stage.claim_seen(
        "every request through nginx was answered",
        format!("{} requests, {failed} failed", requests.all.len()),
        failed == 0,
    );
    for (reason, times) in requests.reasons() {
        stage.note(format!("{times} × {reason}"));
    }
}

/// Claims that the memory has not grown since minute 5.
fn claim_memory(stage: &Stage, memory: &Memory) {
    let (tenth, more) = MARGIN;
    let Some(warm) = memory.minutes.get(WARM - 1) else {
        stage.note("The memory is compared only after five minutes or more.");
        return;
    };
    stage.claim_seen(
        "the memory at the end is that of minute 5, within a tenth and 1 MiB",
        format!("{} and {}", mebibytes(memory.end), mebibytes(*warm)),
        memory.end <= warm + warm / tenth + more,
    );
}
