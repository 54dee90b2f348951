//! The chat server: users write to each other by name, wherever they are connected.
//!
//! Chapter 5's server asked "is the user mine?" and passed messages on. Here the adapter
//! does both: `to(room)` means that room on every server.

use std::{
    env,
    future::{Ready, ready},
    process,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::middleware::map_request;
use ch01_express_pid::{listen, log, serve_guarded};
use ch03_socket_polling::bounds::bounded;
use ch05_redis_pubsub::{chat::Say, link::Private, programs::no_redis};
use redis::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use socketioxide::{
    SocketIo, SocketIoBuilder,
    adapter::{Adapter, Emitter, LocalAdapter},
    extract::{AckSender, Data, SocketRef, TryData},
    handler::ConnectHandler,
    layer::SocketIoLayer,
    operators::BroadcastOperators,
};
use socketioxide_redis::{
    CustomRedisAdapter, RedisAdapterConfig, RedisAdapterCtr,
    drivers::{
        Driver,
        redis::{ClusterDriver, RedisDriver},
    },
};
use tokio::{net::TcpListener, time::sleep};

use crate::{
    auth::{Credentials, Secret},
    crossing::watch,
    delivery::{self, kept::History},
    driver::ResilientDriver,
    lane::Lane,
    lean::{READ_BUFFER, keep_little},
    origin::Origins,
    page,
    place::{Place, stock_cluster},
    stuck::Connection,
};

/// How many packets may wait for one client; socketioxide's default is 128. A packet takes
/// memory only while it waits.
const BUFFER: usize = 4096;

/// How many messages of other servers may wait for this one; the adapter's default is 1024.
const STREAM_BUFFER: usize = 16 * 1024;

/// How many acknowledgements of one announcement may wait, from other servers' clients; the
/// adapter's default is 255, and what is more is lost.
const ACK_BUFFER: usize = 64 * 1024;

/// How many connections may wait to be accepted; Tokio asks for 1,024. When a server dies,
/// all its clients come to the others at once, and whoever finds the queue full tries again
/// only after a second. The kernel's own limit is `net.core.somaxconn`, 4,096 on Linux.
const BACKLOG: i32 = 4096;

/// Who a client says it is, in the handshake's `auth`.
#[derive(Deserialize)]
struct Hello {
    /// The user's name.
    user: String,
    /// The last message of its history that the client has seen, if it follows that.
    seen: Option<String>,
}

/// What all connections of a server share.
pub(crate) struct Chat {
    port: u16,
    secret: Secret,
    pub(crate) history: Option<History>,
}

/// Serves the chat on the port that `PORT` names.
///
/// `ADAPTER=off` leaves the adapter out; otherwise it talks to the Redis, or the Redis
/// Cluster, that `REDIS_URL` names. `DRIVER=stock` has it do so with its own driver, and `BUFFER=128`
/// keeps as many packets for a client as socketioxide does by default: both to see what
/// is lost then. With `CHAT_SECRET` set, users need a token ([`crate::auth`]);
/// `ALLOWED_ORIGIN` lets pages of another origin connect ([`crate::origin`]).
///
/// # Errors
/// When the port cannot be had, Redis does not answer, or a variable makes no sense.
pub async fn serve() -> Result<()> {
    let listener = listen().await?;
    // A socket that listens already may be asked again.
    rustix::net::listen(&listener, BACKLOG).context("the port's queue cannot be made longer")?;
    let chat = Chat {
        port: listener.local_addr()?.port(),
        secret: Secret::from_env()?,
        history: None,
    };
    let settings = bounded()
        .max_buffer_size(buffer()?)
        .ws_read_buffer_size(READ_BUFFER);
    match env::var("ADAPTER").as_deref() {
        Err(_) | Ok("redis") => {}
        Ok("off") => {
            let (layer, io) = settings.build_layer();
            let admit = admit(chat.secret.clone());
            io.ns("/", welcome(chat).with(admit));
            return run(listener, layer, io).await;
        }
        Ok(other) => bail!("ADAPTER={other} is neither redis nor off"),
    }
    let driver = env::var("DRIVER");
    let driver = match driver.as_deref() {
        Err(_) => "resilient",
        Ok(known @ ("resilient" | "stock")) => known,
        Ok(other) => bail!("DRIVER={other} is neither resilient nor stock"),
    };
    let place = Place::from_env().await?;
    let server = Server {
        listener,
        settings,
        chat,
    };
    match (&place, driver) {
        (_, "resilient") => {
            let driver = ResilientDriver::connect(place.clone()).await;
            server
                .through_redis(driver.with_context(no_redis)?, &place)
                .await
        }
        (Place::One(node), _) => {
            let driver = RedisDriver::new(&Client::open(node.clone())?).await;
            server
                .through_redis(driver.with_context(no_redis)?, &place)
                .await
        }
        (Place::Cluster(nodes), _) => {
            let driver = ClusterDriver::new(&stock_cluster(nodes)?).await;
            server
                .through_redis(driver.with_context(no_redis)?, &place)
                .await
        }
    }
}

fn buffer() -> Result<usize> {
    let Ok(packets) = env::var("BUFFER") else {
        return Ok(BUFFER);
    };
    match packets.parse() {
        Ok(packets) if packets > 0 => Ok(packets),
        _ => bail!("BUFFER={packets} is no number of packets, such as BUFFER=128"),
    }
}

/// A server that does not serve yet.
struct Server {
    listener: TcpListener,
    settings: SocketIoBuilder<LocalAdapter>,
    chat: Chat,
}

impl Server {
    async fn through_redis<D: Driver<Error: Sync>>(
        mut self,
        driver: D,
        place: &Place,
    ) -> Result<()> {
        let history = History::open(place).await.with_context(no_redis)?;
        self.chat.history = Some(history);
        let config = RedisAdapterConfig::new()
            .with_stream_buffer(STREAM_BUFFER)
            .with_ack_response_buffer(ACK_BUFFER);
        let adapter = RedisAdapterCtr::new_with_driver(driver, config);
        let (layer, io) = self
            .settings
            .with_adapter::<CustomRedisAdapter<Emitter, D>>(adapter)
            .build_layer();
        let admit = admit(self.chat.secret.clone());
        io.ns("/", welcome(self.chat).with(admit)).await?;
        run(self.listener, layer, io).await
    }
}

/// Who came in just before the port was closed has so long to join the namespace. Closing
/// begins with the namespaces, and a client that finds none is told `Invalid namespace`:
/// to the official client that is a refusal, after which it does not come back by itself.
const GRACE: Duration = Duration::from_millis(250);

async fn run<A: Adapter>(
    listener: TcpListener,
    layer: SocketIoLayer<A>,
    io: SocketIo<A>,
) -> Result<()> {
    let lean = page::routes().layer(layer).layer(map_request(keep_little));
    let app = Origins::from_env()?.guard(lean);
    let drain = async move {
        sleep(GRACE).await;
        io.close().await;
    };
    let served = serve_guarded("Socket Server", listener, Connection::new, app, drain);
    Ok(served.await?)
}

/// Lets in whose token is right, where users need one.
fn admit(
    secret: Secret,
) -> impl Fn(TryData<Credentials>) -> Ready<Result<(), &'static str>> + Clone + Send + Sync {
    move |TryData(credentials)| ready(secret.admit(credentials))
}

fn welcome<A: Adapter>(
    chat: Chat,
) -> impl Fn(SocketRef<A>, TryData<Hello>) -> Ready<()> + Clone + Send + Sync {
    let chat = Arc::new(chat);
    move |socket, TryData(hello)| {
        if let Ok(hello) = hello {
            chat.welcome(&socket, hello);
        } else {
            log(format!("{} did not say who it is", socket.id));
            // It is gone already if this fails, which is what was wanted.
            let _gone = socket.disconnect();
        }
        ready(())
    }
}

impl Chat {
    fn welcome<A: Adapter>(self: &Arc<Self>, socket: &SocketRef<A>, hello: Hello) {
        let Hello { user, seen } = hello;
        log(format!("{user} connected"));
        // The user's room: on whichever servers their devices are.
        socket.join(user.clone());
        let lane = Lane::default();
        hear_say(socket, user.clone(), lane.clone());
        hear_shout(socket, user.clone(), lane.clone());
        delivery::acknowledged::hear_tell(socket, user.clone(), lane.clone());
        delivery::announced::hear_announce(socket, user.clone(), lane.clone());
        delivery::kept::hear(self, socket, user, seen, lane);
        // For the page, which says whose answer this is: through nginx, its address does not.
        let port = self.port;
        socket.on("server", async move |ack: AckSender<A>| {
            acknowledge(ack, &json!({ "pid": process::id(), "port": port }));
        });
    }
}

fn hear_say<A: Adapter>(socket: &SocketRef<A>, user: String, lane: Lane) {
    socket.on(
        "say",
        move |socket: SocketRef<A>, Data(say): Data<Say>, ack: AckSender<A>| {
            let receivers = socket.to(say.to.clone());
            send_in_turn(&lane, ack, receivers, private(&user, say.to, say.text))
        },
    );
}

fn hear_shout<A: Adapter>(socket: &SocketRef<A>, user: String, lane: Lane) {
    socket.on(
        "shout",
        move |socket: SocketRef<A>, Data(text): Data<String>, ack: AckSender<A>| {
            let message = private(&user, "all".to_owned(), text);
            send_in_turn(&lane, ack, socket.broadcast(), message)
        },
    );
}

/// Sends `message` after what its sender asked for before, and answers whether all servers
/// have it. What is too much to wait is not sent.
fn send_in_turn<A: Adapter>(
    lane: &Lane,
    ack: AckSender<A>,
    receivers: BroadcastOperators<A>,
    message: Private,
) -> Ready<()> {
    if lane.is_full() {
        acknowledge(ack, &false);
        return ready(());
    }
    lane.enter(async move {
        let (sent, crossing) = watch(receivers.emit("message", &message)).await;
        let sent = sent.is_ok();
        // The next message need not wait for Redis to answer this one.
        tokio::spawn(async move {
            acknowledge(ack, &(crossing.succeeds().await && sent));
        });
    });
    // What a handler returns is done out of turn: nothing is left for it to do.
    ready(())
}

pub(crate) fn private(from: &str, to: String, text: String) -> Private {
    Private {
        from: from.to_owned(),
        to,
        text,
    }
}

pub(crate) fn acknowledge<A: Adapter>(ack: AckSender<A>, answer: &impl Serialize) {
    if let Err(error) = ack.send(answer) {
        log(format!(
            "a sender is gone before its acknowledgement: {error}"
        ));
    }
}
