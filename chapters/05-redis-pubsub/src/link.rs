//! The link between servers: how does a message reach a user of another server?

use std::{env, net::SocketAddr};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use hyper::{
    Request,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use lab_server::log;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, sync::broadcast};

use crate::{
    channel::Channel,
    programs::{no_answer, redis_client},
};

/// A message from one user to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    /// The sender's name.
    pub from: String,
    /// The receiver's name.
    pub to: String,
    /// The text.
    pub text: String,
}

/// The Redis channel on which servers publish messages for each other's users.
const PRIVATE: Channel<Private> = Channel::new("private messages");

/// The path on which a server takes messages from other servers.
pub const DELIVER: &str = "/deliver";

/// The link between this server and the others.
pub enum Link {
    /// No link: a server reaches only its own users.
    None,
    /// A channel inside this process, like Node's `EventEmitter`. Other processes do not hear it.
    InProcess(broadcast::Sender<Private>),
    /// A request to each of these servers, one after the other, until one has the user.
    Direct(Vec<SocketAddr>),
    /// Redis PUB/SUB: published once, heard by every server.
    Redis(redis::Client, MultiplexedConnection),
}

/// How much work it was to pass a message on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// Requests to other servers.
    pub requests: usize,
    /// Published messages.
    pub published: usize,
    /// Servers that answered a request, or subscribers that got the published message.
    pub heard_by: usize,
}

/// What a server needs from the link between it and the others.
pub trait Between: Send + Sync + 'static {
    /// Listens for messages that servers pass on. `deliver` gets each of them.
    fn listen(
        &self,
        deliver: impl Fn(&Private) -> bool + Send + Sync + 'static,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Passes a message on to the other servers.
    fn pass_on(&self, message: &Private) -> impl Future<Output = Result<Effort>> + Send;

    /// A user has connected to this server. Most links need not know.
    fn joined(&self, _user: &str) {}

    /// One of a user's connections to this server has ended.
    fn left(&self, _user: &str) {}
}

impl Link {
    /// The link that `LINK` names: `none`, `in-process`, `direct` or `redis`, the default.
    ///
    /// `direct` asks the servers in `PEERS`, such as `127.0.0.1:8000,127.0.0.1:8001`. It leaves
    /// out `own`, the address of this server.
    pub async fn from_env(own: SocketAddr) -> Result<Self> {
        let kind = env::var("LINK").unwrap_or_else(|_| "redis".to_owned());
        match kind.as_str() {
            "none" => Ok(Self::None),
            "in-process" => Ok(Self::InProcess(broadcast::Sender::new(1024))),
            "direct" => {
                let Ok(peers) = env::var("PEERS") else {
                    bail!("LINK=direct needs PEERS, such as PEERS=127.0.0.1:8000,127.0.0.1:8001");
                };
                let peers = addresses("PEERS", &peers)?;
                let others = peers.into_iter().filter(|peer| *peer != own).collect();
                Ok(Self::Direct(others))
            }
            "redis" => {
                let client = redis_client()?;
                let connected = client.get_multiplexed_async_connection().await;
                Ok(Self::Redis(client, connected.map_err(no_answer)?))
            }
            other => bail!("LINK={other} is unknown: choose none, in-process, direct or redis"),
        }
    }
}

impl Between for Link {
    async fn listen(
        &self,
        deliver: impl Fn(&Private) -> bool + Send + Sync + 'static,
    ) -> Result<()> {
        match self {
            // The server's route `DELIVER` takes the requests of other servers.
            Self::None | Self::Direct(_) => {}
            Self::InProcess(channel) => {
                let mut messages = channel.subscribe();
                tokio::spawn(async move {
                    while let Ok(message) = messages.recv().await {
                        deliver(&message);
                    }
                });
            }
            Self::Redis(client, _) => {
                let mut messages = PRIVATE.subscribe(client).await?;
                tokio::spawn(async move {
                    while let Some(message) = messages.next().await {
                        match message {
                            Ok(message) => {
                                deliver(&message);
                            }
                            Err(error) => log(format!("{error:#}")),
                        }
                    }
                    log(
                        "the connection to Redis broke: this server does not hear the others any more",
                    );
                });
            }
        }
        Ok(())
    }

    async fn pass_on(&self, message: &Private) -> Result<Effort> {
        let mut effort = Effort::default();
        match self {
            Self::None => {}
            Self::InProcess(channel) => {
                effort.published = 1;
                effort.heard_by = channel.send(message.clone())?;
            }
            Self::Direct(others) => {
                for other in others {
                    effort.requests += 1;
                    // A server that does not answer has no users: the next one may have this one.
                    let Ok(delivered) = ask(*other, message).await else {
                        continue;
                    };
                    effort.heard_by += 1;
                    if delivered {
                        break;
                    }
                }
            }
            Self::Redis(_, connection) => {
                effort.published = 1;
                effort.heard_by = PRIVATE.publish(&mut connection.clone(), message).await?;
            }
        }
        Ok(effort)
    }
}

/// Asks another server to deliver a message. Returns whether the user is there.
async fn ask(server: SocketAddr, message: &Private) -> Result<bool> {
    let stream = TokioIo::new(TcpStream::connect(server).await?);
    let (mut requests, connection) = http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::post(DELIVER)
        .header(HOST, server.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(serde_json::to_string(message)?)?;
    let answer = requests.send_request(request).await?;
    Ok(answer.status().is_success())
}

/// The addresses in a variable, which are separated by commas.
pub fn addresses(variable: &str, text: &str) -> Result<Vec<SocketAddr>> {
    let addresses = text.split(',').map(|address| {
        address.trim().parse().with_context(|| {
            format!("{variable} contains {address:?}, which is no address such as 127.0.0.1:8001")
        })
    });
    addresses.collect()
}
