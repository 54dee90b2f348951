#![allow(missing_docs, clippy::all, clippy::pedantic)]
use ch06_full_stack::{delivery::{flow::*, Rung}, experiment::{burst::burst, User}};
use lab::Stage;
use std::time::Duration;
fn hwm(pid: u32) -> String { std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap().lines().filter(|l| l.starts_with("VmHWM")||l.starts_with("VmRSS")).map(|l| l.split_whitespace().nth(1).unwrap().to_string()).collect::<Vec<_>>().join("/") }
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut stage = Stage::silent(std::env::var("BIN").unwrap_or("/tmp/target-delivery/debug/ch06-full-stack".into())).unwrap();
    let redis = stage.start_redis().await.unwrap();
    match args[1].as_str() {
        "burst" => {
            let mut env = vec![("REDIS_URL", redis.as_str())];
            let tr = if args[3] == "ws" { lab::Transport::WebSocket } else { lab::Transport::Polling };
            if let Some(b) = args.get(2) { env.push(("BUFFER", b)); }
            stage.start_servers(3, &env).await.unwrap();
            let urls: Vec<_> = ['A','B','C'].iter().map(|l| stage.server_url(*l).unwrap()).collect();
            let r = burst(&urls, tr, 10, 3).await.unwrap();
            println!("warm {r:?}");
            for l in ['A','B','C'] { println!("{l} {}", hwm(stage.server_pid(l).unwrap())); }
            let r = burst(&urls, tr, 1000, 300).await;
            println!("{:?}", r.map_err(|e| e.to_string()));
            let mut seen: std::collections::BTreeMap<String, usize> = Default::default();
            let mut o = stage.observer();
            while let Ok(v) = tokio::time::timeout(Duration::from_millis(200), o.next(1000)).await { for e in v { let e = format!("{e:?}"); if !e.contains("connected") && e.contains("Said") { *seen.entry(e[e.find("Said").unwrap()..].chars().take(160).collect()).or_default() += 1; } } }
            for (e, n) in seen { println!("{n} {e}"); }
            for l in ['A','B','C'] { println!("{l} {}", hwm(stage.server_pid(l).unwrap())); }
        }
        "stuck" => {
            use ch06_full_stack::experiment::reader::*;
            let mut env = vec![("REDIS_URL", redis.as_str())];
            if let Some(b) = args.get(3) { env.push(("BUFFER", b)); }
            stage.start_servers(3, &env).await.unwrap();
            let nginx = stage.start_nginx("06-full-stack.conf").await.unwrap();
            let a = stage.server_url('A').unwrap(); let b = stage.server_url('B').unwrap();
            for l in ['A','B'] { println!("{l} {}", hwm(stage.server_pid(l).unwrap())); }
            let c = lab::Client::new("x", "x");
            let mut deaf = if args[2] == "direct" { connect_and_read_nothing(&lab::Client::new("deaf", &b).telling(drop)).await.unwrap() } else {
                let cl = User::client(&nginx, "deaf", 1).telling(drop); let _ = c;
                connect_and_read_nothing(&cl).await.unwrap() };
            let clients = [lab::Client::new("alice", &a).telling(drop), lab::Client::new("carol", &a).telling(drop), lab::Client::new("ann", &b).telling(drop)];
            let t = std::time::Instant::now();
            let r = write_to_it([&clients[0], &clients[1], &clients[2]], "deaf", async { for _ in 0..10 { if stage.await_line('B', "dropped").await { break; } } }).await.unwrap();
            println!("{r:?} after {:?}", t.elapsed());
            for l in ['A','B'] { println!("{l} {}", hwm(stage.server_pid(l).unwrap())); }
            let mut n = 0; let mut r; loop { r = deaf.receive().await; if r.is_err() { break; } n += 1; } println!("then read {n} and {r:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
            for l in ['A','B'] { println!("{l} {}", hwm(stage.server_pid(l).unwrap())); }
        }
        "ladder" => {
            let env = vec![("REDIS_URL", redis.as_str())];
            stage.start_servers(3, &env).await.unwrap();
            let url = stage.start_nginx("06-full-stack.conf").await.unwrap();
            let mut flows = vec![]; 
            for rung in [Rung::Forgotten, Rung::PassedOn, Rung::Acknowledged, Rung::Retried, Rung::Kept] {
                let f = Flow::open(rung, &User::client(&url, &format!("from {rung}"), 0), &User::client(&url, &format!("to {rung}"), 1)).await.unwrap();
                flows.push(f);
            }
            let sc: Vec<_> = flows.iter().map(|f| f.scissors()).collect();
            let pace = Pace { messages: 500, every: Duration::from_millis(20), patience: Duration::from_secs(15) };
            let run = futures_util::future::join_all(flows.into_iter().map(|f| f.run(pace)));
            let (out, ()) = tokio::join!(run, async {
                tokio::time::sleep(Duration::from_secs(2)).await;
                match args[2].as_str() {
                    "server" => stage.kill_server('B').await.unwrap(),
                    "redis" => { stage.kill_redis().await; tokio::time::sleep(Duration::from_secs(1)).await; stage.restart_redis().await.unwrap(); }
                    "away" => sc.iter().for_each(|s| s.cut(Duration::from_secs(5))),
                    _ => {}
                }
            });
            for o in out { match o { Ok(o) => println!("sent {} lost {} dup {} late {} unknown {} silence {:?}", o.sent(), o.lost(), o.duplicated(), o.out_of_order(), o.unknown(), o.longest_silence()), Err(e) => println!("{e}") } }
        }
        _ => {}
    }
}
