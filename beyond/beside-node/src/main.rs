//! Does chapter 3's server say the same as the original, Socket.IO in Node?
//!
//! ```text
//! cargo run -p beside-node                    all comparisons; stays up until Ctrl-C
//! cargo run -p beside-node -- --check         the comparisons, then exit code 0 (every claim held) or 1
//! cargo run -p beside-node -- refusals        one comparison alone; `-- list` prints their names
//! PORT=8000 cargo run -p beside-node          one server: chapter 3's
//! ```

use std::process::ExitCode;

use beside_node::{COMPARISONS, Comparison, compared, node_server};
use ch03_socket_polling::serve;
use lab::{Lesson, Result, Stage};

fn main() -> ExitCode {
    let lesson = Lesson::new("socketioxide and the original Socket.IO, compared", serve).intro(
        "Server A is chapter 3's, server B is the same program in Node. Both get the\n\
         same requests. `-` marks a line that only socketioxide sends, `+` a line that\n\
         only Node sends.",
    );
    COMPARISONS
        .iter()
        .fold(lesson, |lesson, comparison| {
            lesson.with(comparison.name, comparison.title, async |stage| {
                compare(stage, comparison).await
            })
        })
        .by_hand(by_hand)
        .run()
}

async fn compare(stage: &mut Stage, comparison: &Comparison) -> Result<()> {
    let [rust, node] = both_servers(stage).await?;
    let rust = comparison.record(&rust).await?;
    let node = comparison.record(&node).await?;
    stage.note(format!(
        "{}\n{}",
        compared(&rust, &node),
        comparison.differs
    ));
    stage.claim("the two servers' answers differ", rust != node);
    Ok(())
}

/// The URLs of server A, in Rust, and of server B, in Node.
async fn both_servers(stage: &mut Stage) -> Result<[String; 2]> {
    // Before anything starts, because Node.js may be missing.
    let node = node_server().await?;
    stage.servers.start(1, &[]).await?;
    stage.servers.run_program("node", &[node.as_os_str()]);
    stage.servers.start(2, &[]).await?;
    Ok([stage.servers.url('A')?, stage.servers.url('B')?])
}

async fn by_hand(stage: &mut Stage) -> Result<String> {
    let [rust, node] = both_servers(stage).await?;
    Ok(format!(
        "Ask both servers about a session that does not exist:\n\n  \
         curl -s '{rust}/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA'; echo\n  \
         curl -s '{node}/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA'; echo"
    ))
}
