//! Tests of `hub`.

use std::time::Duration;

use super::*;

const ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

fn sent(hub: &mut Hub, id: ClientId) -> String {
    let mut bytes = Vec::new();
    let outbox = &mut hub.client_mut(id).unwrap().outbox;
    outbox
        .write_with(|all| {
            bytes = all.to_vec();
            Ok(all.len())
        })
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_message_that_fits_twice_is_sent_and_counted_twice() {
    let mut hub = Hub::new(ADDR);
    let (id, _) = hub.connect(ADDR);
    hub.subscribe(id, Kind::Channel, b"news");
    hub.subscribe(id, Kind::Pattern, b"n*");
    assert_eq!(hub.publish(Kind::Channel, b"news", b"hi"), 2);
    assert_eq!(
        sent(&mut hub, id),
        "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n\
         *4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n"
    );
}

#[test]
fn a_shard_channel_is_not_the_channel_of_the_same_name() {
    let mut hub = Hub::new(ADDR);
    let (id, _) = hub.connect(ADDR);
    hub.subscribe(id, Kind::ShardChannel, b"news");
    hub.subscribe(id, Kind::Pattern, b"*");
    assert_eq!(hub.publish(Kind::ShardChannel, b"news", b"hi"), 1);
    assert!(sent(&mut hub, id).contains("smessage"));
}

#[test]
fn nothing_is_left_of_a_client_that_is_gone() {
    let mut hub = Hub::new(ADDR);
    let (id, _) = hub.connect(ADDR);
    for kind in Kind::ALL {
        hub.subscribe(id, kind, b"news");
    }
    hub.disconnect(id);
    for kind in Kind::ALL {
        assert!(hub.subscribers(kind).is_empty());
    }
    assert_eq!(hub.clients().count(), 0);
}

#[test]
fn who_is_behind_for_more_than_a_minute_is_dropped_without_another_message() {
    let mut hub = Hub::new(ADDR);
    let (slow, _) = hub.connect(ADDR);
    let (fast, _) = hub.connect(ADDR);
    for id in [slow, fast] {
        hub.subscribe(id, Kind::Channel, b"news");
    }
    hub.publish(Kind::Channel, b"news", &vec![b'x'; 9 * 1024 * 1024]);
    sent(&mut hub, fast);
    hub.drop_overdue(Instant::now());
    assert!(hub.client(slow).is_some());
    hub.drop_overdue(Instant::now() + Duration::from_secs(61));
    assert!(hub.client(slow).is_none());
    assert!(hub.client(fast).is_some());
    assert_eq!(hub.dropped_as_too_slow, 1);
}
