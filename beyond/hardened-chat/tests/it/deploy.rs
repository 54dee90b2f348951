//! `deploy/`: Compose is brought up, scaled, updated and taken down. The objects for Kubernetes agree
//! with Compose and with the code.
//!
//! The image is the Dockerfile's, with a server that cargo has built here. The stage that builds it in
//! a container needs an image with Rust, and a registry that answers. `kubernetes.rs` has the tests
//! that need a Kubernetes cluster.

use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ch06_full_stack::experiment::{User, address_for};
use drills::Load;
use failures::{broadcaster::ServersRedis, clients::Clients};
use harness::{
    compose::{Project, root},
    untested,
};
use lab::{Client, Transport};
use serde_json::Value;

use crate::ALONE;

const SERVER: &str = env!("CARGO_BIN_EXE_hardened-chat");

/// Clients of each transport: two on each server.
const EACH: usize = 6;
/// A client whose server ends reconnects at its first attempt, after 1.5 s at most. If it then comes to
/// a server that ends next, it reconnects at its third attempt.
const BACK: Duration = Duration::from_secs(10);

/// One test, because bringing it up takes longest.
#[tokio::test(flavor = "multi_thread")]
async fn compose_comes_up_is_scaled_updated_and_taken_down_and_nobody_loses_anything() {
    let _alone = ALONE.lock().await;
    let Some(project) = Project::new("deploy") else {
        return;
    };
    project.build_prebuilt(Path::new(SERVER), &healthy());
    project.up(&[]);
    let url = project.url();

    the_page_is_there(&url).await;
    clients_of_one_address_are_on_one_server(&url).await;
    users_on_two_servers_reach_each_other(&url, 3).await;

    project.up(&["--no-recreate", "--scale", "server=4"]);
    let before = servers_seen(&url).await;
    assert_eq!(
        before.len(),
        3,
        "nginx knows three servers until it is reloaded"
    );
    project.compose(&[
        "exec",
        "-T",
        "nginx",
        "nginx",
        "-e",
        "stderr",
        "-p",
        "/lab",
        "-c",
        "nginx/nginx.conf",
        "-s",
        "reload",
    ]);
    // From then on, the worker that knows three servers accepts no connection.
    let told = async {
        let log = || project.compose(&["logs", "nginx"]);
        while !log().contains("gracefully shutting down") {}
        while servers_seen(&url).await.len() < 4 {}
    };
    tokio::time::timeout(BACK, told).await.unwrap();
    users_on_two_servers_reach_each_other(&url, 4).await;

    update_under_load(&project, &url).await;
    users_on_two_servers_reach_each_other(&url, 4).await;
    a_failed_update_changes_nothing(&project, &url).await;

    project.compose(&["down", "--volumes"]);
    assert_eq!(project.left(), "");
}

/// The program for the image's health check. It belongs to another package.
fn healthy() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked"]);
    build.args(["-p", "lab-server", "--bin", "healthy"]);
    assert!(build.status().unwrap().success());
    Path::new(SERVER).with_file_name("healthy")
}

async fn the_page_is_there(url: &str) {
    let answer = Client::new("you", url).get_once("/").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("<title>Chat</title>"), "{answer:?}");
    let script = Client::new("you", url).get_once("/chat.js").await.unwrap();
    assert_eq!(script.status, 200);
}

/// Through a published port, all clients have the address of Docker's bridge, so `ip_hash` sends them
/// to one server.
async fn clients_of_one_address_are_on_one_server(url: &str) {
    let mut servers = HashSet::new();
    for _ in 0..20 {
        let answer = Client::new("you", url).get_once("/").await.unwrap();
        servers.extend(answer.server());
    }
    assert_eq!(servers.len(), 1, "{servers:?}");
}

/// The servers that answer clients with many addresses.
async fn servers_seen(url: &str) -> HashSet<SocketAddr> {
    let mut servers = HashSet::new();
    for third in 0..40 {
        let address = [127, 0, third, 1].into();
        let client = Client::at("you", url, address);
        let answer = client.get_once("/").await.unwrap();
        assert_eq!(answer.status, 200);
        servers.extend(answer.server());
    }
    servers
}

async fn users_on_two_servers_reach_each_other(url: &str, servers: usize) {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let [alice, bob] = [("alice", 0), ("bob", 1)]
            .map(|(name, server)| Client::at(name, url, address_for(server, servers)));
        let alice = User::connect_with(&alice, transport).await.unwrap();
        let mut bob = User::connect_with(&bob, transport).await.unwrap();
        assert_ne!(alice.socket.owner, bob.socket.owner);
        alice.say("bob", "hi").await.unwrap();
        assert!(bob.hears("alice", "hi").await, "with {transport}");
    }
}

async fn update_under_load(project: &Project, url: &str) {
    let before = project.containers("server");
    let redis = ServersRedis::at(project.redis());
    let clients = Clients::connect(url, &redis, EACH).await.unwrap();
    let rolled = async {
        let said = tokio::task::block_in_place(|| project.roll());
        clients.recover().await;
        Ok(said)
    };
    let (said, requests) = Load::get("/").during(url, rolled).await.unwrap();
    let after = project.containers("server");
    assert_eq!(said.matches("was replaced").count(), before.len(), "{said}");
    assert_eq!(after.len(), before.len());
    assert!(after.iter().all(|server| !before.contains(server)));

    assert!(requests.all.len() > 100, "{}", requests.all.len());
    assert_eq!(requests.failed().count(), 0, "{:?}", requests.reasons());
    let records = clients.finish().await.unwrap();
    let mut slowest = Duration::ZERO;
    for client in &records.clients {
        assert!(client.is_connected(), "{} is away", client.name);
        assert!(
            client.sessions.len() > 1,
            "{} was on no old server",
            client.name
        );
        slowest = client.times_away().fold(slowest, Duration::max);
    }
    assert!(slowest < BACK, "{slowest:?}");
    let messages = records.messages();
    assert_eq!(
        (messages.lost_within_session, messages.duplicates),
        (0, 0),
        "{messages:?}"
    );
    println!(
        "{} requests, 0 lost; {} sockets back after {slowest:?} at most; {messages:?}",
        requests.all.len(),
        records.clients.len()
    );
}

/// New servers that do not start, and new servers without a setting that the old ones have.
async fn a_failed_update_changes_nothing(project: &Project, url: &str) {
    project.up(&["--no-recreate", "--scale", "server=1"]);
    let refused = |environment: &[(&str, &str)], why: &str| {
        let before = project.containers("server");
        let (code, said) = project.try_to_roll(environment);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(project.containers("server"), before, "{said}");
    };
    refused(
        &[("ALLOWED_ORIGIN", "nonsense")],
        "roll: the new servers did not all become healthy; so they were removed, and the old",
    );
    let (code, said) = project.try_to_roll(&[("ALLOWED_ORIGIN", "https://chat.example.org")]);
    assert_eq!(code, Some(0), "{said}");
    refused(&[], "the old servers have ALLOWED_ORIGIN, and the new ones");
    let answer = Client::new("you", url).get_once("/").await.unwrap();
    assert_eq!(answer.status, 200);
}

// ---- Kubernetes: nothing is started ----

#[test]
fn kubernetes_and_compose_start_the_same_server_with_the_same_variables() {
    let compose = yaml("deploy/compose.yaml");
    let server = container("deploy/kubernetes/server.yaml");
    let of_compose = &compose["services"]["server"]["environment"];
    let of_kubernetes = server["env"].as_array().unwrap();
    let names: HashSet<_> = of_kubernetes.iter().map(|env| text(&env["name"])).collect();
    let wanted = of_compose.as_object().unwrap().keys();
    assert_eq!(names, wanted.map(String::as_str).collect());
    let redis = |env: &&Value| env["name"] == "REDIS_URL";
    let redis = &of_kubernetes.iter().find(redis).unwrap()["value"];
    assert_eq!(redis, &of_compose["REDIS_URL"]);
    // The pod waits for the same Redis before its server starts.
    let pod = &yaml("deploy/kubernetes/server.yaml")["spec"]["template"]["spec"];
    let waits = &pod["initContainers"][0];
    assert!(text(&waits["command"][2]).contains("redis-cli -h redis ping"));
    let redis = container("deploy/kubernetes/redis.yaml");
    assert_eq!(waits["image"], redis["image"]);
    let code = read("beyond/hardened-chat/src") + &read("lab/redis-driver/src");
    for name in names {
        assert!(
            code.contains(&format!("\"{name}\"")),
            "nothing reads {name}"
        );
    }
}

#[test]
fn the_ports_agree_from_the_image_to_the_route() {
    let dockerfile = read("deploy/Dockerfile");
    let image = "ENV PORT=8000 LISTEN=0.0.0.0 ";
    assert!(dockerfile.contains(image) && dockerfile.contains("\nEXPOSE 8000\n"));
    assert!(read("deploy/nginx.conf").contains("server server:8000 "));

    let server = container("deploy/kubernetes/server.yaml");
    let service = yaml("deploy/kubernetes/server-service.yaml");
    let route = yaml("deploy/kubernetes/route.yaml");
    let port = &server["ports"][0];
    assert_eq!(port["containerPort"], 8000);
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(server[probe]["httpGet"]["port"], port["name"]);
        // `healthy` asks for this path, and a page answers.
        assert_eq!(server[probe]["httpGet"]["path"], "/");
    }
    let of_service = &service["spec"]["ports"][0];
    assert_eq!(of_service["targetPort"], port["name"]);
    let backend = &route["spec"]["rules"][0]["backendRefs"][0];
    assert_eq!(backend["port"], of_service["port"]);
    assert_eq!(backend["name"], service["metadata"]["name"]);
    // REDIS_URL has this name and this port.
    let redis = yaml("deploy/kubernetes/redis-service.yaml");
    assert_eq!(redis["metadata"]["name"], "redis");
    assert_eq!(redis["spec"]["ports"][0]["port"], 6379);
}

#[test]
fn a_pod_ends_after_all_proxies_know_and_has_enough_time() {
    let pod = &yaml("deploy/kubernetes/server.yaml")["spec"]["template"]["spec"];
    let before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
    let grace = pod["terminationGracePeriodSeconds"].as_u64();
    // A server ends within four seconds of SIGTERM.
    assert!(read("lab/server/src/lib.rs").contains("PATIENCE: Duration = Duration::from_secs(4)"));
    assert!(grace.unwrap() > before.unwrap() + 4);
    let route = yaml("deploy/kubernetes/route.yaml");
    let rule = &route["spec"]["rules"][0];
    assert_eq!(rule["sessionPersistence"]["type"], "Cookie");
    assert_eq!(rule["timeouts"]["request"], "0s");
}

#[test]
fn selectors_find_the_pods_and_images_are_those_of_compose() {
    let deployment = yaml("deploy/kubernetes/server.yaml");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for (file, pointer) in [
        ("server", "/spec/selector/matchLabels"),
        (
            "server",
            "/spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels",
        ),
        ("server-service", "/spec/selector"),
        ("disruption", "/spec/selector/matchLabels"),
    ] {
        let object = yaml(&format!("deploy/kubernetes/{file}.yaml"));
        assert_eq!(object.pointer(pointer), Some(labels), "{file} {pointer}");
    }
    let compose = yaml("deploy/compose.yaml");
    for (service, file) in [("redis", "redis"), ("server", "server")] {
        let of_compose = text(&compose["services"][service]["image"]);
        let container = container(&format!("deploy/kubernetes/{file}.yaml"));
        let image = text(&container["image"]);
        assert!(
            of_compose.ends_with(&format!(":-{image}}}")),
            "{of_compose}, {image}"
        );
    }
    let parts = yaml("deploy/kubernetes/kustomization.yaml");
    assert_eq!(parts["images"][0]["name"], "chat-server");
    let listed = parts["resources"].as_array().unwrap().iter().map(text);
    let mut listed: HashSet<_> = listed.map(str::to_owned).collect();
    listed.insert("kustomization.yaml".to_owned());
    let there = fs::read_dir(root().join("deploy/kubernetes")).unwrap();
    let there = there.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(listed, there.collect());
}

#[test]
fn kubernetes_schemas_accept_each_object_and_refuse_an_unknown_field() {
    let folder = root().join("deploy/kubernetes");
    let validate = |file: &Path| {
        let mut command = Command::new("kubernetes-validate");
        command.args(["--strict", "--no-warn"]).arg(file).output()
    };
    let Ok(_found) = validate(&folder.join("namespace.yaml")) else {
        return untested(
            "deploy/kubernetes against the schemas of Kubernetes",
            "kubernetes-validate is not installed (pip install kubernetes-validate)",
        );
    };
    // It has no schemas for the Gateway API.
    for name in [
        "namespace",
        "redis",
        "redis-service",
        "server",
        "server-service",
        "disruption",
    ] {
        let said = validate(&folder.join(format!("{name}.yaml"))).unwrap();
        assert!(said.status.success(), "{name}: {said:?}");
    }
    let misspelt = read("deploy/kubernetes/server.yaml").replace("maxSurge", "maxSurges");
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("server.yaml");
    fs::write(&file, misspelt).unwrap();
    assert!(!validate(&file).unwrap().status.success());
}

/// The first container of a workload.
fn container(path: &str) -> Value {
    yaml(path)["spec"]["template"]["spec"]["containers"][0].clone()
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text of a file, or of all files in a folder.
fn read(path: &str) -> String {
    let path = root().join(path);
    if path.is_file() {
        return fs::read_to_string(path).unwrap();
    }
    let mut all = String::new();
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap().path();
        all += &read(entry.to_str().unwrap());
    }
    all
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
