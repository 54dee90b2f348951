//! Clients of older versions of Socket.IO.

use harness::{
    binary::{Running, command},
    node::OfficialClient,
};
use lab::Client;
use serde_json::json;

use crate::CHAPTER;

/// The article's `npm install` brought version 2 of the client, in 2018.
#[tokio::test]
async fn the_articles_own_client_is_refused_and_the_console_says_which_clients_connect() {
    let Some(client) = OfficialClient::find() else {
        return;
    };
    let mut server = Running::start(command(CHAPTER).env("PORT", "0"));
    let ready = server.line_with("running on");
    let port = ready.split(' ').find(|word| word.parse::<u16>().is_ok());
    let url = format!("http://127.0.0.1:{}", port.unwrap());
    for transports in [json!(["polling"]), json!(["websocket"]), json!(["polling"])] {
        let options = json!({ "url": url, "transports": transports, "version": 2 }).to_string();
        let outcome = client.run(&["connect", &options]).await;
        assert_eq!(outcome["connected"], json!(false), "{outcome}");
        if transports == json!(["polling"]) {
            assert_eq!(outcome["status"], json!(400), "{outcome}");
        }
        // An unknown version is another kind, and none is the same kind.
        for query in ["EIO=9&transport=polling", "transport=polling"] {
            let answer = Client::new("you", &url)
                .get_once(&format!("/socket.io/?{query}"))
                .await;
            assert_eq!(answer.unwrap().status, 400, "{query}");
        }
    }
    let options = json!({ "url": url }).to_string();
    assert_eq!(client.run(&["connect", &options]).await["connected"], true);
    let mut said = Vec::new();
    loop {
        let line = server.line_with("");
        if line.ends_with(" connected") {
            break;
        }
        said.push(line);
    }
    // Once for each kind, not once for each request.
    assert_eq!(
        said,
        [
            "a client of Socket.IO 2 was refused (EIO=3): it needs version 3 or 4 of \
             socket.io-client",
            "a client that does not speak EIO=4 was refused: Socket.IO 3 and 4 do",
        ]
    );
}
