//! Carries out the page's requests on the stage, one after the other.

use std::{collections::HashSet, env, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lab::{Event, Observed, Observer, Stage};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};

use crate::{
    act::{Act, Asked, BEAT},
    clients::Clients,
    published,
    scene::{Method, Scene, Talk, without_comments},
    seat::Door,
};

/// How often the stage checks whether a learner has started a dead server by hand.
const LOOK: Duration = Duration::from_millis(500);

/// How many events are read at a time.
const NEWS: usize = 500;

pub(crate) struct Director<'s> {
    pub(crate) stage: &'s mut Stage,
    pub(crate) scene: &'static Scene,
    pub(crate) clients: Clients,
    pub(crate) method: Option<&'static Method>,
    pub(crate) choice: Option<&'static str>,
    /// The servers that a learner has started by hand: the stage has no process of them.
    pub(crate) by_hand: HashSet<char>,
    pub(crate) state: watch::Sender<Value>,
    published: Option<JoinHandle<()>>,
    /// This program's name, for `cargo run -p`.
    pub(crate) program: String,
}

impl<'s> Director<'s> {
    pub(crate) fn new(stage: &'s mut Stage, scene: &'static Scene) -> Self {
        let published = stage.redis.url().map(|url| {
            let own = stage.redis.prefixed("");
            tokio::spawn(published::watch(url, own, stage.recorder()))
        });
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

    /// The events from now on. The experiments are over, and the terminal has shown their events.
    pub(crate) fn observer(&self) -> Observer {
        self.stage.observer().from_now()
    }

    pub(crate) fn state(&self) -> watch::Receiver<Value> {
        self.state.subscribe()
    }

    /// Carries out requests and keeps the page's state up to date, until the channel is closed.
    pub(crate) async fn direct(&mut self, mut asked: mpsc::Receiver<Asked>) {
        let mut observer = self.observer();
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

    /// Waits for a change, and then for one more beat: there may be hundreds of changes a second,
    /// and one new state shows them all.
    async fn something_new(&self, observer: &mut Observer) {
        tokio::select! {
            () = self.clients.changed() => {}
            // A process has ended, or a learner has sent a request through nginx.
            new = observer.next(NEWS) => self.count_requests_by_hand(&new),
            () = sleep(LOOK), if self.dead_servers().next().is_some() => {}
        }
        sleep(BEAT).await;
    }

    /// Counts the requests that nginx has answered and no client of the page has sent. They come
    /// from a learner's terminal or browser. Requests of the page's clients are counted elsewhere.
    fn count_requests_by_hand(&self, new: &[Observed]) {
        for observed in new {
            if let Event::Forwarded(forwarded) = &observed.event {
                self.clients.count_request(forwarded.status < 400);
            }
        }
    }

    /// The servers without a process of the stage.
    fn dead_servers(&self) -> impl Iterator<Item = (char, SocketAddr)> {
        let all = self.stage.servers.addresses().into_iter();
        all.map(|address| (self.letter(address), address))
            .filter(|(letter, _)| self.stage.servers.pid(*letter).is_none())
    }

    /// Finds the servers that a learner has started by hand. The stage prints the command for it.
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
                addresses,
            } => {
                ensure!(
                    self.scene.talk != Talk::None,
                    "the servers of this chapter speak plain HTTP: send requests instead"
                );
                let door = self.door()?;
                self.clients
                    .add(count, transport.into(), addresses, &door)?;
            }
            Act::RemoveClients => self.clients.remove_all().await,
            Act::Requests { count, addresses } => {
                let door = self.door()?;
                self.clients.request(count, addresses, &door).await?;
            }
            Act::Method { name } => return Ok(json!({ "diff": self.choose(&name).await? })),
            Act::KillServer { letter } => self.stage.servers.kill(letter).await?,
            Act::StartServer { letter } => {
                ensure!(
                    self.stage.servers.pid(letter).is_none(),
                    "server {letter} runs already"
                );
                self.none_is_served_by_hand(&[letter]).await?;
                self.stage.servers.start_one(letter).await?;
            }
            Act::StopRedis => {
                ensure!(
                    self.stage.redis.is_own(),
                    "the stage did not start this Redis, so it does not stop it"
                );
                self.stage.redis.kill().await;
            }
            Act::StartRedis => {
                let is_up = self.stage.redis.origin().is_none_or(|(_, is_up)| is_up);
                ensure!(!is_up, "Redis runs already");
                self.stage.redis.restart().await?;
            }
            Act::Switch { choice } => self.switch(&choice).await?,
            Act::Say { from, to, text } => self.clients.say(&from, &to, &text)?,
            Act::Predict { question, answer } => return self.predict(question, answer).await,
        }
        Ok(json!({}))
    }

    /// Makes nginx use a method's config. Returns the changed lines, without comments.
    pub(crate) async fn choose(&mut self, name: &str) -> Result<String> {
        let method = self
            .scene
            .methods
            .iter()
            .find(|method| method.name == name)
            .with_context(|| format!("this chapter has no method {name:?}"))?;
        let mut text = String::new();
        self.stage
            .nginx
            .reload(method.config, |file| {
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

    /// Refuses a request that starts servers, if a learner has started one of them by hand.
    pub(crate) async fn none_is_served_by_hand(&mut self, servers: &[char]) -> Result<()> {
        self.look_for_servers().await;
        let mut by_hand = servers
            .iter()
            .filter(|server| self.by_hand.contains(server));
        if let Some(letter) = by_hand.next() {
            bail!("server {letter} was started by hand: end it in its own terminal first");
        }
        Ok(())
    }

    pub(crate) async fn switch(&mut self, choice: &str) -> Result<()> {
        self.none_is_served_by_hand(&self.letters()).await?;
        let switch = self
            .scene
            .switch
            .as_ref()
            .context("the servers of this chapter have no setting to change")?;
        let choice = switch
            .choices
            .iter()
            .find(|known| **known == choice)
            .with_context(|| format!("{choice:?} is no value of the setting {}", switch.label))?;
        let redis = self.stage.redis.url().unwrap_or_default();
        self.stage
            .servers
            .restart(&[(switch.variable, choice), ("REDIS_URL", &redis)])
            .await?;
        self.choice = Some(choice);
        Ok(())
    }

    pub(crate) fn door(&self) -> Result<Door> {
        if self.method.is_some() {
            return Ok(Door::Nginx(self.stage.nginx.url()?));
        }
        Ok(Door::Servers(self.stage.servers.addresses()))
    }

    pub(crate) fn letters(&self) -> Vec<char> {
        self.stage
            .servers
            .addresses()
            .into_iter()
            .filter_map(|address| self.stage.servers.letter_of(Some(address)))
            .collect()
    }

    pub(crate) fn letter(&self, server: SocketAddr) -> char {
        self.stage.servers.letter_of(Some(server)).unwrap_or('?')
    }
}

impl Drop for Director<'_> {
    fn drop(&mut self) {
        if let Some(published) = &self.published {
            published.abort();
        }
    }
}

fn program() -> String {
    let own = env::current_exe().unwrap_or_default();
    own.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The removed lines, each with `-`, and the added lines, each with `+`.
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
