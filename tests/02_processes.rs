//! `kill -9` of any process of a stage, at any moment. The stage names the process that died, the
//! consequence and the way back. After the stage, no process and no file is left.

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command,
};

use harness::binary::{Running, all_end, command, family, is_refused};
use lab::Stage;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch02-nginx-rr");

/// A stage with three servers and nginx, and the folder of its files.
fn a_stage() -> (Running, TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    (stage_that_waits_for_b(&scratch), scratch)
}

/// A stage that sends requests until nginx uses server B again. For ten seconds the lesson
/// starts and kills nothing. Three servers run, and nginx has a worker, which has answered.
pub(crate) fn stage_that_waits_for_b(scratch: &TempDir) -> Running {
    let mut stage = Running::start(
        command(CHAPTER)
            .args(["server-dies", "--ports", "auto"])
            .env("TMPDIR", scratch.path()),
    );
    stage.line_with("One request every 200 ms");
    stage
}

/// The processes of a stage that have `text` in their command line.
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

/// Kills the stage itself, too. No process and no file may be left.
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
fn the_stage_names_a_killed_server_and_the_command_that_starts_it_again() {
    let (mut stage, scratch) = a_stage();
    let family = family(stage.pid());
    let server = *with_words(&family, CHAPTER)
        .iter()
        .find(|pid| **pid != stage.pid())
        .expect("a server");
    kill_9(server);
    stage.line_with(&format!("PID {server} was killed (signal 9)"));
    stage.line_with("No server listens on port");
    stage.line_with("cargo run -p ch02-nginx-rr");
    ends_without_a_trace(stage, &scratch, &family);
}

#[test]
fn the_workers_of_a_killed_nginx_end_too() {
    let (mut stage, scratch) = a_stage();
    let family = family(stage.pid());
    let master = with_words(&family, "nginx: master process");
    let workers = with_words(&family, "nginx: worker process");
    assert_eq!((master.len(), workers.len()), (1, 1));
    kill_9(master[0]);
    stage.line_with(&format!("PID {} was killed (signal 9)", master[0]));
    // The stage prints this line after they have ended.
    all_end(&workers.into_iter().collect());
    stage.line_with("nginx and its workers have ended");
    ends_without_a_trace(stage, &scratch, &family);
}

#[test]
fn nginx_replaces_a_killed_worker() {
    let (mut stage, scratch) = a_stage();
    let family = family(stage.pid());
    let worker = with_words(&family, "nginx: worker process")[0];
    kill_9(worker);
    stage.line_with(&format!("worker {worker} was killed (signal 9)"));
    // The lesson's requests go on, and nginx answers them: it has another worker. Only a request
    // that the killed worker had begun may fail.
    stage.line_with("✓ nginx uses B again");
    ends_without_a_trace(stage, &scratch, &family);
}

/// Each part has a guard, a shell that ends the part when the stage dies. Without its guards,
/// a stage still ends what it started when it ends itself.
#[test]
fn a_part_without_its_guard_still_ends_with_its_stage() {
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
async fn the_stage_names_a_server_that_is_killed_while_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::silent(dying(&folder, "")).unwrap();
    let said = stage.servers.start(1, &[]).await.unwrap_err().to_string();
    assert_eq!(
        said,
        "server A ended while it started: it was killed (signal 9); start the chapter again"
    );
}

/// This program answers `-V` and `-t` as nginx does.
#[test]
fn the_stage_names_an_nginx_that_is_killed_while_it_starts() {
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

/// A program that runs the lines `first`, then kills itself.
fn dying(folder: &TempDir, first: &str) -> PathBuf {
    let program = folder.path().join("dies");
    fs::write(&program, format!("#!/bin/sh\n{first}\nkill -9 $$\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// `/proc` shows which processes a stage has started, even after their parent has died.
#[cfg(target_os = "linux")]
mod while_it_starts {
    use std::{
        path::Path,
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    /// A stage starts everything within a second and a half. It is killed at many moments of
    /// that time: each of the first 30 ms, in which it makes its folder, and then every 60 ms.
    #[test]
    fn a_stage_that_is_killed_while_it_starts_leaves_nothing_at_any_moment() {
        // Four at a time, because each of them mostly waits.
        const LANES: usize = 4;
        let moments: Vec<_> = (0..30).chain((30..1_500).step_by(60)).collect();
        thread::scope(|scope| {
            for lane in 0..LANES {
                let moments = moments.iter().skip(lane).step_by(LANES);
                scope.spawn(move || {
                    for moment in moments {
                        kill_after(Duration::from_millis(*moment));
                    }
                });
            }
        });
    }

    fn kill_after(moment: Duration) {
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

    /// All processes whose environment names `folder`.
    fn started_in(folder: &Path) -> Vec<String> {
        let mark = format!("TMPDIR={}", folder.display());
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| {
                let process = entry.ok()?.path();
                // A process that has just ended has no environment any more.
                let environment = fs::read(process.join("environ")).ok()?;
                let is_ours = String::from_utf8_lossy(&environment).contains(&mark);
                is_ours.then(|| process.display().to_string())
            })
            .collect()
    }
}
