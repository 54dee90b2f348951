//! Checks whether the server on `PORT` answers. It is for a container's health check: the image has
//! no curl.
//!
//! ```text
//! PORT=8000 cargo run -p lab-server --bin healthy     exits 0 if `GET /` is answered 200
//! ```

use std::{error::Error, net::Ipv4Addr, process::ExitCode, time::Duration};

use lab_server::{health::get, port};
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match ask().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn ask() -> Result<(), Box<dyn Error>> {
    let port = port()?;
    let Ok(answer) = timeout(PATIENCE, get((Ipv4Addr::LOCALHOST, port).into(), "/")).await else {
        let seconds = PATIENCE.as_secs();
        return Err(format!("port {port} does not answer within {seconds} s").into());
    };
    let answer = answer.map_err(|error| format!("port {port} does not answer: {error}"))?;
    if answer.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        let status_line = answer.lines().next().unwrap_or_default();
        Err(format!("port {port} answers {status_line}, not 200").into())
    }
}
