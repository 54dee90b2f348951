//! The pub/sub server as a program, for a machine without `redis-server`:
//!
//! ```sh
//! cargo run -p embedded-pubsub -- [PORT]
//! ```

use std::{
    env,
    io::{self, Write},
    net::Ipv4Addr,
    process::ExitCode,
};

use embedded_pubsub::Server;

const USAGE: &str = "\
Usage: embedded-pubsub [PORT]

A Redis-compatible pub/sub server on 127.0.0.1, without keys and storage.
PORT is 6379 unless given; 0 takes any free port. Ctrl-C stops it.";

const WHAT_IT_IS: &str = "\
embedded-pubsub: Redis's pub/sub without keys and storage, for this computer only. \
Ctrl-C stops it.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let port = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => "6379",
        ["-h" | "--help"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [port] if !port.starts_with('-') => port,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(port).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

async fn run(port: &str) -> Result<(), String> {
    let port: u16 = port
        .parse()
        .map_err(|_| format!("{port:?} is no port: give a number from 0 to 65535."))?;
    let server = Server::start((Ipv4Addr::LOCALHOST, port)).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "Port {port} is in use, perhaps by a real Redis: use that one, or give another port."
        ),
        _ => format!("Cannot listen on 127.0.0.1:{port}: {error}."),
    })?;
    // Watched before the URL is printed: its reader may stop the server at once.
    let stopped = stopped().map_err(|error| format!("Cannot watch for Ctrl-C: {error}."))?;
    let greeting = format!("{}\n{WHAT_IT_IS}\n", server.url());
    io::stdout()
        .write_all(greeting.as_bytes())
        .map_err(|error| format!("Cannot print the server's URL: {error}."))?;
    stopped.await;
    server.stop().await;
    Ok(())
}

/// Ready on Ctrl-C, or on SIGTERM, which process managers send.
#[cfg(unix)]
fn stopped() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ready on Ctrl-C.
#[cfg(windows)]
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
