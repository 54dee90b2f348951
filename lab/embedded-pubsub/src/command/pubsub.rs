//! SUBSCRIBE, PUBLISH and similar commands.
//! Source: <https://redis.io/docs/latest/develop/pubsub/>.

use std::collections::BTreeSet;

use super::call::{Answer, Call, excerpt};
use crate::{glob, hub::Kind, reply::Reply};

pub(super) fn subscribe(call: &mut Call, kind: Kind) -> Answer {
    let confirmations = call.words[1..].iter().map(|topic| {
        let count = call.hub.subscribe(call.id, kind, topic);
        confirmation(call.command.name, Reply::bulk(topic), count)
    });
    Ok(Reply::Several(confirmations.collect()))
}

pub(super) fn unsubscribe(call: &mut Call, kind: Kind) -> Answer {
    let word = call.command.name;
    let topics: Vec<Vec<u8>> = match &call.words[1..] {
        [] => call.client().subscriptions(kind).iter().cloned().collect(),
        named => named.to_vec(),
    };
    if topics.is_empty() {
        // Also a client without subscriptions gets an answer, because it waits for one.
        let count = call.client().subscription_count(kind);
        return Ok(confirmation(word, Reply::Null, count));
    }
    let confirmations = topics.iter().map(|topic| {
        let count = call.hub.unsubscribe(call.id, kind, topic);
        confirmation(word, Reply::bulk(topic), count)
    });
    Ok(Reply::Several(confirmations.collect()))
}

fn confirmation(word: &str, topic: Reply, count: usize) -> Reply {
    Reply::Push(vec![Reply::bulk(word), topic, Reply::count(count)])
}

pub(super) fn publish(call: &mut Call, kind: Kind) -> Answer {
    let (channel, payload) = (&call.words[1], &call.words[2]);
    Ok(Reply::count(call.hub.publish(kind, channel, payload)))
}

/// PUBSUB CHANNELS and SHARDCHANNELS.
pub(super) fn channels(call: &mut Call, kind: Kind) -> Answer {
    let pattern = match &call.words[2..] {
        [] => None,
        [pattern] => Some(pattern),
        _ => {
            return Err(format!(
                "ERR unknown subcommand or wrong number of arguments for '{}'. Try PUBSUB HELP.",
                excerpt(&call.words[1])
            ));
        }
    };
    let channels = call.hub.subscribers(kind).keys();
    let fitting = channels.filter(|name| pattern.is_none_or(|p| glob::matches(p, name)));
    Ok(Reply::Array(fitting.map(Reply::bulk).collect()))
}

/// PUBSUB NUMSUB and SHARDNUMSUB.
pub(super) fn numsub(call: &mut Call, kind: Kind) -> Answer {
    let subscribers = call.hub.subscribers(kind);
    let counts = call.words[2..].iter().flat_map(|channel| {
        let number = subscribers.get(channel).map_or(0, BTreeSet::len);
        [Reply::bulk(channel), Reply::count(number)]
    });
    Ok(Reply::Array(counts.collect()))
}

pub(super) fn help(_: &mut Call) -> Answer {
    Ok(Reply::Array(HELP.lines().map(Reply::Simple).collect()))
}

const HELP: &str = "\
PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
CHANNELS [<pattern>]
    Return the currently active channels matching a <pattern> (default: '*').
NUMPAT
    Return number of subscriptions to patterns.
NUMSUB [<channel> ...]
    Return the number of subscribers for the specified channels, excluding
    pattern subscriptions(default: no channels).
SHARDCHANNELS [<pattern>]
    Return the currently active shard level channels matching a <pattern> (default: '*').
SHARDNUMSUB [<shardchannel> ...]
    Return the number of subscribers for the specified shard level channel(s)
HELP
    Prints this help.";
