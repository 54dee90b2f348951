//! Chapter 4's cookies: nginx's own, where it is new enough, and what one needs of a client.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::io::Write;

use ch03_socket_polling::is_session_unknown;
use ch04_ip_hash::sticky::{knows_sticky, moved, newcomers, settle, twice, twice_to};
use harness::{
    bench::Bench,
    binary::{command, every_claim_holds, is_refused, run},
    node::OfficialClient,
};
use lab::Stage;
use serde_json::{Value, json};

const LESSON: &str = env!("CARGO_BIN_EXE_sticky-cookie");
const CHAPTER: &str = env!("CARGO_BIN_EXE_ch04-ip-hash");

/// A stage with three servers and this machine's nginx, and whether that one is new enough.
/// An older one is tested too: it says what is missing.
///
/// Not an image's: the lesson takes this one, too.
async fn stage() -> (Stage, bool) {
    let mut stage = Stage::silent(CHAPTER).unwrap();
    stage.start_servers(3, &[]).await.unwrap();
    stage.switch_nginx("03-websocket.conf").await.unwrap();
    let knows = knows_sticky(stage.nginx_origin().unwrap());
    if let Err(needs) = &knows {
        // In CI too: the packages there have an older one. Not `eprintln!`, which
        // libtest keeps to itself.
        let _unread = writeln!(std::io::stderr(), "NOT TESTED with `sticky`: {needs}");
    }
    (stage, knows.is_ok())
}

#[tokio::test]
async fn every_claim_holds_where_nginx_is_new_enough_and_elsewhere_one_sentence_says_what_is_needed()
 {
    let (stage, is_new) = stage().await;
    stage.stop().await;
    if is_new {
        every_claim_holds(LESSON);
    } else {
        let mut lesson = command(LESSON);
        lesson.args(["--check", "--ports", "auto"]);
        let needs = ["`sticky` needs nginx 1.29.6, this is nginx ", "NGINX_BIN"];
        is_refused(&mut lesson, 1, &needs);
        let begun = run(&mut lesson).stdout;
        assert!(!begun.contains("running on"), "{begun}");
    }
}

#[tokio::test]
async fn nginxs_own_cookie_keeps_a_client_on_its_server_and_older_nginx_refuses_it() {
    let (mut stage, is_new) = stage().await;
    match stage.switch_nginx("04-sticky-cookie.conf").await {
        Ok(url) => {
            let kept = twice(&url, true).await.unwrap();
            assert_eq!((kept.refusal, kept.owner), (None, kept.asked));
            let forgotten = twice(&url, false).await.unwrap();
            assert!(is_session_unknown(&forgotten.refusal.unwrap()));
        }
        Err(refusal) => {
            let refusal = refusal.to_string();
            assert!(
                refusal.contains("unknown directive \"sticky\""),
                "{refusal}"
            );
            assert!(!is_new, "{refusal}");
        }
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_client_that_names_its_server_in_the_url_needs_no_cookie() {
    let (mut stage, is_new) = stage().await;
    match stage.switch_nginx("04-sticky-route.conf").await {
        Ok(url) => {
            let unnamed = twice(&url, false).await.unwrap();
            assert!(is_session_unknown(&unnamed.refusal.unwrap()));
            for (server, address) in ['a', 'b', 'c'].into_iter().zip(stage.server_addresses()) {
                let named = twice_to(&url, server).await.unwrap();
                assert!(named.refusal.is_none(), "{server}");
                assert_eq!((named.owner, named.asked), (Some(address), Some(address)));
            }
        }
        Err(refusal) => {
            let refusal = refusal.to_string();
            assert!(
                refusal.contains("invalid parameter \"route=a\""),
                "{refusal}"
            );
            assert!(!is_new, "{refusal}");
        }
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_drained_server_keeps_its_clients_and_gets_no_new_ones() {
    let (mut stage, is_new) = stage().await;
    if is_new {
        let url = stage.switch_nginx("04-sticky-cookie.conf").await.unwrap();
        let a = stage.server_addresses()[0];
        assert!(newcomers(&url, 12, a).await.unwrap() > 0);
        let settled = settle(&url, 12).await.unwrap();
        assert!(settled.iter().any(|(_, server)| *server == Some(a)));
        let drained = stage.reload_nginx("04-sticky-drain.conf", str::to_owned);
        drained.await.unwrap();
        assert_eq!(moved(&settled).await.unwrap(), 0);
        assert_eq!(newcomers(&url, 12, a).await.unwrap(), 0);
    } else {
        let refusal = stage.switch_nginx("04-sticky-drain.conf").await;
        let refusal = refusal.unwrap_err().to_string();
        assert!(refusal.contains("invalid parameter \"drain\""), "{refusal}");
    }
    stage.stop().await;
}

#[tokio::test]
async fn the_official_client_in_node_keeps_a_cookie_only_with_credentials() {
    let Some(client) = OfficialClient::find() else {
        return;
    };
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("04-cookie.conf").await;
    let connect = async |credentials: Value| {
        let options = json!({ "url": url, "withCredentials": credentials }).to_string();
        client.run(&["connect", &options]).await
    };
    let outcome = connect(Value::Null).await;
    assert_eq!(outcome["connected"], json!(false), "{outcome}");
    assert_eq!(outcome["status"], json!(400), "{outcome}");
    let outcome = connect(json!(true)).await;
    assert_eq!(outcome["connected"], json!(true), "{outcome}");
}
