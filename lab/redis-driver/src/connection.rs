//! Connections to Redis: for commands, and to one node.

use std::{io, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, ProtocolVersion, RedisError,
    RedisFuture, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
};
use tokio::time::timeout;

/// How long Redis may take to answer before it counts as gone.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The time between two attempts to reach a Redis that is gone.
pub(crate) const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Every client of a cluster uses RESP3.
pub(crate) fn resp3_cluster(nodes: &[ConnectionInfo]) -> ClusterClientBuilder {
    ClusterClientBuilder::new(nodes.iter().cloned()).use_protocol(ProtocolVersion::RESP3)
}

/// A connection for commands, to one Redis or to a cluster. It reconnects by itself.
///
/// It is for anything but the adapter: the application's own keys, streams, and so on. A command
/// fails if it has no answer within one second, also while Redis is away. So a blocking command
/// such as `BLPOP` must not block longer.
#[derive(Clone)]
pub struct Connection(Kind);

#[derive(Clone)]
enum Kind {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Connects to one Redis. Waits for it if it is not there yet.
    pub(crate) async fn to_one(node: &ConnectionInfo) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(usize::MAX)
            .set_min_delay(RETRY_DELAY)
            .set_max_delay(4 * RETRY_DELAY)
            .set_connection_timeout(Some(ANSWER_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT));
        let client = Client::open(node.clone())?;
        let manager = ConnectionManager::new_with_config(client, config).await?;
        Ok(Self(Kind::One(manager)))
    }

    /// Connects to a cluster of which at least one of `nodes` answers.
    pub(crate) async fn to_cluster(nodes: &[ConnectionInfo]) -> Result<Self, RedisError> {
        let client = resp3_cluster(nodes)
            .connection_timeout(ANSWER_LIMIT)
            .response_timeout(ANSWER_LIMIT)
            .build()?;
        Ok(Self(Kind::Cluster(client.get_async_connection().await?)))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        in_time(match &mut self.0 {
            Kind::One(redis) => redis.req_packed_command(command),
            Kind::Cluster(cluster) => cluster.req_packed_command(command),
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        in_time(match &mut self.0 {
            Kind::One(redis) => redis.req_packed_commands(commands, offset, count),
            Kind::Cluster(cluster) => cluster.req_packed_commands(commands, offset, count),
        })
    }

    fn get_db(&self) -> i64 {
        match &self.0 {
            Kind::One(redis) => redis.get_db(),
            Kind::Cluster(cluster) => cluster.get_db(),
        }
    }
}

/// While Redis is away, a connection that reconnects waits. This limits the wait.
fn in_time<'a, T: Send + 'a>(answer: RedisFuture<'a, T>) -> RedisFuture<'a, T> {
    Box::pin(async move {
        timeout(ANSWER_LIMIT, answer)
            .await
            .unwrap_or_else(|_| Err(too_slow()))
    })
}

/// Connects to one node, within [`ANSWER_LIMIT`].
pub(crate) async fn connect_to(
    node: &ConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    let config = config
        .set_connection_timeout(Some(ANSWER_LIMIT))
        .set_response_timeout(Some(ANSWER_LIMIT));
    Client::open(node.clone())?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

pub(crate) fn too_slow() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}
