//! Commands about the client's own connection, and CLIENT, which is also about others.
//! Source: <https://redis.io/docs/latest/commands/?group=connection>.

use std::net::SocketAddr;

use super::call::{Answer, Call, excerpt, is, syntax_error, wrong_number_of_arguments};
use crate::{
    REDIS_VERSION,
    hub::{Client, ClientId, Kind},
    reply::{Protocol, Reply},
    request::integer,
};

pub(super) fn hello(call: &mut Call) -> Answer {
    let mut protocol = call.client().protocol;
    if let Some(version) = call.words.get(1) {
        protocol = match integer(version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err("NOPROTO unsupported protocol version".into()),
            None => return Err("ERR Protocol version is not an integer or out of range".into()),
        };
    }
    let (mut user, mut name) = (None, None);
    let mut options = call.words.get(2..).unwrap_or_default();
    while let [option, rest @ ..] = options {
        options = match rest {
            [username, _password, rest @ ..] if is(option, "auth") => {
                user = Some(username);
                rest
            }
            [new_name, rest @ ..] if is(option, "setname") => {
                name = Some(printable(new_name, "Client names")?);
                rest
            }
            _ => {
                return Err(format!(
                    "ERR Syntax error in HELLO option '{}'",
                    excerpt(option)
                ));
            }
        };
    }
    if let Some(user) = user {
        authenticate(user)?;
    }
    let client = call.client();
    client.protocol = protocol;
    if let Some(name) = name {
        client.name = name;
    }
    let about = [
        ("server", Reply::bulk("redis")),
        ("version", Reply::bulk(REDIS_VERSION)),
        ("proto", Reply::Integer(protocol.number())),
        ("id", Reply::Integer(call.id)),
        ("mode", Reply::bulk("standalone")),
        ("role", Reply::bulk("master")),
        ("modules", Reply::Array(Vec::new())),
    ];
    let entry = |(field, value): (&str, Reply)| (Reply::bulk(field), value);
    Ok(Reply::Map(about.map(entry).into()))
}

pub(super) fn auth(call: &mut Call) -> Answer {
    match call.words {
        [_, _password] => Err(NO_PASSWORD.into()),
        [_, user, _password] => authenticate(user).map(|()| Reply::ok()),
        _ => Err(syntax_error()),
    }
}

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the \
                           default user. Are you sure your configuration is correct?";

/// Like a Redis without a password: there is the user `default`, and any password is right.
fn authenticate(user: &[u8]) -> Result<(), String> {
    if user == b"default" {
        Ok(())
    } else {
        Err("WRONGPASS invalid username-password pair or user is disabled.".into())
    }
}

pub(super) fn ping(call: &mut Call) -> Answer {
    if call.words.len() > 2 {
        return Err(wrong_number_of_arguments(call.command));
    }
    let message = call.words.get(1);
    let client = call.client();
    if client.protocol == Protocol::Resp2 && client.is_subscriber() {
        // It has the form of a message, so that a RESP2 subscriber can read it.
        let message = message.map_or(Reply::bulk(""), Reply::bulk);
        return Ok(Reply::Array(vec![Reply::bulk("pong"), message]));
    }
    Ok(message.map_or(Reply::Simple("PONG"), Reply::bulk))
}

/// Redis has 16 databases, and pub/sub is the same in all of them.
pub(super) fn select(call: &mut Call) -> Answer {
    match integer(&call.words[1]) {
        Some(0..16) => Ok(Reply::ok()),
        Some(_) => Err("ERR DB index is out of range".into()),
        None => Err("ERR value is not an integer or out of range".into()),
    }
}

pub(super) fn quit(call: &mut Call) -> Answer {
    call.hub.close_after_reply(call.id);
    Ok(Reply::ok())
}

pub(super) fn reset(call: &mut Call) -> Answer {
    call.hub.unsubscribe_all(call.id);
    let client = call.client();
    client.protocol = Protocol::Resp2;
    client.name.clear();
    client.monitors = false;
    Ok(Reply::Simple("RESET"))
}

pub(super) fn client_getname(call: &mut Call) -> Answer {
    Ok(match &call.client().name {
        none if none.is_empty() => Reply::Null,
        name => Reply::bulk(name),
    })
}

pub(super) fn client_setname(call: &mut Call) -> Answer {
    call.client().name = printable(&call.words[2], "Client names")?;
    Ok(Reply::ok())
}

pub(super) fn client_setinfo(call: &mut Call) -> Answer {
    let (option, value) = (&call.words[2], &call.words[3]);
    if is(option, "lib-name") {
        call.client().library_name = printable(value, "lib-name")?;
    } else if is(option, "lib-ver") {
        call.client().library_version = printable(value, "lib-ver")?;
    } else {
        return Err(format!("ERR Unrecognized option '{}'", excerpt(option)));
    }
    Ok(Reply::ok())
}

/// A value that CLIENT LIST can show in one field of one line.
fn printable(value: &[u8], what: &str) -> Result<String, String> {
    if value.iter().all(u8::is_ascii_graphic) {
        Ok(String::from_utf8_lossy(value).into_owned())
    } else {
        Err(format!(
            "ERR {what} cannot contain spaces, newlines or special characters."
        ))
    }
}

/// NO-EVICT and NO-TOUCH: nothing is ever evicted here, and there is no key to touch.
pub(super) fn client_switch(call: &mut Call) -> Answer {
    if is(&call.words[2], "on") || is(&call.words[2], "off") {
        Ok(Reply::ok())
    } else {
        Err(syntax_error())
    }
}

pub(super) fn client_info(call: &mut Call) -> Answer {
    let server = call.hub.addr;
    Ok(Reply::Verbatim(describe(call.client(), server)))
}

pub(super) fn client_list(call: &mut Call) -> Answer {
    let clients = call.hub.clients();
    let lines = clients.map(|client| describe(client, call.hub.addr));
    Ok(Reply::Verbatim(lines.collect()))
}

/// Redis's fields, as far as they have a meaning here.
fn describe(client: &Client, server: SocketAddr) -> String {
    let flag = if client.is_subscriber() { 'P' } else { 'N' };
    let [channels, patterns, shard_channels] =
        Kind::ALL.map(|kind| client.subscriptions(kind).len());
    format!(
        "id={} addr={} laddr={server} name={} age={} idle={} flags={flag} db=0 sub={channels} \
         psub={patterns} ssub={shard_channels} omem={} cmd={} user=default resp={} lib-name={} \
         lib-ver={}\n",
        client.id,
        client.peer,
        client.name,
        client.since.elapsed().as_secs(),
        client.last_request.elapsed().as_secs(),
        client.outbox.len(),
        client.last_command,
        client.protocol.number(),
        client.library_name,
        client.library_version,
    )
}

/// `CLIENT KILL address`, or `CLIENT KILL` with options. All options must match.
pub(super) fn client_kill(call: &mut Call) -> Answer {
    let mut skip_me = true;
    let mut clients: Vec<&Client> = call.hub.clients().collect();
    let has_address =
        |client: &&Client, address: &[u8]| client.peer.to_string().as_bytes() == address;
    let options = &call.words[2..];
    if let [address] = options {
        skip_me = false;
        clients.retain(|client| has_address(client, address));
        if clients.is_empty() {
            return Err("ERR No such client".into());
        }
    } else {
        for pair in options.chunks(2) {
            let [option, value] = pair else {
                return Err(syntax_error());
            };
            if is(option, "id") {
                let id = integer(value).filter(|&id| id > 0);
                let id = id.ok_or("ERR client-id should be greater than 0")?;
                clients.retain(|client| client.id == id);
            } else if is(option, "addr") {
                clients.retain(|client| has_address(client, value));
            } else if is(option, "type") && is(value, "pubsub") {
                clients.retain(|client| client.is_subscriber());
            } else if is(option, "type") && is(value, "normal") {
                clients.retain(|client| !client.is_subscriber());
            } else if is(option, "type") {
                return Err(format!("ERR Unknown client type '{}'", excerpt(value)));
            } else if is(option, "skipme") && (is(value, "yes") || is(value, "no")) {
                skip_me = is(value, "yes");
            } else {
                return Err(syntax_error());
            }
        }
    }
    clients.retain(|client| !(skip_me && client.id == call.id));
    let ids: Vec<ClientId> = clients.iter().map(|client| client.id).collect();
    for &id in &ids {
        if id == call.id {
            call.hub.close_after_reply(id);
        } else {
            call.hub.disconnect(id);
        }
    }
    Ok(if options.len() == 1 {
        Reply::ok()
    } else {
        Reply::count(ids.len())
    })
}
