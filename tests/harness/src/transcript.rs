//! What a learner reads when a chapter runs.

use crate::{
    binary::{command, run},
    redact::redact,
};

/// What `--check` writes, the same in every run.
///
/// As with nothing set in the shell but which nginx to use: with a Redis of somebody
/// else's, a stage leaves out what it may not do to it.
pub fn of_check(binary: &str) -> String {
    let mut check = command(binary);
    check
        .args(["--check", "--ports", "auto"])
        .env("NO_COLOR", "1");
    if std::env::var("REDIS_URL").is_ok_and(|url| url != "embedded") {
        check.env_remove("REDIS_URL");
    }
    let outcome = run(&mut check);
    assert_eq!(
        outcome.code,
        Some(0),
        "{}\n{}",
        outcome.stdout,
        outcome.stderr
    );
    redact(&outcome.stdout)
}
