//! What all rounds of a measurement share.

use std::{cell::RefCell, collections::BTreeMap, env, time::Duration};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lab::{Event, Stage, event::Part};

use crate::{
    binaries::Binaries,
    options::Options,
    peer,
    stack::{Stack, Stacks},
};

/// What all rounds share.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) binaries: Binaries,
    bars: MultiProgress,
    pub(crate) programs: RefCell<BTreeMap<&'static str, String>>,
    pub(crate) complaints: RefCell<Vec<String>>,
}

impl Bench {
    pub(crate) async fn new(options: Options) -> Result<Self> {
        if env::var("REDIS_URL").is_ok_and(|url| url != "embedded") {
            eprintln!(
                "note: REDIS_URL names a Redis that this measurement did not start, and other \
                 programs that use it change the figures"
            );
        }
        Ok(Self {
            binaries: Binaries::find().await?,
            bars: MultiProgress::new(),
            programs: RefCell::default(),
            complaints: RefCell::default(),
            options,
        })
    }

    /// The stacks to measure. Without Node, `both` means only Rust, and the report says so.
    pub(crate) async fn stacks(&self, warnings: &mut Vec<String>) -> Result<Vec<Stack>> {
        if self.options.stack == Stacks::Rust {
            return Ok(vec![Stack::Rust]);
        }
        let only = self.options.stack == Stacks::Node;
        match peer::ready().await {
            Ok(about) => {
                self.programs.borrow_mut().insert("node", about);
                Ok(if only {
                    vec![Stack::Node]
                } else {
                    vec![Stack::Rust, Stack::Node]
                })
            }
            Err(reason) if only => Err(reason),
            Err(reason) => {
                warnings.push(format!("Rust is measured alone: {reason}"));
                Ok(vec![Stack::Rust])
            }
        }
    }

    pub(crate) fn clients(&self, unless_said: u32) -> u32 {
        self.options.clients.unwrap_or(unless_said)
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.options.seconds.into())
    }

    /// Time before that in which nothing is counted.
    pub(crate) fn warm_up(&self) -> Duration {
        self.duration().min(Duration::from_secs(1))
    }

    /// Notes which nginx and Redis a stage has, and what nginx complained about.
    pub(crate) fn saw(&self, stage: &Stage) {
        let seen = stage.observer().so_far();
        let complaints = seen.iter().filter_map(|seen| match &seen.event {
            Event::Said {
                part: Part::Nginx,
                line,
            } => Some(complaint(line)),
            _ => None,
        });
        self.complaints.borrow_mut().extend(complaints);
        let mut programs = self.programs.borrow_mut();
        if let Some(origin) = stage.nginx.origin() {
            programs.insert("nginx", origin.to_owned());
        }
        if let Some((origin, _)) = stage.redis.origin() {
            programs.insert("redis", origin);
        }
    }

    /// A bar that fills up; where no terminal is, there is none.
    pub(crate) fn bar(&self, length: u64) -> ProgressBar {
        let style = ProgressStyle::with_template("  {bar:30} {human_pos} of {human_len}  {msg}");
        let bar = self.bars.add(ProgressBar::new(length));
        bar.set_style(style.expect("a template"));
        bar.tick();
        bar
    }
}

/// What nginx's error log says, less when, who wrote it, and for whom.
fn complaint(line: &str) -> String {
    let said = line.split_once('#').map_or(line, |(_, rest)| rest);
    let said = said.split_once(": ").map_or(said, |(_, said)| said);
    let said = said.split(", client: ").next().unwrap_or(said);
    match said.strip_prefix('*').and_then(|said| said.split_once(' ')) {
        Some((_connection, said)) => said.to_owned(),
        None => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn a_complaint_is_what_nginx_says_and_not_when_or_for_whom() {
        for (line, said) in [
            (
                "2026/11/24 14:58:00 [crit] 7#7: *57 connect() to 127.0.0.1:8000 failed (99: Cannot \
                 assign requested address) while connecting to upstream, client: 127.0.9.1, server: ",
                "connect() to 127.0.0.1:8000 failed (99: Cannot assign requested address) while \
                 connecting to upstream",
            ),
            (
                "2026/11/24 14:58:00 [alert] 7#7: 1024 worker_connections are not enough",
                "1024 worker_connections are not enough",
            ),
        ] {
            assert_eq!(complaint(line), said);
        }
    }
}
