//! The clients, their subscriptions, and the messages on their way to them.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    rc::Rc,
    time::Instant,
};

use tokio::sync::Notify;

use crate::{
    glob,
    outbox::{Outbox, TooSlow},
    reply::{Protocol, Reply},
};

pub(crate) type ClientId = i64;

/// Bytes of requests that are not complete, of all clients together: four of the longest.
const MAX_UNFINISHED: usize = 256 * 1024 * 1024;

/// The three kinds of subscriptions. They are separate: a message to a channel never
/// reaches the shard channel of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Channel,
    Pattern,
    ShardChannel,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::ShardChannel];
}

pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) peer: SocketAddr,
    pub(crate) since: Instant,
    pub(crate) last_request: Instant,
    pub(crate) last_command: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) name: String,
    pub(crate) library_name: String,
    pub(crate) library_version: String,
    pub(crate) outbox: Outbox,
    /// Bytes of the request that is coming in.
    unfinished: usize,
    /// It gets the rest of its outbox, and no more answers.
    pub(crate) closing: bool,
    /// It gets each request of every client.
    pub(crate) monitors: bool,
    subscriptions: [BTreeSet<Vec<u8>>; 3],
    /// Wakes the task that writes to the socket.
    wake: Rc<Notify>,
}

impl Client {
    pub(crate) fn subscriptions(&self, kind: Kind) -> &BTreeSet<Vec<u8>> {
        &self.subscriptions[kind as usize]
    }

    pub(crate) fn is_subscriber(&self) -> bool {
        self.subscriptions.iter().any(|topics| !topics.is_empty())
    }

    /// The number in the answer to a SUBSCRIBE. Redis counts channels and patterns
    /// together, and shard channels separately.
    pub(crate) fn subscription_count(&self, kind: Kind) -> usize {
        let count = |kind| self.subscriptions(kind).len();
        match kind {
            Kind::Channel | Kind::Pattern => count(Kind::Channel) + count(Kind::Pattern),
            Kind::ShardChannel => count(Kind::ShardChannel),
        }
    }

    fn push(&mut self, frames: &[u8], now: Instant) -> Result<(), TooSlow> {
        self.wake.notify_one();
        self.outbox.push(frames, now)
    }
}

pub(crate) struct Hub {
    pub(crate) addr: SocketAddr,
    pub(crate) started: Instant,
    pub(crate) dropped_as_too_slow: u64,
    clients: BTreeMap<ClientId, Client>,
    /// The same of all clients together.
    unfinished: usize,
    // Ordered maps, so that lists come in the same order in every run.
    subscribers: [BTreeMap<Vec<u8>, BTreeSet<ClientId>>; 3],
    last_id: ClientId,
}

impl Hub {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Hub {
            addr,
            started: Instant::now(),
            dropped_as_too_slow: 0,
            clients: BTreeMap::new(),
            unfinished: 0,
            subscribers: Default::default(),
            last_id: 0,
        }
    }

    /// Adds a client. The returned `Notify` wakes the task that writes to its socket.
    pub(crate) fn connect(&mut self, peer: SocketAddr) -> (ClientId, Rc<Notify>) {
        self.last_id += 1;
        let now = Instant::now();
        let wake = Rc::new(Notify::new());
        let client = Client {
            id: self.last_id,
            peer,
            since: now,
            last_request: now,
            last_command: "NULL", // Redis's word for none
            protocol: Protocol::Resp2,
            name: String::new(),
            library_name: String::new(),
            library_version: String::new(),
            outbox: Outbox::default(),
            unfinished: 0,
            closing: false,
            monitors: false,
            subscriptions: Default::default(),
            wake: Rc::clone(&wake),
        };
        self.clients.insert(client.id, client);
        (self.last_id, wake)
    }

    /// Forgets a client and its outbox. Its task notices that and closes the socket.
    pub(crate) fn disconnect(&mut self, id: ClientId) {
        self.unsubscribe_all(id);
        if let Some(client) = self.clients.remove(&id) {
            self.unfinished -= client.unfinished;
            client.wake.notify_one();
        }
    }

    /// Notes how many bytes of an incomplete request a client has sent. If the sum over all
    /// clients is too large, the client with the most is disconnected. Redis does it with
    /// [`maxmemory-clients`](https://redis.io/docs/latest/develop/reference/clients/).
    pub(crate) fn hold(&mut self, id: ClientId, unfinished: usize) {
        if let Some(client) = self.clients.get_mut(&id) {
            self.unfinished = self.unfinished - client.unfinished + unfinished;
            client.unfinished = unfinished;
        }
        if self.unfinished > MAX_UNFINISHED {
            let most = self.clients().max_by_key(|client| client.unfinished);
            if let Some(id) = most.map(|client| client.id) {
                self.disconnect(id);
            }
        }
    }

    pub(crate) fn close_after_reply(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.closing = true;
            client.wake.notify_one();
        }
    }

    pub(crate) fn client(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(&id)
    }

    pub(crate) fn client_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(&id)
    }

    pub(crate) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.values()
    }

    /// The channels or patterns with subscribers, and their subscribers.
    pub(crate) fn subscribers(&self, kind: Kind) -> &BTreeMap<Vec<u8>, BTreeSet<ClientId>> {
        &self.subscribers[kind as usize]
    }

    pub(crate) fn reply(&mut self, id: ClientId, reply: &Reply) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.push(&reply.encode(client.protocol), Instant::now()) == Err(TooSlow) {
            self.drop_slow(id);
        }
    }

    /// Returns how many subscriptions the client then has.
    pub(crate) fn subscribe(&mut self, id: ClientId, kind: Kind, topic: &[u8]) -> usize {
        let Some(client) = self.clients.get_mut(&id) else {
            return 0;
        };
        if client.subscriptions[kind as usize].insert(topic.to_vec()) {
            self.subscribers[kind as usize]
                .entry(topic.to_vec())
                .or_default()
                .insert(id);
        }
        client.subscription_count(kind)
    }

    /// Returns how many subscriptions the client still has.
    pub(crate) fn unsubscribe(&mut self, id: ClientId, kind: Kind, topic: &[u8]) -> usize {
        let topics = &mut self.subscribers[kind as usize];
        if let Some(subscribers) = topics.get_mut(topic) {
            subscribers.remove(&id);
            if subscribers.is_empty() {
                topics.remove(topic);
            }
        }
        self.clients.get_mut(&id).map_or(0, |client| {
            client.subscriptions[kind as usize].remove(topic);
            client.subscription_count(kind)
        })
    }

    pub(crate) fn unsubscribe_all(&mut self, id: ClientId) {
        for kind in Kind::ALL {
            let topics = self
                .client(id)
                .map(|client| client.subscriptions(kind).clone());
            for topic in topics.unwrap_or_default() {
                self.unsubscribe(id, kind, &topic);
            }
        }
    }

    /// Sends a message to all subscribers and returns their number. A client that is
    /// subscribed to the channel and to a pattern gets it twice and counts twice.
    ///
    /// The message is in every outbox before this returns. So the messages of one
    /// publisher reach each subscriber in their order.
    pub(crate) fn publish(&mut self, kind: Kind, channel: &[u8], payload: &[u8]) -> usize {
        let Hub {
            clients,
            subscribers,
            ..
        } = self;
        let now = Instant::now();
        let mut receivers = 0;
        let mut too_slow = Vec::new();
        let mut deliver = |message: &[&[u8]], to: &BTreeSet<ClientId>| {
            let message = Reply::Push(message.iter().map(Reply::bulk).collect());
            // Encoded once for each version of the protocol, not for each subscriber.
            let encoded = [OnceCell::new(), OnceCell::new()];
            for id in to {
                let client = clients.get_mut(id).expect("a subscriber is a client");
                let protocol = client.protocol;
                let frame: &Vec<u8> =
                    encoded[protocol as usize].get_or_init(|| message.encode(protocol));
                if client.push(frame, now) == Err(TooSlow) {
                    too_slow.push(*id);
                }
                receivers += 1;
            }
        };

        if let Some(to) = subscribers[kind as usize].get(channel) {
            let word: &[u8] = match kind {
                Kind::ShardChannel => b"smessage",
                Kind::Channel | Kind::Pattern => b"message",
            };
            deliver(&[word, channel, payload], to);
        }
        if kind == Kind::Channel {
            for (pattern, to) in &subscribers[Kind::Pattern as usize] {
                if glob::matches(pattern, channel) {
                    deliver(&[b"pmessage", pattern, channel, payload], to);
                }
            }
        }

        for id in too_slow {
            self.drop_slow(id);
        }
        receivers
    }

    /// Sends a line to every client that uses MONITOR.
    pub(crate) fn tell_monitors(&mut self, line: impl FnOnce() -> Vec<u8>) {
        let mut monitors = self.clients.values_mut().filter(|client| client.monitors);
        let Some(first) = monitors.next() else {
            return;
        };
        let (line, now) = (line(), Instant::now());
        let mut too_slow = Vec::new();
        for client in std::iter::once(first).chain(monitors) {
            if client.push(&line, now) == Err(TooSlow) {
                too_slow.push(client.id);
            }
        }
        for id in too_slow {
            self.drop_slow(id);
        }
    }

    /// Disconnects clients that have been over the soft limit for too long. It is called
    /// regularly, because no new message may come for such a client.
    pub(crate) fn drop_overdue(&mut self, now: Instant) {
        let overdue: Vec<ClientId> = self
            .clients()
            .filter(|client| client.outbox.check(now).is_err())
            .map(|client| client.id)
            .collect();
        for id in overdue {
            self.drop_slow(id);
        }
    }

    fn drop_slow(&mut self, id: ClientId) {
        // A client with two matching subscriptions may be on the list twice.
        if self.clients.contains_key(&id) {
            self.dropped_as_too_slow += 1;
            self.disconnect(id);
        }
    }
}

#[cfg(test)]
mod tests;
