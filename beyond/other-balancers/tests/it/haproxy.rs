//! HAProxy in nginx's place.

use ch03_socket_polling::experiments::{is_session_unknown, poll_twice};
use ch04_ip_hash::{Addresses, connect_from, per_server};
use harness::untested;
use lab::{Client, Stage, Transport};
use other_balancers::{
    haproxy::{a_dies, hang, unanswered},
    process::Haproxy,
};

use crate::LESSON;

/// HAProxy; `None`, after a line that says so, where it is missing.
pub(crate) async fn found() -> Option<Haproxy> {
    match Haproxy::find().await {
        Ok(haproxy) => Some(haproxy),
        Err(reason) => {
            untested("with HAProxy", &reason.to_string());
            None
        }
    }
}

/// A stage with three servers, and HAProxy.
async fn stage() -> Option<(Stage, Haproxy)> {
    let haproxy = found().await?;
    let mut stage = Stage::silent(LESSON).unwrap();
    stage.servers.start(3, &[]).await.unwrap();
    Some((stage, haproxy))
}

async fn end(stage: Stage, mut haproxy: Haproxy) {
    haproxy.stop().await;
    stage.stop().await;
}

#[tokio::test]
async fn behind_haproxys_round_robin_the_second_poll_is_refused() {
    let Some((mut stage, mut haproxy)) = stage().await else {
        return;
    };
    let url = haproxy.switch(&mut stage, "04-round-robin.cfg").await;
    let twice = poll_twice(&Client::new("you", &url.unwrap()))
        .await
        .unwrap();
    assert!(is_session_unknown(&twice.refusal.unwrap()));
    assert_ne!(twice.owner, twice.asked);

    let url = haproxy.switch(&mut stage, "04-balance-source.cfg").await;
    let twice = poll_twice(&Client::new("you", &url.unwrap()))
        .await
        .unwrap();
    assert_eq!(twice.refusal, None);
    end(stage, haproxy).await;
}

#[tokio::test]
async fn haproxys_cookie_spreads_even_one_address_and_needs_a_client_that_keeps_it() {
    let Some((mut stage, mut haproxy)) = stage().await else {
        return;
    };
    let url = haproxy.switch(&mut stage, "04-cookie.cfg").await.unwrap();
    let connect =
        |keep_cookies| connect_from(Addresses::One, &url, 30, Transport::Upgrade, keep_cookies);
    let (connected, failed) = connect(true).await;
    assert_eq!((failed, per_server(&connected).len()), (0, 3));
    drop(connected);
    let (connected, _) = connect(false).await;
    assert_eq!(connected.len(), 0);
    end(stage, haproxy).await;
}

#[tokio::test]
async fn balance_source_moves_clients_of_living_servers_and_a_ring_does_not() {
    let Some((mut stage, mut haproxy)) = stage().await else {
        return;
    };
    let outcome = a_dies(&mut stage, &mut haproxy, "04-balance-source.cfg").await;
    let (moved, of) = outcome.unwrap();
    assert!(moved > 0, "{moved} of {of}");
    let outcome = a_dies(&mut stage, &mut haproxy, "04-consistent-hash.cfg").await;
    let (moved, of) = outcome.unwrap();
    assert!(moved == 0 && of > 0, "{moved} of {of}");
    end(stage, haproxy).await;
}

#[tokio::test]
async fn a_health_check_finds_a_server_that_hangs_and_nginx_leaves_that_to_clients() {
    let Some((mut stage, mut haproxy)) = stage().await else {
        return;
    };
    let url = stage.nginx.switch("03-websocket.conf").await.unwrap();
    hang(&stage, 'A', true).unwrap();
    assert_eq!(unanswered(&url, 6).await, 2);
    hang(&stage, 'A', false).unwrap();

    let url = haproxy.switch(&mut stage, "04-round-robin.cfg").await;
    hang(&stage, 'A', true).unwrap();
    assert!(haproxy.says('A', "DOWN").await.is_some());
    assert_eq!(unanswered(&url.unwrap(), 30).await, 0);
    hang(&stage, 'A', false).unwrap();
    assert!(haproxy.says('A', "UP").await.is_some());
    end(stage, haproxy).await;
}
