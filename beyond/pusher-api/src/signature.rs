//! Pusher's signature. It proves that the sender knows the secret, and that the request is new.
//!
//! The signed text has three lines: the method, the path, and the parameters of the query in the
//! order of their names, without `auth_signature`. One parameter is the MD5 of the body, so the
//! signature covers the body as well.
//!
//! Source: Pusher Channels, HTTP API reference, "Generating authentication signatures".

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

/// The parameters of a query, in the order of their names.
pub type Parameters = BTreeMap<String, String>;

/// The most seconds between the sender's clock and ours. For so many seconds a stolen request can
/// be sent again.
const TOLERANCE: u64 = 600;

/// The time, in seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// A key, which is public, and its secret.
pub struct Key {
    name: String,
    secret: Hmac<Sha256>,
}

impl Key {
    /// A key of that name. Every text can be its secret.
    pub fn new(name: String, secret: &str) -> Result<Self> {
        let secret = Hmac::new_from_slice(secret.as_bytes())?;
        Ok(Self { name, secret })
    }

    /// Signs a request that is sent at `now`, in seconds since 1970: the parameters of its query.
    pub fn sign(&self, method: &str, path: &str, body: &[u8], now: u64) -> Parameters {
        let mut parameters: Parameters = [
            ("auth_key", self.name.clone()),
            ("auth_timestamp", now.to_string()),
            ("auth_version", "1.0".to_owned()),
            ("body_md5", hex::encode(Md5::digest(body))),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let signed = self.mac(method, path, &parameters).finalize();
        let signature = hex::encode(signed.into_bytes());
        parameters.insert("auth_signature".to_owned(), signature);
        parameters
    }

    /// Checks a request that arrived at `now`, in seconds since 1970.
    ///
    /// The error is a sentence for the sender. It tells nothing that is secret.
    pub fn verify(
        &self,
        method: &str,
        path: &str,
        parameters: &Parameters,
        body: &[u8],
        now: u64,
    ) -> Result<(), &'static str> {
        let parameter = |name| parameters.get(name).map_or("", String::as_str);
        if parameter("auth_key") != self.name {
            return Err("auth_key is not the app's key");
        }
        if parameter("auth_version") != "1.0" {
            return Err("auth_version must be 1.0");
        }
        let signature = hex::decode(parameter("auth_signature")).unwrap_or_default();
        // This takes the same time for every wrong signature.
        let signed = self.mac(method, path, parameters);
        if signed.verify_slice(&signature).is_err() {
            return Err("auth_signature does not fit this request");
        }
        let is_recent = |sent: u64| sent.abs_diff(now) <= TOLERANCE;
        if !parameter("auth_timestamp").parse().is_ok_and(is_recent) {
            return Err("auth_timestamp is more than 600 s away from now");
        }
        if parameter("body_md5") != hex::encode(Md5::digest(body)) {
            return Err("body_md5 does not fit the body");
        }
        Ok(())
    }

    fn mac(&self, method: &str, path: &str, parameters: &Parameters) -> Hmac<Sha256> {
        let text = signed_text(method, path, parameters);
        self.secret.clone().chain_update(text)
    }
}

fn signed_text(method: &str, path: &str, parameters: &Parameters) -> String {
    let query: Vec<_> = parameters
        .iter()
        .filter(|(name, _)| *name != "auth_signature")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{method}\n{path}\n{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/apps/3/events";
    const BODY: &[u8] = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    const SENT: u64 = 1_353_088_179;

    fn key() -> Key {
        Key::new("278d425bdf160c739803".to_owned(), "7ad3773142a6692b25b8").unwrap()
    }

    /// The example of Pusher's reference.
    fn parameters() -> Parameters {
        [
            ("auth_key", "278d425bdf160c739803"),
            ("auth_timestamp", "1353088179"),
            ("auth_version", "1.0"),
            ("body_md5", "ec365a775a4cd0599faeb73354201b6f"),
            (
                "auth_signature",
                "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn refused(change: impl FnOnce(&mut Parameters), body: &[u8], now: u64) -> &'static str {
        let mut parameters = parameters();
        change(&mut parameters);
        key()
            .verify("POST", PATH, &parameters, body, now)
            .unwrap_err()
    }

    #[test]
    fn the_example_of_the_reference_has_the_signature_of_the_reference() {
        assert_eq!(key().sign("POST", PATH, BODY, SENT), parameters());
        for now in [SENT - TOLERANCE, SENT, SENT + TOLERANCE] {
            assert_eq!(key().verify("POST", PATH, &parameters(), BODY, now), Ok(()));
        }
    }

    #[test]
    fn a_request_that_was_changed_after_signing_is_refused() {
        let said = "auth_signature does not fit this request";
        for name in ["auth_timestamp", "body_md5"] {
            let change = |parameters: &mut Parameters| {
                parameters.insert(name.to_owned(), "1353088180".to_owned());
            };
            assert_eq!(refused(change, BODY, SENT), said);
        }
        let added = |parameters: &mut Parameters| {
            parameters.insert("info".to_owned(), "1".to_owned());
        };
        assert_eq!(refused(added, BODY, SENT), said);
        assert_eq!(
            refused(|_| {}, b"{}", SENT),
            "body_md5 does not fit the body"
        );
    }

    #[test]
    fn an_old_request_is_refused_and_so_is_one_from_the_future() {
        for now in [SENT - TOLERANCE - 1, SENT + TOLERANCE + 1] {
            assert_eq!(
                refused(|_| {}, BODY, now),
                "auth_timestamp is more than 600 s away from now"
            );
        }
    }
}
