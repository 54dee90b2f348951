//! What a driver reports.

use std::fmt;

/// A change of the connection to Redis, or a loss. Its text is one sentence for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The connection to the one Redis is lost. The driver reconnects.
    RedisLost,
    /// The connection to one master of a cluster is lost. The driver reconnects.
    MasterLost {
        /// The master's address, `host:port`.
        address: String,
        /// What happened, such as `is gone`.
        reason: &'static str,
    },
    /// Some slots of the cluster have no master.
    SlotsWithoutMaster,
    /// Reported before [`Notice::Restored`]: Redis was not away, but has closed the connection. What
    /// other servers sent meanwhile did not reach this one, and they were not told.
    Dropped {
        /// Whether Redis did it because this server did not read its messages fast enough
        /// (`client-output-buffer-limit`).
        too_slow: bool,
    },
    /// Everything is connected and subscribed again.
    Restored,
    /// Reported after [`Notice::Restored`]: how many messages did not reach the other servers
    /// meanwhile, or may not have reached them.
    Undelivered(usize),
    /// A message from another server was dropped, because too many others wait for the adapter.
    /// Its setting `stream_buffer` says how many may wait.
    Overflow {
        /// The channel of the message.
        channel: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RedisLost => {
                f.write_str("the connection to Redis broke: messages stay here until it is back")
            }
            Self::MasterLost { address, reason } => write!(
                f,
                "Redis at {address} {reason}: messages of its slots stay on this server until \
                 Redis is back"
            ),
            Self::SlotsWithoutMaster => f.write_str(
                "some slots of the Redis Cluster have no master: their messages stay on this \
                 server until Redis is back",
            ),
            Self::Dropped { too_slow } => {
                f.write_str("Redis was not away, but has closed the connection")?;
                if *too_slow {
                    f.write_str(
                        ": this server did not read fast enough (client-output-buffer-limit)",
                    )?;
                }
                f.write_str("; messages of the other servers are lost")
            }
            Self::Restored => f.write_str("Redis is back"),
            Self::Undelivered(1) => f.write_str("1 message may not have reached the other servers"),
            Self::Undelivered(count) => {
                write!(f, "{count} messages may not have reached the other servers")
            }
            Self::Overflow { channel } => write!(
                f,
                "a message from another server was dropped: too many messages wait on {channel}"
            ),
        }
    }
}
