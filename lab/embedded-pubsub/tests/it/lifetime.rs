//! When the server is there, and when it is gone.

use std::io;

use embedded_pubsub::Server;

use crate::wire::{Wire, server};

#[test]
fn other_computers_cannot_reach_it() {
    for addr in ["0.0.0.0:0", "192.0.2.1:6379", "[::]:0"] {
        let error = Server::start(addr).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            format!(
                "embedded-pubsub has no passwords and listens only to this computer (127.0.0.1 or \
                 [::1]), not on {addr}"
            )
        );
    }
}

#[test]
fn two_do_not_share_a_port() {
    let server = server();
    let error = Server::start(server.addr()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn its_url_is_what_client_libraries_take() {
    let server = server();
    let port = server.addr().port();
    assert_eq!(
        server.url(),
        format!("redis://127.0.0.1:{port}/?protocol=resp3")
    );
}

/// A server whose port no client of another test can take meanwhile, as the port of its own end:
/// clients have the address 127.0.0.1. (macOS has no other one.)
fn server_that_comes_back() -> Server {
    let host = if cfg!(target_os = "linux") {
        "127.0.0.2"
    } else {
        "127.0.0.1"
    };
    Server::start((host, 0)).unwrap()
}

#[tokio::test]
async fn a_stopped_server_has_left_its_port_and_its_clients() {
    let mut server = server_that_comes_back();
    let addr = server.addr();
    for _ in 0..20 {
        let mut client = Wire::to(addr);
        client.ask(
            "SUBSCRIBE news",
            "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
        );
        server.stop().await;
        assert_eq!(client.read_to_end(), "");
        server = Server::start(addr).unwrap();
    }
}

#[test]
fn a_dropped_server_has_left_its_port_and_its_clients() {
    let server = server_that_comes_back();
    let addr = server.addr();
    let mut client = Wire::to(addr);
    client.ask("PING", "+PONG\r\n");
    drop(server);
    assert_eq!(client.read_to_end(), "");
    Wire::to(Server::start(addr).unwrap().addr());
}

#[test]
fn a_client_that_reads_nothing_does_not_hold_up_the_end() {
    let server = server();
    let mut client = Wire::to(server.addr());
    // More than the kernel takes for a client that does not read.
    client.send(format!("ECHO {}\r\n", "x".repeat(60_000)).repeat(400));
    let mut other = Wire::to(server.addr());
    other.ask("PING", "+PONG\r\n");
    drop(server);
    assert_eq!(other.read_to_end(), "");
}
