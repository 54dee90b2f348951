//! What lies between servers: answers to "how does this reach a user of another server?"

use std::{env, net::SocketAddr, sync::OnceLock};

use anyhow::{Context, Result, bail};
use ch01_express_pid::log;
use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{
    brokers::Brokers,
    channel::Channel,
    programs::{no_redis, redis_client},
};

/// A message from one user to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    /// Who wrote it.
    pub from: String,
    /// For whom it is.
    pub to: String,
    /// What it says.
    pub text: String,
}

/// Where private messages travel between servers.
const PRIVATE: Channel<Private> = Channel::new("private messages");

/// The path where a server takes messages from other servers.
pub const DELIVER: &str = "/deliver";

/// What lies between this server and the others.
pub enum Link {
    /// Nothing: a server knows its own users.
    None,
    /// A channel of this process, as Node's `EventEmitter` is one: it ends where the
    /// process ends.
    InProcess(broadcast::Sender<Private>),
    /// A request to each of the other servers, one after the other, until one has the user.
    Direct(reqwest::Client, Vec<SocketAddr>),
    /// Redis PUB/SUB: said once, heard by every server.
    Redis(redis::Client, MultiplexedConnection),
    /// Brokers, each of which has some of the users' channels.
    Brokers(Vec<SocketAddr>, OnceLock<Brokers>),
}

/// What it took to pass a message on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// Requests sent to other servers.
    pub requests: usize,
    /// Messages published.
    pub published: usize,
    /// Who heard of it: servers that answered, or listeners of the channel.
    pub heard_by: usize,
}

impl Link {
    /// The link that `LINK` names: `none`, `in-process`, `direct`, `redis` (the default) or
    /// `brokers`, those in `BROKERS`.
    ///
    /// `direct` asks the servers in `PEERS`, such as `127.0.0.1:8000,127.0.0.1:8001`, but
    /// not `own`.
    ///
    /// # Errors
    /// When `LINK` or `PEERS` make no sense, or Redis does not answer.
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
                Ok(Self::Direct(reqwest::Client::new(), others))
            }
            "brokers" => {
                let Ok(brokers) = env::var("BROKERS") else {
                    bail!(
                        "LINK=brokers needs BROKERS, such as BROKERS=127.0.0.1:9000,127.0.0.1:9001"
                    );
                };
                Ok(Self::Brokers(
                    addresses("BROKERS", &brokers)?,
                    OnceLock::new(),
                ))
            }
            "redis" => {
                let client = redis_client()?;
                let connection = client
                    .get_multiplexed_async_connection()
                    .await
                    .with_context(no_redis)?;
                Ok(Self::Redis(client, connection))
            }
            other => bail!("LINK={other} is none of: none, in-process, direct, redis, brokers"),
        }
    }

    /// Listens for what other servers, or this one, pass on; `deliver` gets each message.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn listen(
        &self,
        deliver: impl Fn(&Private) -> bool + Send + Sync + 'static,
    ) -> Result<()> {
        match self {
            // Others' requests come in through the server's own route, `DELIVER`.
            Self::None | Self::Direct(..) => {}
            Self::InProcess(channel) => {
                let mut messages = channel.subscribe();
                tokio::spawn(async move {
                    while let Ok(message) = messages.recv().await {
                        deliver(&message);
                    }
                });
            }
            Self::Brokers(addresses, brokers) => {
                brokers.get_or_init(|| Brokers::connect(addresses, deliver));
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
                    log("Redis is gone: other servers are not heard any more");
                });
            }
        }
        Ok(())
    }

    /// A user has connected to this server. Only brokers have to know.
    pub fn joined(&self, user: &str) {
        if let Self::Brokers(_, brokers) = self
            && let Some(brokers) = brokers.get()
        {
            brokers.join(user);
        }
    }

    /// One of a user's connections to this server is gone.
    pub fn left(&self, user: &str) {
        if let Self::Brokers(_, brokers) = self
            && let Some(brokers) = brokers.get()
        {
            brokers.leave(user);
        }
    }

    /// Passes a message on to where its user may be.
    ///
    /// # Errors
    /// When another server, or Redis, does not answer.
    pub async fn pass_on(&self, message: &Private) -> Result<Effort> {
        let mut effort = Effort::default();
        match self {
            Self::None => {}
            Self::InProcess(channel) => {
                effort.published = 1;
                effort.heard_by = channel.send(message.clone())?;
            }
            Self::Direct(client, others) => {
                for other in others {
                    effort.requests += 1;
                    let url = format!("http://{other}{DELIVER}");
                    // A server that is down has no users: the next one may have this one.
                    let Ok(answer) = client.post(&url).json(message).send().await else {
                        continue;
                    };
                    effort.heard_by += 1;
                    if answer.status().is_success() {
                        break;
                    }
                }
            }
            Self::Brokers(_, brokers) => {
                effort.published = 1;
                if let Some(brokers) = brokers.get() {
                    effort.heard_by = brokers.publish(message).await?;
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

/// The addresses that a variable names, with commas between them.
fn addresses(variable: &str, text: &str) -> Result<Vec<SocketAddr>> {
    let addresses = text.split(',').map(|address| {
        address.trim().parse().with_context(|| {
            format!("{variable} names {address:?}, which is no address such as 127.0.0.1:8001")
        })
    });
    addresses.collect()
}
