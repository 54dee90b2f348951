//! What could not be tested on this machine, because a program is missing.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::process::parent_id,
    path::PathBuf,
    process::Command,
};

/// Takes note that something is not tested because a program is missing. In CI, that is a failure.
///
/// `cargo test --workspace` says so at its end (package `your-machine`); a run of one package
/// at once.
pub fn untested(how: &str, reason: &str) {
    let line = format!("{how}: {reason}");
    assert!(env::var_os("CI").is_none(), "not tested {line}");
    if is_run_of_the_workspace() {
        let file = OpenOptions::new().create(true).append(true).open(notes());
        let noted = file.and_then(|mut file| writeln!(file, "{line}"));
        noted.expect("target/ can be written to");
    } else {
        // Not `eprintln!`, which libtest keeps to itself.
        let _unread = writeln!(io::stderr(), "NOT TESTED {line}");
    }
}

/// All that was noted since this run of `cargo test` began, each thing once.
pub fn all_untested() -> BTreeSet<String> {
    let noted = fs::read_to_string(notes()).unwrap_or_default();
    // It is not there if all could be tested.
    let _none = fs::remove_file(notes());
    noted.lines().map(str::to_owned).collect()
}

/// A file of this run: cargo starts all test programs itself.
fn notes() -> PathBuf {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target");
    PathBuf::from(target).join(format!("untested-{}", parent_id()))
}

fn is_run_of_the_workspace() -> bool {
    let parent = parent_id().to_string();
    let asked = Command::new("ps")
        .args(["-o", "args=", "-p", &parent])
        .output();
    asked.is_ok_and(|ps| String::from_utf8_lossy(&ps.stdout).contains("--workspace"))
}
