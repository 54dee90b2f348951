//! Chapter 1: which process answered?
//!
//! ```text
//! PORT=8000 cargo run -p ch01-express-pid         one server, as in the article
//! cargo run -p ch01-express-pid                   the same server on port 8000, and two requests to it
//! cargo run -p ch01-express-pid -- --check        the same, then exit code 0 (every claim held) or 1
//! ```

use std::process::{self, ExitCode};

use anyhow::{Result, anyhow};
use ch01_express_pid::app;
use front_end::{Asked, CommandLine, NoOptions, Which, block_on};
use lab_server::{health::get, listen, listen_on, log, serve};

fn main() -> ExitCode {
    let command_line = CommandLine {
        title: "Chapter 1 · a server that answers with its PID",
        experiments: vec![("two-requests", "Two requests to one server")],
    };
    if let Some(code) = command_line.run_server::<NoOptions, _>(server) {
        return code;
    }
    match command_line.read::<NoOptions>() {
        Ok(asked) => block_on(lesson(command_line.title, asked)),
        Err(code) => code,
    }
}

/// The article's server: it listens on `PORT`.
async fn server() -> Result<()> {
    Ok(serve("Server", listen().await?, app(), async {}).await?)
}

async fn lesson(title: &str, asked: Asked<NoOptions>) -> Result<ExitCode> {
    log(format!("{title}\n"));
    let listener = match asked.ports {
        Which::Auto => listen_on(0).await?,
        Which::Article => listen_on(8000)
            .await
            .map_err(|busy| anyhow!("{busy} (`-- --ports auto` takes a free one)"))?,
    };
    let address = listener.local_addr()?;
    let server = tokio::spawn(serve("Server", listener, app(), async {}));

    let first = get(address, "/").await?;
    log(format!("\nGET /\n{}\n", indent(&first)));
    let second = get(address, "/").await?;
    let body = format!("\r\n\r\nHi, PID: {}", process::id());
    let claims = [
        (
            "the server answers 200 OK",
            first.starts_with("HTTP/1.1 200 OK"),
        ),
        (
            "the body is `Hi, PID: <pid>`, with the PID of this process",
            first.ends_with(&body),
        ),
        (
            "a second request gets the same PID: one process answers everything",
            second.ends_with(&body),
        ),
    ];
    for (claim, held) in claims {
        log(format!("  {} {claim}", if held { '✓' } else { '✗' }));
    }
    let held = claims.iter().filter(|(_, held)| *held).count();
    log(format!("\n{held} of {} claims held", claims.len()));
    if asked.check {
        return Ok(ExitCode::from(u8::from(held < claims.len())));
    }

    log(format!(
        "\nThe server runs until Ctrl-C. Try, in a second terminal:\n\
         \x20 curl http://{address}/\n\
         \x20 PORT=8001 cargo run -p ch01-express-pid     a second server, with its own PID\n\
         Then press Ctrl-C here, and run the first command again: nobody answers."
    ));
    server.await??;
    Ok(ExitCode::SUCCESS)
}

fn indent(text: &str) -> String {
    let lines = text.lines();
    let lines = lines.map(|line| format!("  {line}").trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}
