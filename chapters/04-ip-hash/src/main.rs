//! Chapter 4: one line of nginx, and the same experiment passes. What does it cost?
//!
//! ```text
//! cargo run -p ch04-ip-hash                three servers, nginx, the experiments; stays up until Ctrl-C
//! cargo run -p ch04-ip-hash -- --check     the same, then says what held, exits 0 or 1
//! cargo run -p ch04-ip-hash -- list        which experiments there are; name one to run it alone
//! PORT=8000 cargo run -p ch04-ip-hash      one server: chapter 3's
//! ```

mod questions;

use std::process::ExitCode;

use ch03_socket_polling::{
    experiments::{connect_one_by_one, poll_twice},
    serve,
};
use ch04_ip_hash::{
    Addresses, both_are_answered, connect_from, ip_hash,
    methods::{Method, Servers, compare},
    second_is_refused, servers_of,
};
use lab::{Client, Lesson, Result, Socket, Stage, Transport, client::PATIENCE};

use crate::questions::SCENE;

fn main() -> ExitCode {
    Lesson::new(
        "Chapter 4 · ip_hash: the same client, the same server",
        serve,
    )
    .intro(
        "Chapter 3's servers, and one more line for nginx.\n\
         Watch the letters: do all requests of a client reach the same server?\n\n",
    )
    .with(
        "round-robin",
        "Round robin: two requests of one client",
        round_robin,
    )
    .with(
        "ip-hash",
        "ip_hash: the same servers, the same two requests",
        with_ip_hash,
    )
    .with(
        "one-subnet",
        "The first limit: only the first three octets of an address count",
        one_subnet,
    )
    .with(
        "server-dies",
        "The second limit: 12 clients are connected, and server A dies",
        server_dies,
    )
    .with(
        "methods",
        "Six methods compared: how many of 30 connect, and how many to A/B/C",
        methods,
    )
    .by_hand(by_hand)
    .with_page(async |stage| observatory::open(stage, &SCENE).await)
    .run()
}

async fn round_robin(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("03-websocket.conf").await?;
    let twice = poll_twice(&stage.client("you", &url)).await?;
    second_is_refused(
        stage,
        &twice,
        "the second request is refused: 400 Session ID unknown",
    );
    Ok(())
}

async fn with_ip_hash(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("04-ip-hash.conf").await?;
    let twice = poll_twice(&stage.client("you", &url)).await?;
    both_are_answered(stage, &twice);
    for transport in [Transport::Polling, Transport::Upgrade, Transport::WebSocket] {
        let tally = connect_one_by_one(&url, transport, 30).await;
        stage.claim_seen(
            format!("transport {transport}: every client connects"),
            format!("{} of 30", tally.connected),
            tally.connected == 30,
        );
    }
    Ok(())
}

async fn one_subnet(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("04-ip-hash.conf").await?;
    let servers = stage.servers.addresses();
    let mut as_computed = true;
    for (addresses, used, claim) in [
        (
            Addresses::OneSubnet,
            1,
            "10.0.0.1 to 10.0.0.254 all get one server",
        ),
        (
            Addresses::ManySubnets,
            3,
            "10.0.1.1 to 10.0.254.1 are spread over all three",
        ),
    ] {
        let asked = servers_of(addresses, &url, 254).await?;
        as_computed &= asked
            .iter()
            .all(|(address, server)| *server == Some(servers[ip_hash(*address, servers.len())]));
        let counts = servers.iter().map(|server| {
            let of_this_server = asked.iter().filter(|(_, asked)| *asked == Some(*server));
            of_this_server.count()
        });
        let counts: Vec<_> = counts.collect();
        stage.claim_seen(
            claim,
            format!("A {}, B {}, C {}", counts[0], counts[1], counts[2]),
            counts.iter().filter(|count| **count > 0).count() == used,
        );
    }
    stage.claim(
        "nginx chooses as `ip_hash` in src/lib.rs computes, for all 508",
        as_computed,
    );
    stage.note("So one office is one server's load, and so are all clients behind one NAT.");
    Ok(())
}

async fn server_dies(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("04-ip-hash.conf").await?;
    let a = stage.servers.addresses().first().copied();
    let (clients, _) =
        connect_from(Addresses::ManySubnets, &url, 12, Transport::Upgrade, false).await;
    let connected = clients.len();
    let (lost, kept): (Vec<_>, Vec<_>) = clients
        .into_iter()
        .partition(|client| client.socket.owner == a);

    stage.servers.kill('A').await?;
    let mut moved = 0;
    let broken = lost.len();
    for mut client in lost {
        let (old_id, ended) = (client.socket.id.clone(), client.socket.ends(PATIENCE).await);
        let again = Client::at("you", &url, client.address);
        if let Ok(again) = Socket::connect(&again, Transport::Upgrade, None).await {
            moved += usize::from(ended && again.owner != a && again.id != old_id);
        }
    }
    let mut undisturbed = 0;
    for client in &kept {
        undisturbed += usize::from(client.socket.emit("message", &"still here".into()).is_ok());
    }
    stage.claim_failure(
        "only A's clients lose their sessions",
        format!("{broken} of {connected}"),
        connected == 12 && broken > 0 && undisturbed == kept.len(),
    );
    stage.claim_seen(
        "A's clients reconnect at once to another server, with a new session",
        format!("{moved} of {broken}"),
        moved == broken,
    );
    stage.servers.start_one('A').await
}

async fn methods(stage: &mut Stage) -> Result<()> {
    use Servers::{None, One, Several};
    stage.servers.start(3, &[]).await?;
    let methods = [
        Method::new(
            "round robin",
            "03-websocket.conf",
            [None; 3],
            "round robin: no client connects",
        ),
        Method::new(
            "least_conn",
            "04-least-conn.conf",
            [None; 3],
            "least_conn: no client connects; it ignores the client",
        ),
        Method::new(
            "ip_hash",
            "04-ip-hash.conf",
            [One, One, Several],
            "ip_hash: all connect; one address or one /24 gets one server",
        ),
        Method::new(
            "hash $remote_addr",
            "04-consistent-hash.conf",
            [One, Several, Several],
            "hash $remote_addr: a /24 is spread; one address gets one server",
        ),
        Method::new(
            "cookie",
            "04-cookie.conf",
            [Several; 3],
            "cookie: even one address is spread, if clients keep cookies",
        )
        .keeping_cookies(),
        Method::new(
            "WebSocket only",
            "03-websocket.conf",
            [Several; 3],
            "WebSocket only: clients are spread, and need no sticky session",
        )
        .websocket_only(),
    ];
    compare(stage, &methods).await
}

async fn by_hand(stage: &mut Stage) -> Result<String> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("04-ip-hash.conf").await?;
    let pid = stage.servers.pid('A').unwrap_or_default();
    let port = stage.servers.addresses()[0].port();
    Ok(format!(
        "Choose an address. The header X-Upstream names the server that nginx chose for it:\n\n  \
         curl -sI -H 'X-Forwarded-For: 10.0.1.1' {url}/\n\n\
         Do the same with 10.0.1.2, 10.0.2.1, 10.0.3.1. Then kill a server, and start it again:\n\n  \
         kill -9 {pid}                               server A\n  \
         PORT={port} cargo run -p ch04-ip-hash"
    ))
}
