//! Does the server on `PORT` answer? For a container's health check, whose image has no curl.
//!
//! ```text
//! PORT=8000 cargo run -p ch01-express-pid --bin healthy     exits 0 if `GET /` is answered 200
//! ```

use std::{error::Error, net::Ipv4Addr, process::ExitCode, time::Duration};

use ch01_express_pid::port;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

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
    let Ok(answer) = timeout(PATIENCE, status_line(port)).await else {
        let seconds = PATIENCE.as_secs();
        return Err(format!("port {port} does not answer within {seconds} s").into());
    };
    let answer = answer.map_err(|error| format!("port {port} does not answer: {error}"))?;
    if answer.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(format!("port {port} answers {}, not 200", answer.trim_end()).into())
    }
}

/// The first line of the answer to `GET /`.
async fn status_line(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
