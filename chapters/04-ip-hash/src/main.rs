//! Chapter 4: one line of nginx, and the same experiment passes. What does it cost?
//!
//! ```text
//! cargo run -p ch04-ip-hash                       three servers, nginx, the experiments; stays up until Ctrl-C
//! cargo run -p ch04-ip-hash -- --check            the same, then says what held, exits 0 or 1
//! PORT=8000 cargo run -p ch04-ip-hash             one server: chapter 3's
//! ```

mod scene;

use std::process::ExitCode;

use ch03_socket_polling::{connect_one_by_one, poll_twice, serve};
use ch04_ip_hash::{
    Crowd, both_are_answered, gather, ip_hash,
    methods::{Method, Servers, compare},
    second_is_refused, servers_of,
};
use lab::{Chapter, Client, Result, Stage, Transport, client::PATIENCE};

use crate::scene::SCENE;

fn main() -> ExitCode {
    Chapter::new(
        "Chapter 4 · ip_hash: the same client, the same server",
        serve,
    )
    .with_page(async |stage| observatory::open(stage, &SCENE).await)
    .run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note(
        "Chapter 3's servers, and one line more for nginx.\n\
         Watch the letters: do all requests of a client reach the same server?\n\n",
    );
    stage.start_servers(3, &[]).await?;
    the_failure_once_more(stage).await?;
    one_line_more(stage).await?;
    one_subnet_is_one_client(stage).await?;
    a_dead_server_takes_its_sessions(stage).await?;
    methods_and_crowds(stage).await?;

    let url = stage.start_nginx("04-ip-hash.conf").await?;
    let pid = stage.server_pid('A').unwrap_or_default();
    let port = stage.server_addresses()[0].port();
    stage.try_by_hand(format!(
        "Who are you, and which server is yours? X-Upstream says it:\n\n  \
         curl -sI -H 'X-Forwarded-For: 10.0.1.1' {url}/\n\n\
         The same with 10.0.1.2, 10.0.2.1, 10.0.3.1. Then kill a server, and start it:\n\n  \
         kill -9 {pid}                               server A\n  \
         PORT={port} cargo run -p ch04-ip-hash"
    ));
    Ok(())
}

async fn the_failure_once_more(stage: &mut Stage) -> Result<()> {
    stage.step("Round robin: two requests of one client");
    let url = stage.start_nginx("03-websocket.conf").await?;
    let twice = poll_twice(&Client::new("you", &url)).await?;
    second_is_refused(
        stage,
        twice,
        "the second is refused: 400 Session ID unknown",
    );
    Ok(())
}

async fn one_line_more(stage: &mut Stage) -> Result<()> {
    stage.step("ip_hash: the same servers, the same two requests");
    let url = stage.start_nginx("04-ip-hash.conf").await?;
    both_are_answered(stage, poll_twice(&Client::new("you", &url)).await?);
    for transport in [Transport::Polling, Transport::Upgrade, Transport::WebSocket] {
        let tally = connect_one_by_one(&url, transport, 30).await;
        stage.claim_seen(
            format!("everybody connects with {transport}"),
            format!("{} of 30", tally.connected),
            tally.connected == 30,
        );
    }
    Ok(())
}

async fn one_subnet_is_one_client(stage: &Stage) -> Result<()> {
    stage.step("The first limit: only the first three octets of an address count");
    let url = stage.nginx_url()?;
    let servers = stage.server_addresses();
    let mut as_computed = true;
    for (crowd, used, claim) in [
        (
            Crowd::OneSubnet,
            1,
            "10.0.0.1 to 10.0.0.254 have one server",
        ),
        (
            Crowd::Spread,
            3,
            "10.0.1.1 to 10.0.254.1 are spread over all",
        ),
    ] {
        let asked = servers_of(&url, crowd, 254).await?;
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
        "nginx chooses as the arithmetic in src/lib.rs says, for all 508",
        as_computed,
    );
    stage.note("One office is one server's burden, and so is everybody behind one NAT.");
    Ok(())
}

async fn a_dead_server_takes_its_sessions(stage: &mut Stage) -> Result<()> {
    stage.step("The second limit: 12 clients are connected, and server A dies");
    let url = stage.nginx_url()?;
    let a = stage.server_addresses().first().copied();
    let (members, _) = gather(&url, Crowd::Spread, 12, Transport::Upgrade, false).await;
    let connected = members.len();
    let (lost, kept): (Vec<_>, Vec<_>) = members
        .into_iter()
        .partition(|member| member.socket.owner == a);

    stage.kill_server('A').await?;
    let mut moved = 0;
    let broken = lost.len();
    for mut member in lost {
        let (old_id, ended) = (member.socket.id.clone(), member.socket.ends(PATIENCE).await);
        let client = Client::at("you", &url, member.address);
        if let Ok(again) = lab::Socket::connect(&client, Transport::Upgrade, None).await {
            moved += usize::from(ended && again.owner != a && again.id != old_id);
        }
    }
    let mut undisturbed = 0;
    for member in &kept {
        undisturbed += usize::from(member.socket.emit("message", &"still here".into()).is_ok());
    }
    stage.claim_seen(
        "the sessions of A are gone, and no others",
        format!("{broken} of {connected}"),
        connected == 12 && broken > 0 && undisturbed == kept.len(),
    );
    stage.claim_seen(
        "their clients connect again at once, to another server, as somebody new",
        format!("{moved} of {broken}"),
        moved == broken,
    );
    stage.start_server('A').await
}

async fn methods_and_crowds(stage: &mut Stage) -> Result<()> {
    use Servers::{None, One, Several};
    let methods = [
        Method::nginx(
            "round robin",
            "03-websocket.conf",
            [None; 3],
            "round robin: nobody connects",
        ),
        Method::nginx(
            "least_conn",
            "04-least-conn.conf",
            [None; 3],
            "least_conn: nobody either; it looks at servers, not at clients",
        ),
        Method::nginx(
            "ip_hash",
            "04-ip-hash.conf",
            [One, One, Several],
            "ip_hash: everybody connects; one address or one /24 is one server",
        ),
        Method::nginx(
            "hash $remote_addr",
            "04-consistent-hash.conf",
            [One, Several, Several],
            "hash $remote_addr: a /24 is spread; one address is one server",
        ),
        Method::nginx(
            "cookie",
            "04-cookie.conf",
            [Several; 3],
            "cookie: even one address is spread, for clients that keep cookies",
        )
        .keeping_cookies(),
        Method::nginx(
            "WebSocket only",
            "03-websocket.conf",
            [Several; 3],
            "WebSocket only: spread without stickiness, for clients that can",
        )
        .websocket_only(),
    ];
    stage.step("Which method serves which crowd: connected of 30, and on A/B/C");
    compare(stage, &methods).await
}
