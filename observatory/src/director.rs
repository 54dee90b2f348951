//! Does on the stage what the page asks for, one thing after the other.

use std::{collections::HashSet, env, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lab::{Observer, Stage, Transport};
use serde::Deserialize;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    Method, Scene, Talk,
    clients::{Clients, Crowd, Door, LOST_AFTER, Seat, Status},
    published,
    server::BEAT,
    trial::{COUNT, Outcome, Trial, WRITERS, of_clients, of_requests},
};

/// How often the stage looks whether a dead server was started by hand.
const LOOK: Duration = Duration::from_millis(500);
/// How long a trial waits for clients to get in or be refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the page can ask for.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Act {
    AddClients {
        count: usize,
        transport: Carrier,
        crowd: Crowd,
    },
    RemoveClients,
    Requests {
        count: usize,
        crowd: Crowd,
    },
    Method {
        name: String,
    },
    KillServer {
        letter: char,
    },
    StartServer {
        letter: char,
    },
    StopRedis,
    StartRedis,
    Switch {
        choice: String,
    },
    Say {
        from: String,
        #[serde(default)]
        to: String,
        text: String,
    },
    Predict {
        question: usize,
        answer: usize,
    },
}

/// A transport by the name that the page gives it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Carrier {
    Polling,
    Websocket,
    Default,
}

impl From<Carrier> for Transport {
    fn from(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Polling => Self::Polling,
            Carrier::Websocket => Self::WebSocket,
            Carrier::Default => Self::Upgrade,
        }
    }
}

/// Something to do, and who waits to hear that it is done.
pub(crate) struct Asked {
    pub(crate) act: Act,
    pub(crate) answered: oneshot::Sender<Result<Value>>,
}

pub(crate) struct Director<'s> {
    stage: &'s mut Stage,
    scene: &'static Scene,
    clients: Clients,
    method: Option<&'static Method>,
    choice: Option<&'static str>,
    /// The servers that the stage has no process of, and whose port is served all the same.
    by_hand: HashSet<char>,
    state: watch::Sender<Value>,
    published: Option<JoinHandle<()>>,
    /// This program, which `cargo run -p` starts by the same name.
    program: String,
}

impl<'s> Director<'s> {
    pub(crate) fn new(stage: &'s mut Stage, scene: &'static Scene) -> Self {
        let published = stage
            .redis_url()
            .map(|url| tokio::spawn(published::watch(url, stage.recorder())));
        let director = Self {
            clients: Clients::new(scene.talk, stage.recorder()),
            stage,
            scene,
            method: scene.methods.first(),
            choice: scene.switch.as_ref().map(|switch| switch.chosen),
            by_hand: HashSet::new(),
            state: watch::Sender::new(Value::Null),
            published,
            program: program(),
        };
        director.tell_state();
        director
    }

    /// What is observed from the time on at which the page was opened: the lesson's own
    /// clients are gone, and the terminal told of them.
    pub(crate) fn observer(&self) -> Observer {
        self.stage.observer().from_now()
    }

    pub(crate) fn state(&self) -> watch::Receiver<Value> {
        self.state.subscribe()
    }

    /// Does what is asked, and keeps the page's state true, until nobody asks any more.
    pub(crate) async fn direct(&mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut observer = self.stage.observer();
        loop {
            tokio::select! {
                order = asked.recv() => {
                    let Some(Asked { act, answered }) = order else { return };
                    let outcome = self.act(act).await;
                    self.tell_state();
                    // The page may have been closed meanwhile.
                    let _unread = answered.send(outcome);
                }
                () = self.something_new(&mut observer) => {
                    self.look_for_servers().await;
                    self.tell_state();
                }
            }
        }
    }

    /// Ready a beat after something has changed: hundreds of events a second change one state.
    async fn something_new(&self, observer: &mut Observer) {
        tokio::select! {
            () = self.clients.changed() => {}
            // A process may have ended by another hand.
            _ = observer.next(1) => {}
            () = sleep(LOOK), if self.dead_servers().next().is_some() => {}
        }
        sleep(BEAT).await;
    }

    /// The servers that the stage has no process of.
    fn dead_servers(&self) -> impl Iterator<Item = (char, SocketAddr)> {
        let all = self.stage.server_addresses().into_iter();
        all.map(|address| (self.letter(address), address))
            .filter(|(letter, _)| self.stage.server_pid(*letter).is_none())
    }

    /// A learner starts a dead server as the stage says how: in a terminal of their own.
    async fn look_for_servers(&mut self) {
        let mut by_hand = HashSet::new();
        for (letter, address) in self.dead_servers() {
            if TcpStream::connect(address).await.is_ok() {
                by_hand.insert(letter);
            }
        }
        self.by_hand = by_hand;
    }

    async fn act(&mut self, act: Act) -> Result<Value> {
        match act {
            Act::AddClients {
                count,
                transport,
                crowd,
            } => {
                ensure!(
                    self.scene.talk != Talk::None,
                    "this chapter's servers speak plain HTTP: send requests"
                );
                let door = self.door()?;
                self.clients.add(count, transport.into(), crowd, &door)?;
            }
            Act::RemoveClients => self.clients.remove_all().await,
            Act::Requests { count, crowd } => {
                let door = self.door()?;
                self.clients.request(count, crowd, &door).await?;
            }
            Act::Method { name } => return Ok(json!({ "diff": self.choose(&name).await? })),
            Act::KillServer { letter } => self.stage.kill_server(letter).await?,
            Act::StartServer { letter } => {
                ensure!(
                    self.stage.server_pid(letter).is_none(),
                    "server {letter} runs already"
                );
                self.none_is_served_by_hand(&[letter]).await?;
                self.stage.start_server(letter).await?;
            }
            Act::StopRedis => {
                ensure!(
                    self.stage.owns_redis(),
                    "this Redis is not the stage's own, so it is left alone"
                );
                self.stage.kill_redis().await;
            }
            Act::StartRedis => {
                let is_up = self.stage.redis_origin().is_none_or(|(_, is_up)| is_up);
                ensure!(!is_up, "Redis runs already");
                self.stage.restart_redis().await?;
            }
            Act::Switch { choice } => self.switch(&choice).await?,
            Act::Say { from, to, text } => self.clients.say(&from, &to, &text)?,
            Act::Predict { question, answer } => return self.predict(question, answer).await,
        }
        Ok(json!({}))
    }

    /// Has nginx take a method's config. Returns what that changes, less the comments.
    async fn choose(&mut self, name: &str) -> Result<String> {
        let method = self
            .scene
            .methods
            .iter()
            .find(|method| method.name == name)
            .with_context(|| format!("there is no method {name:?}"))?;
        let mut text = String::new();
        self.stage
            .reload_nginx(method.config, |file| {
                text = (method.edit)(file);
                text.clone()
            })
            .await
            .map_err(|error| match self.method {
                Some(method) => anyhow!("{error:#}; nginx goes on with {}", method.name),
                None => error,
            })?;
        let before = self.method.replace(method);
        let before = before.map_or_else(String::new, Method::text);
        Ok(diff(&before, &without_comments(&text)))
    }

    /// Nothing is begun that would start a server whose port is taken.
    async fn none_is_served_by_hand(&mut self, servers: &[char]) -> Result<()> {
        self.look_for_servers().await;
        let mut by_hand = servers
            .iter()
            .filter(|server| self.by_hand.contains(server));
        if let Some(letter) = by_hand.next() {
            bail!("server {letter} was started by hand: end it in its own terminal first");
        }
        Ok(())
    }

    async fn switch(&mut self, choice: &str) -> Result<()> {
        self.none_is_served_by_hand(&self.letters()).await?;
        let switch = self
            .scene
            .switch
            .as_ref()
            .context("there is nothing to switch in this chapter")?;
        let choice = switch
            .choices
            .iter()
            .find(|known| **known == choice)
            .with_context(|| format!("{} is never {choice:?}", switch.label))?;
        let redis = self.stage.redis_url().unwrap_or_default();
        self.stage
            .restart_servers(&[(switch.variable, choice), ("REDIS_URL", &redis)])
            .await?;
        self.choice = Some(choice);
        Ok(())
    }

    async fn predict(&mut self, question: usize, answer: usize) -> Result<Value> {
        let question = self
            .scene
            .questions
            .get(question)
            .context("there is no such question")?;
        self.none_is_served_by_hand(&self.letters()).await?;
        self.clients.remove_all().await;
        let outcome = match question.trial {
            Trial::Requests { method, without } => self.requests(method, without).await?,
            Trial::Connect {
                method,
                transport,
                crowd,
            } => self.connect(method, transport, crowd).await?,
            Trial::Write { choice } => self.write(choice).await?,
        };
        Ok(json!({
            "answer": answer,
            "right": outcome.answer,
            "seen": outcome.seen,
            "why": question.why,
        }))
    }

    async fn requests(&mut self, method: &str, without: Option<char>) -> Result<Outcome> {
        self.start_all().await?;
        self.choose(method).await?;
        if let Some(letter) = without {
            self.stage.kill_server(letter).await?;
        }
        let door = self.door()?;
        let answered = self
            .clients
            .request(COUNT, Crowd::OneAddress, &door)
            .await?;
        Ok(of_requests(&answered, |server| self.letter(server)))
    }

    async fn connect(
        &mut self,
        method: &str,
        transport: Transport,
        crowd: Crowd,
    ) -> Result<Outcome> {
        self.start_all().await?;
        if let Some(switch) = &self.scene.switch
            && self.choice != Some(switch.chosen)
        {
            self.switch(switch.chosen).await?;
        }
        self.choose(method).await?;
        let door = self.door()?;
        // One after the other: of many at once, some get in by luck.
        let mut seats = Vec::new();
        for _ in 0..COUNT {
            self.clients.add(1, transport, crowd, &door)?;
            let last_is_settled = |seats: &[Seat]| {
                seats
                    .last()
                    .is_some_and(|seat| seat.status != Status::Connecting)
            };
            seats = self.until(last_is_settled).await;
        }
        Ok(of_clients(&seats, |server| self.letter(server)))
    }

    async fn write(&mut self, choice: &str) -> Result<Outcome> {
        self.start_all().await?;
        if let Some(first) = self.scene.methods.first() {
            self.choose(first.name).await?;
        }
        if self.choice != Some(choice) {
            self.switch(choice).await?;
        }
        let door = self.door()?;
        self.clients
            .add(WRITERS, Transport::WebSocket, Crowd::Spread, &door)?;
        let seats = self
            .until(|seats| seats.iter().all(|seat| seat.status == Status::Connected))
            .await;
        let near = seats.first().context("nobody is there")?;
        let Some(far) = seats.iter().find(|seat| seat.server != near.server) else {
            bail!("all clients are on one server, so nothing can cross");
        };
        let before = self.clients.ledger();
        self.clients.say(&near.name, &far.name, "hi")?;
        let deadline = Instant::now() + LOST_AFTER * 2;
        let settled = |ledger: crate::clients::Ledger| {
            ledger.delivered + ledger.lost > before.delivered + before.lost
        };
        while !settled(self.clients.ledger())
            && timeout_at(deadline, self.clients.changed()).await.is_ok()
        {
            self.tell_state();
        }
        let arrived = self.clients.ledger().delivered > before.delivered;
        let [from, to] = [near, far].map(|seat| match seat.server {
            Some(server) => format!("{} on {}", seat.name, self.letter(server)),
            None => seat.name.clone(),
        });
        Ok(Outcome {
            answer: usize::from(!arrived),
            seen: if arrived {
                format!("what {from} wrote reached {to}")
            } else {
                format!("what {from} wrote did not reach {to}")
            },
        })
    }

    /// A trial begins with all servers running.
    async fn start_all(&mut self) -> Result<()> {
        for letter in self.letters() {
            if self.stage.server_pid(letter).is_none() {
                self.stage.start_server(letter).await?;
            }
        }
        Ok(())
    }

    /// Waits until the clients are as wished, or for as long as there is patience.
    async fn until(&self, wished: impl Fn(&[Seat]) -> bool) -> Vec<Seat> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.tell_state();
            let seats = self.clients.seats();
            if wished(&seats) || timeout_at(deadline, self.clients.changed()).await.is_err() {
                return seats;
            }
        }
    }

    fn door(&self) -> Result<Door> {
        if self.method.is_some() {
            return Ok(Door::Nginx(self.stage.nginx_url()?));
        }
        Ok(Door::Servers(self.stage.server_addresses()))
    }

    fn letters(&self) -> Vec<char> {
        self.stage
            .server_addresses()
            .into_iter()
            .filter_map(|address| self.stage.letter_of(Some(address)))
            .collect()
    }

    fn letter(&self, server: SocketAddr) -> char {
        self.stage.letter_of(Some(server)).unwrap_or('?')
    }

    /// Tells the page how things stand, if that has changed.
    fn tell_state(&self) {
        let servers: Vec<_> = self
            .stage
            .server_addresses()
            .into_iter()
            .map(|address| {
                let letter = self.letter(address);
                json!({
                    "letter": letter,
                    "address": address,
                    "pid": self.stage.server_pid(letter),
                    "byHand": self.by_hand.contains(&letter),
                })
            })
            .collect();
        let clients: Vec<_> = self
            .clients
            .seats()
            .into_iter()
            .map(|seat| {
                json!({
                    "name": seat.name,
                    "address": seat.address,
                    "transport": seat.transport.to_string(),
                    "server": seat.server.map(|server| self.letter(server)),
                    "status": seat.status,
                    "attempts": seat.attempts,
                    "why": seat.why,
                })
            })
            .collect();
        let questions: Vec<_> = self
            .scene
            .questions
            .iter()
            .map(|question| json!({ "ask": question.ask, "answers": question.trial.answers() }))
            .collect();
        let methods: Vec<_> = self
            .scene
            .methods
            .iter()
            .map(|method| json!({ "name": method.name, "config": method.config }))
            .collect();
        let state = json!({
            "title": self.stage.title(),
            "program": self.program,
            "servers": servers,
            "nginx": self.method.map(|method| json!({
                "url": self.stage.nginx_url().unwrap_or_default(),
                "method": method.name,
                "config": method.config,
            })),
            "methods": methods,
            "redis": self.stage.redis_origin().map(|(origin, is_up)| json!({
                "up": is_up,
                "own": self.stage.owns_redis(),
                "origin": origin,
            })),
            "switch": self.scene.switch.as_ref().map(|switch| json!({
                "label": switch.label,
                "choices": switch.choices,
                "chosen": self.choice,
            })),
            "clients": clients,
            "talk": match self.scene.talk {
                Talk::None => None,
                Talk::Everyone => Some("everyone"),
                Talk::Private => Some("private"),
            },
            "ledger": self.clients.ledger(),
            "questions": questions,
        });
        self.state.send_if_modified(|told| {
            let is_news = *told != state;
            *told = state;
            is_news
        });
    }
}

impl Drop for Director<'_> {
    fn drop(&mut self) {
        if let Some(published) = &self.published {
            published.abort();
        }
    }
}

impl Method {
    /// The config's text as the repository has it, less the comments.
    fn text(&self) -> String {
        let file = lab::nginx_config(self.config).unwrap_or_default();
        without_comments(&(self.edit)(&file))
    }
}

fn program() -> String {
    let own = env::current_exe().unwrap_or_default();
    own.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn without_comments(config: &str) -> String {
    let lines = config
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// The lines that go, with `-`, and those that come, with `+`.
fn diff(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after)
        .iter_all_changes()
        .filter_map(|change| match change.tag() {
            ChangeTag::Delete => Some(format!("- {}", change.value())),
            ChangeTag::Insert => Some(format!("+ {}", change.value())),
            ChangeTag::Equal => None,
        })
        .collect()
}
