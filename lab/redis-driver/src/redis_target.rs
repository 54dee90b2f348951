//! Which Redis to use: a single one, or a Redis Cluster.

use std::{env, fmt};

use redis::{
    AsyncConnectionConfig, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisError, cluster::ClusterClient, cmd,
};

use crate::connection::{Connection, connect_to, resp3_cluster};

/// A single Redis, or a Redis Cluster.
///
/// Redis itself is asked which of the two it is. All connections use RESP3, because messages
/// arrive as its push messages. The URL may contain a user and a password.
#[derive(Clone)]
pub enum RedisTarget {
    /// A single Redis.
    One(ConnectionInfo),
    /// The nodes of a cluster that were named, at least one. The driver learns the others from
    /// them.
    Cluster(Vec<ConnectionInfo>),
}

impl RedisTarget {
    /// The Redis that the environment variable `REDIS_URL` names, or else the one on port 6379 of
    /// this machine.
    ///
    /// # Errors
    /// As for [`RedisTarget::at`].
    pub async fn from_env() -> Result<Self, TargetError> {
        Self::at(&redis_url()).await
    }

    /// The Redis at a URL such as `redis://127.0.0.1:6379`. For a cluster, `urls` may name several
    /// of its nodes, separated by commas. One node that answers is enough.
    ///
    /// # Errors
    /// When `urls` is not valid, no Redis answers, or several single Redis servers are named.
    pub async fn at(urls: &str) -> Result<Self, TargetError> {
        let named = urls.split(',').map(|url| resp3(url.trim()));
        let named = named.collect::<Result<Vec<_>, _>>()?;
        let mut silence = None;
        for node in &named {
            match is_in_a_cluster(node).await {
                Ok(true) => return Ok(Self::Cluster(named)),
                Ok(false) => return one_of(named, urls),
                Err(error) => silence = Some(error),
            }
        }
        Err(TargetError::NoAnswer {
            urls: urls.to_owned(),
            source: silence,
        })
    }

    /// Opens a connection for commands of the application's own.
    ///
    /// # Errors
    /// When a cluster does not answer. For a single Redis this waits until it answers.
    pub async fn connect(&self) -> Result<Connection, RedisError> {
        match self {
            Self::One(node) => Connection::to_one(node).await,
            Self::Cluster(nodes) => Connection::to_cluster(nodes).await,
        }
    }

    /// The command that publishes to the driver's channels: `PUBLISH`, or in a cluster
    /// `SPUBLISH`.
    pub fn publish_command(&self) -> &'static str {
        match self {
            Self::One(_) => "PUBLISH",
            Self::Cluster(_) => "SPUBLISH",
        }
    }
}

/// The value of the environment variable `REDIS_URL`, or `redis://127.0.0.1:6379`.
pub fn redis_url() -> String {
    env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned())
}

/// Why there is no [`RedisTarget`]. Its text is one sentence.
#[derive(Debug)]
pub enum TargetError {
    /// This is not a Redis URL.
    NotAUrl(String),
    /// Several servers are named, and they are not a cluster.
    Several(String),
    /// No Redis answers.
    NoAnswer {
        /// The URLs, as they were given.
        urls: String,
        /// What happened at the last of them.
        source: Option<RedisError>,
    },
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAUrl(url) => write!(
                f,
                "REDIS_URL names {url:?}, which is not a Redis URL: use one such as \
                 redis://127.0.0.1:6379, or several nodes of a cluster, separated by commas"
            ),
            Self::Several(urls) => write!(
                f,
                "REDIS_URL={urls} names several Redis servers, which are not a cluster: name one \
                 of them"
            ),
            Self::NoAnswer { urls, source } => {
                write!(
                    f,
                    "no Redis answers at {urls}: start one (redis-server), or name another with \
                     REDIS_URL"
                )?;
                match source {
                    Some(source) if source.kind() == ErrorKind::Parse => {
                        write!(f, ": the program that answers there is not Redis")
                    }
                    // An answer that is not Redis' may contain anything, line breaks too.
                    Some(source) => write!(f, ": {}", one_line(&source.to_string())),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for TargetError {}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The `redis` crate's client of a cluster, over RESP3: what the stock driver for a cluster,
/// `ClusterDriver`, needs.
pub fn stock_cluster(nodes: &[ConnectionInfo]) -> Result<ClusterClient, RedisError> {
    resp3_cluster(nodes).build()
}

fn resp3(url: &str) -> Result<ConnectionInfo, TargetError> {
    let info = url
        .into_connection_info()
        .map_err(|_| TargetError::NotAUrl(url.to_owned()))?;
    let resp3 = info.redis_settings().clone();
    Ok(info.set_redis_settings(resp3.set_protocol(ProtocolVersion::RESP3)))
}

fn one_of(mut named: Vec<ConnectionInfo>, urls: &str) -> Result<RedisTarget, TargetError> {
    match (named.pop(), named.len()) {
        (Some(node), 0) => Ok(RedisTarget::One(node)),
        _ => Err(TargetError::Several(urls.to_owned())),
    }
}

async fn is_in_a_cluster(node: &ConnectionInfo) -> Result<bool, RedisError> {
    let mut connection = connect_to(node, AsyncConnectionConfig::new()).await?;
    let mut info = cmd("INFO");
    let info: Result<String, _> = info.arg("cluster").query_async(&mut connection).await;
    match info {
        Ok(info) => Ok(info.contains("cluster_enabled:1")),
        // A server that does not know this command is not in a cluster.
        Err(error) if is_answer(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether Redis answered, and its answer is an error.
fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}
