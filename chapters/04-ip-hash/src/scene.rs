//! What there is to choose from on the chapter's page.

use lab::Transport;
use observatory::{Crowd, Method, Question, Scene, Talk, Trial};

pub(crate) const SCENE: Scene = Scene {
    methods: &[
        Method::file("ip_hash", "04-ip-hash.conf"),
        Method::file("round robin", "03-websocket.conf"),
        Method::file("least_conn", "04-least-conn.conf"),
        Method::file("hash $remote_addr", "04-consistent-hash.conf"),
        Method::file("cookie", "04-cookie.conf"),
        Method {
            name: "ip_hash with a backup",
            config: "04-ip-hash.conf",
            edit: |file| file.replace("127.0.0.1:8002;", "127.0.0.1:8002 backup;"),
        },
    ],
    talk: Talk::Everyone,
    questions: &[
        Question {
            ask: "Round robin. Nine clients connect with long polling: who gets in?",
            trial: Trial::Connect {
                method: "round robin",
                transport: Transport::Polling,
                crowd: Crowd::Spread,
            },
            why: "A session lives in one server's memory, and round robin takes the next \
                  request to another server: 400 Session ID unknown. They try again for ever; \
                  where several do so at once, one may have the luck to hit its server twice.",
        },
        Question {
            ask: "ip_hash. The same nine clients, each from another network: who gets in?",
            trial: Trial::Connect {
                method: "ip_hash",
                transport: Transport::Polling,
                crowd: Crowd::Spread,
            },
            why: "A client's address chooses its server, so all its requests reach the server \
                  that knows its session.",
        },
        Question {
            ask: "ip_hash. Nine clients of one office, whose addresses differ in the last of four \
                  numbers (a /24): which servers do they get?",
            trial: Trial::Connect {
                method: "ip_hash",
                transport: Transport::Polling,
                crowd: Crowd::OneSubnet,
            },
            why: "Only the first three numbers of an address count. One office is one server's \
                  burden: that is what ip_hash costs.",
        },
    ],
    ..Scene::EMPTY
};
