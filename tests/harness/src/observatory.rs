//! A chapter's stage whose lesson is over, and the page that its learner would open now.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    binary::{Running, command},
    browser::{Browser, Page},
};

/// A stage that stays up.
pub struct Observatory {
    /// `127.0.0.1:3030`, or another port.
    pub host: String,
    /// The port of server A.
    pub port: String,
    stage: Running,
}

impl Observatory {
    /// Starts the chapter, and waits for the page's address.
    pub fn of(binary: &str) -> Self {
        Self::after(binary, &[])
    }

    /// The same after these experiments only, so that the page opens sooner.
    pub fn after(binary: &str, experiments: &[&str]) -> Self {
        let mut command = command(binary);
        command.args(["--ports", "auto"]).args(experiments);
        let mut stage = Running::start(&mut command);
        let line = stage.line_with("running on ");
        let port = line.split(' ').skip_while(|word| *word != "on").nth(1);
        let port = port.expect("the port of server A").to_owned();
        stage.line_with("look at it in a browser");
        let line = stage.line_with("http://");
        let (_, host) = line.split_once("http://").expect("the page's address");
        Self {
            host: host.trim().to_owned(),
            port,
            stage,
        }
    }

    /// The page, open and ready.
    pub async fn open(&self, browser: &Browser) -> Page {
        let page = browser.page().await;
        page.viewport(1440, 900).await;
        page.goto(&format!("http://{}/", self.host)).await;
        page.wait_js("document.body.dataset.ready === 'true'").await;
        page
    }

    /// Says what is to be done as the page does. Returns the status and the answer.
    pub fn act(&self, order: &Value) -> (u16, Value) {
        let origin = format!("http://{}", self.host);
        let (status, body) = self.post(&self.host, &origin, &order.to_string());
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// The same with headers of one's own: what another site in the same browser sends.
    pub fn post(&self, host: &str, origin: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.host).expect("the page's server listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout can be set");
        write!(
            stream,
            "POST /do HTTP/1.0\r\nHost: {host}\r\nOrigin: {origin}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("the request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// Asks each question of the page. Returns the right answers' numbers, and what was seen.
    pub fn answers(&self, questions: usize) -> Vec<(u64, String)> {
        (0..questions)
            .map(|question| {
                let order = json!({ "do": "predict", "question": question, "answer": 0 });
                let (status, answer) = self.act(&order);
                assert_eq!(status, 200, "{answer}");
                (
                    answer["right"].as_u64().expect("a number"),
                    answer["seen"].as_str().expect("a sentence").to_owned(),
                )
            })
            .collect()
    }

    /// Ctrl-C. Returns the exit code.
    pub fn end(self) -> Option<i32> {
        self.stage.signal(Signal::INT);
        self.stage.end()
    }
}

/// Chooses an entry of a `<select>`, as a user does.
pub async fn choose(page: &Page, select: &str, entry: &str) {
    page.js(&format!(
        "{{ const select = document.querySelector('{select}'); \
         select.value = '{entry}'; \
         select.dispatchEvent(new Event('change', {{ bubbles: true }})); }}"
    ))
    .await;
}
