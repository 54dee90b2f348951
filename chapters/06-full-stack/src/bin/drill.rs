//! Chapter 6's drills: a server, nginx or Redis dies under sockets and messages. What is lost?
//!
//! ```text
//! cargo run -p ch06-full-stack --bin drill                      all of them, and a table; exits 0 or 1
//! cargo run -p ch06-full-stack --bin drill -- list              which there are
//! cargo run -p ch06-full-stack --bin drill -- server-killed     one of them
//! cargo run -p ch06-full-stack --bin drill -- --rounds 20       each 20 times; the table says the worst
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    ch06_full_stack::drill::drills().run()
}
