//! Load: that what is sent is counted, and what is counted is reported. Small numbers, and
//! no times: how fast it goes is for a quiet machine, and `load/README.md` says how.

// Whoever attaches this module uses a part of it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, Once, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use harness::binary::{Running, all_end, command, family, is_refused, run};
use harness::untested;
use lab::{Client, Socket, Stage, Transport};
use rustix::process::Signal;
use serde_json::{Value, json};

const LOAD: &str = env!("CARGO_BIN_EXE_load");

/// The article's stack in Node.
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");

/// What went wrong, by the names that the report has for it.
const WRONG: [&str; 5] = ["lost", "duplicated", "reordered", "refused", "failed"];

#[test]
fn every_request_is_answered_each_way() {
    let report = measure(&["http", "--clients", "6", "--seconds", "1"]);
    let cases = ["one-process", "three-processes", "round-robin", "keepalive"];
    assert_eq!(names(&report), cases);
    for case in cases {
        let rust = &case_of(&report, case)["stacks"]["rust"];
        let counts = &rust["counts"];
        assert!(number(&counts["sent"]) >= 6, "{case}: {rust}");
        assert_eq!(counts["sent"], counts["delivered"], "{case}");
        nothing_is_wrong(case, counts);
        has_figures(
            rust,
            &["requests_per_second", "p50_ms", "p99_ms", "p999_ms"],
        );
    }
}

#[test]
fn at_a_given_rate_so_many_requests_are_sent_and_no_more() {
    let report = measure(&["http", "--clients", "4", "--seconds", "1", "--rate", "40"]);
    for case in names(&report) {
        let counts = &case_of(&report, &case)["stacks"]["rust"]["counts"];
        // Each of the four clients may be held up, but not be ahead.
        assert!(
            (4..=40).contains(&number(&counts["sent"])),
            "{case}: {counts}"
        );
        nothing_is_wrong(&case, counts);
    }
}

/// The article begins here: one process, one thread.
#[cfg(target_os = "linux")]
#[test]
fn three_hundred_requests_a_second_leave_one_process_idle_and_its_limit_is_one_core() {
    let few = measure(&["http", "--clients", "6", "--seconds", "1", "--rate", "300"]);
    let few = &case_of(&few, "one-process")["stacks"]["rust"];
    assert_eq!(few["counts"]["sent"], few["counts"]["delivered"], "{few}");
    nothing_is_wrong("300 a second", &few["counts"]);
    let cores = |stack: &Value| {
        let median = &stack["figures"]["server_cores"]["median"];
        median.as_f64().expect("cores were measured")
    };
    assert!(cores(few) < 0.5, "{few}");
    // As many as there can be.
    let all = measure(&["http", "--clients", "6", "--seconds", "1"]);
    let all = &case_of(&all, "one-process")["stacks"]["rust"];
    assert!(
        number(&all["counts"]["sent"]) > number(&few["counts"]["sent"]),
        "{all}"
    );
    assert!(cores(all) > cores(few), "{all}");
    // CPU time is counted in hundredths of a second.
    assert!(cores(all) < 1.1, "{all}");
}

#[test]
fn the_sockets_that_are_opened_are_held_and_all_hear() {
    for (transport, title) in [
        ("websocket", "sockets opened, "),
        ("upgrade", "sockets opened by long polling and upgraded, "),
        ("polling", "long-polling clients connected, "),
    ] {
        let report = measure(&[
            "sockets",
            "--clients",
            "60",
            "--seconds",
            "1",
            "--transport",
            transport,
        ]);
        let opened = case_of(&report, "open");
        let names_it = opened["title"]
            .as_str()
            .expect("a title")
            .starts_with(title);
        assert!(names_it, "{transport}: {opened}");
        let opened = &opened["stacks"]["rust"];
        assert_eq!(number(&opened["counts"]["delivered"]), 60, "{transport}");
        nothing_is_wrong(transport, &opened["counts"]);
        let held = &case_of(&report, "held")["stacks"]["rust"];
        assert_eq!(number(&held["counts"]["sent"]), 1, "{transport}");
        assert_eq!(number(&held["counts"]["delivered"]), 60, "{transport}");
        nothing_is_wrong(transport, &held["counts"]);
        if cfg!(target_os = "linux") {
            has_figures(held, &["servers_rss_bytes", "servers_bytes_per_socket"]);
        }
    }
}

#[test]
fn a_broadcast_reaches_every_client_once_for_each_message() {
    let report = measure(&["broadcast", "--clients", "12", "--seconds", "1"]);
    let cases = ["one-server", "three-servers", "nginx", "room"];
    assert_eq!(names(&report), cases);
    for case in cases {
        let counts = &case_of(&report, case)["stacks"]["rust"]["counts"];
        let messages = number(&counts["sent"]);
        assert!(messages > 0, "{case}: {counts}");
        assert_eq!(
            number(&counts["delivered"]),
            messages * 12,
            "{case}: {counts}"
        );
        for wrong in ["lost", "duplicated", "refused", "failed"] {
            assert_eq!(number(&counts[wrong]), 0, "{case}: {counts}");
        }
        // Chapter 6's handlers are tasks of their own: their order is not promised.
        assert!(counts["reordered"].is_u64(), "{case}: {counts}");
    }
}

#[test]
fn over_long_polling_every_message_arrives() {
    let report = measure(&[
        "polling",
        "--clients",
        "9",
        "--seconds",
        "1",
        "--rate",
        "45",
    ]);
    let counts = &case_of(&report, "polling")["stacks"]["rust"]["counts"];
    assert!((9..=45).contains(&number(&counts["sent"])), "{counts}");
    assert_eq!(counts["sent"], counts["delivered"]);
    nothing_is_wrong("polling", counts);
}

#[test]
fn with_every_variant_of_the_config_all_sockets_come_back() {
    let report = measure(&["nginx", "--clients", "20", "--seconds", "1"]);
    let cases = names(&report);
    assert_eq!(cases.len(), 6, "{cases:?}");
    for case in &cases {
        let rust = &case_of(&report, case)["stacks"]["rust"];
        assert!(number(&rust["counts"]["delivered"]) > 0, "{case}: {rust}");
        nothing_is_wrong(case, &rust["counts"]);
        has_figures(rust, &["connects_per_second", "max_ms"]);
    }
}

#[test]
fn when_a_server_dies_its_sockets_come_back() {
    let report = measure(&["storm", "--clients", "60"]);
    let storm = &case_of(&report, "storm")["stacks"]["rust"];
    let back = number(&storm["counts"]["delivered"]);
    // ip_hash gives each server about a third.
    assert!((5..=40).contains(&back), "{storm}");
    assert_eq!(number(&storm["counts"]["lost"]), 0, "{storm}");
    has_figures(storm, &["p50_ms", "max_ms"]);
}

#[test]
fn while_servers_are_replaced_no_request_fails_and_every_socket_comes_back() {
    let report = measure(&["replace", "--clients", "60", "--seconds", "1"]);
    assert_eq!(names(&report), ["get", "post", "sockets"]);
    for case in names(&report) {
        let rust = &case_of(&report, &case)["stacks"]["rust"];
        let counts = &rust["counts"];
        assert_eq!(counts["sent"], counts["delivered"], "{case}");
        nothing_is_wrong(&case, counts);
        has_figures(rust, &["p50_ms", "p99_ms"]);
    }
    let sockets = &case_of(&report, "sockets")["stacks"]["rust"]["counts"];
    // Each was on a server that went; some went to one that was still to go.
    let back = number(&sockets["delivered"]);
    assert!((60..=180).contains(&back), "{sockets}");
}

#[test]
fn a_server_starts_and_answers() {
    let report = measure(&["start"]);
    let one = &case_of(&report, "one")["stacks"]["rust"];
    has_figures(one, &["start_ms", "program_bytes"]);
    let three = &case_of(&report, "three")["stacks"]["rust"];
    assert_eq!(number(&three["counts"]["delivered"]), 3);
}

/// What is measured beside the chapters does the same as they.
#[tokio::test]
async fn the_peer_in_node_answers_as_the_chapters_do() {
    if Command::new("node").arg("--version").output().is_err() {
        return untested("beside the stack in Node", "Node.js is not installed");
    }
    // npm fetches its packages.
    measure_with("node", &["start"]);
    let rust = Stage::silent(Path::new(LOAD).with_file_name("hardened-chat")).unwrap();
    let mut node = Stage::silent(LOAD).unwrap();
    node.servers
        .run_program("node", &[Path::new(PEER).join("server.js").as_ref()]);
    let [rust, node] = [chat_on(rust).await.unwrap(), chat_on(node).await.unwrap()];
    assert_eq!(rust, node);
    assert!(rust[0].contains("hi, bob") && rust[2] == "true", "{rust:?}");

    let rust = Stage::silent(Path::new(LOAD).with_file_name("ch02-nginx-rr")).unwrap();
    let mut node = Stage::silent(LOAD).unwrap();
    node.servers
        .run_program("node", &[Path::new(PEER).join("pid.js").as_ref()]);
    for mut stage in [rust, node] {
        stage.servers.start(1, &[]).await.unwrap();
        let client = Client::new("you", &stage.servers.url('A').unwrap());
        let answer = client.get_once("/").await.unwrap();
        let pid = stage.servers.pid('A').unwrap();
        assert_eq!(
            (answer.status, answer.body),
            (200, format!("Hi, PID: {pid}"))
        );
    }
}

/// What Bob on another server hears of Alice, and Alice of her server.
async fn chat_on(mut stage: Stage) -> lab::Result<Vec<String>> {
    let redis = stage.redis.start().await?;
    stage.servers.start(2, &[("REDIS_URL", &redis)]).await?;
    let [a, b] = [stage.servers.url('A')?, stage.servers.url('B')?];
    let enter = async |name: &str, url: &str| {
        let auth = json!({ "user": name });
        let client = Client::new(name, url);
        let socket = Socket::connect(&client, Transport::WebSocket, Some(&auth));
        socket.await
    };
    let (alice, mut bob) = (enter("alice", &a).await?, enter("bob", &b).await?);
    let mut seen = Vec::new();
    for (event, argument) in [
        ("say", json!({ "to": "bob", "text": "hi, bob" })),
        ("shout", json!("hi, all")),
    ] {
        let acknowledged = alice.ask(event, &argument).await?;
        let heard = bob.hear("message", Duration::from_secs(5)).await;
        seen.push(format!("{acknowledged} {heard:?}"));
    }
    let pid = stage.servers.pid('A');
    let server = alice.ask("server", &json!(null)).await?;
    seen.push((server["pid"] == json!(pid)).to_string());
    // Who does not say who it is, is sent away, and hears nothing.
    let nobody = Client::new("nobody", &b);
    if let Ok(mut nobody) = Socket::connect(&nobody, Transport::WebSocket, None).await {
        alice.ask("shout", &json!("are you there?")).await?;
        let heard = nobody.hear("message", Duration::from_millis(500)).await;
        seen.push(format!("{heard:?}"));
    }
    stage.stop().await;
    Ok(seen)
}

#[test]
fn both_stacks_are_measured_in_one_run_and_compared() {
    if Command::new("node").arg("--version").output().is_err() {
        return untested("beside the stack in Node", "Node.js is not installed");
    }
    let report = measure_with(
        "both",
        &[
            "polling",
            "--clients",
            "6",
            "--seconds",
            "1",
            "--rate",
            "30",
        ],
    );
    let case = case_of(&report, "polling");
    for stack in ["rust", "node"] {
        let counts = &case["stacks"][stack]["counts"];
        assert_eq!(counts["sent"], counts["delivered"], "{stack}");
        nothing_is_wrong(stack, counts);
    }
    let p99 = |stack: &str| {
        case["stacks"][stack]["figures"]["p99_ms"]["median"]
            .as_f64()
            .unwrap()
    };
    let ratio = case["ratios"]["p99_ms"]["median"].as_f64().unwrap();
    assert!((ratio - p99("rust") / p99("node")).abs() < 1e-9, "{case}");
}

#[test]
fn the_chart_is_a_picture_of_the_same_report() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("start.svg");
    let file = file.to_str().unwrap();
    measure(&["start", "--svg", file]);
    let svg = fs::read_to_string(file).unwrap();
    for text in ["<svg", "load start", "three servers, idle", "Rust"] {
        assert!(svg.contains(text), "no {text:?} in {svg}");
    }
}

/// What stands in for both stacks is Rust alone; what asks for Node is refused.
#[test]
fn without_node_the_report_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let without_node = |arguments: &[&str]| {
        let mut load = load(arguments);
        load.env("PATH", folder.path()).env_remove("CARGO");
        load
    };
    // What a stage's temporary folder is made and removed with.
    for program in ["sh", "rm", "mktemp"] {
        let mut places = ["/bin", "/usr/bin"]
            .iter()
            .map(|it| Path::new(it).join(program));
        let found = places.find(|path| path.exists()).unwrap();
        symlink(found, folder.path().join(program)).unwrap();
    }
    is_refused(
        &mut without_node(&["start", "--stack", "node"]),
        1,
        &["Node.js is not installed", "--stack rust"],
    );

    let file = folder.path().join("report.json");
    let file = file.to_str().unwrap();
    let arguments = ["start", "--stack", "both", "--rounds", "1", "--json", file];
    let outcome = run(&mut without_node(&arguments));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome.stdout.contains("Rust is measured alone"),
        "{outcome:?}"
    );
    let report = read(Path::new(file));
    let stacks = case_of(&report, "one")["stacks"].as_object().unwrap();
    assert_eq!(stacks.keys().collect::<Vec<_>>(), ["rust"]);
}

#[test]
fn whatever_ends_it_ends_all_that_it_started() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let running = Running::start(&mut load(&[
            "sockets",
            "--stack",
            "rust",
            "--clients",
            "40",
            "--seconds",
            "60",
        ]));
        // Three servers, nginx with eight workers, Redis or not, at least one worker of
        // its own; guards beside them.
        let family = await_family(running.pid(), 14);
        running.signal(signal);
        let code = running.end();
        all_end(&family);
        assert_eq!(code, (signal != Signal::KILL).then_some(1));
    }
}

/// All that descend from a process, once they are so many.
fn await_family(ancestor: u32, least: usize) -> BTreeSet<u32> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_mins(1) {
        let family = family(ancestor);
        if family.len() >= least {
            return family;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("it has not started all that it measures")
}

#[test]
fn what_is_beyond_the_limits_is_refused() {
    for arguments in [
        ["http", "--seconds", "121"],
        ["sockets", "--clients", "60001"],
        ["start", "--rounds", "26"],
    ] {
        is_refused(&mut load(&arguments), 2, &[arguments[2], arguments[1]]);
    }
}

/// One round with the Rust stack; its report.
fn measure(arguments: &[&str]) -> Value {
    measure_with("rust", arguments)
}

fn measure_with(stack: &str, arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let mut load = load(arguments);
    load.args(["--stack", stack, "--rounds", "1", "--json"])
        .arg(&file);
    let _alone = alone();
    let outcome = run(&mut load);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let report = read(&file);
    assert_eq!(report["measured"], arguments[0]);
    report
}

/// What is measured must be measured alone: each run takes all cores.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that has failed has ended what it measured.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(file: &Path) -> Value {
    let json = fs::read_to_string(file).expect("the report is there");
    serde_json::from_str(&json).expect("it is JSON")
}

fn load(arguments: &[&str]) -> Command {
    static CHAPTERS: Once = Once::new();
    // The first run builds the chapters' programs, and that takes as long as it takes.
    CHAPTERS.call_once(|| {
        let mut first = command(LOAD);
        first.args(["start", "--stack", "rust", "--rounds", "1"]);
        let first = first.output().expect("it starts");
        assert!(first.status.success(), "{first:?}");
    });
    let mut load = command(LOAD);
    load.args(arguments);
    load
}

fn names(report: &Value) -> Vec<String> {
    let cases = report["cases"].as_array().expect("there are cases").iter();
    cases
        .map(|case| case["name"].as_str().expect("a name").to_owned())
        .collect()
}

fn case_of<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut cases = report["cases"].as_array().expect("there are cases").iter();
    cases
        .find(|case| case["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no count: {value}"))
}

fn nothing_is_wrong(case: &str, counts: &Value) {
    for wrong in WRONG {
        assert_eq!(number(&counts[wrong]), 0, "{case}: {counts}");
    }
}

fn has_figures(stack: &Value, names: &[&str]) {
    for name in names {
        let median = stack["figures"][name]["median"].as_f64();
        assert!(
            median.is_some_and(|median| median > 0.0),
            "{name} in {stack}"
        );
    }
}
