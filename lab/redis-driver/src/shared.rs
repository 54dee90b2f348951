//! What the driver and all its nodes share.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use socketioxide_redis::drivers::ChanItem;
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::Notice;

/// A message for the other servers.
pub(crate) struct Outgoing {
    pub(crate) channel: String,
    pub(crate) message: Vec<u8>,
    /// Gets whether Redis accepted the message.
    pub(crate) receipt: oneshot::Sender<bool>,
}

/// What the driver and all its nodes share.
pub(crate) struct Shared {
    report: Box<dyn Fn(Notice) + Send + Sync>,
    // This is a `std::sync::RwLock` and not Tokio's: it is never held across an `.await`.
    /// Where the messages of each channel go.
    subscribers: RwLock<HashMap<String, mpsc::Sender<ChanItem>>>,
    /// Wakes the task that connects.
    pub(crate) changed: Notify,
    /// Whether a connection was lost and is not restored yet.
    is_broken: AtomicBool,
    /// How many messages did not reach the other servers, or may not have.
    undelivered: AtomicUsize,
    /// Set if Redis was not away, but has closed the connection; whether it was too slow.
    dropped: Mutex<Option<bool>>,
}

impl Shared {
    pub(crate) fn new(report: impl Fn(Notice) + Send + Sync + 'static) -> Self {
        Self {
            report: Box::new(report),
            subscribers: RwLock::default(),
            changed: Notify::new(),
            is_broken: AtomicBool::new(false),
            undelivered: AtomicUsize::new(0),
            dropped: Mutex::default(),
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(SeqCst)
    }

    /// Counts a message that does not reach the other servers, and answers its receipt.
    pub(crate) fn fail(&self, outgoing: Outgoing) {
        self.undelivered.fetch_add(1, Relaxed);
        // Not every sender asks for a receipt.
        let _unread = outgoing.receipt.send(false);
    }

    /// Reports a loss, and wakes the task that connects.
    pub(crate) fn report_loss(&self, notice: Notice) {
        self.is_broken.store(true, SeqCst);
        (self.report)(notice);
        self.changed.notify_one();
    }

    /// Reports that everything is connected again, if it was not before.
    pub(crate) fn report_restored(&self) {
        if !self.is_broken.swap(false, SeqCst) {
            return;
        }
        let dropped = self.dropped().take();
        if let Some(too_slow) = dropped {
            (self.report)(Notice::Dropped { too_slow });
        }
        (self.report)(Notice::Restored);
        let undelivered = self.undelivered.swap(0, Relaxed);
        if undelivered > 0 {
            (self.report)(Notice::Undelivered(undelivered));
        }
    }

    /// Redis was not away, but has closed the connection.
    pub(crate) fn was_dropped(&self, too_slow: bool) {
        *self.dropped() = Some(too_slow);
    }

    fn dropped(&self) -> MutexGuard<'_, Option<bool>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a message to the subscriber of its channel.
    pub(crate) fn deliver(&self, channel: String, payload: Vec<u8>) {
        let subscribers = self.subscribers();
        let Some(subscriber) = subscribers.get(&channel) else {
            return;
        };
        if let Err(TrySendError::Full((channel, _))) = subscriber.try_send((channel, payload)) {
            drop(subscribers);
            (self.report)(Notice::Overflow { channel });
        }
    }

    /// The channels that have a subscriber.
    pub(crate) fn channels(&self) -> Vec<String> {
        self.subscribers().keys().cloned().collect()
    }

    pub(crate) fn subscribe(&self, channel: String, subscriber: mpsc::Sender<ChanItem>) {
        self.subscribers_mut().insert(channel, subscriber);
    }

    pub(crate) fn unsubscribe(&self, channel: &str) {
        self.subscribers_mut().remove(channel);
    }

    fn subscribers(&self) -> RwLockReadGuard<'_, HashMap<String, mpsc::Sender<ChanItem>>> {
        self.subscribers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribers_mut(&self) -> RwLockWriteGuard<'_, HashMap<String, mpsc::Sender<ChanItem>>> {
        self.subscribers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
