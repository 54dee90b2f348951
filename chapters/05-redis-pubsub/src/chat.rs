//! A chat server: users write to each other by name.

use std::{future::ready, sync::Arc};

use anyhow::Result;
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use ch03_socket_polling::bounded;
use lab_server::{listen, log};
use serde::Deserialize;
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef, TryData},
};
use tokio::net::TcpListener;

use crate::link::{Between, DELIVER, Effort, Link, Private};

/// The name of a user, from the handshake's `auth`.
///
/// A real application checks a token here. The name identifies the user. `socket.id` does not:
/// it belongs to one session, and it is secret.
#[derive(Deserialize)]
pub struct Hello {
    /// The user's name.
    pub user: String,
}

/// What a user sends with the event `say`.
#[derive(Deserialize)]
pub struct Say {
    /// The receiver's name.
    pub to: String,
    /// The text.
    pub text: String,
}

struct Chat<L> {
    io: SocketIo,
    link: L,
}

/// Serves the chat on the port that `PORT` names, with the link that `LINK` names.
pub async fn serve() -> Result<()> {
    let listener = listen().await?;
    let link = Link::from_env(listener.local_addr()?).await?;
    serve_over(link, listener).await
}

/// Serves the chat with any link.
pub async fn serve_over<L: Between>(link: L, listener: TcpListener) -> Result<()> {
    let (app, io) = app(link).await?;
    let drain = async move { io.close().await };
    Ok(lab_server::serve("Socket Server", listener, app, drain).await?)
}

/// The application, with a link to other servers.
pub async fn app<L: Between>(link: L) -> Result<(Router, SocketIo)> {
    let (layer, io) = bounded().build_layer();
    let chat = Arc::new(Chat {
        io: io.clone(),
        link,
    });
    let listener = Arc::clone(&chat);
    chat.link
        .listen(move |message| listener.deliver(message))
        .await?;

    let welcoming = Arc::clone(&chat);
    io.ns(
        "/",
        async move |socket: SocketRef, TryData(hello): TryData<Hello>| {
            welcoming.welcome(&socket, hello);
        },
    );
    let router = Router::new()
        .route(DELIVER, post(take_delivery::<L>))
        .with_state(chat)
        .layer(layer);
    Ok((router, io))
}

impl<L: Between> Chat<L> {
    fn welcome<E>(self: Arc<Self>, socket: &SocketRef, hello: Result<Hello, E>) {
        let Ok(Hello { user }) = hello else {
            log(format!("{} has sent no name", socket.id));
            // If this fails, the socket has disconnected already.
            let _gone = socket.clone().disconnect();
            return;
        };
        log(format!("{user} connected"));
        // A room for each user: a message to it reaches all devices of the user on this server.
        socket.join(user.clone());
        self.link.joined(&user);
        let (leaving, name) = (Arc::clone(&self), user.clone());
        socket.on_disconnect(move || {
            leaving.link.left(&name);
            ready(())
        });
        socket.on("say", async move |Data(say): Data<Say>, ack: AckSender| {
            let message = Private {
                from: user.clone(),
                to: say.to,
                text: say.text,
            };
            self.send(&message, ack).await;
        });
    }

    async fn send(&self, message: &Private, ack: AckSender) {
        // If this server has the receiver, the message is not passed on.
        let effort = if self.deliver(message) {
            Ok(Effort::default())
        } else {
            self.link.pass_on(message).await
        };
        match effort {
            Ok(effort) => {
                if let Err(error) = ack.send(&effort) {
                    log(format!("{} has disconnected: {error}", message.from));
                }
            }
            Err(error) => log(format!("a message to {} is lost: {error:#}", message.to)),
        }
    }

    /// Gives a message to its receiver. Returns whether the receiver is connected to this server.
    fn deliver(&self, message: &Private) -> bool {
        let sockets = self.io.within(message.to.clone()).sockets();
        let delivered = sockets
            .iter()
            .filter(|socket| socket.emit("message", message).is_ok());
        delivered.count() > 0
    }
}

/// `POST /deliver`, from another server. The status is 200 if the user is here, and 404 if not.
async fn take_delivery<L: Between>(
    State(chat): State<Arc<Chat<L>>>,
    Json(message): Json<Private>,
) -> StatusCode {
    let (status, what) = if chat.deliver(&message) {
        (StatusCode::OK, "delivered")
    } else {
        (StatusCode::NOT_FOUND, "not here")
    };
    log(format!("asked for {}: {what}", message.to));
    status
}
