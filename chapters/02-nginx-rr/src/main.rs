//! Chapter 2: three servers behind one address. Which server answers?
//!
//! ```text
//! cargo run -p ch02-nginx-rr                      three servers, nginx, the experiments; stays up until Ctrl-C
//! cargo run -p ch02-nginx-rr -- --check           the experiments, then exit code 0 (every claim held) or 1
//! cargo run -p ch02-nginx-rr -- server-dies       one experiment alone; `-- list` prints their names
//! PORT=8000 cargo run -p ch02-nginx-rr            one server, as in chapter 1
//! ```

mod questions;

use std::{collections::BTreeMap, env, process::ExitCode, time::Duration};

use ch01_express_pid::app;
use ch02_nginx_rr::{ask, ask_until_answered_by, listen_shared};
use lab::{Client, Event, Lesson, Part, Program, Result, Stage};
use lab_server::{listen, serve};

use crate::questions::SCENE;

fn main() -> ExitCode {
    Lesson::new("Chapter 2 · three servers behind nginx", server)
        .intro(
            "Three copies of chapter 1's server, with nginx in front of them.\n\
             The letter behind each arrow is the server that answered.",
        )
        .with(
            "in-turn",
            "Six requests through nginx, one after the other",
            in_turn,
        )
        .with(
            "server-dies",
            "Server B dies, then starts again",
            server_dies,
        )
        .with(
            "backup",
            "A fourth server, D, is a `backup`: nginx uses it if all others are dead",
            backup,
        )
        .with(
            "shared-port",
            "Without nginx: three processes share one port (SO_REUSEPORT)",
            shared_port,
        )
        .with_program("worker", worker)
        .by_hand(by_hand)
        .with_page(async |stage| observatory::open(stage, &SCENE).await)
        .run()
}

/// Chapter 1's server.
async fn server() -> Result<()> {
    Ok(serve("Server", listen().await?, app(), async {}).await?)
}

async fn in_turn(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("02-round-robin.conf").await?;

    let answers = ask(&stage.client("you", &url), 6).await;
    stage.claim(
        "round robin: the three servers answer in turn",
        answers.in_strict_order(3),
    );
    Ok(())
}

async fn server_dies(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("02-round-robin.conf").await?;
    let b = stage.servers.addresses()[1];

    stage.servers.kill('B').await?;
    let answers = ask(&stage.client("you", &url), 6).await;
    stage.claim("no request fails", answers.failed == 0);
    stage.claim("A and C answer", answers.per_pid().len() == 2);
    stage.claim(
        "nginx tries B once, passes that request to C, then leaves B out",
        answers.tried(b) == 1,
    );

    stage.servers.start_one('B').await?;
    stage.note("One request every 200 ms. After `fail_timeout`, 10 s, nginx tries B again …");
    // These requests are too many to show.
    let (answers, after) =
        ask_until_answered_by(&Client::new("you", &url), b, Duration::from_secs(20)).await;
    stage.claim("no request fails while B is left out", answers.failed == 0);
    let seen = after.map(|after| format!("{:.1} s after B's start", after.as_secs_f64()));
    stage.claim_seen(
        "nginx uses B again",
        seen.unwrap_or_default(),
        after.is_some(),
    );
    Ok(())
}

async fn backup(stage: &mut Stage) -> Result<()> {
    stage.servers.start(4, &[]).await?;
    let url = stage.nginx.start("02-backup.conf").await?;
    let client = stage.client("you", &url);
    let d = stage.servers.addresses()[3];

    let answers = ask(&client, 6).await;
    stage.claim(
        "while the others run, D gets no request",
        answers.failed == 0 && answers.tried(d) == 0,
    );

    for letter in ['A', 'B', 'C'] {
        stage.servers.kill(letter).await?;
    }
    let answers = ask(&client, 3).await;
    let by_d = answers.ok.iter().all(|answer| answer.server() == Some(d));
    stage.claim("when the others are dead, D answers every request", by_d);
    stage.claim("no request fails", answers.failed == 0);

    // The other experiments use three servers.
    stage.servers.stop().await;
    stage.servers.start(3, &[]).await
}

/// The article's alternative: Node's cluster module lets processes share a port, too.
async fn shared_port(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let nginx = stage.nginx.start("02-round-robin.conf").await?;
    let address = stage.address(8010)?;
    let shared = format!("http://{address}");
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(start_worker(stage, address.port()).await?);
    }

    spread(stage, &shared, &nginx).await;
    a_worker_dies(stage, &shared, workers).await?;
    a_server_dies_behind_nginx(stage, &nginx).await
}

async fn spread(stage: &Stage, shared: &str, nginx: &str) {
    // 120 requests are too many to show.
    let shared = ask(&Client::new("you", shared), 60).await;
    let proxied = ask(&Client::new("you", nginx), 60).await;
    stage.note(format!(
        "60 connections to the shared port: {}\n60 requests through nginx:         {}",
        counts(&shared.per_pid()),
        counts(&proxied.per_pid()),
    ));
    if cfg!(target_os = "linux") {
        stage.claim(
            "the kernel chooses by chance: all three get connections, in no order",
            shared.per_pid().len() == 3 && !shared.in_strict_order(3),
        );
    } else {
        stage.note("This system gives every connection to one process; Linux spreads them.");
    }
    stage.claim(
        "nginx sends 20 requests to each server, in turn",
        proxied.in_strict_order(3) && proxied.per_pid().values().all(|count| *count == 20),
    );
}

async fn a_worker_dies(stage: &Stage, shared: &str, mut workers: Vec<Program>) -> Result<()> {
    stage.note("A client keeps its connection to the shared port open. Its process dies:");
    let client = stage.client("you", shared);
    let mut connection = client.connect().await?;
    let first = client.get_over(&mut connection, "/").await?;
    let is_theirs = |worker: &Program| first.body.ends_with(&format!(": {}", worker.pid()));
    let died = workers.iter().position(is_theirs);
    if let Some(died) = died {
        let worker = workers.swap_remove(died);
        stage.record(Event::Down {
            part: Part::Program("worker"),
            how: format!("kill -9 {}", worker.pid()),
        });
        worker.kill().await;
    }
    let second = client.get_over(&mut connection, "/").await;
    let error = second.err().map(|error| error.to_string());
    stage.claim_failure(
        "the client's connection breaks",
        error.clone().unwrap_or_default(),
        died.is_some() && error.is_some(),
    );
    Ok(())
}

async fn a_server_dies_behind_nginx(stage: &mut Stage, nginx: &str) -> Result<()> {
    stage.note("Another client keeps its connection to nginx open. Server A dies:");
    let client = stage.client("you", nginx);
    let mut connection = client.connect().await?;
    client.get_over(&mut connection, "/").await?;
    stage.servers.kill('A').await?;
    let mut answered = 0;
    for _ in 0..3 {
        let answer = client.get_over(&mut connection, "/").await;
        answered += usize::from(answer.is_ok_and(|answer| answer.status == 200));
    }
    stage.claim("behind nginx, the client sees no failure", answered == 3);
    stage.servers.start_one('A').await
}

async fn by_hand(stage: &mut Stage) -> Result<String> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("02-round-robin.conf").await?;
    let pid = stage.servers.pid('B').unwrap_or_default();
    let port = stage.servers.addresses()[1].port();
    Ok(format!(
        "curl -i {url}/           several times: look at the PID and at X-Upstream\n\
         kill -9 {pid}                            kills server B; then ask again\n\
         PORT={port} cargo run -p ch02-nginx-rr     starts B again; nginx uses it after about 11 s"
    ))
}

/// One of the processes that share a port.
async fn worker() -> Result<()> {
    let port = env::var("SHARED_PORT")?.parse()?;
    Ok(serve("Server", listen_shared(port)?, app(), async {}).await?)
}

async fn start_worker(stage: &Stage, port: u16) -> Result<Program> {
    let mut worker = stage.start_program("worker", &[], &[("SHARED_PORT", &port.to_string())])?;
    // Its first line comes once it accepts connections.
    worker.next_line().await;
    Ok(worker)
}

fn counts(per_pid: &BTreeMap<u32, usize>) -> String {
    let counts: Vec<_> = per_pid.values().map(ToString::to_string).collect();
    counts.join(" / ")
}
