//! The configs and the questions on the chapter's page.

use lab::Transport;
use observatory::{Addresses, Method, Question, Scene, Talk, Trial};

pub(crate) const SCENE: Scene = Scene {
    methods: &[
        Method::file("round robin", "03-websocket.conf"),
        Method::file("round robin, no upgrade headers", "02-round-robin.conf"),
    ],
    talk: Talk::Everyone,
    questions: &[
        Question {
            ask: "Round robin. Nine clients connect with long polling. How many get in?",
            trial: Trial::Connect {
                method: "round robin",
                transport: Transport::Polling,
                addresses: Addresses::One,
            },
            why: "The handshake opens a session in the memory of one server. Round robin sends the \
                  next request to another server. That server does not know the session, and \
                  answers 400 Session ID unknown. Each client tries again every second. When many \
                  clients try at the same time, a few get in by chance: the requests of the \
                  others change which server is next.",
        },
        Question {
            ask: "The same nine clients use only WebSocket. How many get in?",
            trial: Trial::Connect {
                method: "round robin",
                transport: Transport::WebSocket,
                addresses: Addresses::One,
            },
            why: "A WebSocket is one connection, and one request opens it. There is no second \
                  request that could go to another server.",
        },
    ],
    ..Scene::EMPTY
};
