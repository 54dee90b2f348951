//! A chat server: users write to each other by name.

use std::{future::ready, sync::Arc};

use anyhow::Result;
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use ch01_express_pid::{listen, log};
use ch03_socket_polling::bounds::bounded;
use serde::Deserialize;
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, SocketRef, TryData},
};

use crate::link::{DELIVER, Link, Private};

/// Who a client says it is, in the handshake's `auth`.
///
/// A real application checks a token here. The name is the server's own ID of the user;
/// `socket.id` stays the secret of one session.
#[derive(Deserialize)]
pub struct Hello {
    /// The user's name.
    pub user: String,
}

/// What a user sends with the event `say`.
#[derive(Deserialize)]
pub struct Say {
    /// To whom.
    pub to: String,
    /// What.
    pub text: String,
}

struct Chat {
    io: SocketIo,
    link: Link,
}

/// The application, over a link to other servers.
///
/// # Errors
/// When Redis is the link and does not answer.
pub async fn app(link: Link) -> Result<(Router, SocketIo)> {
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
        .route(DELIVER, post(take_delivery))
        .with_state(chat)
        .layer(layer);
    Ok((router, io))
}

impl Chat {
    fn welcome<E>(self: Arc<Self>, socket: &SocketRef, hello: Result<Hello, E>) {
        let Ok(Hello { user }) = hello else {
            log(format!("{} did not say who it is", socket.id));
            // It is gone already if this fails, which is what was wanted.
            let _gone = socket.clone().disconnect();
            return;
        };
        log(format!("{user} connected"));
        // A room for each user: what is sent to it reaches all their devices on this server.
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
        // A message for one of this server's own users goes no further.
        let effort = if self.deliver(message) {
            Ok(crate::link::Effort::default())
        } else {
            self.link.pass_on(message).await
        };
        let answered = match effort {
            Ok(effort) => ack.send(&effort),
            Err(error) => {
                log(format!(
                    "a message to {} was not passed on: {error:#}",
                    message.to
                ));
                return;
            }
        };
        if let Err(error) = answered {
            log(format!("{} is gone: {error}", message.from));
        }
    }

    /// Gives a message to its user, if connected to this server. Returns whether that is so.
    fn deliver(&self, message: &Private) -> bool {
        let sockets = self.io.within(message.to.clone()).sockets();
        let delivered = sockets
            .iter()
            .filter(|socket| socket.emit("message", message).is_ok());
        delivered.count() > 0
    }
}

/// `POST /deliver`, from another server: 200 if the user is here, 404 if not.
async fn take_delivery(State(chat): State<Arc<Chat>>, Json(message): Json<Private>) -> StatusCode {
    let delivered = chat.deliver(&message);
    log(format!(
        "asked for {}: {}",
        message.to,
        if delivered { "delivered" } else { "not here" }
    ));
    if delivered {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    }
}

/// Serves the chat on the port that `PORT` names, over the link that `LINK` names.
///
/// # Errors
/// When the port cannot be had, or the link makes no sense or does not answer.
pub async fn serve() -> Result<()> {
    let listener = listen().await?;
    let link = Link::from_env(listener.local_addr()?).await?;
    let (app, io) = app(link).await?;
    let drain = async move { io.close().await };
    Ok(ch01_express_pid::serve("Socket Server", listener, app, drain).await?)
}
