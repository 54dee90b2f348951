//! A shop: a program outside the chat that posts events for users.

use lab::{
    Client,
    client::{Answer, Error},
};
use serde_json::{Value, json};

use crate::signature::Key;

/// A program that posts events to the API.
pub struct Shop {
    client: Client,
    path: String,
    key: Key,
}

/// An event for a user, as the body of a request. Pusher's `data` is text, and the text is JSON.
pub fn event(user: &str, message: &Value) -> String {
    json!({ "name": "message", "channel": user, "data": message.to_string() }).to_string()
}

/// What a user hears from the shop.
pub fn message(user: &str, text: &str) -> Value {
    json!({ "from": "shop", "to": user, "text": text })
}

impl Shop {
    /// A shop that posts events of the app `app_id` to the API at `url`.
    pub fn new(url: &str, app_id: &str, key: Key) -> Self {
        Self {
            client: Client::new("shop", url),
            path: format!("/apps/{app_id}/events"),
            key,
        }
    }

    /// Posts a body that is signed at `now`, in seconds since 1970.
    pub async fn post(&self, body: &str, now: u64) -> Result<Answer, Error> {
        self.post_another(body, body, now).await
    }

    /// Signs one body and posts another, as an attacker would who has seen the first.
    pub async fn post_another(
        &self,
        signed: &str,
        posted: &str,
        now: u64,
    ) -> Result<Answer, Error> {
        let parameters = self.key.sign("POST", &self.path, signed.as_bytes(), now);
        let query: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let target = format!("{}?{}", self.path, query.join("&"));
        self.client.post(&target, posted.to_owned()).await
    }
}
