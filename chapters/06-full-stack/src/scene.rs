//! What there is to choose from on the chapter's page.

use lab::Transport;
use observatory::{Crowd, Method, Question, Scene, Switch, Talk, Trial};

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
            ask: "The adapter is off. Alice on one server writes to Bob on another:",
            trial: Trial::Write { choice: "off" },
            why: "The room with Bob's name is empty on Alice's server, and no other is asked.",
        },
        Question {
            ask: "The adapter is on. The same message:",
            trial: Trial::Write { choice: "redis" },
            why: "The adapter publishes it to the other servers, and Bob's delivers it.",
        },
        Question {
            ask: "The adapter is on, but nginx is back at round robin. Nine clients connect with \
                  long polling: who gets in?",
            trial: Trial::Connect {
                method: "round robin",
                transport: Transport::Polling,
                crowd: Crowd::Spread,
            },
            why: "The adapter shares messages, not sessions: a poll that reaches another server \
                  is still refused.",
        },
    ],
};
