//! The experiments, and the servers that they run on.

pub mod burst;
pub mod order;
pub mod origins;
pub mod slow_reader;
pub mod small_requests;
pub mod tokens;

use std::env;

use anyhow::{Result, bail};
use lab::Stage;

use crate::auth::Secret;

/// Settings of the server that would change an experiment.
const SETTINGS: [&str; 4] = ["CHAT_SECRET", "ALLOWED_ORIGIN", "BUFFER", "REQUESTS"];

/// Refuses to run an experiment if a setting of the server is in this process's environment: all
/// servers would have it.
///
/// # Errors
/// One sentence that names the setting.
pub fn no_settings_are_left() -> Result<()> {
    for name in SETTINGS {
        if env::var_os(name).is_some() {
            bail!(
                "{name} is set, and the experiments need servers without it: unset {name}, or set \
                 PORT too to start one server"
            );
        }
    }
    Ok(())
}

/// One new server without Redis, in place of the servers that run. Returns its URL.
async fn one_server(stage: &mut Stage, environment: &[(&str, &str)]) -> Result<String> {
    no_settings_are_left()?;
    stage.servers.stop().await;
    let environment = [&[("ADAPTER", "off")], environment].concat();
    stage.servers.start(1, &environment).await?;
    stage.servers.url('A')
}

/// Three new servers, in place of the servers that run. Returns their URLs.
async fn three_servers(stage: &mut Stage, environment: &[(&str, &str)]) -> Result<[String; 3]> {
    no_settings_are_left()?;
    let redis = stage.redis.start().await?;
    let environment = [&[("REDIS_URL", redis.as_str())], environment].concat();
    stage.servers.stop().await;
    stage.servers.start(3, &environment).await?;
    let [a, b, c] = ['A', 'B', 'C'].map(|letter| stage.servers.url(letter));
    Ok([a?, b?, c?])
}

/// The secret of the servers that need tokens.
const SECRET: &str = "change-me";

/// Three servers that need tokens, behind nginx, and what to try on them.
///
/// # Errors
/// When a part does not start.
pub async fn by_hand(stage: &mut Stage) -> Result<String> {
    let [a, ..] = three_servers(stage, &[("CHAT_SECRET", SECRET)]).await?;
    let nginx = stage.nginx.start("06-full-stack.conf").await?;
    let token = Secret::new(SECRET)?.token("alice").unwrap_or_default();
    Ok(format!(
        "The servers need a token now. This prints one\n\n  \
         CHAT_SECRET={SECRET} cargo run -p hardened-chat --bin token -- alice\n\n\
         In a browser: Alice is admitted with her token, and Mallory is not\n\n  \
         {a}/?user=alice#token={token}\n  \
         {a}/?user=mallory#token={token}\n\n\
         A page of another website is refused\n\n  \
         curl -i -H \"Origin: https://evil.example\" \"{nginx}/socket.io/?EIO=4&transport=polling\""
    ))
}
