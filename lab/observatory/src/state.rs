//! The state of the stage, as the page shows it.

use serde_json::json;

use crate::{director::Director, scene::Talk};

impl Director<'_> {
    /// Sends the state to the page, if it has changed.
    pub(crate) fn tell_state(&self) {
        let servers: Vec<_> = self
            .stage
            .servers
            .addresses()
            .into_iter()
            .map(|address| {
                let letter = self.letter(address);
                json!({
                    "letter": letter,
                    "address": address,
                    "pid": self.stage.servers.pid(letter),
                    "byHand": self.by_hand.contains(&letter),
                })
            })
            .collect();
        let clients: Vec<_> = self
            .clients
            .seats()
            .into_iter()
            .map(|seat| {
                json!({
                    "name": seat.name,
                    "address": seat.address,
                    "transport": seat.transport.to_string(),
                    "server": seat.server.map(|server| self.letter(server)),
                    "status": seat.status,
                    "attempts": seat.attempts,
                    "why": seat.why,
                })
            })
            .collect();
        let questions: Vec<_> = self
            .scene
            .questions
            .iter()
            .map(|question| json!({ "ask": question.ask, "answers": question.trial.answers() }))
            .collect();
        let methods: Vec<_> = self
            .scene
            .methods
            .iter()
            .map(|method| json!({ "name": method.name, "config": method.config }))
            .collect();
        let state = json!({
            "title": self.stage.title(),
            "program": self.program,
            "servers": servers,
            "nginx": self.method.map(|method| json!({
                "url": self.stage.nginx.url().unwrap_or_default(),
                "method": method.name,
                "config": method.config,
            })),
            "methods": methods,
            "redis": self.stage.redis.origin().map(|(origin, is_up)| json!({
                "up": is_up,
                "own": self.stage.redis.is_own(),
                "origin": origin,
            })),
            "switch": self.scene.switch.as_ref().map(|switch| json!({
                "label": switch.label,
                "choices": switch.choices,
                "chosen": self.choice,
            })),
            "clients": clients,
            "talk": match self.scene.talk {
                Talk::None => None,
                Talk::Everyone => Some("everyone"),
                Talk::Private => Some("private"),
            },
            "ledger": self.clients.ledger(),
            "questions": questions,
        });
        self.state.send_if_modified(|told| {
            let is_news = *told != state;
            *told = state;
            is_news
        });
    }
}
