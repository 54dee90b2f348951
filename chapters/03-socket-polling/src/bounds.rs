//! What one client may take of a Socket.IO server.

use socketioxide::{SocketIo, SocketIoBuilder};

/// Bytes that a message may have, over either transport: what the handshake tells clients
/// as `maxPayload`.
pub const MAX_PAYLOAD: usize = 100_000;

/// A Socket.IO server's settings, with the bound that polling has for WebSocket too.
///
/// Left alone, a WebSocket message may have 64 MiB, and each client could have the server
/// keep as much for it while it is coming in.
pub fn bounded() -> SocketIoBuilder {
    SocketIo::builder()
        .max_payload(MAX_PAYLOAD as u64)
        .ws_max_message_size(MAX_PAYLOAD)
        .ws_max_frame_size(MAX_PAYLOAD)
}
