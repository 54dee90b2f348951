//! Chapter 3, aside: what Mallory can do who has read Alice's `socket.id`.
//!
//! ```text
//! cargo run -p ch03-socket-polling --bin forge                on a small stage of its own
//! cargo run -p ch03-socket-polling --bin forge -- --check     the same, then says what held, exits 0 or 1
//! ```

use std::process::ExitCode;

use ch03_socket_polling::forge::{forge, forge_websocket, send_secrets, serve};
use lab::{Chapter, Event, Observer, Result, Stage, client::PATIENCE};
use tokio::time::timeout;

fn main() -> ExitCode {
    Chapter::new(
        "Chapter 3 · socket.id is a secret: who has it, speaks",
        serve,
    )
    .run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note(
        "A server that makes one mistake: it tells everybody who has spoken by\n\
         `socket.id`. Alice uses polling. Mallory only listens, at first.\n\n",
    );
    stage.start_servers(3, &[]).await?;
    let alone = stage.server_url('A')?;
    mallory_speaks(stage, &alone).await?;
    a_websocket_is_one_connection(stage, &alone).await?;
    a_query_is_no_place_for_a_secret(stage).await?;
    stage.note(
        "\nThe rule: show nobody a socket.id. Call users by an ID of your own, and write to\n\
         them in a room of that name. Who a client is, it proves in the handshake's\n\
         `auth`. Chapter 6's server does that.",
    );
    stage.try_by_hand(format!(
        "A session, and somebody who knows nothing but its ID\n\n  \
         S='{alone}/socket.io/?EIO=4&transport=polling'\n  \
         SID=$(curl -s \"$S\" | grep -o '\"sid\":\"[^\"]*' | cut -d'\"' -f4)\n  \
         curl -d 40 \"$S&sid=$SID\"\n  \
         curl -d '42[\"message\",\"forged\"]' \"$S&sid=$SID\""
    ));
    Ok(())
}

async fn mallory_speaks(stage: &Stage, url: &str) -> Result<()> {
    stage.step("Alice says hi; Mallory hears it, reads her ID in it, and uses it");
    let words = "please send Mallory 100 euros";
    let forged = forge(url, words).await?;
    stage.show(forged.seen);
    let heard = forged.bob_heard.unwrap_or_default();
    stage.claim(
        "Bob hears Mallory's words, and from whom? From Alice",
        heard["text"] == words && heard["from"] == forged.alice.as_str(),
    );
    let is_read = |packets: &[lab::client::Packet]| format!("{packets:?}").contains("1234");
    stage.claim(
        "Bob answers her with a code, and Mallory's poll brings it",
        is_read(&forged.stolen),
    );
    stage.claim(
        "Alice polls too, and never hears of it",
        !forged.left.is_empty() && !is_read(&forged.left),
    );
    Ok(())
}

async fn a_websocket_is_one_connection(stage: &Stage, url: &str) -> Result<()> {
    stage.step("The same with Alice's ID while she uses a WebSocket");
    let forged = forge_websocket(url).await?;
    let status = forged.err().and_then(|error| Some(error.refusal()?.status));
    stage.claim(
        "it is refused, 400: her session is one connection, and Mallory has another",
        status == Some(400),
    );
    Ok(())
}

async fn a_query_is_no_place_for_a_secret(stage: &mut Stage) -> Result<()> {
    stage.step("Two secrets through nginx: in the query string, and in the handshake's `auth`");
    let url = stage.start_nginx("03-websocket.conf").await?;
    let mut observer = stage.observer();
    send_secrets(&url, "token-in-query", "token-in-auth").await?;
    let log = log_of_both(&mut observer).await;
    let line = log.iter().find(|line| line.contains("token-in-query"));
    stage.claim_seen(
        "nginx's log keeps what stands in the query string, sid and all",
        line.and_then(|line| line.split_once("polling")?.1.split(' ').next())
            .unwrap_or_default(),
        line.is_some(),
    );
    stage.claim(
        "and nothing of `auth`, which travels in the connect packet",
        log.len() == 2 && !log.iter().any(|line| line.contains("token-in-auth")),
    );
    Ok(())
}

/// The lines of nginx's access log about two requests; fewer if they do not come.
async fn log_of_both(observer: &mut Observer) -> Vec<String> {
    let mut log = Vec::new();
    // What is missing shows in the claims.
    let _all_there = timeout(PATIENCE, async {
        while log.len() < 2 {
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
