//! On a Kubernetes cluster: servers are replaced, evicted and killed under load, and Redis is killed.
//!
//! It needs a cluster that runs `deploy/kubernetes`, and must itself run on a node of it, because it
//! reaches pods by their addresses. `LAB_CLUSTER` is the cluster's context in kubectl's config.
//!
//! ```text
//! LAB_CLUSTER=my-cluster cargo test -p hardened-chat kubernetes -- --ignored --nocapture
//! ```

use std::{collections::HashSet, time::Duration};

use ch06_full_stack::experiment::User;
use delivery::flow::Pace;
use drills::Load;
use failures::{
    broadcaster::ServersRedis,
    clients::{ClientRecord, ClientRecords, Clients},
    pairs::Pairs,
};
use harness::kubernetes::{Cluster, Front};
use lab::{Client, Result, Transport};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// Clients of each transport: two on each server.
const EACH: usize = 6;
/// A client whose server ends reconnects at its first attempt, after 1.5 s at most. If it then comes to
/// a server that ends next, it reconnects at its third attempt.
const BACK: Duration = Duration::from_secs(10);
/// How long a cluster may take until a pod is ready.
const READY: Duration = Duration::from_mins(1);
/// How long a server that is to end still answers: `preStop` in server.yaml.
const STAYS: Duration = Duration::from_secs(5);

/// One test, because there is one cluster.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes cluster, and replaces and kills what deploy/kubernetes started on it"]
async fn servers_are_replaced_evicted_and_killed_on_a_cluster_and_all_clients_reconnect() {
    let cluster = Cluster::named();
    let front = Front::start(&cluster, env!("CARGO_BIN_EXE_hardened-chat")).await;

    users_on_two_pods_reach_each_other(&front).await;
    a_pod_waits_until_every_proxy_knows(&cluster, &front).await;
    a_rollout_under_load_loses_no_request(&cluster, &front).await;
    a_drain_takes_one_server_at_a_time(&cluster, &front).await;
    a_pod_that_is_killed_is_replaced(&cluster, &front).await;
    messages_are_back_when_redis_is(&cluster, &front).await;
    // No server started before Redis answered, and none ended by itself.
    assert_eq!(cluster.restarts("server").await, 0);
    users_on_two_pods_reach_each_other(&front).await;
}

async fn users_on_two_pods_reach_each_other(front: &Front) {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let [alice, bob] = [("alice", 0), ("bob", 1)]
            .map(|(name, server)| User::client(&front.url, name, server).keeping_cookies());
        let alice = User::connect_with(&alice, transport).await.unwrap();
        let mut bob = User::connect_with(&bob, transport).await.unwrap();
        assert_ne!(alice.socket.owner, bob.socket.owner);
        alice.say("bob", "hi").await.unwrap();
        assert!(bob.hears("alice", "hi").await, "with {transport}");
    }
}

/// Through the service's own address. kube-proxy hears of a pod's end when it ends, and asks no other
/// pod. A pod that waits still answers then.
async fn a_pod_waits_until_every_proxy_knows(cluster: &Cluster, front: &Front) {
    let url = cluster.service("server").await;
    let path = "/spec/template/spec/containers/0/lifecycle";
    let lifecycle = cluster.server().await.pointer(path).unwrap().clone();
    let without = json!([{ "op": "remove", "path": path }]);
    let with = json!([{ "op": "add", "path": path, "value": lifecycle }]);

    // A pod ends as its own template says: the present pods wait.
    let waiting = requests_during_rollout(cluster, &url, &without).await;
    let (_, silent) = delete_a_pod(cluster, front).await;
    assert!(silent < STAYS, "{silent:?}");
    let at_once = requests_during_rollout(cluster, &url, &with).await;
    println!(
        "rollout, through the service, requests and lost: {waiting:?} with preStop, {at_once:?} without"
    );
    let (out_of_service, silent) = delete_a_pod(cluster, front).await;
    assert!(out_of_service < STAYS, "{out_of_service:?}");
    assert!(silent >= STAYS, "{silent:?}");
    // Without `preStop`, it is chance how many requests come to a pod at the moment of its end.
    assert_eq!(waiting.1, 0);
}

/// The times until the pod was out of the service, and until it no longer answered.
async fn delete_a_pod(cluster: &Cluster, front: &Front) -> (Duration, Duration) {
    let (name, address) = cluster.addresses().await.swap_remove(0);
    let direct = Client::new("you", &format!("http://{address}"));
    let began = Instant::now();
    let delete = ["delete", "pod", &name];
    let deleted = cluster.kubectl(&delete);
    let seen = async {
        front.until(|pods| !pods.contains(&address)).await;
        let out_of_service = began.elapsed();
        while direct.get_once("/").await.is_ok() {}
        (out_of_service, began.elapsed())
    };
    let (_said, seen) = tokio::join!(deleted, seen);
    let (out_of_service, silent) = seen;
    println!(
        "a pod deleted: out of the service after {out_of_service:.1?}, silent after {silent:.1?}"
    );
    all_are_ready(front).await;
    seen
}

/// The number of requests, and how many of them were lost.
async fn requests_during_rollout(cluster: &Cluster, url: &str, patch: &Value) -> (usize, usize) {
    let rollout = async {
        cluster.replace_servers(Some(patch)).await;
        Ok(())
    };
    let ((), requests) = Load::get("/").during(url, rollout).await.unwrap();
    (requests.all.len(), requests.failed().count())
}

async fn a_rollout_under_load_loses_no_request(cluster: &Cluster, front: &Front) {
    let before = cluster.pods("server").await;
    front.forget_fewest();
    let records = under_load("rollout restart", cluster, front, async {
        cluster.replace_servers(None).await;
    });
    let records = records.await;
    let after: HashSet<_> = cluster.pods("server").await.into_iter().collect();
    assert_eq!(after.len(), before.len());
    assert!(before.iter().all(|pod| !after.contains(pod)));
    // A new pod is ready before an old one ends.
    assert!(front.fewest() >= before.len(), "{}", front.fewest());
    for client in &records.clients {
        assert!(
            client.sessions.len() > 1,
            "{} was on no old pod",
            client.name
        );
    }
}

/// Drains a node that has all servers. Without the disruption budget, all of them end at once.
async fn a_drain_takes_one_server_at_a_time(cluster: &Cluster, front: &Front) {
    let Some((node, others)) = cluster.node_to_drain().await else {
        println!("kubectl drain: not tested, because it needs a node without Redis");
        return;
    };
    let all_on_it = async || {
        for other in &others {
            cluster.kubectl(&["cordon", other]).await;
        }
        cluster.replace_servers(None).await;
        for other in &others {
            cluster.kubectl(&["uncordon", other]).await;
        }
        front.forget_fewest();
    };
    let drained = async || {
        let drain = ["drain", &node, "--timeout=3m"];
        let said = cluster.kubectl(&drain).await;
        all_are_ready(front).await;
        cluster.kubectl(&["uncordon", &node]).await;
        let refused = said.matches("violate the pod's disruption budget").count();
        (refused, front.fewest())
    };
    cluster
        .kubectl(&["delete", "poddisruptionbudget/server"])
        .await;
    all_on_it().await;
    let without = drained().await;

    cluster.apply("disruption.yaml").await;
    let allowed = "--for=jsonpath={.status.disruptionsAllowed}=1";
    cluster
        .kubectl(&["wait", allowed, "poddisruptionbudget/server"])
        .await;
    all_on_it().await;
    let mut with = (0, 0);
    under_load("kubectl drain", cluster, front, async {
        with = drained().await;
    })
    .await;
    println!(
        "  evictions refused, fewest ready of 3: {with:?} with the budget, {without:?} without"
    );
    assert!(without.0 == 0 && without.1 < 2, "{without:?}");
    assert!(with.0 > 0 && with.1 >= 2, "{with:?}");
}

async fn a_pod_that_is_killed_is_replaced(cluster: &Cluster, front: &Front) {
    let (name, address) = cluster.addresses().await.swap_remove(0);
    under_load("a pod killed", cluster, front, async {
        let kill = ["delete", "pod", &name, "--grace-period=0", "--force"];
        cluster.kubectl(&kill).await;
        front.until(|pods| !pods.contains(&address)).await;
        all_are_ready(front).await;
    })
    .await;
}

async fn messages_are_back_when_redis_is(cluster: &Cluster, front: &Front) {
    let pace = Pace {
        messages: 500,
        every: Duration::from_millis(50),
        patience: BACK,
    };
    let pairs = Pairs::connect(&front.url).await.unwrap();
    let began = Instant::now();
    let outcomes = pairs.send(pace, async {
        cluster.kubectl(&["delete", "pod", "redis-0"]).await;
        let wait = ["rollout", "status", "statefulset/redis", "--timeout=1m"];
        cluster.kubectl(&wait).await;
        println!(
            "Redis' pod deleted: ready again after {:.1?}",
            began.elapsed()
        );
        Ok(Instant::now())
    });
    for row in outcomes.await.unwrap().rows("Redis' pod deleted", "") {
        println!(
            "  {}: {} messages, {} lost, recovered {:.2?} after that",
            row.event, row.sent, row.lost, row.recovered_after
        );
        assert!(
            row.recovered_after < Some(BACK) && row.lost < row.sent,
            "{row:?}"
        );
    }
}

/// Does something while requests and sockets are on the servers. No request is lost, every client
/// reconnects, and no message is missing within a session.
async fn under_load(
    event: &str,
    cluster: &Cluster,
    front: &Front,
    happens: impl Future<Output = ()>,
) -> ClientRecords {
    let redis = ServersRedis::at(cluster.service("redis").await);
    let clients = Clients::connect(&front.url, &redis, EACH).await.unwrap();
    let began = Instant::now();
    let happens = async {
        happens.await;
        let took = began.elapsed();
        clients.recover().await;
        Result::Ok(took)
    };
    let (took, requests) = Load::get("/").during(&front.url, happens).await.unwrap();
    let records = clients.finish().await.unwrap();
    let times_away = || records.clients.iter().flat_map(ClientRecord::times_away);
    let slowest = times_away().max().unwrap_or_default();
    let messages = records.messages();
    println!(
        "{event}, {took:.1?}: {} requests, {} lost; {} sockets, {} times away, {slowest:.2?} at \
         most; {messages:?}; {:?}",
        requests.all.len(),
        requests.failed().count(),
        records.clients.len(),
        times_away().count(),
        records.refusals(),
    );
    assert!(requests.all.len() > 100, "{}", requests.all.len());
    assert_eq!(requests.failed().count(), 0, "{:?}", requests.reasons());
    for client in &records.clients {
        assert!(client.is_connected(), "{} is away", client.name);
    }
    assert!(slowest < BACK, "{slowest:?}");
    assert_eq!(
        (messages.lost_within_session, messages.duplicates),
        (0, 0),
        "{messages:?}"
    );
    records
}

async fn all_are_ready(front: &Front) {
    let ready = front.until(|pods| pods.len() == 3);
    timeout(READY, ready).await.unwrap();
}
