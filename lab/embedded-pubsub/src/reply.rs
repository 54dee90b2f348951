//! Encodes what the server sends.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>, "RESP
//! protocol description". RESP3 has types that RESP2 lacks. For those, Redis sends the
//! most similar type of RESP2, so both clients get the same content.

/// Which version of the protocol a connection speaks; `HELLO` changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Resp2,
    Resp3,
}

impl Protocol {
    pub(crate) fn number(self) -> i64 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Simple(&'static str),
    /// With its code in front: `ERR syntax error`.
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// Text for a person to read.
    Verbatim(String),
    Null,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    /// A message that is not the answer to a request. In RESP2 it looks like an array.
    Push(Vec<Reply>),
    /// Several replies in order: a SUBSCRIBE has one answer for each channel.
    Several(Vec<Reply>),
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Reply::Simple("OK")
    }

    pub(crate) fn bulk(content: impl AsRef<[u8]>) -> Self {
        Reply::Bulk(content.as_ref().to_vec())
    }

    pub(crate) fn count(number: usize) -> Self {
        Reply::Integer(i64::try_from(number).expect("what fits in memory can be counted"))
    }

    pub(crate) fn encode(&self, protocol: Protocol) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(protocol, &mut out);
        out
    }

    // The recursion is only as deep as the server's own replies are nested.
    fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        let resp3 = protocol == Protocol::Resp3;
        match self {
            Reply::Simple(text) => line(out, '+', text),
            Reply::Error(text) => line(out, '-', &text.replace(['\r', '\n'], " ")),
            Reply::Integer(number) => line(out, ':', &number.to_string()),
            Reply::Bulk(content) => blob(out, '$', &[content]),
            Reply::Verbatim(text) if resp3 => blob(out, '=', &[b"txt:", text.as_bytes()]),
            Reply::Verbatim(text) => blob(out, '$', &[text.as_bytes()]),
            Reply::Null => out.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" }),
            Reply::Map(entries) => {
                if resp3 {
                    line(out, '%', &entries.len().to_string());
                } else {
                    line(out, '*', &(entries.len() * 2).to_string());
                }
                for (key, value) in entries {
                    key.write(protocol, out);
                    value.write(protocol, out);
                }
            }
            Reply::Array(items) => aggregate(out, '*', items, protocol),
            Reply::Push(items) => aggregate(out, if resp3 { '>' } else { '*' }, items, protocol),
            Reply::Several(replies) => {
                for reply in replies {
                    reply.write(protocol, out);
                }
            }
        }
    }
}

fn line(out: &mut Vec<u8>, kind: char, text: &str) {
    out.extend_from_slice(format!("{kind}{text}\r\n").as_bytes());
}

fn blob(out: &mut Vec<u8>, kind: char, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    line(out, kind, &len.to_string());
    out.extend(parts.iter().copied().flatten());
    out.extend_from_slice(b"\r\n");
}

fn aggregate(out: &mut Vec<u8>, kind: char, items: &[Reply], protocol: Protocol) {
    line(out, kind, &items.len().to_string());
    for item in items {
        item.write(protocol, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use redis::{PushKind, Value, VerbatimFormat, parse_redis_value};

    use super::*;

    fn encoded(reply: &Reply) -> [String; 2] {
        [Protocol::Resp2, Protocol::Resp3]
            .map(|protocol| String::from_utf8(reply.encode(protocol)).unwrap())
    }

    #[test]
    fn what_resp2_lacks_is_sent_as_the_nearest_it_has() {
        let entry = (Reply::bulk("proto"), Reply::Integer(3));
        assert_eq!(encoded(&Reply::Null), ["$-1\r\n", "_\r\n"]);
        assert_eq!(
            encoded(&Reply::Map(vec![entry])),
            ["*2\r\n$5\r\nproto\r\n:3\r\n", "%1\r\n$5\r\nproto\r\n:3\r\n"]
        );
        assert_eq!(
            encoded(&Reply::Push(vec![Reply::bulk("message")])),
            ["*1\r\n$7\r\nmessage\r\n", ">1\r\n$7\r\nmessage\r\n"]
        );
        assert_eq!(
            encoded(&Reply::Verbatim("a:1\r\n".into())),
            ["$5\r\na:1\r\n\r\n", "=9\r\ntxt:a:1\r\n\r\n"]
        );
    }

    #[test]
    fn the_rest_is_the_same_in_both() {
        for (reply, bytes) in [
            (Reply::ok(), "+OK\r\n"),
            (Reply::Error("ERR no".into()), "-ERR no\r\n"),
            (Reply::Integer(-1), ":-1\r\n"),
            (Reply::bulk(""), "$0\r\n\r\n"),
            (
                Reply::Array(vec![Reply::ok(), Reply::ok()]),
                "*2\r\n+OK\r\n+OK\r\n",
            ),
            (
                Reply::Several(vec![Reply::ok(), Reply::ok()]),
                "+OK\r\n+OK\r\n",
            ),
        ] {
            assert_eq!(encoded(&reply), [bytes, bytes]);
        }
    }

    #[test]
    fn an_error_that_quotes_a_client_is_one_line() {
        let reply = Reply::Error("ERR unknown command 'a\r\n+OK'".into());
        assert_eq!(encoded(&reply)[0], "-ERR unknown command 'a  +OK'\r\n");
    }

    /// Replies, each with the value that the `redis` crate must read from it.
    fn replies() -> impl Strategy<Value = (Reply, Value)> {
        let leaf = prop_oneof![
            Just((Reply::ok(), Value::Okay)),
            Just((Reply::Simple("PONG"), Value::SimpleString("PONG".into()))),
            Just((Reply::Null, Value::Nil)),
            any::<i64>().prop_map(|n| (Reply::Integer(n), Value::Int(n))),
            vec(any::<u8>(), 0..20).prop_map(|b| (Reply::bulk(&b), Value::BulkString(b))),
            "[ -~\r\n]{0,20}".prop_map(|text| {
                let format = VerbatimFormat::Text;
                (
                    Reply::Verbatim(text.clone()),
                    Value::VerbatimString { format, text },
                )
            }),
        ];
        leaf.prop_recursive(3, 20, 4, |item| {
            let items = vec(item.clone(), 0..4).prop_map(|i| i.into_iter().unzip());
            let entries = vec((item.clone(), item), 0..4).prop_map(|entries| {
                let split = |((k, key), (v, value))| ((k, v), (key, value));
                entries.into_iter().map(split).unzip()
            });
            prop_oneof![
                items.prop_map(|(r, v): (Vec<_>, Vec<_>)| (Reply::Array(r), Value::Array(v))),
                entries.prop_map(|(r, v): (Vec<_>, Vec<_>)| (Reply::Map(r), Value::Map(v))),
            ]
        })
    }

    proptest! {
        #[test]
        fn another_decoder_reads_what_was_meant((reply, value) in replies()) {
            let read = parse_redis_value(&reply.encode(Protocol::Resp3)).unwrap();
            prop_assert_eq!(read, value);
        }

        #[test]
        fn another_decoder_reads_a_message(channel in ".*", payload in vec(any::<u8>(), 0..40)) {
            let items = vec![Reply::bulk("message"), Reply::bulk(&channel), Reply::bulk(&payload)];
            let read = parse_redis_value(&Reply::Push(items).encode(Protocol::Resp3)).unwrap();
            let data = vec![Value::BulkString(channel.into()), Value::BulkString(payload)];
            prop_assert_eq!(read, Value::Push { kind: PushKind::Message, data });
        }
    }
}
