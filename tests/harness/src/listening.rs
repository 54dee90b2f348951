//! Who may connect to the processes of a stage? Reads the kernel's tables of sockets (Linux only).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
};

use rustix::process::Signal;

use crate::binary::{Running, family};

/// A listening socket: the name of its program, and its address.
pub type Listening = BTreeSet<(String, SocketAddr)>;

/// The listening sockets of these processes. A process that ends meanwhile has none.
pub fn of(processes: &BTreeSet<u32>) -> Listening {
    let mut listening = Listening::new();
    // One table for each network: most processes share one.
    let mut networks = BTreeMap::new();
    for pid in processes {
        let own = format!("/proc/{pid}");
        let Ok(name) = fs::read_to_string(format!("{own}/comm")) else {
            continue;
        };
        let Ok(network) = fs::read_link(format!("{own}/ns/net")) else {
            continue;
        };
        let sockets = networks.entry(network).or_insert_with(|| {
            let mut sockets = table(&format!("{own}/net/tcp"));
            sockets.extend(table(&format!("{own}/net/tcp6")));
            sockets
        });
        for file in fs::read_dir(format!("{own}/fd")).into_iter().flatten() {
            let target = file.and_then(|file| fs::read_link(file.path()));
            let socket = target.ok().and_then(|target| {
                let inode = target.to_str()?.strip_prefix("socket:[")?;
                sockets.get(inode.strip_suffix(']')?)
            });
            if let Some(address) = socket {
                listening.insert((name.trim().to_owned(), *address));
            }
        }
    }
    listening
}

/// How many connections of this machine to a server are open. Linux only.
pub fn connections_to(server: SocketAddr) -> usize {
    /// `TCP_ESTABLISHED` of the kernel's `tcp_states.h`.
    const ESTABLISHED: &str = "01";
    let text = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let rows = text.lines().skip(1).filter(|row| {
        let fields: Vec<_> = row.split_whitespace().collect();
        fields[3] == ESTABLISHED && address(fields[2]) == server
    });
    rows.count()
}

/// The addresses of all listening sockets in such a table, by inode.
fn table(path: &str) -> BTreeMap<String, SocketAddr> {
    /// `TCP_LISTEN` of the kernel's `tcp_states.h`.
    const LISTEN: &str = "0A";
    let text = fs::read_to_string(path).unwrap_or_default();
    let rows = text.lines().skip(1).filter_map(|row| {
        let fields: Vec<_> = row.split_whitespace().collect();
        (fields[3] == LISTEN).then(|| (fields[9].to_owned(), address(fields[1])))
    });
    rows.collect()
}

/// `0100007F:1F90` is 127.0.0.1:8000: each group of four bytes is a number in the machine's order.
fn address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').unwrap();
    let groups = (0..ip.len()).step_by(8).map(|at| &ip[at..at + 8]);
    let bytes: Vec<u8> = groups
        .flat_map(|group| u32::from_str_radix(group, 16).unwrap().to_ne_bytes())
        .collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap())),
    };
    (ip, u16::from_str_radix(port, 16).unwrap()).into()
}

/// Runs a program to its end. At each of these lines of its output, it is stopped (SIGSTOP) and the
/// sockets of its processes are looked at: none may be reachable from another machine, and each of
/// the named programs must listen.
///
/// # Panics
/// When one is reachable, a program does not listen, or the exit code is not 0.
pub fn on_loopback_alone(command: &mut Command, at: &[(&str, &[&str])]) {
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let mut running = Running::start(command);
    for (line, programs) in at {
        running.line_with(line);
        running.signal(Signal::STOP);
        assert_loopback_alone(&of(&family(running.pid())), programs);
        running.signal(Signal::CONT);
    }
    assert_eq!(running.end(), Some(0));
}

/// The same for sockets that were seen.
///
/// # Panics
/// When one is reachable, or a program does not listen.
pub fn assert_loopback_alone(seen: &Listening, programs: &[&str]) {
    for (program, address) in seen {
        assert!(address.ip().is_loopback(), "{program} on {address}");
    }
    for program in programs {
        // The kernel keeps 15 bytes of a name.
        let listens = seen.iter().any(|(name, _)| program.starts_with(name));
        assert!(listens, "{program} does not listen: {seen:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, process};

    use super::*;

    #[test]
    fn sockets_are_found_with_their_addresses() {
        for ip in ["127.0.0.1", "0.0.0.0", "::1"] {
            let Ok(listener) = TcpListener::bind((ip, 0)) else {
                continue; // no IPv6 here
            };
            let address = listener.local_addr().unwrap();
            let seen = of(&BTreeSet::from([process::id()]));
            assert!(seen.iter().any(|(_, at)| *at == address), "{seen:?}");
        }
    }
}
