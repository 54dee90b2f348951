//! The chat server: users write to each other by name, wherever they are connected.
//!
//! Chapter 5's server asked "is the user mine?" and passed messages on. Here the adapter
//! does both: `to(room)` means that room on every server.

use std::{env, future::ready, process};

use anyhow::{Context, Result, bail};
use ch01_express_pid::{listen, log};
use ch03_socket_polling::bounds::bounded;
use ch05_redis_pubsub::{
    chat::{Hello, Say},
    link::Private,
    programs::{no_redis, redis_url},
};
use serde::Serialize;
use serde_json::json;
use socketioxide::{
    SocketIo,
    adapter::{Adapter, Emitter},
    extract::{AckSender, Data, SocketRef, TryData},
    handler::ConnectHandler,
    layer::SocketIoLayer,
};
use socketioxide_redis::{CustomRedisAdapter, RedisAdapterConfig, RedisAdapterCtr};
use tokio::net::TcpListener;

use crate::{auth::Secret, driver::ResilientDriver, origin::Origins, page};

/// The adapter that reaches other servers through Redis.
type RedisAdapter = CustomRedisAdapter<Emitter, ResilientDriver>;

/// Serves the chat on the port that `PORT` names.
///
/// `ADAPTER=off` leaves the adapter out; otherwise it talks to the Redis that
/// `REDIS_URL` names. With `CHAT_SECRET` set, users need a token ([`crate::auth`]);
/// `ALLOWED_ORIGIN` lets pages of another origin connect ([`crate::origin`]).
///
/// # Errors
/// When the port cannot be had, or Redis does not answer.
pub async fn serve() -> Result<()> {
    let listener = listen().await?;
    let port = listener.local_addr()?.port();
    let secret = Secret::from_env()?;
    let admit = move |TryData(credentials)| ready(secret.admit(credentials));
    match env::var("ADAPTER").as_deref() {
        Err(_) | Ok("redis") => {
            let driver = ResilientDriver::connect(&redis_url())
                .await
                .with_context(no_redis)?;
            let adapter = RedisAdapterCtr::new_with_driver(driver, RedisAdapterConfig::default());
            let (layer, io) = bounded()
                .with_adapter::<RedisAdapter>(adapter)
                .build_layer();
            let welcome = async move |socket: SocketRef<_>, hello: TryData<_>| {
                welcome(socket, hello, port);
            };
            io.ns("/", welcome.with(admit)).await?;
            run(listener, layer, io).await
        }
        Ok("off") => {
            let (layer, io) = bounded().build_layer();
            let welcome = async move |socket: SocketRef<_>, hello: TryData<_>| {
                welcome(socket, hello, port);
            };
            io.ns("/", welcome.with(admit));
            run(listener, layer, io).await
        }
        Ok(other) => bail!("ADAPTER={other} is neither redis nor off"),
    }
}

async fn run<A: Adapter>(
    listener: TcpListener,
    layer: SocketIoLayer<A>,
    io: SocketIo<A>,
) -> Result<()> {
    let app = Origins::from_env()?.guard(page::routes().layer(layer));
    let drain = async move { io.close().await };
    Ok(ch01_express_pid::serve("Socket Server", listener, app, drain).await?)
}

fn welcome<A: Adapter>(socket: SocketRef<A>, TryData(hello): TryData<Hello>, port: u16) {
    let Ok(Hello { user }) = hello else {
        log(format!("{} did not say who it is", socket.id));
        // It is gone already if this fails, which is what was wanted.
        let _gone = socket.disconnect();
        return;
    };
    log(format!("{user} connected"));
    // The user's room: on whichever servers their devices are.
    socket.join(user.clone());

    let shouter = user.clone();
    socket.on(
        "say",
        async move |socket: SocketRef<A>, Data(say): Data<Say>, ack: AckSender<A>| {
            let room = say.to.clone();
            let message = private(&user, say.to, say.text);
            let sent = socket.to(room).emit("message", &message).await;
            acknowledge(ack, &sent.is_ok());
        },
    );
    socket.on(
        "shout",
        async move |socket: SocketRef<A>, Data(text): Data<String>, ack: AckSender<A>| {
            let message = private(&shouter, "all".to_owned(), text);
            let sent = socket.broadcast().emit("message", &message).await;
            acknowledge(ack, &sent.is_ok());
        },
    );
    // For the page, which says whose answer this is: through nginx, its address does not.
    socket.on("server", async move |ack: AckSender<A>| {
        acknowledge(ack, &json!({ "pid": process::id(), "port": port }));
    });
}

fn private(from: &str, to: String, text: String) -> Private {
    Private {
        from: from.to_owned(),
        to,
        text,
    }
}

fn acknowledge<A: Adapter>(ack: AckSender<A>, answer: &impl Serialize) {
    if let Err(error) = ack.send(answer) {
        log(format!(
            "a sender is gone before its acknowledgement: {error}"
        ));
    }
}
