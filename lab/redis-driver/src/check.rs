//! Asks a server whether messages can be published there, and if not, why not.

use std::fmt;

use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, Value,
    aio::MultiplexedConnection, cmd,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::connection::{ANSWER_LIMIT, connect_to};

/// Why a server cannot be used. Its text is the end of a sentence that begins with the URL.
#[derive(Debug)]
pub enum Unfit {
    /// Nobody answers there, or not in time.
    Silent(RedisError),
    /// A program answers, and it is not Redis.
    NotRedis,
    /// It expects TLS.
    WantsTls,
    /// It asks for a password, and the URL has none.
    NoPassword,
    /// It refuses the user or the password.
    WrongPassword,
    /// The user lacks a right. Redis says which.
    Forbidden(String),
    /// It is a Sentinel.
    Sentinel,
    /// It is a replica. Only its master passes messages on to all servers.
    Replica {
        /// The master's address.
        master: String,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // An answer that is not Redis' may contain anything, line breaks too.
            Self::Silent(error) => write!(f, "{}", one_line(&error.to_string())),
            Self::NotRedis => f.write_str("the program that answers there is not Redis"),
            Self::WantsTls => f.write_str(
                "it expects TLS, which this workspace does not support: name a port of it without \
                 TLS",
            ),
            Self::NoPassword => f.write_str(
                "it asks for a password: write it into REDIS_URL, as in \
                 redis://user:password@127.0.0.1:6379",
            ),
            Self::WrongPassword => f.write_str(
                "it refuses the user or the password in REDIS_URL: correct them (a password alone \
                 is written redis://:password@127.0.0.1:6379)",
            ),
            Self::Forbidden(right) => write!(
                f,
                "its user lacks a right ({}): give it the right with ACL SETUSER, or name another \
                 user",
                one_line(right)
            ),
            Self::Sentinel => f.write_str(
                "it is a Sentinel, which passes no messages on: name the Redis that it watches \
                 (SENTINEL masters lists it)",
            ),
            Self::Replica { master } => write!(
                f,
                "it is a replica, and messages that are published there reach no other server: \
                 name its master, {master}"
            ),
        }
    }
}

impl Unfit {
    /// The same as an error of the `redis` crate.
    pub(crate) fn into_error(self) -> RedisError {
        match self {
            Self::Silent(error) => error,
            why => (ErrorKind::Client, "Redis cannot be used", why.to_string()).into(),
        }
    }
}

/// Whether it is in a cluster.
///
/// # Errors
/// When messages cannot be published there. A replica in a cluster is no error: the driver asks it
/// for the masters.
pub(crate) async fn is_in_a_cluster(node: &ConnectionInfo) -> Result<bool, Unfit> {
    let connected = connect_to(node, AsyncConnectionConfig::new()).await;
    let mut connection = match connected {
        Ok(connection) => connection,
        Err(error) => return Err(why(node, error).await),
    };
    let mut info = cmd("INFO");
    let info: Result<String, _> = info.arg("cluster").query_async(&mut connection).await;
    match info {
        Ok(info) if info.contains("cluster_enabled:1") => return Ok(true),
        Ok(_) => {}
        // Only a server that does not know this command is not in a cluster.
        Err(error) if is_answer(&error) && !is_refusal(&error) => {}
        Err(error) => return Err(why(node, error).await),
    }
    is_master(&mut connection).await?;
    Ok(false)
}

/// Asks for the role: only a master passes messages on to all servers.
///
/// # Errors
/// When it is none, or does not answer.
pub(crate) async fn is_master(connection: &mut MultiplexedConnection) -> Result<(), Unfit> {
    // A server that does not know this command has only one role, and a user without the right to
    // it may still publish.
    let role: Vec<Value> = match cmd("ROLE").query_async(connection).await {
        Ok(role) => role,
        Err(error) if is_answer(&error) => return Ok(()),
        Err(error) => return Err(Unfit::Silent(error)),
    };
    let text = |index: usize| {
        let value = role.get(index).cloned().unwrap_or(Value::Nil);
        redis::from_redis_value::<String>(value).unwrap_or_default()
    };
    match text(0).as_str() {
        "slave" => Err(Unfit::Replica {
            master: format!("{}:{}", text(1), text(2)),
        }),
        "sentinel" => Err(Unfit::Sentinel),
        _ => Ok(()),
    }
}

/// Finds out why a server cannot be used.
async fn why(node: &ConnectionInfo, error: RedisError) -> Unfit {
    match Unfit::from(error) {
        Unfit::NotRedis | Unfit::Silent(_) if speaks_tls(node).await => Unfit::WantsTls,
        why => why,
    }
}

impl From<RedisError> for Unfit {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            _ if is_coded(&error, "NOAUTH") => Self::NoPassword,
            _ if is_coded(&error, "WRONGPASS") => Self::WrongPassword,
            ErrorKind::AuthenticationFailed => Self::WrongPassword,
            _ if is_coded(&error, "NOPERM") => Self::Forbidden(error.to_string()),
            ErrorKind::Parse => Self::NotRedis,
            _ => Self::Silent(error),
        }
    }
}

fn is_coded(error: &RedisError, code: &str) -> bool {
    error.code() == Some(code) || error.to_string().contains(code)
}

/// Names the channel and the way out, if the user has no right to a channel. Other errors stay.
pub(crate) fn forbidden(channel: &str, error: RedisError) -> RedisError {
    if !is_coded(&error, "NOPERM") {
        return error;
    }
    let way_out = format!(
        "its user may not use the channel {channel}: allow it with ACL SETUSER <user> &{channel}"
    );
    (ErrorKind::Client, "Redis cannot be used", way_out).into()
}

/// Whether Redis answered, and its answer is an error.
fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

fn is_refusal(error: &RedisError) -> bool {
    ["NOAUTH", "WRONGPASS"]
        .iter()
        .any(|code| is_coded(error, code))
}

/// Whether the server answers a `ClientHello` with a TLS record (RFC 8446, section 5.1).
async fn speaks_tls(node: &ConnectionInfo) -> bool {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let ConnectionAddr::Tcp(host, port) = node.addr() else {
        return false;
    };
    // A record with a `ClientHello`: TLS 1.2, a random of zeros, no session, one cipher suite.
    let mut hello = vec![HANDSHAKE, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    hello.extend([0; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0]);
    let answer = async {
        let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.write_all(&hello).await?;
        stream.read_u8().await
    };
    matches!(
        timeout(ANSWER_LIMIT, answer).await,
        Ok(Ok(ALERT | HANDSHAKE))
    )
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
