//! HAProxy, and nginx's own `sticky`: how do other balancers keep a client on its server?
//!
//! ```text
//! cargo run -p other-balancers                       all experiments; stays up until Ctrl-C
//! cargo run -p other-balancers -- --check            the same, then says what held, exits 0 or 1
//! cargo run -p other-balancers -- list               which experiments there are
//! cargo run -p other-balancers -- haproxy-source     one of them
//! ```
//!
//! `HAPROXY_BIN` names another HAProxy than the one that is installed. `NGINX_BIN` names an nginx
//! of 1.29.6 or newer, which knows `sticky`.

use std::{cell::RefCell, process::ExitCode, rc::Rc};

use anyhow::ensure;
use ch03_socket_polling::serve;
use lab::{Event, Lesson, Result, Stage};
use other_balancers::{haproxy, process::Haproxy, sticky};

fn main() -> ExitCode {
    // HAProxy runs on while the stage stays up, so it belongs to `main`.
    let kept: Rc<RefCell<Option<Haproxy>>> = Rc::default();
    let keep = Rc::clone(&kept);
    Lesson::new("Other balancers: HAProxy, and nginx's own sticky", serve)
        .intro(
            "The same servers and the same clients as in chapter 4, behind other balancers.\n\
             Where a program is missing, its experiments say so, and the others run.\n\n",
        )
        .with(
            "haproxy-round-robin",
            "HAProxy, balance roundrobin: two requests of one client",
            haproxy::round_robin,
        )
        .with(
            "haproxy-source",
            "HAProxy, balance source: the same two requests",
            haproxy::source,
        )
        .with(
            "haproxy-methods",
            "HAProxy's methods: how many of 30 connect, and how many to A/B/C",
            haproxy::methods,
        )
        .with(
            "haproxy-server-dies",
            "HAProxy: server A dies; which other clients change servers?",
            haproxy::server_dies,
        )
        .with(
            "haproxy-server-hangs",
            "Server A hangs (kill -STOP): who finds out, a client or a health check?",
            haproxy::server_hangs,
        )
        .with(
            "nginx-round-robin",
            "nginx, round robin: two requests of a client that keeps cookies",
            sticky::round_robin,
        )
        .with(
            "sticky-cookie",
            "nginx, sticky cookie: the same two requests",
            sticky::cookie,
        )
        .with(
            "sticky-route",
            "nginx, sticky route: a client without cookies says ?server=b",
            sticky::route,
        )
        .with(
            "sticky-methods",
            "nginx, sticky cookie: how many of 30 connect, and how many to A/B/C",
            sticky::methods,
        )
        .with(
            "sticky-drain",
            "nginx, drain: server A keeps its clients, and gets no new ones",
            sticky::drain,
        )
        .at_end(something_ran)
        .by_hand(async move |stage| by_hand(stage, &keep).await)
        .run()
}

/// A check that checked nothing must not succeed.
async fn something_ran(stage: &mut Stage) -> Result<()> {
    let mut observer = stage.observer();
    let events = observer.so_far();
    ensure!(
        events
            .iter()
            .any(|seen| matches!(seen.event, Event::Claim { .. })),
        "no experiment ran: the lines above say which program is missing"
    );
    Ok(())
}

async fn by_hand(stage: &mut Stage, kept: &RefCell<Option<Haproxy>>) -> Result<String> {
    stage.servers.start(3, &[]).await?;
    if let Ok(mut haproxy) = Haproxy::find().await {
        let url = haproxy.start(stage, "04-cookie.cfg").await?;
        kept.replace(Some(haproxy));
        return Ok(format!(
            "HAProxy. Which server do you get, and which header tells HAProxy to choose B?\n\n  \
             curl -sI {url}/\n  curl -sI -H 'Cookie: node=b' {url}/"
        ));
    }
    let config = match sticky::knows_sticky(&stage.nginx.find().await?) {
        Ok(()) => "beyond/04-sticky-cookie.conf",
        Err(_) => "04-cookie.conf",
    };
    let url = stage.nginx.start(config).await?;
    Ok(format!(
        "nginx. Which server do you get, and which cookie names it?\n\n  curl -sI {url}/"
    ))
}
