//! Three servers behind nginx: which clients can connect?

use ch03_socket_polling::experiments::{
    connect_at_once, connect_one_by_one, is_session_unknown, poll_twice,
};
use lab::{Result, Socket, Stage, Transport, client::Error};

pub(crate) async fn round_robin_breaks_polling(stage: &mut Stage) -> Result<()> {
    let url = three_servers(stage, "02-round-robin.conf").await?;
    two_requests(stage, &url).await?;
    stage.note("A session is only in the memory of the server that opened it.");
    no_client_connects(stage, &url, Transport::Polling).await;
    let tally = connect_at_once(&url, Transport::Polling, 90).await;
    stage.note(format!(
        "Of 90 at once, {} connect by chance: the requests of the others change which\n\
         server is next.",
        tally.connected
    ));
    Ok(())
}

pub(crate) async fn no_upgrade(stage: &mut Stage) -> Result<()> {
    let url = three_servers(stage, "02-round-robin.conf").await?;
    let connected = Socket::connect(&stage.client("you", &url), Transport::WebSocket, None).await;
    stage.note(
        "With only `proxy_pass`, nginx drops the header Upgrade, and before version\n\
         1.29.7 it speaks HTTP/1.0. The server sees a plain GET: no WebSocket opens.",
    );
    let error = connected.err();
    let refusal = error.as_ref().and_then(Error::refusal);
    let refused = refusal.is_some_and(|answer| answer.status == 400);
    let seen = error.map_or_else(|| "it connects".to_owned(), |error| error.to_string());
    stage.claim_failure("the WebSocket is refused: 400", seen, refused);
    Ok(())
}

pub(crate) async fn a_websocket_passes(stage: &mut Stage) -> Result<()> {
    let url = three_servers(stage, "03-websocket.conf").await?;
    Socket::connect(&stage.client("you", &url), Transport::WebSocket, None).await?;
    let tally = connect_one_by_one(&url, Transport::WebSocket, 30).await;
    stage.claim_seen(
        "every client connects: one connection stays on one server",
        format!("{} of 30", tally.connected),
        tally.connected == 30,
    );
    Ok(())
}

pub(crate) async fn polling_is_still_broken(stage: &mut Stage) -> Result<()> {
    let url = three_servers(stage, "03-websocket.conf").await?;
    two_requests(stage, &url).await?;
    for transport in [Transport::Polling, Transport::Upgrade] {
        no_client_connects(stage, &url, transport).await;
    }
    Ok(())
}

async fn two_requests(stage: &Stage, url: &str) -> Result<()> {
    let twice = poll_twice(&stage.client("you", url)).await?;
    let refused = twice.refusal.as_ref().is_some_and(is_session_unknown);
    stage.claim_failure(
        "the second request is refused: 400 Session ID unknown",
        format!(
            "{} opened the session, {} was asked",
            stage.servers.name_of(twice.owner),
            stage.servers.name_of(twice.asked)
        ),
        refused && twice.owner != twice.asked,
    );
    Ok(())
}

async fn no_client_connects(stage: &Stage, url: &str, transport: Transport) {
    let tally = connect_one_by_one(url, transport, 30).await;
    stage.claim_failure(
        format!("transport {transport}: no client connects"),
        format!("{} of 30, one after the other", tally.connected),
        tally.connected == 0,
    );
}

pub(crate) async fn three_servers(stage: &mut Stage, config: &str) -> Result<String> {
    stage.servers.start(3, &[]).await?;
    stage.nginx.start(config).await
}
