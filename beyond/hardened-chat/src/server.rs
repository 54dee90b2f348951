//! Chapter 6's chat server, made for strangers. Each addition has a file of its own.

use std::{
    env,
    future::{Ready, ready},
    process,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::{Router, middleware::map_request};
use ch03_socket_polling::bounded;
use ch05_redis_pubsub::{chat::Say, link::Private};
use ch06_full_stack::{
    chat::{CHANNELS, acknowledge, private},
    page,
};
use lab::prefixed;
use lab_server::{listen, log, origins::Origins, serve_guarded};
use redis::Client;
use redis_driver::{RedisTarget, ResilientDriver, shown_redis_url, stock_cluster, watch};
use serde::Deserialize;
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
    announced::hear_announce,
    auth::{Credentials, Secret},
    in_order::InOrder,
    slow_reader::Connection,
    small_requests::{READ_BUFFER, keep_little},
};

/// How many packets may wait for one client. socketioxide's default is 128. A packet takes memory
/// only while it waits.
const BUFFER: usize = 4096;

/// How many messages of other servers may wait for this server. The adapter's default is 1,024.
const STREAM_BUFFER: usize = 16 * 1024;

/// How many acknowledgements of one announcement may wait, from clients of other servers. The
/// adapter's default is 255, and further ones are lost.
const ACK_BUFFER: usize = 64 * 1024;

/// How many connections may wait to be accepted. Tokio asks for 1,024. When a server dies, all its
/// clients connect to the others at once. If the queue is full, a client tries again only after a
/// second. The kernel's own limit is `net.core.somaxconn`, 4,096 on Linux.
const BACKLOG: i32 = 4096;

/// Who a client says it is, in the handshake's `auth`.
#[derive(Deserialize)]
struct Hello {
    /// The user's name.
    user: String,
    /// The last message of its history that the client has seen, if it follows its history.
    seen: Option<String>,
}

/// Events that a server listens to besides `say`, `shout` and `announce`.
pub trait Extra: Send + Sync + Sized + 'static {
    /// Opens what the events need. `target` is the Redis of the adapter; `None` without an adapter.
    fn open(target: Option<&RedisTarget>) -> impl Future<Output = Result<Self>>;

    /// Listens to the events of a user. `seen` comes from the client's handshake.
    fn hear<A: Adapter>(
        &self,
        socket: &SocketRef<A>,
        user: &str,
        seen: Option<String>,
        in_order: &InOrder,
    );
}

/// No other events.
impl Extra for () {
    async fn open(_target: Option<&RedisTarget>) -> Result<Self> {
        Ok(())
    }

    fn hear<A: Adapter>(&self, _: &SocketRef<A>, _: &str, _: Option<String>, _: &InOrder) {}
}

/// What all connections of a server share.
struct Chat<E> {
    port: u16,
    secret: Secret,
    extra: E,
}

/// Serves the chat on the port in the environment variable `PORT`.
///
/// Other variables:
///
/// - `CHAT_SECRET`: users need a token ([`crate::auth`]).
/// - `ALLOWED_ORIGIN`: pages of these origins may connect too ([`lab_server::origins`]).
/// - `REDIS_URL`: the Redis, or the Redis Cluster, of the adapter. `ADAPTER=off` leaves the adapter
///   out.
/// - `APP_NAME`: the application's name, with which all its channels begin ([`lab::prefixed`]).
/// - `DRIVER=stock`, `BUFFER=128` and `REQUESTS=whole` bring back what socketioxide does by itself:
///   its driver, its room for packets, its whole requests. They show what is lost then.
///
/// # Errors
/// When the port is in use, Redis does not answer, or a variable has an unknown value.
pub async fn serve() -> Result<()> {
    serve_with::<()>().await
}

/// The same server, with the events of `E`.
///
/// # Errors
/// As for [`serve`], and when `E` cannot be opened.
pub async fn serve_with<E: Extra>() -> Result<()> {
    let listener = listen().await?;
    let requests = Requests::from_env()?;
    // To listen again on an open socket changes the length of its queue.
    rustix::net::listen(&listener, BACKLOG).context("the port's queue cannot be made longer")?;
    let secret = Secret::from_env()?;
    let port = listener.local_addr()?.port();
    let settings = bounded()
        .max_buffer_size(buffer()?)
        .ws_read_buffer_size(READ_BUFFER);
    match env::var("ADAPTER").as_deref() {
        Err(_) | Ok("redis") => {}
        Ok("off") => {
            let (layer, io) = settings.build_layer();
            let admit = admit(secret.clone());
            let extra = E::open(None).await?;
            io.ns(
                "/",
                welcome(Chat {
                    port,
                    secret,
                    extra,
                })
                .with(admit),
            );
            return run(listener, requests, layer, io).await;
        }
        Ok(other) => bail!("ADAPTER={other} is neither redis nor off"),
    }
    let driver = env::var("DRIVER");
    let driver = match driver.as_deref() {
        Err(_) => "resilient",
        Ok(known @ ("resilient" | "stock")) => known,
        Ok(other) => bail!("DRIVER={other} is neither resilient nor stock"),
    };
    let target = RedisTarget::from_env().await?;
    let extra = E::open(Some(&target)).await?;
    let server = Server {
        listener,
        requests,
        settings,
        chat: Chat {
            port,
            secret,
            extra,
        },
    };
    match (&target, driver) {
        (_, "resilient") => {
            let driver = ResilientDriver::connect(target.clone(), log).await;
            server.through_redis(driver.with_context(no_redis)?).await
        }
        (RedisTarget::One(node), _) => {
            let driver = RedisDriver::new(&Client::open(node.clone())?).await;
            server.through_redis(driver.with_context(no_redis)?).await
        }
        (RedisTarget::Cluster(nodes), _) => {
            let driver = ClusterDriver::new(&stock_cluster(nodes)?).await;
            server.through_redis(driver.with_context(no_redis)?).await
        }
    }
}

fn no_redis() -> String {
    format!("no Redis answers at {}", shown_redis_url())
}

fn buffer() -> Result<usize> {
    let Ok(packets) = env::var("BUFFER") else {
        return Ok(BUFFER);
    };
    match packets.parse() {
        Ok(packets) if packets > 0 => Ok(packets),
        _ => bail!("BUFFER={packets} is not a number of packets: use a number such as BUFFER=128"),
    }
}

/// A server before it serves.
struct Server<E> {
    listener: TcpListener,
    requests: Requests,
    settings: SocketIoBuilder<LocalAdapter>,
    chat: Chat<E>,
}

impl<E: Extra> Server<E> {
    async fn through_redis<D: Driver<Error: Sync>>(self, driver: D) -> Result<()> {
        let config = RedisAdapterConfig::new()
            .with_prefix(prefixed(CHANNELS))
            .with_stream_buffer(STREAM_BUFFER)
            .with_ack_response_buffer(ACK_BUFFER);
        let adapter = RedisAdapterCtr::new_with_driver(driver, config);
        let (layer, io) = self
            .settings
            .with_adapter::<CustomRedisAdapter<Emitter, D>>(adapter)
            .build_layer();
        let admit = admit(self.chat.secret.clone());
        io.ns("/", welcome(self.chat).with(admit)).await?;
        run(self.listener, self.requests, layer, io).await
    }
}

/// How long a client that has just connected may take to join the namespace after the port is
/// closed. Closing the server begins with the namespaces. A client that finds none gets `Invalid
/// namespace`, and the official client does not reconnect after that.
const GRACE: Duration = Duration::from_millis(250);

async fn run<A: Adapter>(
    listener: TcpListener,
    requests: Requests,
    layer: SocketIoLayer<A>,
    io: SocketIo<A>,
) -> Result<()> {
    let app = requests.guard(page::routes().layer(layer));
    let drain = async move {
        sleep(GRACE).await;
        io.close().await;
    };
    let served = serve_guarded("Socket Server", listener, Connection::new, app, drain);
    Ok(served.await?)
}

/// Which requests reach Socket.IO, and what is kept of them.
struct Requests {
    origins: Origins,
    are_whole: bool,
}

impl Requests {
    fn from_env() -> Result<Self> {
        let are_whole = match env::var("REQUESTS").as_deref() {
            Err(_) | Ok("small") => false,
            Ok("whole") => true,
            Ok(other) => bail!("REQUESTS={other} is neither small nor whole"),
        };
        Ok(Self {
            origins: Origins::from_env()?,
            are_whole,
        })
    }

    fn guard(self, app: Router) -> Router {
        let app = if self.are_whole {
            app
        } else {
            app.layer(map_request(keep_little))
        };
        self.origins.guard(app)
    }
}

/// Admits a user whose token is right. Without a secret, it admits everybody.
fn admit(
    secret: Secret,
) -> impl Fn(TryData<Credentials>) -> Ready<Result<(), &'static str>> + Clone + Send + Sync {
    move |TryData(credentials)| ready(secret.admit(credentials))
}

fn welcome<A: Adapter, E: Extra>(
    chat: Chat<E>,
) -> impl Fn(SocketRef<A>, TryData<Hello>) -> Ready<()> + Clone + Send + Sync {
    let chat = Arc::new(chat);
    move |socket, TryData(hello)| {
        if let Ok(hello) = hello {
            chat.welcome(&socket, hello);
        } else {
            log(format!("{} did not say who it is", socket.id));
            // If this fails, the client has disconnected already.
            let _gone = socket.disconnect();
        }
        ready(())
    }
}

impl<E: Extra> Chat<E> {
    fn welcome<A: Adapter>(self: &Arc<Self>, socket: &SocketRef<A>, hello: Hello) {
        let Hello { user, seen } = hello;
        log(format!("{user} connected"));
        // The user's room. It contains all devices of the user, on all servers.
        socket.join(user.clone());
        let in_order = InOrder::default();
        hear_say(socket, user.clone(), in_order.clone());
        hear_shout(socket, user.clone(), in_order.clone());
        hear_announce(socket, user.clone(), in_order.clone());
        self.extra.hear(socket, &user, seen, &in_order);
        // For the page, which shows the server: behind nginx, the address does not tell it.
        let port = self.port;
        socket.on("server", async move |ack: AckSender<A>| {
            acknowledge(ack, &json!({ "pid": process::id(), "port": port }));
        });
    }
}

fn hear_say<A: Adapter>(socket: &SocketRef<A>, user: String, in_order: InOrder) {
    socket.on(
        "say",
        move |socket: SocketRef<A>, Data(say): Data<Say>, ack: AckSender<A>| {
            let receivers = socket.to(say.to.clone());
            send_in_turn(&in_order, ack, receivers, private(&user, say.to, say.text))
        },
    );
}

fn hear_shout<A: Adapter>(socket: &SocketRef<A>, user: String, in_order: InOrder) {
    socket.on(
        "shout",
        move |socket: SocketRef<A>, Data(text): Data<String>, ack: AckSender<A>| {
            let message = private(&user, "all".to_owned(), text);
            send_in_turn(&in_order, ack, socket.broadcast(), message)
        },
    );
}

/// Sends a message after the work that its sender asked for before. The answer tells whether Redis
/// has the message. Whether every server got it, nobody knows: Redis drops a server that reads too
/// slowly. If the queue is full, the message is rejected.
fn send_in_turn<A: Adapter>(
    in_order: &InOrder,
    ack: AckSender<A>,
    receivers: BroadcastOperators<A>,
    message: Private,
) -> Ready<()> {
    if in_order.is_full() {
        acknowledge(ack, &false);
        return ready(());
    }
    in_order.add(async move {
        let (sent, receipt) = watch(receivers.emit("message", &message)).await;
        let sent = sent.is_ok();
        // The next message does not wait until Redis has answered this one.
        tokio::spawn(async move {
            acknowledge(ack, &(receipt.succeeds().await && sent));
        });
    });
    // What a handler returns would run out of order, so this returns nothing to do.
    ready(())
}
