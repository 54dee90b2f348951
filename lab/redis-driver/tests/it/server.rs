//! One Socket.IO server, as Redis sees it: a driver, and what it reports.

use std::time::Duration;

use futures_util::StreamExt;
use redis_driver::{Notice, RedisTarget, ResilientDriver, watch};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::{sync::mpsc, time::timeout};

/// The longest that anything here may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The channel of most tests.
pub(crate) const CHANNEL: &str = "chat";

pub(crate) struct Server {
    pub(crate) driver: ResilientDriver,
    notices: mpsc::UnboundedReceiver<Notice>,
}

impl Server {
    pub(crate) async fn connect(redis: &str) -> Self {
        let target = RedisTarget::at(redis).await.unwrap();
        let (sender, notices) = mpsc::unbounded_channel();
        let driver = ResilientDriver::connect(target, move |notice| {
            // The test may be over.
            let _unread = sender.send(notice);
        });
        Self {
            driver: driver.await.unwrap(),
            notices,
        }
    }

    pub(crate) async fn next_notice(&mut self) -> Notice {
        let notice = timeout(LIMIT, self.notices.recv()).await;
        notice.expect("a notice in time").unwrap()
    }

    pub(crate) fn has_no_notice(&self) -> bool {
        self.notices.is_empty()
    }

    pub(crate) async fn subscribe(&self, channel: &str) -> Inbox {
        let stream = self.driver.subscribe(channel.to_owned(), 4096).await;
        Inbox(stream.unwrap())
    }

    /// Publishes, and returns whether Redis accepted the message. Publishing itself never fails.
    pub(crate) async fn publish(&self, channel: &str, text: &str) -> bool {
        let publish = self.driver.publish(channel.to_owned(), text.into());
        let (published, receipt) = watch(publish).await;
        published.unwrap();
        timeout(LIMIT, receipt.succeeds()).await.unwrap()
    }

    pub(crate) async fn subscribers_of(&self, channel: &str) -> u16 {
        self.driver.num_serv(channel).await.unwrap()
    }
}

pub(crate) struct Inbox(MessageStream<ChanItem>);

impl Inbox {
    /// The text of the next message.
    pub(crate) async fn next(&mut self) -> String {
        let next = timeout(LIMIT, self.0.next()).await;
        let (_channel, message) = next.expect("a message in time").unwrap();
        String::from_utf8(message).unwrap()
    }
}
