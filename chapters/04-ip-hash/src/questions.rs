//! The methods and the questions on the chapter's page.

use lab::Transport;
use observatory::{Addresses, Method, Question, Scene, Talk, Trial};

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
            ask: "Round robin. Nine clients connect with long polling. How many connect?",
            trial: Trial::Connect {
                method: "round robin",
                transport: Transport::Polling,
                addresses: Addresses::ManySubnets,
            },
            why: "A session lives in one server's memory, and round robin sends the next \
                  request to another server: 400 Session ID unknown. The clients try again for \
                  ever. When several try at once, one of them may reach its server twice by luck.",
        },
        Question {
            ask: "ip_hash. The same nine clients, each from another network. How many connect?",
            trial: Trial::Connect {
                method: "ip_hash",
                transport: Transport::Polling,
                addresses: Addresses::ManySubnets,
            },
            why: "A client's address chooses its server, so all its requests reach the server \
                  that knows its session.",
        },
        Question {
            ask: "ip_hash. Nine clients of one office: their addresses differ only in the last of \
                  the four numbers (a /24). Which servers do they get?",
            trial: Trial::Connect {
                method: "ip_hash",
                transport: Transport::Polling,
                addresses: Addresses::OneSubnet,
            },
            why: "Only the first three numbers of an address count, so one server gets the whole \
                  office. This is the price of ip_hash.",
        },
    ],
    ..Scene::EMPTY
};
