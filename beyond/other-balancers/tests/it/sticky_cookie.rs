//! Cookies: nginx's own, where it is new enough, and what a cookie needs of the client.

use std::io::Write;

use ch03_socket_polling::experiments::{Twice, is_session_unknown, poll_twice};
use harness::{bench::Bench, node::OfficialClient};
use lab::{Client, Stage};
use other_balancers::sticky::{knows_sticky, moved, new_clients_of, with_cookies};
use serde_json::{Value, json};

use crate::LESSON;

/// A stage with three servers and this machine's nginx, and whether that one is new enough.
/// An older one is tested too: it says what is missing.
///
/// It is not an image's nginx, because the lesson does not use one either.
async fn stage() -> (Stage, bool) {
    let mut stage = Stage::silent(LESSON).unwrap();
    stage.servers.start(3, &[]).await.unwrap();
    stage.nginx.switch("03-websocket.conf").await.unwrap();
    let knows = knows_sticky(stage.nginx.origin().unwrap());
    if let Err(needs) = &knows {
        // In CI too, because the packages there have an older one.
        let _unread = writeln!(std::io::stderr(), "NOT TESTED with `sticky`: {needs}");
    }
    (stage, knows.is_ok())
}

/// Whether this machine's nginx knows `sticky`.
pub(crate) async fn is_known() -> bool {
    let stage = Stage::silent(LESSON).unwrap();
    knows_sticky(&stage.nginx.find().await.unwrap()).is_ok()
}

/// The first two requests of a client that keeps cookies, or of one that does not.
async fn twice(url: &str, keeps_cookies: bool) -> Twice {
    let client = Client::new("you", url);
    let client = if keeps_cookies {
        client.keeping_cookies()
    } else {
        client
    };
    poll_twice(&client).await.unwrap()
}

#[tokio::test]
async fn nginxs_own_cookie_keeps_a_client_on_its_server_and_older_nginx_refuses_it() {
    let (mut stage, is_new) = stage().await;
    match stage.nginx.switch("beyond/04-sticky-cookie.conf").await {
        Ok(url) => {
            let kept = twice(&url, true).await;
            assert_eq!((kept.refusal, kept.owner), (None, kept.asked));
            let forgotten = twice(&url, false).await;
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
    match stage.nginx.switch("beyond/04-sticky-route.conf").await {
        Ok(url) => {
            let unnamed = twice(&url, false).await;
            assert!(is_session_unknown(&unnamed.refusal.unwrap()));
            for (server, address) in ['a', 'b', 'c'].into_iter().zip(stage.servers.addresses()) {
                let client = Client::new("you", &url).with_query(&format!("server={server}"));
                let named = poll_twice(&client).await.unwrap();
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
        let url = stage
            .nginx
            .switch("beyond/04-sticky-cookie.conf")
            .await
            .unwrap();
        let a = stage.servers.addresses()[0];
        assert!(new_clients_of(a, &url, 12).await.unwrap() > 0);
        let clients = with_cookies(&url, 12).await.unwrap();
        assert!(clients.iter().any(|(_, server)| *server == Some(a)));
        let drained = stage
            .nginx
            .reload("beyond/04-sticky-drain.conf", str::to_owned);
        drained.await.unwrap();
        assert_eq!(moved(&clients).await.unwrap(), 0);
        assert_eq!(new_clients_of(a, &url, 12).await.unwrap(), 0);
    } else {
        let refusal = stage.nginx.switch("beyond/04-sticky-drain.conf").await;
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
    let mut bench = Bench::with_servers(LESSON, &[]).await;
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
