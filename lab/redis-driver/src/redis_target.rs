//! Which Redis to use: a single one, or a Redis Cluster.

use std::{env, fmt};

use redis::{
    ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisError, cluster::ClusterClient,
};

use crate::{
    check::{Unfit, is_in_a_cluster},
    connection::{Connection, resp3_cluster},
};

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
    /// When `urls` is not valid, no Redis answers, or several single Redis servers are named; when
    /// the password is wrong, or the server is a Sentinel or a replica ([`Unfit`]).
    pub async fn at(urls: &str) -> Result<Self, TargetError> {
        // A password may contain a comma: then a part of the list may be a part of the password.
        let shown = |url: &str| without_password(if urls.contains('@') { urls } else { url });
        let named = urls.split(',').map(str::trim);
        let named = named.map(|url| resp3(url).map_err(|error| error(shown(url))));
        let named = named.collect::<Result<Vec<_>, _>>()?;
        let mut unfit = None;
        for node in &named {
            match is_in_a_cluster(node).await {
                Ok(true) => return Ok(Self::Cluster(named)),
                Ok(false) => return one_of(named, urls),
                Err(why) => unfit = Some(why),
            }
        }
        Err(TargetError::of(urls, unfit))
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

/// The same for a text that people read: `***` takes the place of a user and a password.
pub fn shown_redis_url() -> String {
    without_password(&redis_url())
}

/// Why there is no [`RedisTarget`]. Its text is one sentence, and contains no password.
#[derive(Debug)]
pub enum TargetError {
    /// This is not a Redis URL.
    NotAUrl(String),
    /// The URL asks for TLS.
    Tls(String),
    /// Several servers are named, and they are not a cluster.
    Several(String),
    /// No Redis answers.
    NoAnswer {
        /// The URLs, as they were given.
        urls: String,
        /// What happened at the last of them.
        source: Option<Unfit>,
    },
    /// A server answers, and cannot be used.
    Unfit {
        /// The URLs, without the password.
        urls: String,
        /// Why it cannot be used.
        why: Unfit,
    },
}

impl TargetError {
    /// Says why the Redis at `urls` cannot be used.
    pub fn of(urls: &str, why: Option<Unfit>) -> Self {
        let urls = without_password(urls);
        match why {
            Some(why) if !matches!(why, Unfit::Silent(_) | Unfit::NotRedis) => {
                Self::Unfit { urls, why }
            }
            source => Self::NoAnswer { urls, source },
        }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAUrl(url) => write!(
                f,
                "REDIS_URL names {url:?}, which is not a Redis URL: use one such as \
                 redis://127.0.0.1:6379, or several nodes of a cluster, separated by commas"
            ),
            Self::Tls(url) => write!(
                f,
                "REDIS_URL={url} asks for TLS, which this workspace does not support: name a port \
                 of Redis without TLS, with redis:// in place of rediss://"
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
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
            Self::Unfit { urls, why } => write!(f, "REDIS_URL={urls} cannot be used: {why}"),
        }
    }
}

impl std::error::Error for TargetError {}

/// The `redis` crate's client of a cluster, over RESP3: what the stock driver for a cluster,
/// `ClusterDriver`, needs.
pub fn stock_cluster(nodes: &[ConnectionInfo]) -> Result<ClusterClient, RedisError> {
    resp3_cluster(nodes).build()
}

/// The URLs, with `***` in place of all that may be a user or a password.
pub fn without_password(urls: &str) -> String {
    let scheme = urls.split_once("://").map_or("redis", |(scheme, _)| scheme);
    let is_scheme = scheme
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
    let scheme = if is_scheme { scheme } else { "redis" };
    // Without a host, what stands in the place of a port may be a password.
    let has_port_or_none = |url: &str| {
        let host = url.split_once("://").map_or(url, |(_, host)| host);
        let host = host.split('/').next().unwrap_or_default();
        let port = host.rsplit_once(':').map(|(_, port)| port);
        host.ends_with(']')
            || port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match urls.rsplit_once('@') {
        // The URL of a Unix socket names them behind a question mark.
        _ if urls.contains('?') => format!("{scheme}://***"),
        Some((_, host)) => format!("{scheme}://***@{host}"),
        None if urls.split(',').all(has_port_or_none) => urls.to_owned(),
        None => format!("{scheme}://***"),
    }
}

fn resp3(url: &str) -> Result<ConnectionInfo, fn(String) -> TargetError> {
    if url.starts_with("rediss://") || url.starts_with("valkeys://") {
        return Err(TargetError::Tls);
    }
    let info = url
        .into_connection_info()
        .map_err(|_| TargetError::NotAUrl as fn(String) -> TargetError)?;
    let resp3 = info.redis_settings().clone();
    Ok(info.set_redis_settings(resp3.set_protocol(ProtocolVersion::RESP3)))
}

fn one_of(mut named: Vec<ConnectionInfo>, urls: &str) -> Result<RedisTarget, TargetError> {
    match (named.pop(), named.len()) {
        (Some(node), 0) => Ok(RedisTarget::One(node)),
        _ => Err(TargetError::Several(without_password(urls))),
    }
}
