//! Chapter 3, aside: the same on the wire? The chapter's server beside the original in Node.
//!
//! ```text
//! cargo run -p ch03-socket-polling --bin beside-node                on a small stage of its own
//! cargo run -p ch03-socket-polling --bin beside-node -- --check     the same, then says what held, exits 0 or 1
//! ```

use std::process::ExitCode;

use ch03_socket_polling::{
    beside_node::{self, SCENES, compared},
    serve,
};
use lab::{Chapter, Result, Stage};

fn main() -> ExitCode {
    Chapter::new("Chapter 3 · socketioxide beside the original", serve).run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note(
        "The same requests to two servers that do the same: the chapter's, and one in Node.\n\
         Below, `-` is what only socketioxide says, and `+` what only Node says.\n\n",
    );
    let server = beside_node::node_server().await?;
    stage.start_servers(1, &[]).await?;
    let rust = play_all(stage).await?;
    stage.serve_with("node", &[server.as_os_str()]);
    stage.restart_servers(&[]).await?;
    let node = play_all(stage).await?;
    for ((scene, rust), node) in SCENES.iter().zip(&rust).zip(&node) {
        stage.step(scene.title);
        stage.note(compared(rust, node));
        stage.note(format!("{}\n\n", scene.differs));
        stage.claim("they differ in this", rust != node);
    }
    let url = stage.server_url('A')?;
    stage.try_by_hand(format!(
        "The server in Node is still there. Ask it what chapter 3 asks its own\n\n  \
         curl -s '{url}/socket.io/?EIO=4&transport=polling'\n  \
         curl -s '{url}/socket.io/?EIO=4&transport=polling&sid=nobody'"
    ));
    Ok(())
}

async fn play_all(stage: &Stage) -> Result<Vec<Vec<String>>> {
    let url = stage.server_url('A')?;
    let mut all = Vec::new();
    for scene in &SCENES {
        all.push(scene.play(&url).await?);
    }
    Ok(all)
}
