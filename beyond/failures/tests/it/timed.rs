//! Drills that count how many attempts a client needs. These tests run alone: on a machine that is
//! busy with others, an attempt could take longer than a client waits.

use drills::Row;
use failures::{nginx::restart_under_sockets, sockets::kill_under_sockets};
use harness::binary::{command, run};

use crate::{
    FAILURES, QUIET,
    sockets::{EACH, bench, of},
};

#[tokio::test]
async fn after_a_dead_server_or_nginx_all_clients_are_back_at_their_first_attempt() {
    let _alone = QUIET.write().await;
    tokio::join!(
        a_killed_server_moves_its_sockets_and_its_return_moves_polling_clients_again(),
        restarting_nginx_breaks_every_session_and_all_clients_come_back(),
    );
}

async fn a_killed_server_moves_its_sockets_and_its_return_moves_polling_clients_again() {
    let config = "06-full-stack.conf";
    let (mut bench, url, redis) = bench(config).await;
    let killed = kill_under_sockets(&mut bench.stage, &url, &redis, EACH, config).await;
    let rows = killed.unwrap();
    assert!(rows.iter().all(Row::holds), "{rows:?}");
    let moved: Vec<_> = of(&rows, "sockets").iter().map(|row| row.sent).collect();
    assert_eq!(moved, [2, 2, 2], "two of each transport were on it");
    let broken: Vec<_> = of(&rows, "sessions").iter().map(|row| row.lost).collect();
    assert_eq!(broken, [0, 2, 0], "websocket, polling, default");
}

async fn restarting_nginx_breaks_every_session_and_all_clients_come_back() {
    let config = "06-full-stack.conf";
    let (mut bench, url, redis) = bench(config).await;
    let restarted = restart_under_sockets(&url, &redis, EACH, config, async {
        bench.end_nginx().await;
        bench.start_nginx_again(config).await;
        Ok(())
    });
    let rows = restarted.await.unwrap();
    assert!(rows.iter().all(Row::holds), "{rows:?}");
}

/// The stage's own nginx: its log shows when its workers end.
#[test]
fn an_old_worker_lives_as_long_as_its_sockets_or_its_timeout() {
    let _alone = QUIET.blocking_write();
    let outcome = run(command(FAILURES).args(["sockets-nginx-reload", "--ports", "auto"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for row in [
        "the old worker, after its last socket",
        "the old worker, after the reload",
    ] {
        assert!(outcome.stdout.contains(row), "{outcome:?}");
    }
}
