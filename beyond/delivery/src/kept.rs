//! The fourth way: the server keeps each message in a history, and the receiver fetches what it has
//! missed.
//!
//! The history is a Redis Stream for each user. The adapter carries only a notification: there is a
//! new message. The client then asks for all messages after the last one that it has seen. So a
//! lost notification costs time, and no message. When the client connects, its handshake's `auth`
//! says which message it saw last, and the server sends what the client has missed.

use std::future::ready;

use ch05_redis_pubsub::{chat::Say, link::Private};
use ch06_full_stack::chat::{acknowledge, private};
use hardened_chat::InOrder;
use lab::prefixed;
use lab_server::log;
use redis::{
    AsyncCommands, RedisError,
    streams::{StreamMaxlen, StreamReadOptions, StreamReadReply},
};
use redis_driver::{Connection, RedisTarget};
use serde::{Deserialize, Serialize};
use socketioxide::{
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
};

/// About how many messages are kept for each user. Redis removes older ones when that costs little.
const KEPT: usize = 1000;

/// How long a history is kept after its last message, in seconds: one week.
const KEPT_FOR: i64 = 7 * 24 * 60 * 60;

/// How many messages one answer may contain.
const AT_ONCE: usize = 100;

/// The place in a history before its first message.
pub(crate) const BEGINNING: &str = "0";

/// The event that notifies a client of a new message.
pub(crate) const NOTIFICATION: &str = "new";

/// Whether a message is kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kept {
    /// It is in the receiver's history, and has this ID.
    Under(String),
    /// Perhaps not. The sender should try again.
    NotNow,
    /// No, and it never will be. The sentence says why.
    Never(String),
}

/// A message in a history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its ID; later ones are greater.
    pub(crate) id: String,
    /// The message itself.
    pub(crate) message: Private,
}

/// The users' histories, in Redis.
#[derive(Clone)]
pub(crate) struct History {
    redis: Connection,
    has_streams: bool,
}

/// Listens to `keep` and `since`: keeps the messages that a client sends, and answers with those
/// that it has not seen.
///
/// `seen` is the last message that the client has seen, according to its handshake.
pub(crate) fn hear<A: Adapter>(
    history: &History,
    socket: &SocketRef<A>,
    user: String,
    seen: Option<String>,
    in_order: InOrder,
) {
    if let Some(seen) = seen {
        let (history, socket, user) = (history.clone(), socket.clone(), user.clone());
        in_order.add(async move {
            let missed = history.since(&user, &seen).await;
            if let Err(error) = socket.emit("missed", &missed) {
                log(format!("{user} has disconnected already: {error}"));
            }
        });
    }
    hear_keep(socket, user.clone(), history.clone(), in_order.clone());
    let history = history.clone();
    socket.on(
        "since",
        move |Data(seen): Data<String>, ack: AckSender<A>| {
            let (history, user) = (history.clone(), user.clone());
            in_order.add(async move { acknowledge(ack, &history.since(&user, &seen).await) });
            ready(())
        },
    );
}

fn hear_keep<A: Adapter>(socket: &SocketRef<A>, user: String, history: History, in_order: InOrder) {
    socket.on(
        "keep",
        move |socket: SocketRef<A>, Data(say): Data<Say>, ack: AckSender<A>| {
            if in_order.is_full() {
                acknowledge(ack, &Kept::NotNow);
                return ready(());
            }
            let history = history.clone();
            let message = private(&user, say.to, say.text);
            in_order.add(async move {
                let kept = history.keep(&message).await;
                if let Kept::Under(id) = &kept {
                    // A lost notification costs time: the receiver also asks by itself.
                    let _notified = socket.to(message.to).emit(NOTIFICATION, id).await;
                }
                acknowledge(ack, &kept);
            });
            ready(())
        },
    );
}

impl History {
    /// Connects to Redis.
    pub(crate) async fn open(target: &RedisTarget) -> Result<Self, RedisError> {
        let mut redis = target.connect().await?;
        let length: Result<usize, _> = redis.xlen(stream_of("nobody")).await;
        Ok(Self {
            redis,
            has_streams: !length.is_err_and(|error| is_unknown_command(&error)),
        })
    }

    async fn keep(&self, message: &Private) -> Kept {
        if !self.has_streams {
            return Kept::Never(
                "a history needs Redis Streams, and this Redis has none: put redis-server on \
                 PATH, or name a real Redis with REDIS_URL"
                    .to_owned(),
            );
        }
        let stream = stream_of(&message.to);
        let mut commands = redis::pipe();
        commands
            .atomic()
            .xadd_maxlen(
                &stream,
                StreamMaxlen::Approx(KEPT),
                "*",
                &[("from", &message.from), ("text", &message.text)],
            )
            .expire(&stream, KEPT_FOR)
            .ignore();
        let mut redis = self.redis.clone();
        let added = commands.query_async::<(String,)>(&mut redis);
        match added.await {
            Ok((id,)) => Kept::Under(id),
            Err(_) => Kept::NotNow,
        }
    }

    /// The messages after `seen`, the oldest first, at most [`AT_ONCE`]. While Redis is away there
    /// are none, and the client asks again.
    async fn since(&self, user: &str, seen: &str) -> Vec<Entry> {
        let options = StreamReadOptions::default().count(AT_ONCE);
        let mut redis = self.redis.clone();
        let stream = [stream_of(user)];
        let seen = [seen];
        let read = redis.xread_options(&stream, &seen, &options);
        let reply: Result<Option<StreamReadReply>, _> = read.await;
        let streams = reply.ok().flatten().map(|reply| reply.keys);
        let entries = streams.into_iter().flatten().flat_map(|stream| stream.ids);
        entries
            .filter_map(|entry| {
                let message = Private {
                    from: entry.get("from")?,
                    to: user.to_owned(),
                    text: entry.get("text")?,
                };
                Some(Entry {
                    id: entry.id,
                    message,
                })
            })
            .collect()
    }
}

fn is_unknown_command(error: &RedisError) -> bool {
    error.to_string().contains("unknown command")
}

fn stream_of(user: &str) -> String {
    prefixed(&format!("history:{user}"))
}
