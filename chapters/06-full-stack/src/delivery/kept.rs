//! Rung 4: the server keeps each message in a history, and the receiver catches up from it.
//!
//! The history is a Redis Stream for each user. What travels through the adapter is only a
//! ring at the door: "there is something new". The client then asks for all that came
//! after the last message it has seen; so a ring that is lost costs time, and no message.
//! When it connects, it says in the handshake's `auth` what it has seen, and the first
//! thing it hears is what it has missed.

use std::{future::ready, sync::Arc};

use ch01_express_pid::log;
use ch05_redis_pubsub::{chat::Say, link::Private};
use redis::{
    AsyncCommands, RedisError,
    streams::{StreamMaxlen, StreamReadOptions, StreamReadReply},
};
use serde::{Deserialize, Serialize};
use socketioxide::{
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
};

use crate::{
    chat::{Chat, acknowledge, private},
    lane::Lane,
    place::{Connection, Place, within_patience},
};

/// How many messages of one user are kept, about: Redis cuts when it is cheap to.
const KEPT: usize = 1000;

/// For how long a history is kept after its last message, in seconds: a week.
const KEPT_FOR: i64 = 7 * 24 * 60 * 60;

/// How many messages one answer may have.
const AT_ONCE: usize = 100;

/// Where a history begins: before every message.
pub(crate) const BEGINNING: &str = "0";

/// What became of a message that was to be kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kept {
    /// It is in the receiver's history, under this ID.
    Under(String),
    /// It may not be, and the sender should try again.
    NotNow,
    /// It will not be: a sentence that says why.
    Never(String),
}

/// A message in a history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its ID; later ones are greater.
    pub(crate) id: String,
    /// What was said.
    pub(crate) message: Private,
}

/// The users' histories, in Redis.
#[derive(Clone)]
pub(crate) struct History {
    redis: Connection,
    has_streams: bool,
}

/// The server's part: keeps what a client gives it, and gives it what it has not seen.
///
/// `seen` is what the client said in the handshake, if it follows its history.
pub(crate) fn hear<A: Adapter>(
    chat: &Arc<Chat>,
    socket: &SocketRef<A>,
    user: String,
    seen: Option<String>,
    lane: Lane,
) {
    let Some(history) = chat.history.clone() else {
        return;
    };
    if let Some(seen) = seen {
        let (history, socket, user) = (history.clone(), socket.clone(), user.clone());
        lane.enter(async move {
            let missed = history.since(&user, &seen).await;
            if let Err(error) = socket.emit("missed", &missed) {
                log(format!("{user} is gone again: {error}"));
            }
        });
    }
    hear_keep(socket, user.clone(), history.clone(), lane.clone());
    socket.on(
        "since",
        move |Data(seen): Data<String>, ack: AckSender<A>| {
            let (history, user) = (history.clone(), user.clone());
            lane.enter(async move { acknowledge(ack, &history.since(&user, &seen).await) });
            ready(())
        },
    );
}

fn hear_keep<A: Adapter>(socket: &SocketRef<A>, user: String, history: History, lane: Lane) {
    socket.on(
        "keep",
        move |socket: SocketRef<A>, Data(say): Data<Say>, ack: AckSender<A>| {
            if lane.is_full() {
                acknowledge(ack, &Kept::NotNow);
                return ready(());
            }
            let history = history.clone();
            let message = private(&user, say.to, say.text);
            lane.enter(async move {
                let kept = history.keep(&message).await;
                if let Kept::Under(id) = &kept {
                    // One that is lost costs the receiver a moment: it asks by itself too.
                    let _rung = socket.to(message.to).emit("ring", id).await;
                }
                acknowledge(ack, &kept);
            });
            ready(())
        },
    );
}

impl History {
    /// Connects to the Redis at `place`.
    pub(crate) async fn open(place: &Place) -> Result<Self, RedisError> {
        let mut redis = place.connect().await?;
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
        match within_patience(added).await {
            Ok((id,)) => Kept::Under(id),
            Err(_) => Kept::NotNow,
        }
    }

    /// What came after the message `seen`, the oldest first; no more than [`AT_ONCE`].
    /// Nothing while Redis is away: the client asks again.
    async fn since(&self, user: &str, seen: &str) -> Vec<Entry> {
        let options = StreamReadOptions::default().count(AT_ONCE);
        let mut redis = self.redis.clone();
        let stream = [stream_of(user)];
        let seen = [seen];
        let read = redis.xread_options(&stream, &seen, &options);
        let reply: Result<Option<StreamReadReply>, _> = within_patience(read).await;
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
    format!("history:{user}")
}
