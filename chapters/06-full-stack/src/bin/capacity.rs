//! Chapter 6, aside: what limits the number of sockets. See `CAPACITY.md`.
//!
//! ```text
//! cargo run -p ch06-full-stack --bin capacity                                          each limit, met and lifted
//! cargo run -p ch06-full-stack --bin capacity -- --check                               the same, then says what held, exits 0 or 1
//! cargo run -p ch06-full-stack --bin capacity -- --sockets 100000 --messages 50        no stage: what so many sockets need
//! ```

use std::{env, process::ExitCode};

use ch06_full_stack::{
    capacity::Capacity,
    chat,
    limits::{
        CONFIG, Crowd, PORTS, SHORTAGE, crowd, in_a_network_of_its_own, line_with, ports,
        serve_with_descriptors, serve_with_memory, with_connections,
    },
};
use clap::Parser;
use lab::{Chapter, Event, Observer, Result, Stage, client::PATIENCE, event::Part};
use tokio::time::timeout;

fn main() -> ExitCode {
    if Capacity::is_asked_for(env::args()) {
        let report = Capacity::parse().report();
        return lab::exit_code(report.map(ch01_express_pid::log));
    }
    Chapter::new("Chapter 6 · what limits the number of sockets", chat::serve)
        .with_program("ports", in_a_network_of_its_own)
        .run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note(
        "Each limit made so small that dozens of sockets meet it, or hundreds, and then\n\
         lifted. In the order in which 30,000 sockets would meet them.\n\n",
    );
    descriptors(stage).await?;
    connections(stage).await?;
    few_ports(stage).await?;
    memory(stage).await?;
    stage.try_by_hand(
        "What so many sockets need, and which limit they meet first\n\n  \
         cargo run -p ch06-full-stack --bin capacity -- --sockets 100000 --messages 50",
    );
    Ok(())
}

/// More than the narrow server can take.
const WANTED: usize = 64;

async fn descriptors(stage: &mut Stage) -> Result<()> {
    stage.step("Descriptors: a server that may have 64, and one that may have 200");
    let mut full = crowd_of_one_server(stage, 64).await?;
    stage.claim_seen(
        format!(
            "64 sockets are too many: {} are open, and the next waits",
            full.users.len()
        ),
        full.told(),
        full.error.is_some(),
    );
    let said = stage.await_line('A', SHORTAGE).await;
    stage.claim(
        "the server says so, and lives",
        said && stage.server_pid('A').is_some(),
    );
    full.users.truncate(full.users.len() / 2);
    let again = crowd(&[&stage.server_url('A')?], 5).await;
    stage.claim(
        "half of them leave, and it takes new ones",
        again.users.len() == 5,
    );
    drop((full, again));
    let lifted = crowd_of_one_server(stage, 200).await?;
    stage.claim(
        "with `ulimit -n 200` all 64 are open",
        lifted.users.len() == WANTED,
    );
    Ok(())
}

async fn crowd_of_one_server(stage: &mut Stage, limit: usize) -> Result<Crowd> {
    serve_with_descriptors(stage, &env::current_exe()?, limit).await?;
    Ok(crowd(&[&stage.server_url('A')?], WANTED).await)
}

async fn connections(stage: &mut Stage) -> Result<()> {
    stage.step("Connections of an nginx worker: 32, and 200");
    stage.start_servers(3, &[("ADAPTER", "off")]).await?;
    let mut observer = stage.observer();
    let full = crowd_through_nginx(stage, 32).await?;
    stage.claim_seen(
        format!(
            "with `worker_connections 32;` {} sockets are open",
            full.users.len()
        ),
        full.told(),
        full.error.is_some() && full.users.len() <= 16,
    );
    let line = line_with(&mut observer, "worker_connections are not enough").await;
    let has_line = line.is_some();
    stage.claim_seen("nginx's log says why", line.unwrap_or_default(), has_line);
    drop(full);
    let lifted = crowd_through_nginx(stage, 200).await?;
    stage.claim("with 200, all 64 are open", lifted.users.len() == WANTED);
    Ok(())
}

async fn crowd_through_nginx(stage: &mut Stage, connections: usize) -> Result<Crowd> {
    let site = stage.nginx_site(CONFIG, |config| with_connections(config, connections))?;
    let url = stage.run_nginx(&site).await?;
    Ok(crowd(&[&url], WANTED).await)
}

async fn few_ports(stage: &Stage) -> Result<()> {
    stage.step(&format!(
        "Ports: a network with {PORTS} for outgoing connections"
    ));
    let Some([one, three]) = ports(stage).await? else {
        stage.note("Not shown: this system gives nobody a network of his own (`unshare -Urn`).");
        return Ok(());
    };
    stage.claim_seen(
        format!(
            "nginx has {} connections to one server, and no more",
            one.held
        ),
        one.client.unwrap_or_default(),
        one.held == PORTS,
    );
    let has_line = one.line.is_some();
    stage.claim_seen(
        "nginx's log says why",
        one.line.unwrap_or_default(),
        has_line,
    );
    stage.claim(
        format!(
            "with three servers all {} are open: a port counts for each server",
            three.held
        ),
        three.held == 2 * PORTS && three.client.is_none(),
    );
    Ok(())
}

/// More than 4 MiB can hold.
const MANY: usize = 500;

async fn memory(stage: &mut Stage) -> Result<()> {
    stage.step("Memory: a server that may take 4 MiB more than it starts with, and 64");
    let observer = stage.observer().from_now();
    let Some(full) = crowd_within(stage, 4).await? else {
        stage.note("Not shown: only Linux says how much memory a process starts with.");
        return Ok(());
    };
    stage.claim_seen(
        format!("after {} sockets it is full", full.users.len()),
        full.told(),
        full.error.is_some(),
    );
    let line = line_with(&mut observer.clone(), "memory allocation of").await;
    let has_line = line.is_some();
    stage.claim_seen(
        "the server says so, and this one dies",
        line.unwrap_or_default(),
        has_line && server_dies(&mut observer.clone()).await,
    );
    drop(full);
    let lifted = crowd_within(stage, 64).await?;
    stage.claim(
        format!("with 64 MiB all {MANY} are open"),
        lifted.is_some_and(|crowd| crowd.users.len() == MANY),
    );
    Ok(())
}

async fn crowd_within(stage: &mut Stage, mebibytes: usize) -> Result<Option<Crowd>> {
    if !serve_with_memory(stage, &env::current_exe()?, mebibytes * 1024).await? {
        return Ok(None);
    }
    Ok(Some(crowd(&[&stage.server_url('A')?], MANY).await))
}

/// Waits until the stage has seen server A's end.
async fn server_dies(observer: &mut Observer) -> bool {
    let seen = async {
        loop {
            let is_end = |event| {
                matches!(
                    event,
                    Event::Down {
                        part: Part::Server('A'),
                        ..
                    }
                )
            };
            let mut events = observer.next(1_000).await.into_iter();
            if events.any(|observed| is_end(observed.event)) {
                return;
            }
        }
    };
    timeout(PATIENCE, seen).await.is_ok()
}
