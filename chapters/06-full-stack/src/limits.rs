//! What limits the number of sockets, each limit made so small that a few dozen meet it.
//!
//! [`crowd`] is the same for all: it opens sockets, one after the other, until one is not
//! to be had.

use std::{env, fs, os::unix::process::CommandExt, path::Path, process};

use anyhow::{Context, bail};
use lab::{
    Event, Observer, Result, Stage, Transport,
    client::{Error, PATIENCE},
};
use serde::{Deserialize, Serialize};
use tokio::{process::Command, time::timeout};

use crate::experiment::User;

/// Servers without Redis: nobody here writes to anybody.
const ENVIRONMENT: [(&str, &str); 1] = [("ADAPTER", "off")];

/// The config whose limits are narrowed here.
pub const CONFIG: &str = "06-many-sockets.conf";

/// What a server says that has no descriptor left.
pub const SHORTAGE: &str = "no more connections can be taken for now";

/// Sockets that are open, and why there are no more.
pub struct Crowd {
    /// Who is connected.
    pub users: Vec<User>,
    /// What the next one was told, if one failed.
    pub error: Option<Error>,
}

/// Opens WebSockets until `wanted` are open, or one is not to be had. They take turns with
/// the URLs, and stand for addresses that nginx spreads over three servers.
pub async fn crowd(urls: &[&str], wanted: usize) -> Crowd {
    let mut users = Vec::with_capacity(wanted);
    for (number, url) in (0..wanted).zip(urls.iter().cycle()) {
        let name = format!("user {number}");
        match User::connect(url, &name, number % 3, Transport::WebSocket).await {
            Ok(user) => users.push(user),
            Err(error) => {
                return Crowd {
                    users,
                    error: Some(error),
                };
            }
        }
    }
    Crowd { users, error: None }
}

/// What was seen of a crowd.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Seen {
    /// How many sockets were open at once.
    pub held: usize,
    /// The client's error, if a socket was not to be had.
    pub client: Option<String>,
    /// The line about it in nginx's log, or the server's.
    pub line: Option<String>,
}

impl Crowd {
    /// What was seen of it; `line` is what nginx or the server says of it.
    pub fn seen(&self, line: Option<String>) -> Seen {
        Seen {
            held: self.users.len(),
            client: self.error.as_ref().map(|_| self.told()),
            line,
        }
    }

    /// What the client was told whose socket was not to be had; nothing if all were.
    pub fn told(&self) -> String {
        match &self.error {
            Some(Error::Refused(answer)) => format!("HTTP status {}", answer.status),
            Some(error) => error.to_string(),
            None => String::new(),
        }
    }
}

/// Starts one server that may have so many descriptors, in place of those that run.
///
/// # Errors
/// When it does not start, as with a limit above this user's own (`ulimit -Hn`).
pub async fn serve_with_descriptors(stage: &mut Stage, binary: &Path, limit: usize) -> Result<()> {
    serve(stage, binary, &format!("ulimit -n {limit}"), 1).await
}

/// Starts one server that may have so many KiB of address space more than it has when it
/// starts, in place of those that run. Returns whether it could: only Linux says how much
/// that is.
///
/// # Errors
/// When it does not start.
pub async fn serve_with_memory(stage: &mut Stage, binary: &Path, more: usize) -> Result<bool> {
    serve(stage, binary, "true", 1).await?;
    let pid = stage.server_pid('A').context("server A just started")?;
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        return Ok(false);
    };
    let size = status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmSize:")?.strip_suffix("kB")?;
        kib.trim().parse::<usize>().ok()
    });
    let size = size.with_context(|| format!("/proc/{pid}/status has no VmSize"))?;
    serve(stage, binary, &format!("ulimit -v {}", size + more), 1).await?;
    Ok(true)
}

/// The config with one worker that has so many connections.
pub fn with_connections(config: &str, connections: usize) -> String {
    config
        .replace("worker_processes 8;", "worker_processes 1;")
        .replace(
            "worker_connections 19900;",
            &format!("worker_connections {connections};"),
        )
}

/// Waits for a line of a server or of nginx with `text` in it, and returns it without
/// its time, its PID, and the request; `None` if none comes within the time that a line may take.
pub async fn line_with(observer: &mut Observer, text: &str) -> Option<String> {
    let found = async {
        loop {
            for observed in observer.next(1_000).await {
                if let Event::Said { line, .. } = observed.event
                    && line.contains(text)
                {
                    return line;
                }
            }
        }
    };
    let line = timeout(PATIENCE, found).await.ok()?;
    // nginx: `2026/01/01 12:00:00 [crit] 10#10: *7 connect() to …`
    let short = line.split_once('[').and_then(|(_, line)| {
        let (level, line) = line.split_once(']')?;
        let said = line.split_once(": ")?.1;
        let (said, _request) = said.split_once(", client:").unwrap_or((said, ""));
        Some(format!("[{level}] {said}"))
    });
    Some(short.unwrap_or(line))
}

/// How many ports a connection may be given in [`ports`].
pub const PORTS: usize = 8;

/// A crowd through nginx to one server, and then to three, in a network of its own in which
/// there are [`PORTS`] ports for outgoing connections. `None` where this system gives
/// nobody a network of his own.
///
/// The stage's binary must know [`in_a_network_of_its_own`] by the name `ports`.
///
/// # Errors
/// When the network can be had, and something in it fails.
pub async fn ports(stage: &Stage) -> Result<Option<[Seen; 2]>> {
    let can_be_had = Command::new("unshare")
        .args(["-Urn", "ip", "link", "set", "lo", "up"])
        .output()
        .await;
    if !can_be_had.is_ok_and(|tried| tried.status.success()) {
        return Ok(None);
    }
    let report = stage.folder().join("ports.json");
    let path = report.to_str().context("the folder's name is no text")?;
    stage.start_program("ports", &[path], &[])?.finish().await?;
    Ok(Some(serde_json::from_slice(&fs::read(&report)?)?))
}

/// The program `ports`: takes a network of its own, and writes what it sees there to the
/// file that the command line names.
///
/// # Errors
/// When a network, a server, or nginx is not to be had.
pub async fn in_a_network_of_its_own() -> Result<()> {
    const INSIDE: &str = "inside";
    let binary = env::current_exe()?;
    let arguments: Vec<_> = env::args().skip(1).collect();
    let report = match arguments.as_slice() {
        [report] => {
            let script = format!("ip link set lo up && exec \"$0\" {INSIDE} \"$1\"");
            let mut unshare = process::Command::new("unshare");
            unshare.args(["-Urn", "sh", "-c", &script]);
            // Only returns if it fails.
            return Err(unshare.arg(binary).arg(report).exec()).context("no `unshare`");
        }
        [_inside, report] => report,
        _ => bail!("`ports` is started by the stage: run `capacity` without it"),
    };
    let mut stage = Stage::silent(&binary)?;
    let seen = few_ports(&mut stage, &binary).await;
    stage.stop().await;
    fs::write(report, serde_json::to_vec(&seen?)?)?;
    Ok(())
}

async fn few_ports(stage: &mut Stage, binary: &Path) -> Result<[Seen; 2]> {
    let range = format!("40000 {}", 40_000 + PORTS - 1);
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", range)?;
    serve(stage, binary, "unset LAB_PROGRAM", 1).await?;
    let one = through_nginx(stage, 1, ["127.0.0.2", "127.0.0.3"]).await?;
    // To other addresses: closed connections keep their ports, to where they led, for a minute.
    serve(stage, binary, "unset LAB_PROGRAM", 3).await?;
    let three = through_nginx(stage, 3, ["127.0.0.4", "127.0.0.5"]).await?;
    Ok([one, three])
}

/// A crowd of twice as many as there are ports. It comes to two addresses of nginx, so that
/// its own ports last.
async fn through_nginx(stage: &mut Stage, servers: u8, addresses: [&str; 2]) -> Result<Seen> {
    let site = stage.nginx_site(CONFIG, |config| among(config, servers, ""))?;
    let at = addresses.map(|address| format!("{address}:{}", site.address.port()));
    let listen = at.each_ref().map(|at| format!("listen {at} reuseport;"));
    let site = stage.nginx_site(CONFIG, |config| among(config, servers, &listen.concat()))?;
    stage.run_nginx(&site).await?;
    let mut observer = stage.observer().from_now();
    let [first, second] = at.map(|at| format!("http://{at}"));
    let crowd = crowd(&[&first, &second], 2 * PORTS).await;
    let line = match crowd.error {
        Some(_) => line_with(&mut observer, "connect()").await,
        None => None,
    };
    Ok(crowd.seen(line))
}

/// The config for so many servers, and nginx with other lines that say where it listens.
///
/// Its user is the only one in that network: nginx takes it for root, and would be `nobody`.
fn among(config: &str, servers: u8, listen: &str) -> String {
    let first = "        listen 3000";
    let config = config.replace(first, &format!("        {listen}\n{first}"));
    let mut config = format!("{config}\nuser root root;\n");
    for left_out in servers..3 {
        config = config.replace(&format!("        server 127.0.0.1:800{left_out};\n"), "");
    }
    config
}

/// Starts servers, in place of those that run, each by a shell that does `first` before.
async fn serve(stage: &mut Stage, binary: &Path, first: &str, servers: u8) -> Result<()> {
    // A file, so that the line which brings a dead server back is one for a terminal.
    let script = stage.folder().join("server.sh");
    fs::write(&script, format!("{first} && exec \"$1\"\n"))?;
    stage.stop_servers().await;
    stage.serve_with("sh", &[script.as_os_str(), binary.as_os_str()]);
    stage.start_servers(servers, &ENVIRONMENT).await
}
