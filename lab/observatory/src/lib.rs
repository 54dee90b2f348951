//! One live page that draws a chapter's stage. Its buttons control the stage.
//!
//! The page draws the same list of events that the terminal shows. The events come from real
//! clients, from nginx's log, and from Redis (`MONITOR`). A chapter describes the page's
//! choices in a [`Scene`]:
//!
//! ```no_run
//! # async fn server() -> lab::Result<()> { Ok(()) }
//! # async fn three(stage: &mut lab::Stage) -> lab::Result<()> { Ok(()) }
//! use observatory::{Method, Scene};
//!
//! const SCENE: Scene = Scene {
//!     methods: &[Method::file("round robin", "03-websocket.conf")],
//!     ..Scene::EMPTY
//! };
//!
//! lab::Lesson::new("An example", server)
//!     .with_page(async |stage| observatory::open(stage, &SCENE).await)
//!     .with("three", "Three servers", three)
//!     .run();
//! ```

mod act;
mod clients;
mod director;
mod guard;
mod predict;
mod published;
mod scene;
mod seat;
mod server;
mod state;
mod trial;

use std::{
    future,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::Context;
use lab::{Result, Stage};
use lab_server::bounds::serve_bounded;
use tokio::{net::TcpListener, sync::mpsc};

pub use scene::{Method, Scene, Switch, Talk};
pub use seat::Addresses;
pub use trial::{Question, Trial};

use crate::director::Director;

/// The page's port, unless that port is in use.
const PORT: u16 = 3030;

/// Serves the page and carries out its requests until the stage ends.
///
/// # Errors
/// When there is no free port for the page.
pub async fn open(stage: &mut Stage, scene: &'static Scene) -> Result<()> {
    // Any other port will do too.
    let address = stage
        .address(PORT)
        .unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let listener = TcpListener::bind(address)
        .await
        .context("there is no free port for the page")?;
    let address = listener.local_addr()?;
    stage.note(format!(
        "\nOr look at it in a browser. The buttons there control this stage:\n\n  http://{address}"
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
