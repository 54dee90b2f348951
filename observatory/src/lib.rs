//! One live page that draws a chapter's stage, and whose buttons act on it.
//!
//! It draws what is observed: the list of events that the terminal shows too, told by
//! real clients, by nginx's log, and by a subscriber of Redis. A chapter says in a
//! [`Scene`] what there is to choose from:
//!
//! ```no_run
//! # async fn server() -> lab::Result<()> { Ok(()) }
//! # async fn lesson(stage: &mut lab::Stage) -> lab::Result<()> { Ok(()) }
//! use observatory::{Method, Scene};
//!
//! const SCENE: Scene = Scene {
//!     methods: &[Method::file("round robin", "03-websocket.conf")],
//!     ..Scene::EMPTY
//! };
//!
//! lab::Chapter::new("Chapter 0 · an example", server)
//!     .with_page(async |stage| observatory::open(stage, &SCENE).await)
//!     .run(lesson);
//! ```

mod clients;
mod director;
mod guard;
mod published;
mod server;
mod trial;

use std::{
    future,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::Context;
use ch01_express_pid::bounds::serve_bounded;
use lab::{Result, Stage};
use tokio::{net::TcpListener, sync::mpsc};

pub use clients::Crowd;
pub use trial::{Question, Trial};

use crate::director::Director;

/// Where the page is, unless the port is taken.
const PORT: u16 = 3030;

/// What a chapter offers to choose from on the page.
pub struct Scene {
    /// The balancing methods; the first is the one that nginx has when the page opens.
    pub methods: &'static [Method],
    /// How clients speak to each other.
    pub talk: Talk,
    /// What servers can be started with.
    pub switch: Option<Switch>,
    /// What is asked before it is shown.
    pub questions: &'static [Question],
}

impl Scene {
    /// Nothing to choose from.
    pub const EMPTY: Self = Self {
        methods: &[],
        talk: Talk::None,
        switch: None,
        questions: &[],
    };
}

/// A way in which nginx chooses a server.
pub struct Method {
    /// What it is called.
    pub name: &'static str,
    /// The file in `nginx/`.
    pub config: &'static str,
    /// What is changed in the file.
    pub edit: fn(&str) -> String,
}

impl Method {
    /// A file of `nginx/` as it stands.
    pub const fn file(name: &'static str, config: &'static str) -> Self {
        Self {
            name,
            config,
            edit: str::to_owned,
        }
    }
}

/// What clients can say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// Nothing: they speak plain HTTP.
    None,
    /// The event `message` with a text, for everyone else.
    Everyone,
    /// The event `say` with `{"to", "text"}`, for one user.
    Private,
}

/// An environment variable of the servers.
pub struct Switch {
    /// What it decides.
    pub label: &'static str,
    /// Its name.
    pub variable: &'static str,
    /// The values to choose from.
    pub choices: &'static [&'static str],
    /// The value that the servers have when the page opens.
    pub chosen: &'static str,
}

/// Serves the page and does what it asks for, for as long as the stage is up.
///
/// # Errors
/// When no port can be had for the page.
pub async fn open(stage: &mut Stage, scene: &'static Scene) -> Result<()> {
    // Where the page is matters less than that it is: any other port will do.
    let address = stage
        .address(PORT)
        .unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let listener = TcpListener::bind(address)
        .await
        .context("no port can be had for the page")?;
    let address = listener.local_addr()?;
    stage.note(format!(
        "\nOr look at it in a browser, where buttons act on this stage:\n\n  http://{address}"
    ));
    stage.show_all();
    let observed = stage.observer().so_far();
    let lesson = server::lesson_of(&observed);

    let (asked, to_do) = mpsc::channel(16);
    let mut director = Director::new(stage, scene);
    let app = server::app(
        director.observer(),
        director.state(),
        asked,
        lesson,
        address,
    );
    tokio::select! {
        () = serve_bounded(listener, app, future::pending()) => {}
        () = director.direct(to_do) => {}
    }
    Ok(())
}
