//! The exact bytes, for what matters to clients.

use crate::wire::{Wire, server};

#[test]
fn a_resp2_subscriber_gets_arrays() {
    let server = server();
    let mut subscriber = Wire::to(server.addr());
    let mut publisher = Wire::to(server.addr());
    subscriber.ask(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
    );
    subscriber.ask(
        "PSUBSCRIBE w*",
        "*3\r\n$10\r\npsubscribe\r\n$2\r\nw*\r\n:2\r\n",
    );
    publisher.ask("PUBLISH news hello", ":1\r\n");
    subscriber.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    publisher.ask("PUBLISH weather sun", ":1\r\n");
    subscriber.expect("*4\r\n$8\r\npmessage\r\n$2\r\nw*\r\n$7\r\nweather\r\n$3\r\nsun\r\n");
    publisher.ask("PUBLISH other x", ":0\r\n");
}

#[test]
fn a_resp3_subscriber_gets_pushes_and_may_do_other_things_too() {
    let server = server();
    let mut client = Wire::to(server.addr());
    client.ask(
        "HELLO 3 AUTH default secret SETNAME learner",
        "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n\
         $5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
         $4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
    );
    client.ask(
        "SSUBSCRIBE news",
        ">3\r\n$10\r\nssubscribe\r\n$4\r\nnews\r\n:1\r\n",
    );
    client.ask(
        "SPUBLISH news hello",
        ">3\r\n$8\r\nsmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n:1\r\n",
    );
    client.ask("CLIENT GETNAME", "$7\r\nlearner\r\n");
    client.ask("RESET", "+RESET\r\n");
    client.ask("CLIENT GETNAME", "$-1\r\n");
    client.ask("SPUBLISH news hello", ":0\r\n");
}

#[test]
fn a_resp2_subscriber_may_do_little_else() {
    let server = server();
    let mut client = Wire::to(server.addr());
    client.ask(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
    );
    client.ask(
        "client id",
        "-ERR Can't execute 'client|id': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
         RESET are allowed in this context\r\n",
    );
    client.ask("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    client.ask(
        "UNSUBSCRIBE",
        "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n",
    );
    client.ask("PING", "+PONG\r\n");
}

#[test]
fn a_data_command_is_told_that_it_needs_a_real_redis() {
    let server = server();
    let mut client = Wire::to(server.addr());
    client.ask(
        "XADD stream * field value",
        "-ERR unknown command 'XADD', with args beginning with: 'stream' '*' 'field' 'value' \
         (this is embedded-pubsub, which has pub/sub only; keys, lists, streams and the like \
         need a real Redis)\r\n",
    );
    client.ask("PING", "+PONG\r\n");
}

#[test]
fn info_says_what_it_is() {
    let server = server();
    let mut client = Wire::to(server.addr());
    client.say("INFO");
    let info = client.read_bulk();
    assert!(
        info.starts_with("# Server\r\nserver_name:embedded-pubsub\r\nredis_version:"),
        "{info}"
    );
    client.say("INFO clients");
    assert_eq!(
        client.read_bulk(),
        "# Clients\r\nconnected_clients:1\r\npubsub_clients:0\r\n"
    );
    client.ask("INFO nothing", "$0\r\n\r\n");
}

#[test]
fn a_client_can_be_listed_and_killed() {
    let server = server();
    let mut admin = Wire::to(server.addr());
    let mut subscriber = Wire::to(server.addr());
    admin.ask("CLIENT ID", ":1\r\n");
    subscriber.ask("CLIENT SETNAME victim", "+OK\r\n");
    subscriber.ask("CLIENT SETINFO lib-name redis-rs", "+OK\r\n");
    subscriber.ask(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
    );
    admin.say("CLIENT LIST");
    let list = admin.read_bulk();
    let line = list.lines().nth(1).unwrap();
    for field in [
        "id=2 ",
        " name=victim ",
        " flags=P ",
        " sub=1 ",
        " resp=2 ",
        " lib-name=redis-rs ",
    ] {
        assert!(line.contains(field), "{field:?} in {line:?}");
    }
    admin.ask("CLIENT KILL TYPE pubsub", ":1\r\n");
    assert_eq!(subscriber.read_to_end(), "");
    admin.ask("PUBLISH news hello", ":0\r\n");
    admin.ask("CLIENT KILL ID 1 SKIPME no", ":1\r\n");
    assert_eq!(admin.read_to_end(), "");
}

#[test]
fn what_is_no_resp_is_answered_once_and_ends_the_connection() {
    let server = server();
    for (bytes, answer) in [
        (
            "*1\r\n$-1\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        ),
        (
            "*9999999\r\n",
            "-ERR Protocol error: invalid multibulk length\r\n",
        ),
        (
            "*1\r\n*1\r\n",
            "-ERR Protocol error: expected '$', got '*'\r\n",
        ),
        (
            "PING \"\r\n",
            "-ERR Protocol error: unbalanced quotes in request\r\n",
        ),
    ] {
        let mut client = Wire::to(server.addr());
        client.send(bytes);
        assert_eq!(client.read_to_end(), answer);
    }
}

#[test]
fn a_web_page_that_posts_to_the_port_publishes_nothing() {
    let server = server();
    let mut subscriber = Wire::to(server.addr());
    subscriber.ask(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
    );
    let mut browser = Wire::to(server.addr());
    browser.send("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nPUBLISH news forged\r\n");
    assert_eq!(browser.read_to_end(), "");
    subscriber.ask("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
}

#[test]
fn a_client_that_closes_its_half_still_gets_its_answers() {
    let server = server();
    let mut client = Wire::to(server.addr());
    client.send("PING\r\nECHO hello\r\n");
    assert_eq!(client.finish(), "+PONG\r\n$5\r\nhello\r\n");
}

#[test]
fn nothing_after_quit_is_answered() {
    let server = server();
    let mut client = Wire::to(server.addr());
    client.send("QUIT\r\nPING\r\n");
    assert_eq!(client.read_to_end(), "+OK\r\n");
}
