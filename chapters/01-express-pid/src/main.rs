//! Chapter 1: which process answered?
//!
//! ```text
//! PORT=8000 cargo run -p ch01-express-pid         one server, as in the article
//! cargo run -p ch01-express-pid                   the same on port 8000, and two requests to it
//! cargo run -p ch01-express-pid -- --check        the same, then says what held, exits 0 or 1
//! ```

use std::{
    env,
    error::Error,
    net::SocketAddr,
    process::{self, ExitCode},
};

use ch01_express_pid::{app, listen, listen_on, log, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

// One Node process is one thread, and that is the article's premise.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = env::args().skip(1).collect::<Vec<_>>();
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::from(2);
        }
    };
    if options.help {
        log(USAGE);
        return ExitCode::SUCCESS;
    }
    match run(&options).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    if env::var_os("PORT").is_some() {
        serve("Server", listen().await?, app(), async {}).await?;
        return Ok(ExitCode::SUCCESS);
    }

    log("Chapter 1 · a server that says who it is\n");
    let listener = listen_on(if options.any_port { 0 } else { 8000 }).await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(serve("Server", listener, app(), async {}));

    let held = two_requests(address).await?;
    if options.check {
        return Ok(if held {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }

    log(format!(
        "\nThe server runs until Ctrl-C. Try, in a second terminal:\n\
         \x20 curl http://{address}/\n\
         \x20 PORT=8001 cargo run -p ch01-express-pid     another server, another PID\n\
         Then press Ctrl-C here and ask again. Chapter 2 is about what you see then."
    ));
    server.await??;
    Ok(ExitCode::SUCCESS)
}

/// Asks twice and says claim by claim what held.
async fn two_requests(server: SocketAddr) -> Result<bool, Box<dyn Error>> {
    let pid = process::id();
    let first = get(server, "/").await?;
    log(format!("\nGET /\n{}\n", indent(&first)));
    let second = get(server, "/").await?;

    let claims = [
        (
            "the server answers 200 OK",
            first.starts_with("HTTP/1.1 200 OK"),
        ),
        (
            "the body is `Hi, PID: <pid>`, with the PID of this process",
            first.ends_with(&format!("\r\n\r\nHi, PID: {pid}")),
        ),
        (
            "asked again, it is the same PID: one process answers everything",
            second.ends_with(&format!("Hi, PID: {pid}")),
        ),
    ];
    for (claim, held) in claims {
        log(format!("  {} {claim}", if held { '✓' } else { '✗' }));
    }
    let held = claims.iter().filter(|(_, held)| *held).count();
    log(format!("\n{held} of {} claims held", claims.len()));
    Ok(held == claims.len())
}

/// The whole response to a `GET`, headers and all, as it came over the wire.
async fn get(server: SocketAddr, path: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect(server).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}").trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// What may stand on the command line.
#[derive(Debug, Default, PartialEq)]
struct Options {
    check: bool,
    any_port: bool,
    help: bool,
}

const USAGE: &str = "\
usage: ch01-express-pid [--check] [--ports article|auto]

  --check         say what held, exit 0 or 1
  --ports auto    take any free port instead of 8000
  PORT=8000       (environment) be one server on that port";

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            match argument {
                "--check" => options.check = true,
                "--help" | "-h" => options.help = true,
                "--ports" => match rest.next() {
                    Some("auto") => options.any_port = true,
                    Some("article") => options.any_port = false,
                    other => {
                        let given = other.unwrap_or("nothing");
                        return Err(format!(
                            "error: --ports takes `article` or `auto`, not {given}\n\n{USAGE}"
                        ));
                    }
                },
                "--ports=auto" => options.any_port = true,
                "--ports=article" => options.any_port = false,
                unknown => {
                    return Err(format!("error: unknown argument `{unknown}`\n\n{USAGE}"));
                }
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(
            &line
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn an_unknown_argument_is_named_and_the_usage_shown() {
        let said = parse("--chekc").unwrap_err();
        assert!(
            said.contains("`--chekc`") && said.contains("usage:"),
            "{said}"
        );
        assert!(parse("--ports some").unwrap_err().contains("not some"));
    }

    #[test]
    fn check_and_ports_go_together() {
        let options = parse("--check --ports auto").unwrap();
        assert!(options.check && options.any_port);
    }
}
