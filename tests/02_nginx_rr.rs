//! Chapter 2: three servers behind one address. And since it is the first chapter with
//! a stage: what a stage does with bad input, and that nothing outlives it.

mod harness;

use std::{net::TcpListener, path::PathBuf};

use harness::{Running, all_end, command, every_claim_holds, family, is_refused};
use rustix::process::Signal;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch02-nginx-rr");

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}

#[test]
fn a_busy_port_is_named() {
    // Whoever holds the article's port, this test or somebody else, the stage must say so.
    let _busy = TcpListener::bind("127.0.0.1:8000");
    is_refused(
        command(CHAPTER).arg("--check"),
        1,
        &["port 8000 is in use", "--ports auto"],
    );
}

#[test]
fn what_is_no_nginx_is_named() {
    for (program, words) in [
        (
            "/nonexistent/nginx",
            "NGINX_BIN=/nonexistent/nginx is no nginx",
        ),
        ("/bin/sh", "NGINX_BIN=/bin/sh is no nginx"),
    ] {
        is_refused(
            command(CHAPTER)
                .args(["--check", "--ports", "auto"])
                .env("NGINX_BIN", program),
            1,
            &[words, "unset NGINX_BIN"],
        );
    }
}

#[test]
fn options_of_the_stage_and_port_of_a_server_do_not_go_together() {
    is_refused(
        command(CHAPTER).arg("--check").env("PORT", "8000"),
        2,
        &["PORT", "unset PORT"],
    );
}

#[test]
fn an_unknown_option_is_named() {
    is_refused(command(CHAPTER).arg("--chekc"), 2, &["--chekc", "--check"]);
}

#[test]
fn ctrl_c_ends_everything() {
    everything_ends_after(Signal::INT, Some(0));
}

#[test]
fn sigterm_ends_everything() {
    everything_ends_after(Signal::TERM, Some(0));
}

#[test]
fn kill_9_ends_everything_too() {
    everything_ends_after(Signal::KILL, None);
}

fn everything_ends_after(signal: Signal, code: Option<i32>) {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut stage = Running::start(
        command(CHAPTER)
            .args(["--ports", "auto"])
            .env("TMPDIR", scratch.path()),
    );
    // Three servers and nginx are up.
    stage.line_with("with nginx/02-round-robin.conf");
    let family = family(stage.pid());
    assert!(
        family.len() >= 9,
        "servers, nginx and their guards: {family:?}"
    );

    stage.signal(signal);
    assert_eq!(stage.end(), code);
    all_end(&family);
    let left: Vec<PathBuf> = scratch
        .path()
        .read_dir()
        .expect("the folder is there")
        .map(|file| file.expect("a file").path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn nothing_is_left_of_a_stage_that_fails_to_start() {
    let scratch = tempfile::tempdir().unwrap();
    is_refused(
        command(CHAPTER)
            .args(["--check", "--ports", "auto"])
            .env("TMPDIR", scratch.path())
            .env("NGINX_BIN", "/bin/sh"),
        1,
        &["is no nginx"],
    );
    assert_eq!(scratch.path().read_dir().unwrap().count(), 0);
}
