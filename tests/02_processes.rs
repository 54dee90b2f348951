//! `kill -9`, of any process of a stage, at any moment: the stage says who died, what that
//! means and what brings it back, and nothing of a stage outlives it.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command,
};

use harness::binary::{Running, all_end, command, family, is_refused};
use lab::Stage;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch02-nginx-rr");

/// A stage that runs its lesson, three servers and nginx up; and where its files are.
fn a_stage() -> (Running, TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let mut stage = Running::start(
        command(CHAPTER)
            .args(["--ports", "auto"])
            .env("TMPDIR", scratch.path()),
    );
    // For ten seconds from here on, nobody starts or dies by the lesson's own doing.
    stage.line_with("Asking five times a second");
    (stage, scratch)
}

/// The processes of a stage whose command line has `text` in it.
fn with_words(family: &BTreeSet<u32>, text: &str) -> Vec<u32> {
    let listed = Command::new("ps")
        .args(["-A", "-ww", "-o", "pid=,args="])
        .output()
        .unwrap();
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .filter(|(_, words)| words.contains(text))
        .filter_map(|(pid, _)| pid.parse().ok())
        .filter(|pid| family.contains(pid))
        .collect()
}

fn kill_9(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

/// Kills the stage itself, too: the worst end. Nothing may be left of it.
fn ends_without_a_trace(stage: Running, scratch: &TempDir, of_before: &BTreeSet<u32>) {
    let mut all = family(stage.pid());
    all.extend(of_before);
    stage.signal(Signal::KILL);
    stage.end();
    all_end(&all);
    let left: Vec<_> = scratch.path().read_dir().unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_server_that_is_killed_is_named_and_so_is_its_way_back() {
    let (mut stage, scratch) = a_stage();
    let family = family(stage.pid());
    let server = *with_words(&family, CHAPTER)
        .iter()
        .find(|pid| **pid != stage.pid())
        .expect("a server");
    kill_9(server);
    stage.line_with(&format!("PID {server} was killed (signal 9)"));
    stage.line_with("Nobody answers on port");
    stage.line_with("cargo run -p ch02-nginx-rr");
    ends_without_a_trace(stage, &scratch, &family);
}

#[test]
fn the_workers_of_an_nginx_that_is_killed_do_not_serve_on() {
    let (mut stage, scratch) = a_stage();
    let family = family(stage.pid());
    let master = with_words(&family, "nginx: master process");
    let workers = with_words(&family, "nginx: worker process");
    assert_eq!((master.len(), workers.len()), (1, 1));
    kill_9(master[0]);
    stage.line_with(&format!("PID {} was killed (signal 9)", master[0]));
    // Said once they are gone.
    all_end(&workers.into_iter().collect());
    stage.line_with("its workers were ended with it");
    ends_without_a_trace(stage, &scratch, &family);
}

#[test]
fn nginx_replaces_a_worker_that_is_killed() {
    let (mut stage, scratch) = a_stage();
    let family = family(stage.pid());
    let worker = with_words(&family, "nginx: worker process")[0];
    kill_9(worker);
    stage.line_with(&format!("worker {worker} was killed (signal 9)"));
    // The lesson asks on, and nginx answers: it has another.
    stage.line_with("no request fails meanwhile");
    ends_without_a_trace(stage, &scratch, &family);
}

/// A guard is no part of any lesson, so nothing is said of it. But there is one for each
/// part, and the stage ends what it started when it is ended itself.
#[test]
fn without_its_guard_a_part_still_ends_with_its_stage() {
    let (stage, scratch) = a_stage();
    let family = family(stage.pid());
    for guard in with_words(&family, "sh -c") {
        kill_9(guard);
    }
    stage.signal(Signal::INT);
    stage.end();
    all_end(&family);
    assert_eq!(scratch.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_starts_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::silent(dying(&folder, "")).unwrap();
    let said = stage.start_servers(1, &[]).await.unwrap_err().to_string();
    assert_eq!(
        said,
        "server A ended while it started: it was killed (signal 9); start the chapter again"
    );
}

/// It says what nginx says of itself, and its config is right.
#[test]
fn an_nginx_that_is_killed_while_it_starts_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let nginx = r#"case "$1" in
-V) echo "nginx version: nginx/1.28.0 with-http_realip_module" >&2; exit ;;
-t) exit ;;
esac"#;
    is_refused(
        command(CHAPTER)
            .args(["--check", "--ports", "auto"])
            .env("NGINX_BIN", dying(&folder, nginx)),
        1,
        &["nginx was killed (signal 9) while it started with nginx/02-round-robin.conf"],
    );
}

/// A program that kills itself, after what else it does.
fn dying(folder: &TempDir, first: &str) -> PathBuf {
    let program = folder.path().join("dies");
    fs::write(&program, format!("#!/bin/sh\n{first}\nkill -9 $$\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// `/proc` tells which processes a stage had started, whoever is their parent by now.
#[cfg(target_os = "linux")]
mod while_it_starts {
    use std::{
        path::Path,
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// The first second and a half, in which a stage starts everything: its beginning, in
    /// which its folder is made, in steps of 1 ms, and then of 60.
    #[test]
    fn a_stage_that_is_killed_while_it_starts_leaves_nothing_at_any_moment() {
        let moments = (0..30).chain((30..1_500).step_by(60));
        for moment in moments.map(Duration::from_millis) {
            let scratch = tempfile::tempdir().unwrap();
            let stage = Running::start(
                command(CHAPTER)
                    .args(["--ports", "auto"])
                    .env("TMPDIR", scratch.path()),
            );
            // The moment is the point here; there is no fact to wait for.
            thread::sleep(moment);
            stage.signal(Signal::KILL);
            stage.end();
            let started = Instant::now();
            while !started_in(scratch.path()).is_empty() {
                assert!(
                    started.elapsed() < Duration::from_secs(20),
                    "after {moment:?}, still there: {:?}",
                    started_in(scratch.path())
                );
                thread::sleep(Duration::from_millis(10));
            }
            let left: Vec<_> = scratch.path().read_dir().unwrap().collect();
            assert!(left.is_empty(), "after {moment:?}: {left:?}");
        }
    }

    /// All processes that got their environment from whoever works in `folder`.
    fn started_in(folder: &Path) -> Vec<String> {
        let mark = format!("TMPDIR={}", folder.display());
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| {
                let process = entry.ok()?.path();
                // One that has just ended has no environment any more.
                let environment = fs::read(process.join("environ")).ok()?;
                let is_ours = String::from_utf8_lossy(&environment).contains(&mark);
                is_ours.then(|| process.display().to_string())
            })
            .collect()
    }
}
