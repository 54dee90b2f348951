//! Why is a `socket.id` a secret? Mallory reads Alice's ID, and speaks and listens as Alice.
//!
//! ```text
//! cargo run -p session-id                     all experiments; stays up until Ctrl-C
//! cargo run -p session-id -- --check          the experiments, then exit code 0 (every claim held) or 1
//! cargo run -p session-id -- query-string     one experiment alone; `-- list` prints their names
//! PORT=8000 cargo run -p session-id           one server that shows each sender's socket.id
//! ```

use std::process::ExitCode;

use lab::{Event, Lesson, Observer, Result, Stage, client::PATIENCE};
use session_id::{forge, forge_websocket, send_secrets, serve};
use tokio::time::timeout;

fn main() -> ExitCode {
    Lesson::new("A socket.id is a secret", serve)
        .intro(
            "This server makes one mistake: it sends each message to everybody together\n\
             with the sender's socket.id. Alice uses polling. Mallory reads her ID.",
        )
        .with(
            "stolen-id",
            "Mallory reads Alice's ID in a message, and uses it over polling",
            stolen_id,
        )
        .with(
            "websocket",
            "The same request while Alice uses a WebSocket",
            websocket,
        )
        .with(
            "query-string",
            "Two secrets through nginx: one in the query string, one in `auth`",
            query_string,
        )
        .by_hand(by_hand)
        .run()
}

async fn stolen_id(stage: &mut Stage) -> Result<()> {
    let url = one_server(stage).await?;
    let words = "please send Mallory 100 euros";
    let forged = forge(&url, &stage.client("mallory", &url), words).await?;

    let heard = forged.bob_heard.unwrap_or_default();
    stage.claim_failure(
        "Bob receives Mallory's words with Alice's ID",
        "",
        heard["text"] == words && heard["from"] == forged.alice.as_str(),
    );
    let has_code = |packets: &[lab::client::Packet]| format!("{packets:?}").contains("1234");
    stage.claim_failure(
        "Bob sends Alice a code, and Mallory's poll gets it",
        "",
        has_code(&forged.stolen),
    );
    stage.claim_failure(
        "Alice's own poll does not get the code",
        "",
        !forged.left.is_empty() && !has_code(&forged.left),
    );
    stage.note(
        "\nNever show a socket.id to other clients. Give each user an ID of your own, and\n\
         send to a room of that name. A client proves who it is in the handshake's\n\
         `auth`.",
    );
    Ok(())
}

async fn websocket(stage: &mut Stage) -> Result<()> {
    let url = one_server(stage).await?;
    let forged = forge_websocket(&url, &stage.client("mallory", &url)).await?;
    let status = forged.err().and_then(|error| Some(error.refusal()?.status));
    stage.claim(
        "the request is refused (400): a WebSocket session is one connection",
        status == Some(400),
    );
    Ok(())
}

async fn query_string(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("04-ip-hash.conf").await?;
    let mut observer = stage.observer().from_now();
    send_secrets(&url, "token-in-query", "token-in-auth").await?;

    let log = log_of_both(&mut observer).await;
    let line = log.iter().find(|line| has_both(line));
    stage.claim_failure(
        "nginx logs the query string: token and session ID",
        "",
        line.is_some(),
    );
    stage.claim(
        "nginx does not log `auth`: it is in the connect packet",
        log.iter().any(|line| is_websocket(line))
            && !log.iter().any(|line| line.contains("token-in-auth")),
    );
    Ok(())
}

fn has_both(line: &str) -> bool {
    line.contains("&sid=") && line.contains("token-in-query")
}

fn is_websocket(line: &str) -> bool {
    line.contains("transport=websocket")
}

/// The lines of nginx's access log, until both clients are in it. If a line does not come, the
/// claims fail.
async fn log_of_both(observer: &mut Observer) -> Vec<String> {
    let mut log: Vec<String> = Vec::new();
    let _in_time = timeout(PATIENCE, async {
        while !(log.iter().any(|line| has_both(line)) && log.iter().any(|line| is_websocket(line)))
        {
            for observed in observer.next(100).await {
                if let Event::Forwarded(forwarded) = observed.event {
                    log.push(forwarded.request);
                }
            }
        }
    })
    .await;
    log
}

async fn one_server(stage: &mut Stage) -> Result<String> {
    stage.servers.start(1, &[]).await?;
    stage.servers.url('A')
}

async fn by_hand(stage: &mut Stage) -> Result<String> {
    let url = one_server(stage).await?;
    Ok(format!(
        "Open a session. Then speak in it, with nothing but its ID:\n\n  \
         S='{url}/socket.io/?EIO=4&transport=polling'\n  \
         SID=$(curl -s \"$S\" | grep -o '\"sid\":\"[^\"]*' | cut -d'\"' -f4)\n  \
         curl -s -d 40 \"$S&sid=$SID\"; echo\n  \
         curl -s -d '42[\"message\",\"forged\"]' \"$S&sid=$SID\"; echo"
    ))
}
