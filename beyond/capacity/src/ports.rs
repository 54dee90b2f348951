//! A network with eight ports for outgoing connections, and nginx in it.

use std::{env, fs, os::unix::process::CommandExt, process};

use anyhow::{Context, Result, bail};
use lab::Stage;
use tokio::process::Command;

use crate::{CONFIG, Seen, line_with, open, start};

/// The name of [`in_a_network_of_its_own`] among the lesson's programs.
pub const PROGRAM: &str = "ports";

/// How many ports there are for outgoing connections in that network.
pub const PORTS: usize = 8;

/// Opens sockets through nginx to one server, and then to three, in a network with [`PORTS`] ports
/// for outgoing connections. `None` if this system does not allow such a network.
///
/// The stage's binary must have the program [`PROGRAM`].
///
/// # Errors
/// When the network is allowed, and something in it fails.
pub async fn ports(stage: &Stage) -> Result<Option<[Seen; 2]>> {
    let allowed = Command::new("unshare")
        .args(["-Urn", "ip", "link", "set", "lo", "up"])
        .output()
        .await;
    if !allowed.is_ok_and(|output| output.status.success()) {
        return Ok(None);
    }
    let report = stage.folder().join("ports.json");
    let path = report.to_str().context("the folder's name is not text")?;
    stage.start_program(PROGRAM, &[path], &[])?.finish().await?;
    Ok(Some(serde_json::from_slice(&fs::read(&report)?)?))
}

/// The program: moves into a network of its own, and writes what it sees there to the file that
/// the command line names.
///
/// # Errors
/// When the network, a server or nginx does not start.
pub async fn in_a_network_of_its_own() -> Result<()> {
    const INSIDE: &str = "inside";
    let binary = env::current_exe()?;
    let arguments: Vec<_> = env::args().skip(1).collect();
    let report = match arguments.as_slice() {
        [report] => {
            let script = format!("ip link set lo up && exec \"$0\" {INSIDE} \"$1\"");
            let mut unshare = process::Command::new("unshare");
            unshare.args(["-Urn", "sh", "-c", &script]);
            // This returns only if it fails.
            return Err(unshare.arg(binary).arg(report).exec())
                .context("the program `unshare` cannot be started");
        }
        [_inside, report] => report,
        _ => bail!("`{PROGRAM}` is started by the stage: unset LAB_PROGRAM"),
    };
    let mut stage = Stage::silent(&binary)?;
    let seen = few_ports(&mut stage).await;
    stage.stop().await;
    fs::write(report, serde_json::to_vec(&seen?)?)?;
    Ok(())
}

async fn few_ports(stage: &mut Stage) -> Result<[Seen; 2]> {
    let range = format!("40000 {}", 40_000 + PORTS - 1);
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", range)?;
    // This process is the program `ports`. Its children are servers again.
    let server = [("LAB_PROGRAM", "")];
    start(stage, &server, 1).await?;
    let one = through_nginx(stage, 1, ["127.0.0.2", "127.0.0.3"]).await?;
    // From other addresses: a closed connection keeps its port, for its two addresses, for a minute.
    start(stage, &server, 3).await?;
    let three = through_nginx(stage, 3, ["127.0.0.4", "127.0.0.5"]).await?;
    Ok([one, three])
}

/// Opens twice as many sockets as there are ports. The clients use two addresses of nginx, so that
/// their own ports are enough.
async fn through_nginx(stage: &mut Stage, servers: u8, addresses: [&str; 2]) -> Result<Seen> {
    let site = stage
        .nginx
        .site(CONFIG, |config| among(config, servers, ""))?;
    let at = addresses.map(|address| format!("{address}:{}", site.address.port()));
    let listen = at.each_ref().map(|at| format!("listen {at} reuseport;"));
    let site = stage
        .nginx
        .site(CONFIG, |config| among(config, servers, &listen.concat()))?;
    stage.nginx.run(&site).await?;
    let mut observer = stage.observer().from_now();
    let [first, second] = at.map(|at| format!("http://{at}"));
    let opened = open(&[&first, &second], 2 * PORTS).await;
    let line = match opened.error {
        Some(_) => line_with(&mut observer, "connect()").await,
        None => None,
    };
    Ok(opened.seen(line))
}

/// The config with that many servers, and with more `listen` lines.
///
/// That network has only one user. nginx takes it for root, and would change to `nobody`.
fn among(config: &str, servers: u8, listen: &str) -> String {
    let first = "        listen 3000";
    let config = config.replace(first, &format!("        {listen}\n{first}"));
    let mut config = format!("{config}\nuser root root;\n");
    for left_out in servers..3 {
        config = config.replace(&format!("        server 127.0.0.1:800{left_out};\n"), "");
    }
    config
}
