//! Chapter 2's drills: a server or nginx dies or is replaced under load. What is lost?
//!
//! ```text
//! cargo run -p ch02-nginx-rr --bin drill-http                      all of them, and a table; exits 0 or 1
//! cargo run -p ch02-nginx-rr --bin drill-http -- list              which there are
//! cargo run -p ch02-nginx-rr --bin drill-http -- rolling-restart   one of them
//! cargo run -p ch02-nginx-rr --bin drill-http -- --rounds 20       each 20 times; the table says the worst
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    ch02_nginx_rr::drill::drills().run()
}
