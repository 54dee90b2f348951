//! Chapter 3: what its server says on the wire, beside the original in Node.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{env, path::Path};

use ch03_socket_polling::beside_node::{SCENES, compared, node_server};
use harness::{bench::Bench, binary::command, node};
use insta::assert_snapshot;
use lab::Stage;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch03-socket-polling");
const BESIDE_NODE: &str = env!("CARGO_BIN_EXE_beside-node");

#[tokio::test]
async fn the_two_servers_differ_in_these_lines_and_in_no_other() {
    let node = match node_server().await {
        Ok(node) => node,
        Err(error) => return node::untested("beside Node", &error.to_string()),
    };
    let rust = play_all(&Bench::with_servers(CHAPTER, &[]).await.stage).await;
    let mut bench = Bench::new(CHAPTER);
    bench.stage.serve_with("node", &[node.as_os_str()]);
    bench.stage.start_servers(1, &[]).await.unwrap();
    let node = play_all(&bench.stage).await;
    let scenes = SCENES.iter().zip(rust.iter().zip(&node));
    let text = scenes.map(|(scene, (rust, node))| {
        format!(
            "── {}\n{}\n{}\n",
            scene.title,
            compared(rust, node),
            scene.differs
        )
    });
    assert_snapshot!(text.collect::<Vec<_>>().join("\n"));
}

async fn play_all(stage: &Stage) -> Vec<Vec<String>> {
    let url = stage.server_url('A').unwrap();
    let mut all = Vec::new();
    for scene in &SCENES {
        all.push(scene.play(&url).await.unwrap());
    }
    all
}

#[test]
fn without_node_one_sentence_says_so() {
    // A PATH with nothing on it but what a stage cannot do without.
    let folder = tempfile::tempdir().unwrap();
    for program in ["sh", "mktemp", "rm"] {
        let found = env::split_paths(&env::var_os("PATH").unwrap())
            .map(|folder| folder.join(program))
            .find(|path| path.is_file());
        std::os::unix::fs::symlink(found.unwrap(), folder.path().join(program)).unwrap();
    }
    let output = command(BESIDE_NODE)
        .args(["--check", "--ports", "auto"])
        .env("PATH", folder.path() as &Path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("error: Node.js is not installed: install it"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}
