//! One request, and what the commands share.

use crate::{
    hub::{Client, ClientId, Hub},
    reply::Reply,
};

/// `Err` holds an error's text with its code in front.
pub(super) type Answer = Result<Reply, String>;

pub(super) struct Command {
    pub(super) name: &'static str,
    /// In Redis's notation, the name included: 3 is exactly three words, -2 is two
    /// or more.
    pub(super) arity: i64,
    pub(super) run: fn(&mut Call) -> Answer,
    pub(super) subcommands: &'static [Command],
}

impl Command {
    pub(super) const fn new(name: &'static str, arity: i64, run: fn(&mut Call) -> Answer) -> Self {
        Command {
            name,
            arity,
            run,
            subcommands: &[],
        }
    }

    pub(super) const fn with_subcommands(self, subcommands: &'static [Command]) -> Self {
        Command {
            subcommands,
            ..self
        }
    }

    pub(super) fn accepts(&self, words: &[Vec<u8>]) -> bool {
        let count = i64::try_from(words.len()).unwrap_or(i64::MAX);
        count == self.arity || (self.arity < 0 && count >= -self.arity)
    }

    /// With RESP2, a subscriber cannot tell a reply from a message. So only commands
    /// are allowed whose reply has another form than a message.
    pub(super) fn is_allowed_while_subscribed(&self) -> bool {
        self.name.ends_with("subscribe") || matches!(self.name, "ping" | "quit" | "reset")
    }
}

/// One request while it is carried out.
pub(super) struct Call<'a> {
    pub(super) hub: &'a mut Hub,
    pub(super) id: ClientId,
    /// All commands.
    pub(super) commands: &'static [Command],
    pub(super) command: &'static Command,
    /// The request's words, the command's name among them.
    pub(super) words: &'a [Vec<u8>],
}

impl Call<'_> {
    pub(super) fn client(&mut self) -> &mut Client {
        self.hub.client_mut(self.id).expect(STILL_CONNECTED)
    }
}

pub(super) const STILL_CONNECTED: &str = "only a connected client's request is carried out";

pub(super) fn wrong_number_of_arguments(command: &Command) -> String {
    format!(
        "ERR wrong number of arguments for '{}' command",
        command.name
    )
}

/// Whether the word is this name, in upper or lower case.
pub(super) fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// As much of a client's word as fits into an error.
pub(super) fn excerpt(word: &[u8]) -> String {
    String::from_utf8_lossy(&word[..word.len().min(128)]).into_owned()
}

pub(super) fn syntax_error() -> String {
    "ERR syntax error".into()
}
