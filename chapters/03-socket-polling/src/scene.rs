//! What there is to choose from on the chapter's page.

use lab::Transport;
use observatory::{Crowd, Method, Question, Scene, Talk, Trial};

pub(crate) const SCENE: Scene = Scene {
    methods: &[
        Method::file("round robin", "03-websocket.conf"),
        Method::file("round robin, no upgrade headers", "02-round-robin.conf"),
    ],
    talk: Talk::Everyone,
    questions: &[
        Question {
            ask: "Round robin. Nine clients connect with long polling: who gets in?",
            trial: Trial::Connect {
                method: "round robin",
                transport: Transport::Polling,
                crowd: Crowd::OneAddress,
            },
            why: "The handshake opens a session in the memory of one server. Round robin takes \
                  the next request to another one, which does not know it: 400 Session ID \
                  unknown. They try again each second; where many do so at once, some get in by \
                  luck, because the turns of others bring their requests back.",
        },
        Question {
            ask: "The same nine clients with WebSocket alone: who gets in?",
            trial: Trial::Connect {
                method: "round robin",
                transport: Transport::WebSocket,
                crowd: Crowd::OneAddress,
            },
            why: "A WebSocket is one connection, opened by one request: there is no second \
                  request that could go to another server.",
        },
    ],
    ..Scene::EMPTY
};
