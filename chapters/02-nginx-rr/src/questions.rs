//! The balancing methods and the questions on the chapter's page.

use observatory::{Method, Question, Scene, Trial};

pub(crate) const SCENE: Scene = Scene {
    methods: &[
        Method::file("round robin", "02-round-robin.conf"),
        Method {
            name: "round robin, A with weight 3",
            config: "02-round-robin.conf",
            edit: |file| file.replace("127.0.0.1:8000;", "127.0.0.1:8000 weight=3;"),
        },
        Method {
            name: "random",
            config: "02-round-robin.conf",
            edit: |file| file.replace("upstream nodes {", "upstream nodes {\n        random;"),
        },
    ],
    questions: &[
        Question {
            ask: "Three servers, round robin. One client sends nine requests. Which servers answer?",
            trial: Trial::Requests {
                method: "round robin",
                without: None,
            },
            why: "nginx takes the servers in turn for all requests, whichever client sends them.",
        },
        Question {
            ask: "Server B is killed. The client sends nine requests again. What happens to B's share?",
            trial: Trial::Requests {
                method: "round robin",
                without: Some('B'),
            },
            why: "If a server refuses the connection, nginx tries the next one, and leaves the dead \
                  one out for 10 s. The client notices nothing.",
        },
    ],
    ..Scene::EMPTY
};
