//! Those who come and go, and what each of them has missed.

use std::{fmt, time::Duration};

use anyhow::{Result, ensure};
use fastrand::Rng;
use lab::{Returning, Stage, Visit};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    drill::{
        crowd::TRANSPORTS,
        speaker::{self, Speaker},
    },
    experiment::User,
};

/// How many there are at any time.
const CROWD: usize = 30;
/// How many leave a second, and as many others come.
const LEAVE: usize = 2;
/// How long everybody may take to connect, or to hear the last message.
const PATIENCE: Duration = Duration::from_secs(10);
/// A client is back after its first attempt, or its second where its server returned in
/// the middle of the first.
const BACK: Duration = Duration::from_secs(4);

/// Those who are here, and what is known of all that were.
pub(super) struct People {
    url: String,
    here: Vec<Person>,
    came: usize,
    tally: Tally,
}

/// What is known of all, those who have gone included.
#[derive(Default)]
struct Tally {
    heard: usize,
    lost: usize,
    twice: usize,
    late: usize,
    returns: usize,
    slow: usize,
    slowest: Duration,
    never: usize,
    turned_away: usize,
}

struct Person {
    client: Returning,
    /// The session and the number of the last message heard.
    last: Option<(usize, usize)>,
}

impl People {
    /// Connects the first ones.
    pub(super) async fn gather(url: &str, chance: &mut Rng) -> Result<Self> {
        let mut people = Self {
            url: url.to_owned(),
            here: Vec::new(),
            came: 0,
            tally: Tally::default(),
        };
        for _ in 0..CROWD {
            people.come(chance);
        }
        for person in &people.here {
            ensure!(
                person.client.is_there(1, PATIENCE).await,
                "{} cannot connect: {}",
                person.client.name(),
                person.client.refusals().join(", ")
            );
        }
        Ok(people)
    }

    fn come(&mut self, chance: &mut Rng) {
        let name = format!("guest {}", self.came);
        let transport = TRANSPORTS[chance.usize(..TRANSPORTS.len())];
        let client = User::client(&self.url, &name, chance.usize(..3));
        let auth = json!({ "user": name });
        self.here.push(Person {
            client: Returning::start(client, transport, Some(auth)),
            last: None,
        });
        self.came += 1;
    }

    /// Some leave, and as many others come.
    pub(super) fn come_and_go(&mut self, chance: &mut Rng) {
        for _ in 0..LEAVE {
            let leaves = self.here.swap_remove(chance.usize(..self.here.len()));
            self.tally
                .count(&leaves.client.visits(), &leaves.client.refusals());
            self.come(chance);
        }
    }

    /// Looks at what everybody has heard since the last time.
    pub(super) fn listen(&mut self, speaker: &Speaker) {
        for person in &mut self.here {
            for heard in person.client.take_heard() {
                if let Some(number) = speaker::number(&heard) {
                    hear(
                        &mut person.last,
                        (heard.visit, number),
                        &mut self.tally,
                        |number| speaker.must_arrive(number),
                    );
                }
            }
        }
    }

    /// Waits until everybody is there. Who never is, is counted.
    pub(super) async fn all_return(&mut self) {
        for person in &self.here {
            self.tally.never += usize::from(!person.client.is_there(1, PATIENCE).await);
        }
    }

    /// Ends the messages; everybody must hear the last of them.
    pub(super) async fn say_goodbye(&mut self, speaker: Speaker) -> Result<()> {
        // Everybody is there by now: what is said from here on must arrive.
        sleep(Duration::from_secs(1)).await;
        let must_arrive = speaker.finish().await?;
        let last = must_arrive.len().saturating_sub(1);
        for person in &mut self.here {
            let _heard_or_lost = person
                .client
                .has_heard(|heard| speaker::number(heard) >= Some(last), PATIENCE)
                .await;
            for heard in person.client.take_heard() {
                if let Some(number) = speaker::number(&heard) {
                    hear(
                        &mut person.last,
                        (heard.visit, number),
                        &mut self.tally,
                        |number| must_arrive[number],
                    );
                }
            }
            let (_, heard) = person.last.unwrap_or_default();
            self.tally.lost += (heard + 1..=last)
                .filter(|number| must_arrive[*number])
                .count();
            self.tally
                .count(&person.client.visits(), &person.client.refusals());
        }
        Ok(())
    }

    /// Claims what must have been kept.
    pub(super) fn claim(&self, stage: &Stage) {
        let tally = &self.tally;
        let claims = [
            (
                "no message is missing within a session, but while Redis was away",
                format!("{} heard, {} missing", tally.heard, tally.lost),
                tally.lost == 0 && tally.heard > 0,
            ),
            (
                "none came twice, or after a later one",
                format!("{} twice, {} late", tally.twice, tally.late),
                tally.twice == 0 && tally.late == 0,
            ),
            (
                "everybody whose connection broke was back within 4 s, with a new session",
                format!(
                    "{} returns, the slowest after {:.2} s, {} slower, {} never",
                    tally.returns,
                    tally.slowest.as_secs_f64(),
                    tally.slow,
                    tally.never
                ),
                tally.slow == 0 && tally.never == 0,
            ),
            (
                "nobody was turned away by a server that was ending",
                format!("{} were", tally.turned_away),
                tally.turned_away == 0,
            ),
        ];
        for (claim, seen, held) in claims {
            stage.claim_seen(claim, seen, held);
        }
    }
}

impl fmt::Display for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} clients came, {} returned; {} messages heard, {} missing, {} twice, {} late",
            self.came,
            self.tally.returns,
            self.tally.heard,
            self.tally.lost,
            self.tally.twice,
            self.tally.late
        )
    }
}

/// One message more, in a session. Within it the numbers follow each other; those between
/// were lost, if they had to arrive.
fn hear(
    last: &mut Option<(usize, usize)>,
    (visit, number): (usize, usize),
    tally: &mut Tally,
    must_arrive: impl Fn(usize) -> bool,
) {
    tally.heard += 1;
    match *last {
        Some((_, last)) if number == last => tally.twice += 1,
        Some((_, last)) if number < last => tally.late += 1,
        Some((same, last)) if same == visit => {
            let missing = (last + 1..number).filter(|number| must_arrive(*number));
            tally.lost += missing.count();
        }
        _ => {}
    }
    let latest = last.map_or(number, |(_, last)| last.max(number));
    *last = Some((visit, latest));
}

impl Tally {
    /// Adds what is known of a client once it has left.
    fn count(&mut self, visits: &[Visit], refusals: &[String]) {
        for pair in visits.windows(2) {
            if let Some(gone) = pair[0].until {
                let away = pair[1].from - gone;
                self.returns += 1;
                self.slow += usize::from(away > BACK || pair[0].id == pair[1].id);
                self.slowest = self.slowest.max(away);
            }
        }
        let turned_away = refusals.iter().filter(|why| why.contains("welcome"));
        self.turned_away += turned_away.count();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// What a client would count that hears these: session, number.
    fn tally(heard: &[(usize, usize)], must_arrive: impl Fn(usize) -> bool + Copy) -> Tally {
        let mut tally = Tally::default();
        let mut last = None;
        for (visit, number) in heard {
            hear(&mut last, (*visit, *number), &mut tally, must_arrive);
        }
        tally
    }

    #[test]
    fn what_is_missing_within_a_session_is_lost_and_between_two_it_is_not() {
        let all = |_| true;
        assert_eq!(tally(&[(0, 4), (0, 5), (1, 9), (1, 10)], all).lost, 0);
        assert_eq!(tally(&[(0, 4), (0, 7)], all).lost, 2);
        assert_eq!(tally(&[(0, 4), (0, 7)], |number| number != 5).lost, 1);
    }

    #[test]
    fn what_comes_again_or_too_late_is_counted() {
        let counted = tally(&[(0, 4), (0, 4), (0, 5), (1, 5), (1, 3)], |_| true);
        assert_eq!((counted.twice, counted.late), (2, 1));
    }

    #[test]
    fn who_is_back_too_late_is_counted() {
        let start = Instant::now();
        let visit = |id: &str, from: u64, until: Option<u64>| Visit {
            id: id.to_owned(),
            server: None,
            from: start + Duration::from_secs(from),
            until: until.map(|until| start + Duration::from_secs(until)),
        };
        let mut tally = Tally::default();
        let visits = [
            visit("a", 0, Some(10)),
            visit("b", 11, Some(20)),
            visit("c", 25, None),
        ];
        tally.count(&visits, &[]);
        assert_eq!((tally.returns, tally.slow), (2, 1));
        assert_eq!(tally.slowest, Duration::from_secs(5));
    }
}
