//! Builds nginx, or finds the one built earlier, and prints its path. Run it once before a
//! workshop; nothing needs the network or a compiler afterwards:
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
