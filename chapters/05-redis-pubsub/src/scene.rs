//! What there is to choose from on the chapter's page.

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
            ask: "Servers that know their own users alone. Alice on A writes to Bob on B:",
            trial: Trial::Write { choice: "none" },
            why: "Alice's server looks among its own users, and Bob is not one of them.",
        },
        Question {
            ask: "Each server publishes to Redis and subscribes. The same message:",
            trial: Trial::Write { choice: "redis" },
            why: "Redis hands the message to every server, and the one that has Bob delivers it.",
        },
    ],
    ..Scene::EMPTY
};
