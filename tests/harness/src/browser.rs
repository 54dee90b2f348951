//! A real browser: Chromium, driven over the DevTools protocol.
//!
//! `--remote-debugging-pipe` carries JSON messages that end in a NUL, so this needs no port
//! and no library. One browser serves all tests of a file; each page has a context of its
//! own, with no cookies and no cache. <https://chromedevtools.github.io/devtools-protocol/>

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use crate::node;

/// The longest that an answer, a page or a fact may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives Chromium the pipe as descriptors 3 and 4, and a profile that goes with it.
///
/// When the tests end, however they end, descriptor 3 is at its end, Chromium leaves, and
/// the shell removes the profile. Chromium's last children may still write to it: hence
/// the second attempts.
const WRAPPER: &str = r#"
profile=$(mktemp -d -t socket-lab-chromium.XXXXXX) || exit 1
"$@" "--user-data-dir=$profile" about:blank 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null
exec 1>/dev/null
for attempt in 1 2 3 4 5 6 7 8; do rm -rf "$profile" 2>/dev/null && break; sleep 0.1; done
"#;

/// Chromium as quiet as it can be made, and with no way to another host.
const FLAGS: [&str; 15] = [
    "--remote-debugging-pipe",
    "--headless",
    // In a container, and for root, its sandbox does not start. It opens only our pages.
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-breakpad",
    "--password-store=basic",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--disable-features=Translate,MediaRouter,OptimizationHints",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost , EXCLUDE *.localhost",
];

/// A running Chromium, the same one for all tests of a file.
#[derive(Clone)]
pub struct Browser(Arc<Connection>);

/// A page of its own.
pub struct Page {
    connection: Arc<Connection>,
    session: String,
    context: String,
}

struct Connection {
    stdin: Mutex<ChildStdin>,
    state: Mutex<State>,
    /// Changes with every event.
    news: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Value>>,
    /// The events of each session, in the order in which Chromium sent them.
    events: HashMap<String, Vec<Value>>,
}

impl Browser {
    /// `None` where Chromium, or axe-core to judge pages with, is missing: said in a line,
    /// and a failure in CI.
    pub fn find() -> Option<Self> {
        static BROWSER: OnceLock<Option<Browser>> = OnceLock::new();
        BROWSER
            .get_or_init(|| {
                let found = node::fetch().and_then(|()| program());
                let program = found.map_err(|reason| crate::untested("in a browser", &reason));
                program.ok().map(|program| Self::start(&program))
            })
            .clone()
    }

    fn start(program: &Path) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", WRAPPER, "sh"])
            .arg(program)
            .args(FLAGS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is for the tests, whose end is the browser's; the shell must live on
            // to remove the profile.
            .process_group(0)
            .spawn()
            .expect("a shell starts");
        let connection = Arc::new(Connection {
            stdin: Mutex::new(child.stdin.take().expect("stdin is piped")),
            state: Mutex::default(),
            news: watch::Sender::new(()),
        });
        let stdout = child.stdout.take().expect("stdout is piped");
        let listener = Arc::clone(&connection);
        // A thread and not a task: each test has a runtime of its own, and this outlives it.
        thread::spawn(move || {
            listener.listen(stdout);
            child.wait().expect("the shell is ours");
        });
        Self(connection)
    }

    /// A new page, in a context of its own.
    pub async fn page(&self) -> Page {
        let text = |value: &Value| value.as_str().expect("an ID").to_owned();
        let ask = |method, parameters| self.0.ask("", method, parameters);
        let context = ask("Target.createBrowserContext", json!({})).await;
        let context = text(&context["browserContextId"]);
        let target = json!({ "url": "about:blank", "browserContextId": context });
        let target = ask("Target.createTarget", target).await;
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = ask("Target.attachToTarget", target).await;
        let page = Page {
            connection: Arc::clone(&self.0),
            session: text(&session["sessionId"]),
            context,
        };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            page.ask(&format!("{domain}.enable"), json!({})).await;
        }
        page.ask("Page.setLifecycleEventsEnabled", json!({ "enabled": true }))
            .await;
        page
    }
}

/// `CHROMIUM`, or the first of its usual names on `PATH`.
fn program() -> Result<PathBuf, String> {
    if let Some(program) = env::var_os("CHROMIUM").map(PathBuf::from) {
        let is_there = program.is_file();
        return is_there
            .then_some(program)
            .ok_or_else(|| "CHROMIUM names no file".to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .flat_map(|name| env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|program| program.is_file())
        .ok_or_else(|| "Chromium is not installed (or name one with CHROMIUM=…)".to_owned())
}

impl Connection {
    /// Takes what Chromium says, until it is gone.
    fn listen(&self, stdout: ChildStdout) {
        for message in BufReader::new(stdout).split(0) {
            let message = message.expect("Chromium's pipe is read");
            let mut message: Value = serde_json::from_slice(&message).expect("JSON");
            let mut state = self.state.lock().expect("no panic holds it");
            if let Some(id) = message["id"].as_u64() {
                if let Some(asker) = state.waiting.remove(&id) {
                    // Who asked may have given up.
                    let _given_up = asker.send(message);
                }
            } else {
                let session = message["sessionId"].as_str().unwrap_or_default().to_owned();
                let events = state.events.entry(session).or_default();
                events.push(json!({
                    "method": message["method"].take(),
                    "params": message["params"].take(),
                }));
                self.news.send_replace(());
            }
        }
        // Whoever waits for an answer is told that none comes.
        let mut state = self.state.lock().expect("no panic holds it");
        state.waiting.clear();
    }

    /// Sends a command; its answer comes to the receiver.
    fn send(&self, session: &str, method: &str, parameters: Value) -> oneshot::Receiver<Value> {
        let (asker, answer) = oneshot::channel();
        let id = {
            let mut state = self.state.lock().expect("no panic holds it");
            state.last_id += 1;
            let id = state.last_id;
            state.waiting.insert(id, asker);
            id
        };
        let mut command = json!({ "id": id, "method": method });
        command["params"] = parameters;
        if !session.is_empty() {
            command["sessionId"] = session.into();
        }
        let line = command.to_string() + "\0";
        let mut stdin = self.stdin.lock().expect("no panic holds it");
        // If the browser is gone, no answer comes, and that is reported.
        let _gone = stdin.write_all(line.as_bytes());
        answer
    }

    async fn try_ask(&self, session: &str, method: &str, parameters: Value) -> Value {
        timeout(PATIENCE, self.send(session, method, parameters))
            .await
            .unwrap_or_else(|_| panic!("{method}: no answer within {PATIENCE:?}"))
            .unwrap_or_else(|_| panic!("{method}: Chromium is gone"))
    }

    async fn ask(&self, session: &str, method: &str, parameters: Value) -> Value {
        let mut answer = self.try_ask(session, method, parameters).await;
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].take()
    }
}

/// What a person does, and what a person sees.
impl Page {
    async fn ask(&self, method: &str, parameters: Value) -> Value {
        self.connection.ask(&self.session, method, parameters).await
    }

    /// Opens a URL, and waits until it has loaded.
    pub async fn goto(&self, url: &str) {
        let navigated = self.ask("Page.navigate", json!({ "url": url })).await;
        assert!(navigated["errorText"].is_null(), "{url}: {navigated}");
        let is_loaded = |event: &Value| {
            event["method"] == "Page.lifecycleEvent"
                && event["params"]["name"] == "load"
                && event["params"]["loaderId"] == navigated["loaderId"]
        };
        self.wait_events(url, |events| events.iter().any(is_loaded))
            .await;
    }

    /// The value of a JavaScript expression; of a promise, once it has one.
    pub async fn js(&self, expression: &str) -> Value {
        self.evaluate(json!({ "expression": expression })).await
    }

    /// The same in the frame that comes from an origin.
    pub async fn js_in(&self, origin: &str, expression: &str) -> Value {
        let is_frame = |event: &&Value| {
            event["method"] == "Runtime.executionContextCreated"
                && event["params"]["context"]["origin"] == origin
        };
        let events = self.events();
        let created = events.iter().rfind(is_frame);
        let created = created.unwrap_or_else(|| panic!("no frame of {origin}"));
        let context = &created["params"]["context"]["id"];
        self.evaluate(json!({ "expression": expression, "contextId": context }))
            .await
    }

    async fn evaluate(&self, mut expression: Value) -> Value {
        expression["awaitPromise"] = true.into();
        expression["returnByValue"] = true.into();
        let mut answer = self.ask("Runtime.evaluate", expression.clone()).await;
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{}: {thrown}", expression["expression"]);
        answer["result"]["value"].take()
    }

    /// Waits until a JavaScript condition is true.
    pub async fn wait_js(&self, condition: &str) {
        let came = self.js(&until(condition)).await;
        let shown = "document.body.innerText";
        assert!(came == true, "never: {condition}\n{}", self.js(shown).await);
    }

    /// The same in the frame that comes from an origin.
    pub async fn wait_js_in(&self, origin: &str, condition: &str) {
        let came = self.js_in(origin, &until(condition)).await;
        assert!(came == true, "never, in {origin}: {condition}");
    }

    /// Presses and releases the mouse in the middle of an element.
    pub async fn click(&self, selector: &str) {
        // What is still moved by what is drawn above it would be missed.
        let middle = format!(
            "(async () => {{ let before; for (;;) {{ \
             const element = document.querySelector({}); \
             element.scrollIntoView({{ block: 'center', behavior: 'instant' }}); \
             const box = element.getBoundingClientRect(); \
             const middle = [box.x + box.width / 2, box.y + box.height / 2]; \
             if (before?.join() === middle.join()) return middle; \
             before = middle; await new Promise(requestAnimationFrame); }} }})()",
            json!(selector)
        );
        let middle = self.js(&middle).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1,
            });
            self.ask("Input.dispatchMouseEvent", event).await;
        }
    }

    /// Presses and releases `Tab`, `Enter`, `Escape` or a space.
    pub async fn key(&self, key: &str) {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Escape" => ("Escape", 27, ""),
            " " => ("Space", 32, " "),
            other => panic!("{other:?} is none of the keys that tests press"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({
                "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number,
            });
            if kind == "keyDown" {
                event["text"] = text.into();
            }
            self.ask("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Types where the focus is.
    pub async fn type_text(&self, text: &str) {
        self.ask("Input.insertText", json!({ "text": text })).await;
    }

    /// Sets `prefers-color-scheme`, and `prefers-reduced-motion`.
    pub async fn media(&self, scheme: &str, reduced_motion: bool) {
        let motion = if reduced_motion {
            "reduce"
        } else {
            "no-preference"
        };
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": motion },
        ]);
        self.ask(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .await;
    }

    /// Sets the size of the page, in CSS pixels.
    pub async fn viewport(&self, width: u32, height: u32) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.ask("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// What the page looks like.
    pub async fn png(&self) -> Vec<u8> {
        self.js("document.fonts.ready.then(() => true)").await;
        let shot = self
            .ask("Page.captureScreenshot", json!({ "format": "png" }))
            .await;
        decode_base64(shot["data"].as_str().expect("base64"))
    }
}

/// What a person sees in the developer tools.
impl Page {
    /// All events so far, in the order in which Chromium sent them.
    pub fn events(&self) -> Vec<Value> {
        let state = self.connection.state.lock().expect("no panic holds it");
        state.events.get(&self.session).cloned().unwrap_or_default()
    }

    /// Waits until the events so far are as they should be.
    pub async fn wait_events(&self, what: &str, mut are: impl FnMut(&[Value]) -> bool) {
        let mut news = self.connection.news.subscribe();
        let wait = async {
            while !are(&self.events()) {
                news.changed().await.expect("the sender is in `self`");
            }
        };
        let waited = timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
    }

    /// The body of an answer; `None` while there is none.
    pub async fn body(&self, request: &str) -> Option<String> {
        let parameters = json!({ "requestId": request });
        let answer = self
            .connection
            .try_ask(&self.session, "Network.getResponseBody", parameters)
            .await;
        let body = answer["result"]["body"].as_str()?;
        if answer["result"]["base64Encoded"] == true {
            return Some(String::from_utf8_lossy(&decode_base64(body)).into_owned());
        }
        Some(body.to_owned())
    }

    /// Errors and warnings: of the console, of scripts, of what did not load.
    pub fn complaints(&self) -> Vec<String> {
        let is_bad = |level: &Value| {
            ["error", "warning", "assert"]
                .iter()
                .any(|bad| level == bad)
        };
        let events = self.events();
        let complaints = events.iter().filter(|event| {
            let parameters = &event["params"];
            match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => is_bad(&parameters["type"]),
                Some("Log.entryAdded") => is_bad(&parameters["entry"]["level"]),
                _ => false,
            }
        });
        complaints
            .map(|event| event["params"].to_string())
            .collect()
    }

    /// URLs that were asked for at another host than these, such as `127.0.0.1:8000`.
    pub fn foreign(&self, hosts: &[&str]) -> Vec<String> {
        let events = self.events();
        let urls = events
            .iter()
            .filter_map(|event| match event["method"].as_str()? {
                "Network.requestWillBeSent" => event["params"]["request"]["url"].as_str(),
                "Network.webSocketCreated" => event["params"]["url"].as_str(),
                _ => None,
            });
        urls.filter(|url| {
            // `data:` and `blob:` have no host, though their text may name one.
            let rest = ["http://", "https://", "ws://", "wss://"]
                .iter()
                .find_map(|scheme| url.strip_prefix(scheme));
            let host = rest.and_then(|rest| rest.split(['/', '?']).next());
            host.is_some_and(|host| !hosts.contains(&host))
        })
        .map(str::to_owned)
        .collect()
    }

    /// What axe-core finds to be against the rules of accessibility, each with its impact.
    pub async fn axe(&self) -> Vec<String> {
        let axe = node::folder().join("node_modules/axe-core/axe.min.js");
        let axe = std::fs::read_to_string(axe).expect("axe-core is there");
        self.ask("Runtime.evaluate", json!({ "expression": axe }))
            .await;
        let found = self
            .js(
                "axe.run(document, { resultTypes: ['violations'], iframes: false }) \
                 .then(({ violations }) => violations.map(({ impact, id, nodes }) => \
                 `${impact} ${id}: ${nodes.map((node) => node.target).join(' | ')}`))",
            )
            .await;
        serde_json::from_value(found).expect("a list of sentences")
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let context = json!({ "browserContextId": self.context });
        let _unheard = self
            .connection
            .send("", "Target.disposeBrowserContext", context);
    }
}

/// A promise of whether a condition comes true: the page itself looks again and again.
fn until(condition: &str) -> String {
    format!(
        "new Promise((resolve) => {{ const end = performance.now() + {}; \
         (function look() {{ if ({condition}) resolve(true); \
         else if (performance.now() > end) resolve(false); \
         else setTimeout(look, 10); }})(); }})",
        PATIENCE.as_millis() * 3 / 4
    )
}

fn decode_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |digit| DIGITS.iter().position(|known| *known == digit);
    let values: Vec<_> = text.bytes().filter_map(value).collect();
    values
        .chunks(4)
        .flat_map(|four| {
            let bits =
                four.iter().fold(0, |bits, value| bits << 6 | *value) << (6 * (4 - four.len()));
            [16, 8, 0]
                .map(|shift| u8::try_from(bits >> shift & 0xff).expect("eight bits"))
                .into_iter()
                .take(four.len() - 1)
        })
        .collect()
}
