//! Chapter 3: a Socket.IO server, and what its clients send over the wire.
//!
//! [`app`] is the server. Chapter 4 uses it unchanged. [`experiments`] do what clients do, with
//! one server or with nginx in front of three.

pub mod experiments;
mod page;

use axum::Router;
pub use lab_server::MAX_PAYLOAD;
use lab_server::{listen, log};
use socketioxide::{
    ParserConfig, SocketIo, SocketIoBuilder,
    extract::{Data, SocketRef},
};

/// The server. It logs the ID of each client that connects, and passes a `message` on to all
/// other clients. At `/` is a page with clients to try it.
pub fn app() -> (Router, SocketIo) {
    let (layer, io) = bounded().build_layer();
    io.ns("/", async |socket: SocketRef| {
        log(format!("{} connected", socket.id));
        socket.on("message", pass_on);
    });
    (page::routes().layer(layer), io)
}

async fn pass_on(socket: SocketRef, Data(text): Data<String>) {
    if let Err(error) = socket.broadcast().emit("message", &text).await {
        log(format!("a message was not passed on: {error}"));
    }
}

/// Serves [`app`] on the port that `PORT` names, until SIGTERM.
pub async fn serve() -> lab::Result<()> {
    let (app, io) = app();
    let listener = listen().await?;
    // A held poll or an open WebSocket would keep the server from ending.
    let drain = async move { io.close().await };
    Ok(lab_server::serve("Socket Server", listener, app, drain).await?)
}

/// The settings of a Socket.IO server whose limit for polling is also the limit for WebSocket:
/// [`MAX_PAYLOAD`]. The handshake tells it to clients as `maxPayload`.
///
/// By default, a WebSocket message may have 64 MiB. The server keeps all of it in memory while it
/// arrives, for each client that sends one. It also keeps the attachments of a message until all of
/// them have come. The messages here are text, so none is allowed.
pub fn bounded() -> SocketIoBuilder {
    SocketIo::builder()
        .max_payload(MAX_PAYLOAD as u64)
        .ws_max_message_size(MAX_PAYLOAD)
        .ws_max_frame_size(MAX_PAYLOAD)
        .with_parser(ParserConfig::common().max_incoming_binaries(0))
}
