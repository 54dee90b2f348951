//! A chapter's stage after its experiments, and the page that a learner would open then.

use std::{
    io::{BufRead, BufReader, Lines, Read, Write},
    net::TcpStream,
    process::Command,
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
        command.args(experiments);
        Self::started_by(command)
    }

    /// The same for a chapter's command with another environment.
    pub fn started_by(mut command: Command) -> Self {
        command.args(["--ports", "auto"]);
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

    /// The stage's PID.
    pub fn pid(&self) -> u32 {
        self.stage.pid()
    }

    /// The page, open and ready.
    pub async fn open(&self, browser: &Browser) -> Page {
        let page = browser.page().await;
        page.viewport(1440, 900).await;
        page.goto(&format!("http://{}/", self.host)).await;
        page.wait_js("document.body.dataset.ready === 'true'").await;
        page
    }

    /// Sends a request as the page does. Returns the status and the answer.
    pub fn act(&self, order: &Value) -> (u16, Value) {
        let origin = format!("http://{}", self.host);
        let (status, body) = self.post(&self.host, &origin, &order.to_string());
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// The same with other headers, as another site in the same browser could send them.
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

    /// The page's live events, as the page reads them.
    pub fn events(&self) -> Events {
        let mut stream = TcpStream::connect(&self.host).expect("the page's server listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout can be set");
        write!(
            stream,
            "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.host
        )
        .expect("the request is sent");
        Events {
            lines: BufReader::new(stream).lines(),
        }
    }

    /// The URL of the stage's Redis, from the record of its experiments.
    pub fn redis_url(&self) -> String {
        let mut stream = TcpStream::connect(&self.host).expect("the page's server listens");
        write!(
            stream,
            "GET /lesson HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.host
        )
        .expect("the request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let lesson: Value = serde_json::from_str(body).expect("JSON");
        let events = lesson["events"].as_array().expect("a list of events");
        let up = events
            .iter()
            .find(|event| event["event"] == "up" && event["part"] == "redis")
            .expect("Redis has started");
        let detail = up["detail"].as_str().expect("its URL and its version");
        let (url, _version) = detail.split_once(", ").expect("its URL and its version");
        url.to_owned()
    }

    /// Asks each question of the page. Returns the number of each right answer, and the result.
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

/// The live events of a page: server-sent events.
pub struct Events {
    lines: Lines<BufReader<TcpStream>>,
}

impl Events {
    /// Waits for a state of the stage that is `wanted`, and returns the state.
    pub fn state(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let state = self.next("state");
            if wanted(&state) {
                return state;
            }
        }
    }

    /// Waits for a batch of events, and returns the events.
    pub fn batch(&mut self) -> Vec<Value> {
        let mut batch = self.next("batch");
        serde_json::from_value(batch["events"].take()).expect("a list of events")
    }

    /// The data of the next server-sent event with this name.
    fn next(&mut self, name: &str) -> Value {
        let named = format!("event: {name}");
        let mut lines = self
            .lines
            .by_ref()
            .map(|line| line.expect("the page goes on"));
        lines
            .find(|line| *line == named)
            .unwrap_or_else(|| panic!("the page's events have ended before {name}"));
        let data = lines.next().expect("a line of data");
        let data = data.strip_prefix("data: ").expect("the event's data");
        serde_json::from_str(data).expect("JSON")
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
