//! Tests of `crowd`.

use tokio::{io::AsyncReadExt, net::TcpListener};

use super::*;

#[tokio::test]
async fn a_client_that_is_held_begins_with_the_transport_asked_for() {
    for (transport, begins_with) in [
        (Transport::WebSocket, "transport=websocket "),
        (Transport::Upgrade, "transport=polling "),
        (Transport::Polling, "transport=polling "),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let crowd = Crowd::new(Job {
            targets: Targets::new(vec![listener.local_addr().unwrap()]),
            first: 0,
            clients: 1,
            then: Then::Hold {
                transport,
                speaks: false,
            },
        });
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 60];
            stream.read_exact(&mut request).await.unwrap();
            String::from_utf8_lossy(&request).into_owned()
        };
        let (entered, request) = tokio::join!(crowd.enter(0), server);
        assert!(entered.is_err(), "the server is gone");
        assert!(request.contains(begins_with), "{transport:?}: {request}");
    }
}
