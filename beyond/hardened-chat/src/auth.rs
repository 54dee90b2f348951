//! Who a user is: a name, and a token that only the servers can have made for it.
//!
//! The token is part of the handshake's `auth`, so it travels in the body of the connect packet. A
//! query string would appear in the log of every proxy on the way.

use std::env;

use anyhow::{Context, Result, bail};
use clap::Parser;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

/// What a client sends in `auth`.
#[derive(Deserialize)]
pub struct Credentials {
    user: String,
    #[serde(default)]
    token: String,
}

/// The secret that all tokens are made with. Without one, the server believes every name.
#[derive(Clone)]
pub struct Secret(Option<Hmac<Sha256>>);

impl Secret {
    /// The secret in the environment variable `CHAT_SECRET`.
    ///
    /// # Errors
    /// When it is set and empty: everybody could make tokens.
    pub fn from_env() -> Result<Self> {
        match env::var("CHAT_SECRET") {
            Err(_) => Ok(Self(None)),
            Ok(secret) if secret.is_empty() => bail!(
                "CHAT_SECRET is empty: unset it, or set it to a long random text, such as `openssl rand -hex 32` prints"
            ),
            Ok(secret) => Self::new(&secret),
        }
    }

    /// A secret with that text.
    ///
    /// # Errors
    /// Never: HMAC takes a key of any length.
    pub fn new(text: &str) -> Result<Self> {
        Ok(Self(Some(Hmac::new_from_slice(text.as_bytes())?)))
    }

    /// Admits a user whose token is right: HMAC-SHA256 of the name, in hex (RFC 2104).
    ///
    /// # Errors
    /// With the sentence for the client's `connect_error`. It does not say which part is wrong,
    /// because that would help somebody who guesses.
    pub fn admit<E>(&self, credentials: Result<Credentials, E>) -> Result<(), &'static str> {
        let Some(secret) = &self.0 else {
            return Ok(());
        };
        let is_right = credentials.is_ok_and(|Credentials { user, token }| {
            let token = hex::decode(token).unwrap_or_default();
            // The comparison takes the same time, however much of the token is right.
            let mac = secret.clone().chain_update(user);
            mac.verify_slice(&token).is_ok()
        });
        if is_right {
            Ok(())
        } else {
            Err("not admitted: `auth` must hold your name as `user`, and its token as `token`")
        }
    }

    /// The token of a user; `None` without a secret.
    pub fn token(&self, user: &str) -> Option<String> {
        let mac = self.0.clone()?.chain_update(user);
        Some(hex::encode(mac.finalize().into_bytes()))
    }
}

/// Prints a user's token. CHAT_SECRET must have the same value as for the servers.
#[derive(Parser)]
pub struct Token {
    /// The user's name.
    user: String,
}

impl Token {
    /// The token.
    ///
    /// # Errors
    /// When there is no secret.
    pub fn print(&self) -> Result<String> {
        Secret::from_env()?
            .token(&self.user)
            .context("CHAT_SECRET is not set: set it to the value that the servers have")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn admits(secret: &Secret, user: &str, token: &str) -> bool {
        let credentials = Credentials {
            user: user.to_owned(),
            token: token.to_owned(),
        };
        secret.admit(Ok::<_, ()>(credentials)).is_ok()
    }

    /// RFC 4231, test case 2.
    #[test]
    fn a_token_is_hmac_sha256_of_the_name() {
        assert_eq!(
            secret("Jefe")
                .token("what do ya want for nothing?")
                .unwrap(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_token_is_for_one_name_and_one_secret() {
        let ours = secret("ours");
        let token = ours.token("alice").unwrap();
        assert!(admits(&ours, "alice", &token));
        assert!(!admits(&ours, "bob", &token));
        assert!(!admits(&secret("theirs"), "alice", &token));
        for wrong in ["", "00", &token[2..], &format!("{token}00"), "no hex"] {
            assert!(!admits(&ours, "alice", wrong), "{wrong:?}");
        }
        assert!(ours.admit(Err(())).is_err());
    }

    #[test]
    fn without_a_secret_every_name_is_believed() {
        assert!(admits(&Secret(None), "alice", ""));
    }
}
