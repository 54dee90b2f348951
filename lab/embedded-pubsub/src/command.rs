//! The table of commands, and the search for a request's command.
//!
//! Source: <https://redis.io/docs/latest/commands/>. Names, numbers of arguments and
//! errors are those of Redis, so a client library or a person at `redis-cli` sees the
//! same.

#![allow(
    clippy::unnecessary_wraps,
    reason = "the commands in the table have one signature, whether or not they can fail"
)]

mod about;
mod call;
mod connection;
mod monitor;
mod pubsub;

use std::time::Instant;

use self::{
    call::{Answer, Call, Command, STILL_CONNECTED, excerpt, is, wrong_number_of_arguments},
    pubsub::{channels, numsub, publish, subscribe, unsubscribe},
};
use crate::{
    hub::{
        ClientId, Hub,
        Kind::{Channel, Pattern, ShardChannel},
    },
    reply::{Protocol, Reply},
};

static COMMANDS: &[Command] = &[
    Command::new("auth", -2, connection::auth),
    Command::new("client", -2, needs_subcommand).with_subcommands(&[
        Command::new("client|getname", 2, connection::client_getname),
        Command::new("client|help", 2, about::help),
        Command::new("client|id", 2, |call| Ok(Reply::Integer(call.id))),
        Command::new("client|info", 2, connection::client_info),
        Command::new("client|kill", -3, connection::client_kill),
        Command::new("client|list", 2, connection::client_list),
        Command::new("client|no-evict", 3, connection::client_switch),
        Command::new("client|no-touch", 3, connection::client_switch),
        Command::new("client|setinfo", 4, connection::client_setinfo),
        Command::new("client|setname", 3, connection::client_setname),
    ]),
    Command::new("command", -1, about::command).with_subcommands(&[
        Command::new("command|count", 2, |_| Ok(Reply::count(COMMANDS.len()))),
        // Empty: redis-cli asks for it when it starts, and then uses hints of its own.
        Command::new("command|docs", -2, |_| Ok(Reply::Map(Vec::new()))),
        Command::new("command|help", 2, about::help),
        Command::new("command|list", -2, about::command_list),
    ]),
    Command::new("config", -2, needs_subcommand).with_subcommands(&[
        Command::new("config|get", -3, about::config_get),
        Command::new("config|help", 2, about::help),
    ]),
    Command::new("dbsize", 1, |_| Ok(Reply::Integer(0))),
    Command::new("echo", 2, |call| Ok(Reply::bulk(&call.words[1]))),
    Command::new("hello", -1, connection::hello),
    Command::new("info", -1, about::info),
    Command::new("monitor", 1, monitor::monitor),
    Command::new("ping", -1, connection::ping),
    Command::new("psubscribe", -2, |call| subscribe(call, Pattern)),
    Command::new("publish", 3, |call| publish(call, Channel)),
    Command::new("pubsub", -2, needs_subcommand).with_subcommands(&[
        Command::new("pubsub|channels", -2, |call| channels(call, Channel)),
        Command::new("pubsub|help", 2, pubsub::help),
        Command::new("pubsub|numpat", 2, |call| {
            Ok(Reply::count(call.hub.subscribers(Pattern).len()))
        }),
        Command::new("pubsub|numsub", -2, |call| numsub(call, Channel)),
        Command::new("pubsub|shardchannels", -2, |call| {
            channels(call, ShardChannel)
        }),
        Command::new("pubsub|shardnumsub", -2, |call| numsub(call, ShardChannel)),
    ]),
    Command::new("punsubscribe", -1, |call| unsubscribe(call, Pattern)),
    Command::new("quit", -1, connection::quit),
    Command::new("reset", 1, connection::reset),
    Command::new("select", 2, connection::select),
    Command::new("spublish", 3, |call| publish(call, ShardChannel)),
    Command::new("ssubscribe", -2, |call| subscribe(call, ShardChannel)),
    Command::new("subscribe", -2, |call| subscribe(call, Channel)),
    Command::new("sunsubscribe", -1, |call| unsubscribe(call, ShardChannel)),
    Command::new("unsubscribe", -1, |call| unsubscribe(call, Channel)),
];

/// Carries out a request of a connected client, and puts the answer in its outbox.
pub(crate) fn execute(hub: &mut Hub, id: ClientId, words: &[Vec<u8>]) {
    if is(&words[0], "post") || is(&words[0], "host:") {
        // This is HTTP. Like Redis, the server closes the connection. Otherwise a web page
        // that sends a form to this port could publish with the lines of the form.
        hub.disconnect(id);
        return;
    }
    let reply = answer(hub, id, words).unwrap_or_else(Reply::Error);
    hub.reply(id, &reply);
}

fn answer(hub: &mut Hub, id: ClientId, words: &[Vec<u8>]) -> Answer {
    let command = find(words)?;
    if !command.accepts(words) {
        return Err(wrong_number_of_arguments(command));
    }
    let client = hub.client_mut(id).expect(STILL_CONNECTED);
    client.last_request = Instant::now();
    client.last_command = command.name;
    if client.protocol == Protocol::Resp2
        && client.is_subscriber()
        && !command.is_allowed_while_subscribed()
    {
        return Err(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
             RESET are allowed in this context",
            command.name
        ));
    }
    monitor::tell(hub, id, command.name, words);
    (command.run)(&mut Call {
        hub,
        id,
        commands: COMMANDS,
        command,
        words,
    })
}

fn find(words: &[Vec<u8>]) -> Result<&'static Command, String> {
    let command = COMMANDS
        .iter()
        .find(|command| is(&words[0], command.name))
        .ok_or_else(|| unknown_command(words))?;
    match words.get(1) {
        Some(word) if !command.subcommands.is_empty() => command
            .subcommands
            .iter()
            .find(|subcommand| {
                let (_, name) = subcommand.name.split_once('|').unwrap_or_default();
                is(word, name)
            })
            .ok_or_else(|| {
                let container = command.name.to_ascii_uppercase();
                format!(
                    "ERR unknown subcommand '{}'. Try {container} HELP.",
                    excerpt(word)
                )
            }),
        _ => Ok(command),
    }
}

/// The error begins like Redis's, because clients look at that part. The rest explains
/// to a person that this server has fewer commands than Redis.
fn unknown_command(words: &[Vec<u8>]) -> String {
    let mut arguments = String::new();
    for word in &words[1..] {
        // Redis stops here too.
        if arguments.len() >= 128 {
            break;
        }
        arguments.extend(["'", &excerpt(word), "' "]);
    }
    format!(
        "ERR unknown command '{}', with args beginning with: {arguments}(this is \
         embedded-pubsub, which has pub/sub only; keys, lists, streams and the like need a \
         real Redis)",
        excerpt(&words[0])
    )
}

/// For a command with subcommands, such as CLIENT, that was sent without one. With a
/// second word, the subcommand is found instead.
fn needs_subcommand(call: &mut Call) -> Answer {
    Err(wrong_number_of_arguments(call.command))
}
