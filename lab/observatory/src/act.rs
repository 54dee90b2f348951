//! What the page can ask for.

use std::time::Duration;

use anyhow::Result;
use lab::Transport;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::seat::Addresses;

/// How often the page gets new events and a new state.
pub(crate) const BEAT: Duration = Duration::from_millis(50);

/// Something that the page can ask for.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Act {
    AddClients {
        count: usize,
        transport: Carrier,
        addresses: Addresses,
    },
    RemoveClients,
    Requests {
        count: usize,
        addresses: Addresses,
    },
    Method {
        name: String,
    },
    KillServer {
        letter: char,
    },
    StartServer {
        letter: char,
    },
    StopRedis,
    StartRedis,
    Switch {
        choice: String,
    },
    Say {
        from: String,
        #[serde(default)]
        to: String,
        text: String,
    },
    Predict {
        question: usize,
        answer: usize,
    },
}

/// A transport, under the name that the page uses.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Carrier {
    Polling,
    Websocket,
    Default,
}

impl From<Carrier> for Transport {
    fn from(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Polling => Self::Polling,
            Carrier::Websocket => Self::WebSocket,
            Carrier::Default => Self::Upgrade,
        }
    }
}

/// A request of the page, and the channel for its answer.
pub(crate) struct Asked {
    pub(crate) act: Act,
    pub(crate) answered: oneshot::Sender<Result<Value>>,
}
