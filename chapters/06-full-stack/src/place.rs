//! What stands at `REDIS_URL`: one Redis, or a Redis Cluster.
//!
//! Which of the two is asked of Redis itself. `REDIS_URL` may name several nodes of a cluster,
//! with commas between them: one that answers is enough, and the others are learned from it.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ch05_redis_pubsub::programs::{no_redis_at, redis_url};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo, Pipeline,
    ProtocolVersion, RedisError, RedisFuture, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cmd,
};
use tokio::time::timeout;

/// How long Redis may take for an answer before it counts as gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Between two attempts to reach a Redis that is gone.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// One Redis, or a cluster.
#[derive(Clone)]
pub enum Place {
    /// It, over RESP3: messages come in as its push messages.
    One(ConnectionInfo),
    /// Those of its nodes that were named, over RESP3. There is at least one.
    Cluster(Vec<ConnectionInfo>),
}

impl Place {
    /// The place that `REDIS_URL` names.
    ///
    /// # Errors
    /// When it is no URL or list of them, nobody answers, or the list is of no cluster.
    pub async fn from_env() -> Result<Self> {
        Self::at(&redis_url()).await
    }

    /// The place at `urls`, which are separated by commas.
    ///
    /// # Errors
    /// As for [`Place::from_env`].
    pub async fn at(urls: &str) -> Result<Self> {
        let named = urls.split(',').map(|url| resp3(url.trim()));
        let named = named.collect::<Result<Vec<_>>>()?;
        let mut silence = None;
        for node in &named {
            match is_in_a_cluster(node).await {
                Ok(true) => return Ok(Self::Cluster(named)),
                Ok(false) => return one_of(named, urls),
                Err(error) => silence = Some(error),
            }
        }
        Err(silence.map_or_else(|| anyhow!("nobody is named"), anyhow::Error::from))
            .with_context(|| no_redis_at(urls))
    }

    /// A connection for requests and their answers. When Redis goes, it is there again as soon
    /// as Redis is.
    ///
    /// # Errors
    /// When a cluster does not answer. One Redis is waited for.
    pub(crate) async fn connect(&self) -> Result<Connection, RedisError> {
        Ok(match self {
            Self::One(node) => {
                let client = Client::open(node.clone())?;
                let manager = ConnectionManager::new_with_config(client, persistent()).await?;
                Connection::One(manager)
            }
            Self::Cluster(nodes) => {
                let client = resp3_cluster(nodes)
                    .connection_timeout(PATIENCE)
                    .response_timeout(PATIENCE)
                    .build()?;
                Connection::Cluster(client.get_async_connection().await?)
            }
        })
    }

    /// The command that publishes here: where the servers listen, and on no other shard.
    pub(crate) fn publish(&self) -> &'static str {
        match self {
            Self::One(_) => "PUBLISH",
            Self::Cluster(_) => "SPUBLISH",
        }
    }
}

/// A client of a cluster, as it comes.
pub(crate) fn stock_cluster(nodes: &[ConnectionInfo]) -> Result<ClusterClient, RedisError> {
    resp3_cluster(nodes).build()
}

fn resp3_cluster(nodes: &[ConnectionInfo]) -> ClusterClientBuilder {
    ClusterClientBuilder::new(nodes.iter().cloned()).use_protocol(ProtocolVersion::RESP3)
}

fn resp3(url: &str) -> Result<ConnectionInfo> {
    let info = url.into_connection_info().map_err(|_| {
        anyhow!(
            "REDIS_URL names {url:?}, which is no Redis URL: it looks like redis://127.0.0.1:6379, \
             and for a cluster there may be several, with commas between them"
        )
    })?;
    let resp3 = info.redis_settings().clone();
    Ok(info.set_redis_settings(resp3.set_protocol(ProtocolVersion::RESP3)))
}

fn one_of(mut named: Vec<ConnectionInfo>, urls: &str) -> Result<Place> {
    match (named.pop(), named.len()) {
        (Some(node), 0) => Ok(Place::One(node)),
        _ => bail!(
            "REDIS_URL={urls} names several Redis servers, which are no cluster: name one of them"
        ),
    }
}

async fn is_in_a_cluster(node: &ConnectionInfo) -> Result<bool, RedisError> {
    let mut connection = connect_to(node, AsyncConnectionConfig::new()).await?;
    let mut info = cmd("INFO");
    let info: Result<String, _> = info.arg("cluster").query_async(&mut connection).await;
    match info {
        Ok(info) => Ok(info.contains("cluster_enabled:1")),
        // One that does not know what it is asked is none.
        Err(error) if is_answer(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Connects to one node, within [`PATIENCE`].
pub(crate) async fn connect_to(
    node: &ConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    let config = config
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    Client::open(node.clone())?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Whether Redis has answered, and that answer is an error.
fn is_answer(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        redis::ErrorKind::Server(_) | redis::ErrorKind::Extension
    )
}

fn persistent() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_number_of_retries(usize::MAX)
        .set_min_delay(PAUSE)
        .set_max_delay(4 * PAUSE)
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
}

/// What is asked over a [`Connection`], if its answer comes in time: while Redis is away, a
/// connection that is to be there again waits.
pub(crate) async fn within_patience<T>(
    asked: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}

/// A connection to a [`Place`].
#[derive(Clone)]
pub(crate) enum Connection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(redis) => redis.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(redis) => redis.req_packed_commands(commands, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(redis) => redis.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}
