//! A cluster that runs `deploy/kubernetes`, and an nginx in place of its Gateway.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use lab::Stage;
use serde_json::Value;
use tokio::{
    sync::watch::{Receiver, Sender, channel},
    task::JoinHandle,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The namespace of kustomization.yaml.
const NAMESPACE: &str = "chat";
/// The arguments that list the servers' addresses.
const ENDPOINTS: [&str; 3] = [
    "endpointslices",
    "--selector",
    "kubernetes.io/service-name=server",
];
/// The config of that nginx. The pods replace its servers.
const CONFIG: &str = "beyond/06-max-fails-0.conf";

/// A cluster, through kubectl.
pub struct Cluster {
    context: String,
}

impl Cluster {
    /// The cluster that `LAB_CLUSTER` names. No other cluster is touched.
    pub fn named() -> Self {
        let context = env::var("LAB_CLUSTER").unwrap_or_else(|_| {
            panic!(
                "no cluster is named: set LAB_CLUSTER to a context of `kubectl config get-contexts` \
                 whose cluster runs deploy/kubernetes"
            )
        });
        Self { context }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(["--context", &self.context, "--namespace", NAMESPACE]);
        command.args(arguments);
        command
    }

    /// Runs kubectl with these arguments; it must succeed. Returns what it prints.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::from(self.command(arguments));
        let output = command.output().await.expect("kubectl is installed");
        let [said, complaints] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {said}{complaints}"
        );
        said + &complaints
    }

    async fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments = [&["get", "--output", "json"], arguments].concat();
        let mut said: Value = serde_json::from_str(&self.kubectl(&arguments).await).unwrap();
        serde_json::from_value(said["items"].take()).unwrap()
    }

    async fn pods_of(&self, app: &str) -> Vec<Value> {
        let selector = format!("app={app}");
        self.list(&["pods", "--selector", &selector]).await
    }

    /// The names of all pods of an app, including those that are ending.
    pub async fn pods(&self, app: &str) -> Vec<String> {
        let pods = self.pods_of(app).await;
        let names = pods.iter().map(|pod| text(&pod["metadata"]["name"]));
        names.collect()
    }

    /// How often containers of an app were restarted.
    pub async fn restarts(&self, app: &str) -> u64 {
        let pods = self.pods_of(app).await;
        let states = pods
            .iter()
            .filter_map(|pod| pod["status"]["containerStatuses"].as_array());
        states
            .flatten()
            .filter_map(|state| state["restartCount"].as_u64())
            .sum()
    }

    /// The name and the address of each server that is ready.
    pub async fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let slices = self.list(&ENDPOINTS).await;
        slices.iter().flat_map(ready).collect()
    }

    /// A node without Redis, whose disk cannot move, and the names of all other nodes.
    pub async fn node_to_drain(&self) -> Option<(String, Vec<String>)> {
        let nodes = self.list(&["nodes"]).await;
        let mut nodes: Vec<_> = nodes
            .iter()
            .map(|node| text(&node["metadata"]["name"]))
            .collect();
        let redis = self.pods_of("redis").await;
        let has_redis = |node: &String| redis.iter().any(|pod| pod["spec"]["nodeName"] == **node);
        let free = nodes.iter().position(|node| !has_redis(node))?;
        let node = nodes.swap_remove(free);
        Some((node, nodes))
    }

    /// Applies a file of `deploy/kubernetes` as it is.
    pub async fn apply(&self, file: &str) {
        let file = root().join("deploy/kubernetes").join(file);
        self.kubectl(&["apply", "--filename", file.to_str().unwrap()])
            .await;
    }

    /// Replaces all servers, as a new version or new settings do. Done once all old servers are gone.
    pub async fn replace_servers(&self, patch: Option<&Value>) {
        let before = self.pods("server").await;
        let patch = patch.map(Value::to_string);
        match &patch {
            Some(patch) => {
                let patch = [
                    "patch",
                    "deployment/server",
                    "--type=json",
                    "--patch",
                    patch,
                ];
                self.kubectl(&patch).await
            }
            None => {
                self.kubectl(&["rollout", "restart", "deployment/server"])
                    .await
            }
        };
        let wait = ["rollout", "status", "deployment/server", "--timeout=3m"];
        self.kubectl(&wait).await;
        for pod in before {
            let name = format!("pod/{pod}");
            self.kubectl(&["wait", "--for=delete", &name, "--timeout=1m"])
                .await;
        }
    }

    /// The servers' deployment.
    pub async fn server(&self) -> Value {
        let get = ["get", "deployment/server", "--output", "json"];
        serde_json::from_str(&self.kubectl(&get).await).unwrap()
    }

    /// The URL of a service, for pods and for nodes.
    pub async fn service(&self, name: &str) -> String {
        let get = ["get", "service", name, "--output", "json"];
        let service: Value = serde_json::from_str(&self.kubectl(&get).await).unwrap();
        let port = &service["spec"]["ports"][0];
        let scheme = match text(&port["name"]).as_str() {
            "http" => "http",
            _ => "redis",
        };
        let address = text(&service["spec"]["clusterIP"]);
        format!("{scheme}://{address}:{}", port["port"])
    }
}

/// An nginx that does what a Gateway with `sessionPersistence` does. It stands in front of the pods
/// that are ready, and a cookie names a client's pod. It is reloaded whenever other pods are ready.
pub struct Front {
    pub url: String,
    ready: Receiver<Vec<SocketAddr>>,
    fewest: Arc<AtomicUsize>,
    watch: Child,
    follows: JoinHandle<()>,
}

impl Front {
    /// Starts it once three servers are ready.
    pub async fn start(cluster: &Cluster, binary: &str) -> Self {
        let arguments = [&["get", "--watch", "--output", "json"][..], &ENDPOINTS].concat();
        let mut watch = cluster.command(&arguments);
        let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
        let said = watch.stdout.take().unwrap();
        let (told, mut ready) = channel(Vec::new());
        let fewest = Arc::new(AtomicUsize::new(usize::MAX));
        let lowest = Arc::clone(&fewest);
        thread::spawn(move || listen(said, &told, &lowest));
        let pods = ready
            .wait_for(|pods| pods.len() == 3)
            .await
            .unwrap()
            .clone();

        let mut stage = Stage::silent(binary).unwrap();
        stage.servers.are_elsewhere(&pods);
        let site = stage
            .nginx
            .site(CONFIG, |config| with_pods(config, pods.len()));
        let url = stage.nginx.run(&site.unwrap()).await.unwrap();
        let mut changes = ready.clone();
        let follows = tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let pods = changes.borrow_and_update().clone();
                if pods.is_empty() {
                    continue; // nginx needs at least one server
                }
                stage.servers.are_elsewhere(&pods);
                let edit = |config: &str| with_pods(config, pods.len());
                stage.nginx.reload(CONFIG, edit).await.unwrap();
            }
        });
        Self {
            url,
            ready,
            fewest,
            watch,
            follows,
        }
    }

    /// The pods that are ready.
    pub fn pods(&self) -> Vec<SocketAddr> {
        self.ready.borrow().clone()
    }

    /// Waits until the pods that are ready are as wanted.
    pub async fn until(&self, wanted: impl Fn(&[SocketAddr]) -> bool) {
        let mut ready = self.ready.clone();
        ready.wait_for(|pods| wanted(pods)).await.unwrap();
    }

    /// The smallest number of ready pods since `forget_fewest`.
    pub fn fewest(&self) -> usize {
        self.fewest.load(Relaxed)
    }

    pub fn forget_fewest(&self) {
        self.fewest.store(self.pods().len(), Relaxed);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.follows.abort();
        self.watch.kill().unwrap();
        self.watch.wait().unwrap();
    }
}

/// Reads each change that kubectl reports.
fn listen(said: impl Read, told: &Sender<Vec<SocketAddr>>, fewest: &AtomicUsize) {
    let mut slices = BTreeMap::new();
    for slice in serde_json::Deserializer::from_reader(said).into_iter::<Value>() {
        // In the end kubectl is killed, perhaps in the middle of an object.
        let Ok(slice) = slice else { return };
        slices.insert(text(&slice["metadata"]["name"]), slice);
        let pods = slices.values().flat_map(ready).map(|(_, address)| address);
        let mut pods: Vec<_> = pods.collect();
        pods.sort();
        fewest.fetch_min(pods.len(), Relaxed);
        told.send_replace(pods);
    }
}

/// The name and the address of each pod that is ready.
fn ready(slice: &Value) -> Vec<(String, SocketAddr)> {
    let port = &slice["ports"][0]["port"];
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    let ready = ready.map(|endpoint| {
        let address = format!("{}:{port}", text(&endpoint["addresses"][0]));
        (
            text(&endpoint["targetRef"]["name"]),
            address.parse().unwrap(),
        )
    });
    ready.collect()
}

/// The config with as many servers as there are pods, and a cookie that names a client's pod. If that
/// pod does not answer, nginx asks the others. The stage replaces the addresses by those of the pods.
fn with_pods(config: &str, pods: usize) -> String {
    let pods: Vec<_> = (8000..)
        .take(pods)
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let mut pools = String::new();
    let mut own = "map $cookie_node $pool { default nodes;".to_owned();
    let server = |pod: &String, more: &str| format!("server {pod} max_fails=0{more}; ");
    let all: String = pods.iter().map(|pod| server(pod, "")).collect();
    for (number, pod) in pods.iter().enumerate() {
        let others = pods.iter().filter(|other| *other != pod);
        let others: String = others.map(|other| server(other, " backup")).collect();
        let pool = server(pod, "") + &others;
        writeln!(pools, "upstream node{number} {{ {pool}}}").unwrap();
        write!(own, " \"{pod}\" node{number};").unwrap();
    }
    let (before, rest) = config.split_once("upstream nodes {").unwrap();
    let (_servers, after) = rest.split_once('}').unwrap();
    let after = after.replace(
        "proxy_pass http://nodes;",
        "proxy_pass http://$pool; add_header X-Upstream $upstream_addr always;\n\
         add_header Set-Cookie \"node=$node; Path=/\";",
    );
    // The last pod that was asked has answered.
    let node = "map $upstream_addr $node { \"~([^ ]+)$\" $1; }";
    format!("{before}upstream nodes {{ ip_hash; {all}}}\n{pools}{own} }}\n{node}{after}")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_config_names_each_pod() {
        let pods = ["10.1.2.3:8000", "10.1.2.4:8000"].map(|pod| pod.parse().unwrap());
        let mut stage = Stage::silent("sh").unwrap();
        stage.servers.are_elsewhere(&pods);
        let site = stage
            .nginx
            .site(CONFIG, |config| with_pods(config, 2))
            .unwrap();
        let config = fs::read_to_string(site.prefix.join("nginx").join(&site.config)).unwrap();
        let pool = "upstream node1 { server 10.1.2.4:8000 max_fails=0; \
             server 10.1.2.3:8000 max_fails=0 backup; }";
        assert!(config.contains(pool), "{config}");
        assert!(config.contains("\"10.1.2.3:8000\" node0;"), "{config}");
    }
}
