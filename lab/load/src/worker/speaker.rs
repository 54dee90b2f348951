//! A user who says one thing after the other, numbered, and hears nothing of it.

use std::{io, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    connect::{Targets, Trouble},
    deliveries::{Deliveries, Stamp},
    socket::{Shared, Socket},
};
use crate::{clock, tally::Tally};

/// A connected speaker.
pub(crate) struct Speaker {
    socket: Socket,
    number: u32,
    /// Whom it speaks to; everybody, if nobody is named.
    room: Option<&'static str>,
    said: u64,
}

/// When nothing was delivered for so long, what is under way counts as lost.
const STUCK: Duration = Duration::from_secs(1);

impl Speaker {
    /// Connects the speaker with that number; it is the client with that number, too.
    pub(crate) async fn connect(
        targets: &Targets,
        number: u32,
        room: Option<&'static str>,
        shared: &Shared,
    ) -> Result<Self, Trouble> {
        let user = format!("sender {number}");
        Ok(Self {
            socket: Socket::connect(targets, number, &user, shared).await?,
            number,
            room,
            said: 0,
        })
    }

    /// Speaks for that long, as fast as `hearers` receivers of this worker hear it: up to
    /// `window` messages are under way to them. Returns how many were said.
    pub(crate) async fn speak(
        &mut self,
        deliveries: &Deliveries,
        hearers: u64,
        window: u64,
        duration: Duration,
    ) -> Tally {
        let mut tally = Tally::default();
        let mut given_up = 0;
        let end = Instant::now() + duration;
        while Instant::now() < end {
            let under_way = (self.said * hearers).saturating_sub(deliveries.of(self.number));
            if under_way.saturating_sub(given_up) < window * hearers {
                if self.say().await.is_err() {
                    tally.counts.failed = 1;
                    break;
                }
            } else if timeout(STUCK, self.listen(deliveries)).await.is_err() {
                given_up = under_way;
            }
        }
        tally.counts.sent = self.said;
        tally
    }

    /// Says the next thing.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) async fn say(&mut self) -> io::Result<()> {
        let text = Stamp {
            sender: self.number,
            number: self.said,
            at: clock::now(),
        }
        .text();
        let packet = match self.room {
            Some(room) => format!(r#"42["say",{{"to":"{room}","text":"{text}"}}]"#),
            None => format!(r#"42["shout","{text}"]"#),
        };
        self.said += 1;
        self.socket.send(&packet).await
    }

    /// Goes on listening, for ever: what others say would fill its connection, and a
    /// connection that is closed over unread bytes takes what it has said with it.
    pub(crate) async fn attend(&mut self) {
        while self.socket.read(|_packet| {}).await.is_ok() {}
        std::future::pending::<()>().await;
    }

    /// Ready at the next delivery; pings are answered meanwhile.
    async fn listen(&mut self, deliveries: &Deliveries) {
        tokio::select! {
            () = deliveries.grown() => {}
            // Whether the connection is gone is seen at the next message.
            _ = self.socket.read(|_packet| {}) => {}
        }
    }
}
