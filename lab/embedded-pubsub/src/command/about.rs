//! Commands about the server itself.
//! Source: <https://redis.io/docs/latest/commands/?group=server>.

use std::process;

use super::call::{Answer, Call, Command, is};
use crate::{
    REDIS_VERSION, glob,
    hub::{Hub, Kind},
    outbox,
    reply::Reply,
};

/// `INFO`, or `INFO section …`. Like Redis, it leaves out unknown sections.
pub(super) fn info(call: &mut Call) -> Answer {
    let wanted = |section: &str| {
        let names = [section, "all", "default", "everything"];
        let mut words = call.words[1..].iter();
        words.len() == 0 || words.any(|word| names.iter().any(|name| is(word, name)))
    };
    let sections = sections(call.hub)
        .into_iter()
        .filter(|(name, _)| wanted(name));
    let texts: Vec<String> = sections
        .map(|(name, fields)| format!("# {name}\r\n{fields}\r\n"))
        .collect();
    Ok(Reply::Verbatim(texts.join("\r\n")))
}

fn sections(hub: &Hub) -> [(&'static str, String); 4] {
    let [channels, patterns, shard_channels] = Kind::ALL.map(|kind| hub.subscribers(kind).len());
    let server = format!(
        // The first line tells this server from Redis.
        "server_name:embedded-pubsub\r\nredis_version:{REDIS_VERSION}\r\n\
         redis_mode:standalone\r\nprocess_id:{}\r\ntcp_port:{}\r\nuptime_in_seconds:{}",
        process::id(),
        hub.addr.port(),
        hub.started.elapsed().as_secs(),
    );
    let clients = format!(
        "connected_clients:{}\r\npubsub_clients:{}",
        hub.clients().count(),
        hub.clients()
            .filter(|client| client.is_subscriber())
            .count(),
    );
    let stats = format!(
        "pubsub_channels:{channels}\r\npubsub_patterns:{patterns}\r\n\
         pubsubshard_channels:{shard_channels}\r\n\
         client_output_buffer_limit_disconnections:{}",
        hub.dropped_as_too_slow,
    );
    [
        ("Server", server),
        ("Clients", clients),
        ("Stats", stats),
        ("Replication", "role:master\r\nconnected_slaves:0".into()),
    ]
}

/// Every command's name, arity, flags (none) and where its keys are (there are none).
pub(super) fn command(call: &mut Call) -> Answer {
    let describe = |command: &Command| {
        let no_flags = Reply::Array(Vec::new());
        let [arity, first, last, step] = [command.arity, 0, 0, 0].map(Reply::Integer);
        Reply::Array(vec![
            Reply::bulk(command.name),
            arity,
            no_flags,
            first,
            last,
            step,
        ])
    };
    Ok(Reply::Array(call.commands.iter().map(describe).collect()))
}

pub(super) fn command_list(call: &mut Call) -> Answer {
    let names = call
        .commands
        .iter()
        .map(|command| Reply::bulk(command.name));
    Ok(Reply::Array(names.collect()))
}

/// The subcommands of CLIENT, COMMAND or CONFIG that this server has.
pub(super) fn help(call: &mut Call) -> Answer {
    let container = call
        .commands
        .iter()
        .find(|command| is(&call.words[0], command.name));
    let subcommands = container.map_or(&[][..], |command| command.subcommands);
    let names = subcommands
        .iter()
        .map(|command| Reply::Simple(command.name));
    Ok(Reply::Array(names.collect()))
}

/// The few settings of Redis that tools ask for and that mean something here.
pub(super) fn config_get(call: &mut Call) -> Answer {
    let settings = [
        ("appendonly", "no".into()),
        ("client-output-buffer-limit", outbox::LIMITS.into()),
        ("databases", "16".into()),
        ("port", call.hub.addr.port().to_string()),
        ("save", String::new()),
    ];
    let fitting = settings.into_iter().filter(|(name, _)| {
        let mut patterns = call.words[2..]
            .iter()
            .map(|pattern| pattern.to_ascii_lowercase());
        patterns.any(|pattern| glob::matches(&pattern, name.as_bytes()))
    });
    Ok(Reply::Map(
        fitting
            .map(|(name, value)| (Reply::bulk(name), Reply::bulk(value)))
            .collect(),
    ))
}
