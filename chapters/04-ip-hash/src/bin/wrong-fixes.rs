//! Chapter 4's wrong fixes: what comes of each, and then the right one.
//!
//! ```text
//! cargo run -p ch04-ip-hash --bin wrong-fixes                all of them, and a table; exits 0 or 1
//! cargo run -p ch04-ip-hash --bin wrong-fixes -- list        which there are
//! cargo run -p ch04-ip-hash --bin wrong-fixes -- arg-sid     one of them
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    ch04_ip_hash::wrong_fixes::drills().run()
}
