//! The chat server: users write to each other by name, on whichever servers they are.
//!
//! Chapter 5's server asked "is this user mine?" and passed other messages on. Here the adapter
//! does both: `socket.to(room)` means that room on every server.

use std::{env, process};

use anyhow::{Context, Result, bail};
use ch03_socket_polling::bounded;
use ch05_redis_pubsub::{
    chat::{Hello, Say},
    link::Private,
};
use lab::prefixed;
use lab_server::{listen_locally, log};
use redis::Client;
use redis_driver::{RedisTarget, ResilientDriver};
use serde::Serialize;
use serde_json::json;
use socketioxide::{
    SocketIo,
    adapter::{Adapter, Emitter},
    extract::{AckSender, Data, SocketRef, TryData},
    layer::SocketIoLayer,
};
use socketioxide_redis::{
    CustomRedisAdapter, RedisAdapterConfig, RedisAdapterCtr,
    drivers::{Driver, redis::RedisDriver},
};
use tokio::net::TcpListener;

use crate::page;

/// The beginning of the adapter's channels, after the application's name.
pub const CHANNELS: &str = "socket.io";

/// Serves the chat on the port that `PORT` names.
///
/// `ADAPTER=off` leaves the adapter out. Otherwise the adapter uses the Redis that `REDIS_URL`
/// names. `DRIVER=stock` connects it with its own driver, which does not reconnect.
pub async fn serve() -> Result<()> {
    let listener = listen_locally().await?;
    if setting("ADAPTER", ["redis", "off"])? == "off" {
        let (layer, io) = bounded().build_layer();
        io.ns("/", welcome);
        return run(listener, layer, io).await;
    }
    let driver = setting("DRIVER", ["resilient", "stock"])?;
    let redis = RedisTarget::from_env().await?;
    if driver == "stock" {
        let driver = RedisDriver::new(&client_of(redis)?).await?;
        share_rooms(listener, driver).await
    } else {
        let driver = ResilientDriver::connect(redis, log).await?;
        share_rooms(listener, driver).await
    }
}

/// Serves with the Redis adapter: rooms extend over all servers.
async fn share_rooms<D: Driver<Error: Sync>>(listener: TcpListener, driver: D) -> Result<()> {
    let config = RedisAdapterConfig::new().with_prefix(prefixed(CHANNELS));
    let adapter = RedisAdapterCtr::new_with_driver(driver, config);
    let (layer, io) = bounded()
        .with_adapter::<CustomRedisAdapter<Emitter, D>>(adapter)
        .build_layer();
    io.ns("/", welcome).await?;
    run(listener, layer, io).await
}

async fn run<A: Adapter>(
    listener: TcpListener,
    layer: SocketIoLayer<A>,
    io: SocketIo<A>,
) -> Result<()> {
    let app = page::routes().layer(layer);
    // A WebSocket, or a poll that the server holds, would keep the server from ending.
    let drain = async move { io.close().await };
    Ok(lab_server::serve("Socket Server", listener, app, drain).await?)
}

async fn welcome<A: Adapter>(socket: SocketRef<A>, TryData(hello): TryData<Hello>) {
    let Ok(Hello { user }) = hello else {
        log("a client without a name was disconnected");
        // If this fails, the client is gone already.
        let _gone = socket.disconnect();
        return;
    };
    log(format!("{user} connected"));
    // One room for each user. All devices of the user are in it, on whichever servers.
    socket.join(user.clone());
    let from = user.clone();
    socket.on(
        "say",
        async move |socket: SocketRef<A>, Data(Say { to, text }): Data<Say>, ack: AckSender<A>| {
            let message = private(&from, to.clone(), text);
            let sent = socket.to(to).emit("message", &message).await;
            acknowledge(ack, &sent.is_ok());
        },
    );
    socket.on(
        "shout",
        async move |socket: SocketRef<A>, Data(text): Data<String>, ack: AckSender<A>| {
            let message = private(&user, "all".to_owned(), text);
            let sent = socket.broadcast().emit("message", &message).await;
            acknowledge(ack, &sent.is_ok());
        },
    );
    // The page asks which server it is connected to. Behind nginx, the address does not tell.
    socket.on("server", async |ack: AckSender<A>| {
        let port = lab_server::port().unwrap_or_default();
        acknowledge(ack, &json!({ "pid": process::id(), "port": port }));
    });
}

/// A message from one user to another, or to `all`.
pub fn private(from: &str, to: String, text: String) -> Private {
    Private {
        from: from.to_owned(),
        to,
        text,
    }
}

/// Sends an acknowledgement, if the sender of the event asked for one.
pub fn acknowledge<A: Adapter>(ack: AckSender<A>, answer: &impl Serialize) {
    if let Err(error) = ack.send(answer) {
        log(format!("an acknowledgement was not sent: {error}"));
    }
}

/// A client of a single Redis, for the stock driver.
fn client_of(redis: RedisTarget) -> Result<Client> {
    match redis {
        RedisTarget::One(node) => Client::open(node).context("this Redis cannot be used"),
        RedisTarget::Cluster(_) => {
            bail!("DRIVER=stock needs a single Redis, and REDIS_URL names a Redis Cluster")
        }
    }
}

/// The value of an environment variable that has two values; the first is the default.
fn setting(name: &str, values: [&'static str; 2]) -> Result<&'static str> {
    let Ok(asked) = env::var(name) else {
        return Ok(values[0]);
    };
    let known = values.into_iter().find(|value| *value == asked);
    let [default, other] = values;
    known.with_context(|| format!("{name}={asked} is neither {default} nor {other}"))
}
