//! Builds nginx, or finds an earlier build, and prints its path. Run it once before a workshop:
//! afterwards, nginx needs no network and no compiler.
//!
//!     cargo run -p embedded-nginx

use std::process::ExitCode;

fn main() -> ExitCode {
    match embedded_nginx::nginx() {
        Ok(path) => {
            println!("{}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
