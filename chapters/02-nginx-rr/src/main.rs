//! Chapter 2: three servers behind one address. Who answers?
//!
//! ```text
//! cargo run -p ch02-nginx-rr                      three servers, nginx, the experiments; stays up until Ctrl-C
//! cargo run -p ch02-nginx-rr -- --check           the same, then says what held, exits 0 or 1
//! PORT=8000 cargo run -p ch02-nginx-rr            one server, as in chapter 1
//! ```

mod scene;

use std::{collections::BTreeMap, env, process::ExitCode, time::Duration};

use ch01_express_pid::{app, listen, serve};
use ch02_nginx_rr::{ask, ask_until_answered_by, listen_shared};
use lab::{Chapter, Client, Program, Result, Stage};

use crate::scene::SCENE;

fn main() -> ExitCode {
    Chapter::new(
        "Chapter 2 · three servers behind nginx: who answers?",
        server,
    )
    .with_program("worker", worker)
    .with_page(async |stage| observatory::open(stage, &SCENE).await)
    .run(lesson)
}

async fn server() -> Result<()> {
    Ok(serve("Server", listen().await?, app(), async {}).await?)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note(
        "Three copies of chapter 1's server, and nginx in front of them.\n\
         Watch the letter behind each arrow: the server that answered.\n\n",
    );
    stage.start_servers(3, &[]).await?;
    let url = stage.start_nginx("02-round-robin.conf").await?;

    everyone_in_turn(stage, &url).await;
    a_server_dies(stage, &url).await?;
    the_backup_answers(stage).await?;
    one_shared_port(stage).await?;

    stage.start_nginx("02-round-robin.conf").await?;
    let pid = stage.server_pid('B').unwrap_or_default();
    let port = stage.server_addresses()[1].port();
    stage.try_by_hand(format!(
        "curl -i {url}/           a few times: look at the PID, and at X-Upstream\n\
         kill -9 {pid}                            server B; then ask again\n\
         PORT={port} cargo run -p ch02-nginx-rr     and B is back, for nginx after at most 10 s"
    ));
    Ok(())
}

async fn everyone_in_turn(stage: &Stage, url: &str) {
    stage.step("Six requests through nginx, one after the other");
    let asked = ask(url, 6).await;
    let in_turn = asked.in_strict_order(3);
    stage.show(asked.seen);
    stage.claim(
        "round robin: three servers answer, in strict order",
        in_turn,
    );
}

async fn a_server_dies(stage: &mut Stage, url: &str) -> Result<()> {
    let b = stage.server_addresses()[1];

    stage.step("Server B dies");
    stage.kill_server('B').await?;
    let asked = ask(url, 6).await;
    let (failed, servers) = (asked.failed, asked.spread().len());
    let noticed = asked
        .answers
        .iter()
        .filter(|answer| answer.tried.contains(&b));
    let noticed = noticed.count();
    stage.show(asked.seen);
    stage.claim("no request fails", failed == 0);
    stage.claim("the two others answer", servers == 2);
    stage.claim(
        "nginx asks B once, asks the next server instead, and then leaves B alone",
        noticed == 1,
    );

    stage.step("B returns, on the same port");
    stage.start_server('B').await?;
    stage.note("Asking five times a second. nginx tries B again after `fail_timeout`, 10 s …");
    let (asked, after) = ask_until_answered_by(url, b, Duration::from_secs(20)).await;
    stage.claim("no request fails meanwhile", asked.failed == 0);
    stage.claim(
        match after {
            Some(after) => format!(
                "B is used again, {:.1} s after its return",
                after.as_secs_f64()
            ),
            None => "B is used again".to_owned(),
        },
        after.is_some(),
    );
    Ok(())
}

async fn the_backup_answers(stage: &mut Stage) -> Result<()> {
    stage.step("A fourth server, D, as `backup`: asked only when the others are dead");
    stage.start_servers(4, &[]).await?;
    let url = stage.start_nginx("02-backup.conf").await?;
    let d = stage.server_addresses().get(3).copied();

    let before = ask(&url, 6).await;
    let idle = before.answers.iter().all(|answer| answer.server() != d);
    stage.show(before.seen);
    stage.claim("while the others live, D does nothing", idle);

    for letter in ['A', 'B', 'C'] {
        stage.kill_server(letter).await?;
    }
    let after = ask(&url, 3).await;
    let by_d = after.answers.iter().all(|answer| answer.server() == d);
    let failed = after.failed;
    stage.show(after.seen);
    stage.claim("with the others dead, D answers everything", by_d);
    stage.claim("no request fails", failed == 0);
    Ok(())
}

/// The article's alternative: what Node's cluster module would be.
async fn one_shared_port(stage: &mut Stage) -> Result<()> {
    stage.step("Without nginx: three processes share one port (SO_REUSEPORT)");
    stage.stop_servers().await;
    stage.start_servers(3, &[]).await?;
    let address = stage.address(8010)?;
    let url = format!("http://{address}");
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(start_worker(stage, address.port()).await?);
    }

    let shared = ask(&url, 60).await;
    let nginx = stage.start_nginx("02-round-robin.conf").await?;
    let proxied = ask(&nginx, 60).await;
    stage.note(format!(
        "60 connections to the shared port: {}\n60 through nginx:                  {}",
        counts(&shared.spread()),
        counts(&proxied.spread()),
    ));
    if cfg!(target_os = "linux") {
        stage.claim(
            "the kernel deals out connections by chance: everyone gets some, in no order",
            shared.spread().len() == 3 && !shared.in_strict_order(3),
        );
    } else {
        stage.note(
            "This system gives every connection to one of the processes; Linux spreads them.",
        );
    }
    stage.claim(
        "nginx deals out requests: 20 for each, in strict order",
        proxied.in_strict_order(3) && proxied.spread().values().all(|count| *count == 20),
    );

    stage.note("Now a client keeps its connection open, and the process that answered dies:");
    let client = Client::new("you", &url);
    let mut connection = client.connect().await?;
    let first = client.get_over(&mut connection, "/").await?;
    stage.show(client.take_seen());
    let died = workers
        .iter()
        .position(|worker| first.body.ends_with(&format!(": {}", worker.pid())));
    if let Some(died) = died {
        workers.swap_remove(died).kill().await;
    }
    let shared_breaks = client.get_over(&mut connection, "/").await.is_err();
    stage.show(client.take_seen());
    stage.claim(
        "on the shared port, that client's connection breaks",
        died.is_some() && shared_breaks,
    );

    let client = Client::new("you", &nginx);
    let mut connection = client.connect().await?;
    client.get_over(&mut connection, "/").await?;
    stage.show(client.take_seen());
    stage.kill_server('A').await?;
    let mut answered = 0;
    for _ in 0..3 {
        let answer = client.get_over(&mut connection, "/").await;
        answered += usize::from(answer.is_ok_and(|answer| answer.status == 200));
    }
    stage.show(client.take_seen());
    stage.claim(
        "behind nginx, a client that keeps its connection sees no failure",
        answered == 3,
    );
    stage.start_server('A').await
}

/// One of the processes that share a port.
async fn worker() -> Result<()> {
    let port = env::var("SHARED_PORT")?.parse()?;
    Ok(serve("Server", listen_shared(port)?, app(), async {}).await?)
}

async fn start_worker(stage: &Stage, port: u16) -> Result<Program> {
    let mut worker = stage.start_program("worker", &[], &[("SHARED_PORT", &port.to_string())])?;
    // It says that it runs once it accepts connections.
    worker.next_line().await;
    Ok(worker)
}

fn counts(spread: &BTreeMap<u32, usize>) -> String {
    let counts: Vec<_> = spread.values().map(ToString::to_string).collect();
    counts.join(" / ")
}
