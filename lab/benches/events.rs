//! What it costs to show an event: as lines of the terminal, and as the JSON of a page's feed.
//!
//! ```sh
//! cargo bench -p lab --bench events
//! ```

#![allow(missing_docs, reason = "criterion's macros")]

use std::{net::SocketAddr, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};

// The files themselves, so that the crate need not show its rendering to anyone; with them
// come their tests, which are run elsewhere.
#[allow(dead_code, unreachable_pub, unused_imports)]
#[path = "../src/event.rs"]
mod event;
#[allow(dead_code, unused_imports)]
#[path = "../src/view.rs"]
mod view;

use event::{Answered, Event, Exchange, Forwarded};
use view::Cast;

criterion_group!(benches, terminal, feed);
criterion_main!(benches);

/// With ANSI colours, before they are stripped where there is no terminal.
fn terminal(criterion: &mut Criterion) {
    let mut cast = Cast::default();
    for (letter, address) in ('A'..).zip(servers()) {
        cast.is(letter, address);
    }
    let mut group = criterion.benchmark_group("terminal");
    for (name, event) in events() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| view::render(&event, &cast));
        });
    }
    group.finish();
}

/// Copied from the list, without session IDs, as JSON.
fn feed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("feed");
    for (name, event) in events() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| serde_json::to_string(&event.clone().without_secrets()));
        });
    }
    group.finish();
}

/// Those that a busy stage has most of.
fn events() -> [(&'static str, Event); 4] {
    const SESSION: &str = "/socket.io/?EIO=4&transport=polling&sid=lv_VI97HAXpY6yYWAAAC";
    let tried = servers().to_vec();
    let exchange = Exchange {
        id: 7,
        client: "alice".to_owned(),
        method: "POST",
        target: SESSION.to_owned(),
        sent: r#"42["say",{"to":"bob","text":"hi, bob"}]"#.to_owned(),
        tried: tried.clone(),
        outcome: Ok(Answered {
            status: 200,
            body: "ok".to_owned(),
        }),
        took: Duration::from_millis(2),
    };
    let forwarded = Forwarded {
        client: "127.0.0.1".to_owned(),
        request: format!("POST {SESSION} HTTP/1.1"),
        status: 200,
        tried,
        seconds: 0.002,
    };
    let frame = Event::Frame {
        client: "bob".to_owned(),
        sent: false,
        text: r#"42["message",{"from":"alice","to":"bob","text":"hi, bob"}]"#.to_owned(),
    };
    let claim = Event::Claim {
        text: "three servers share the requests".to_owned(),
        seen: "4, 4 and 4 of 12".to_owned(),
        held: true,
    };
    [
        ("exchange", Event::Exchange(exchange)),
        ("forwarded", Event::Forwarded(forwarded)),
        ("frame", frame),
        ("claim", claim),
    ]
}

fn servers() -> [SocketAddr; 3] {
    [8000, 8001, 8002].map(|port| ([127, 0, 0, 1], port).into())
}
