//! The configs and the questions on the chapter's page.

use lab::Transport;
use observatory::{Addresses, Method, Question, Scene, Switch, Talk, Trial};

pub(crate) const SCENE: Scene = Scene {
    methods: &[
        Method::file("ip_hash", "06-full-stack.conf"),
        Method::file("round robin", "03-websocket.conf"),
    ],
    talk: Talk::Private,
    switch: Some(Switch {
        label: "adapter",
        variable: "ADAPTER",
        choices: &["off", "redis"],
        chosen: "redis",
    }),
    questions: &[
        Question {
            ask: "The adapter is off. Alice on one server writes to Bob on another. What happens?",
            trial: Trial::Write { choice: "off" },
            why: "On Alice's server, the room with Bob's name is empty. No other server is asked.",
        },
        Question {
            ask: "The adapter is on. Alice writes the same message. What happens?",
            trial: Trial::Write { choice: "redis" },
            why: "The adapter publishes the message to the other servers. Bob's server delivers it.",
        },
        Question {
            ask: "The adapter is on, but nginx uses round robin. Nine clients connect with long \
                  polling. How many connect?",
            trial: Trial::Connect {
                method: "round robin",
                transport: Transport::Polling,
                addresses: Addresses::ManySubnets,
            },
            why: "The adapter shares messages, not sessions. A poll that reaches another server is \
                  still refused: 400 Session ID unknown.",
        },
    ],
};
