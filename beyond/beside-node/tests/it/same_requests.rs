//! Chapter 3's server sends the same as the original in Node, except for a few lines.

use std::{env, path::Path};

use beside_node::{COMPARISONS, compared, node_server};
use harness::{
    bench::Bench,
    binary::{command, every_claim_holds},
};
use insta::assert_snapshot;

const LESSON: &str = env!("CARGO_BIN_EXE_beside-node");

#[tokio::test]
async fn the_two_servers_differ_in_these_lines_and_in_no_other() {
    let node = match node_server().await {
        Ok(node) => node,
        Err(error) => return harness::untested("the comparison with Node", &error.to_string()),
    };
    let mut bench = Bench::new(LESSON);
    let servers = &mut bench.stage.servers;
    servers.start(1, &[]).await.unwrap();
    servers.run_program("node", &[node.as_os_str()]);
    servers.start(2, &[]).await.unwrap();
    let [rust, node] = ['A', 'B'].map(|letter| servers.url(letter).unwrap());
    let mut text = Vec::new();
    for comparison in &COMPARISONS {
        let rust = comparison.record(&rust).await.unwrap();
        let node = comparison.record(&node).await.unwrap();
        text.push(format!(
            "── {}\n{}\n{}\n",
            comparison.title,
            compared(&rust, &node),
            comparison.differs
        ));
    }
    assert_snapshot!(text.join("\n"));
}

#[tokio::test]
async fn every_claim_holds_where_node_is_installed() {
    if let Err(error) = node_server().await {
        return harness::untested("the comparison with Node", &error.to_string());
    }
    every_claim_holds(LESSON);
}

#[test]
fn without_node_one_sentence_says_so() {
    // A PATH with only the programs that a stage always needs.
    let folder = tempfile::tempdir().unwrap();
    for program in ["sh", "mktemp", "rm"] {
        let found = env::split_paths(&env::var_os("PATH").unwrap())
            .map(|folder| folder.join(program))
            .find(|path| path.is_file());
        std::os::unix::fs::symlink(found.unwrap(), folder.path().join(program)).unwrap();
    }
    let output = command(LESSON)
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
