//! What the chapter's page asks.

use observatory::{Question, Scene, Switch, Talk, Trial};

pub(crate) const SCENE: Scene = Scene {
    talk: Talk::Private,
    switch: Some(Switch {
        label: "link between servers",
        variable: "LINK",
        choices: &["none", "in-process", "redis"],
        chosen: "redis",
    }),
    questions: &[
        Question {
            ask: "Each server knows only its own users. Alice on A writes to Bob on B:",
            trial: Trial::Write { choice: "none" },
            why: "Alice's server looks for Bob among its own users, and he is on another server.",
        },
        Question {
            ask: "Each server publishes to Redis and subscribes there. The same message:",
            trial: Trial::Write { choice: "redis" },
            why: "Redis gives the message to every server, and the server that has Bob delivers it.",
        },
    ],
    ..Scene::EMPTY
};
