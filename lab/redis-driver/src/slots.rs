//! Which slot a channel belongs to, and which master of a cluster owns which slots.
//!
//! Source: Redis Cluster specification, "Key distribution model", "Hash tags" and "Configuration
//! handling, propagation, and failovers"; the command `CLUSTER SLOTS`.

use std::{ops::RangeInclusive, sync::Arc};

use crc16::{State, XMODEM};
use futures_util::future::{join_all, select_ok};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, FromRedisValue, RedisError, Value,
    aio::MultiplexedConnection, cmd, pipe,
};

use crate::{connection::connect_to, node::Node};

/// How many slots there are.
const SLOTS: u16 = 16_384;

/// Some of the slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slots(Vec<RangeInclusive<u16>>);

impl Slots {
    pub(crate) fn all() -> Self {
        Self(vec![0..=SLOTS - 1])
    }

    /// How many slots these are.
    fn count(&self) -> usize {
        self.0.iter().map(ExactSizeIterator::len).sum()
    }

    pub(crate) fn contain(&self, slot: u16) -> bool {
        self.0.iter().any(|range| range.contains(&slot))
    }
}

/// Whether every slot has an owner.
pub(crate) fn are_complete<'a>(owned: impl Iterator<Item = &'a Slots>) -> bool {
    owned.map(Slots::count).sum::<usize>() == usize::from(SLOTS)
}

/// The slot of a channel. If there is text between the first `{` and the next `}` of its name,
/// only this text counts.
pub(crate) fn slot_of(channel: &str) -> u16 {
    let tag = channel
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    State::<XMODEM>::calculate(tag.unwrap_or(channel).as_bytes()) % SLOTS
}

/// What one node knows about its cluster.
pub(crate) struct Answer {
    /// Rises with each failover: of two answers, the one with the greater epoch is newer.
    epoch: u64,
    /// The masters, and the slots of each.
    pub(crate) owners: Vec<(Slots, ConnectionInfo)>,
    /// The masters and their replicas.
    pub(crate) nodes: Vec<ConnectionInfo>,
}

/// The newest answer of the nodes `in_use`. If none of them answers, the first answer of `others`.
///
/// A node in use that does not answer is given up.
///
/// # Errors
/// When no node answers.
pub(crate) async fn ask_for_owners(
    in_use: &[Arc<Node>],
    others: Vec<ConnectionInfo>,
) -> Result<Answer, RedisError> {
    let answers = join_all(in_use.iter().map(ask_in_use)).await;
    let newest = answers
        .into_iter()
        .flatten()
        .max_by_key(|answer| answer.epoch);
    if let Some(answer) = newest {
        return Ok(answer);
    }
    let asking = others.into_iter().map(|at| {
        Box::pin(async move {
            let connection = connect_to(&at, AsyncConnectionConfig::new()).await?;
            ask(connection, &at).await
        })
    });
    Ok(select_ok(asking).await?.0)
}

async fn ask_in_use(node: &Arc<Node>) -> Option<Answer> {
    let (connection, number) = node.current()?;
    let answer = ask(connection, node.at()).await;
    if answer.is_err() {
        node.give_up(number, "does not answer");
    }
    answer.ok()
}

async fn ask(mut node: MultiplexedConnection, at: &ConnectionInfo) -> Result<Answer, RedisError> {
    let (info, rows): (String, Vec<Vec<Value>>) = pipe()
        .add_command(cmd("CLUSTER").arg("INFO").to_owned())
        .add_command(cmd("CLUSTER").arg("SLOTS").to_owned())
        .query_async(&mut node)
        .await?;
    let epoch = info
        .lines()
        .find_map(|line| line.strip_prefix("cluster_current_epoch:")?.parse().ok())
        .unwrap_or(0);
    let mut owners: Vec<(Slots, ConnectionInfo)> = Vec::new();
    let mut all = Vec::new();
    for row in rows {
        // A row is: the first slot, the last slot, the master, its replicas.
        let mut row = row.into_iter();
        let mut next = || u16::from_redis_value(row.next().unwrap_or(Value::Nil));
        let range = next()?..=next()?;
        let nodes = row.map(|node| address(node, at));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let Some(master) = nodes.first() else {
            continue;
        };
        match owners.iter_mut().find(|(_, at)| at.addr() == master.addr()) {
            Some((slots, _)) => slots.0.push(range),
            None => owners.push((Slots(vec![range]), master.clone())),
        }
        all.extend(nodes);
    }
    Ok(Answer {
        epoch,
        owners,
        nodes: all,
    })
}

/// Reads a node's address from `[host, port, …]`. A node that does not know its own host is at the
/// host that was asked. User and password are those of the node that was asked.
fn address(node: Value, asked: &ConnectionInfo) -> Result<ConnectionInfo, RedisError> {
    let mut fields = <Vec<Value>>::from_redis_value(node)?.into_iter();
    let mut next = || fields.next().unwrap_or(Value::Nil);
    let host = <Option<String>>::from_redis_value(next())?.filter(|host| !host.is_empty());
    let port = u16::from_redis_value(next())?;
    let host = host.unwrap_or_else(|| match asked.addr() {
        ConnectionAddr::Tcp(host, _) => host.clone(),
        _ => "127.0.0.1".to_owned(),
    });
    Ok(asked.clone().set_addr(ConnectionAddr::Tcp(host, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected slots are the answers of `CLUSTER KEYSLOT`, Redis 7.0.15.
    #[test]
    fn the_slot_of_a_channel_is_the_one_that_redis_computes() {
        for (channel, slot) in [
            ("123456789", 12_739),
            ("", 0),
            ("user", 5_474),
            ("{user}.following", 5_474),
            ("{}x", 10_595),
            ("x{a}{b}", 15_495),
            ("foo{", 7_673),
            ("socket.io-request#/#", 12_937),
        ] {
            assert_eq!(slot_of(channel), slot, "{channel}");
        }
    }
}
