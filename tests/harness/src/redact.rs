//! Gives names to what differs from run to run, and keeps who is who.
//!
//! | what differs | what stands there instead |
//! |---|---|
//! | a PID | its server's letter: `PID: [B]`, and `PID: [B 2]` for the process that took its place |
//! | a session ID | `[session 1]`, and the same name wherever it comes again |
//! | a port | the article's: 8000 and on for servers, 3000 for nginx, 6379 for Redis |
//! | nginx's and Redis's versions and paths | `[which nginx]`, `[which Redis]` |
//! | a time, a length | `[time]`, `[length]` |
//! | whose turn it is, after many have asked at once | `[any server]` |
//! | a count that is chance | what is certain about it: `[>20]`, `[several]`, `[by chance]` |
//!
//! Where a server pings and answers in the same moment, chance decides which packet
//! comes first and which share an answer. So pings (`2`), pongs (`3`), and the requests
//! that carry nothing else are left out of connected sessions, and the poll that an
//! upgrade ends (`6`) stands right before the `5` that it makes way for.
//!
//! What is not recognized stays as it is, and shows up as a difference.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use regex::{Captures, Regex};

/// A pattern that is compiled once.
macro_rules! pattern {
    ($text:literal) => {
        LazyLock::new(|| Regex::new($text).expect("a pattern"))
    };
}

/// The same text from every run that teaches the same.
pub fn redact(text: &str) -> String {
    let mut names = Names::default();
    without_heartbeat(unfold(text))
        .into_iter()
        .map(|line| names.redact(&line) + "\n")
        .collect()
}

/// Joins what a narrow terminal puts on two lines: a request and its answer, a claim and
/// what was seen.
pub fn unfold(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let rest = line.trim_start();
        match lines.last_mut() {
            Some(request) if rest.starts_with("→ ") => request.push_str(&format!("  {rest}")),
            Some(claim)
                if (claim.starts_with("  ✓ ") || claim.starts_with("  ! "))
                    && line.starts_with("    (") =>
            {
                claim.push_str(&format!(" {rest}"));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// Leaves out what comes when it comes, and puts the rest in the order that is meant.
fn without_heartbeat(lines: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut connected = HashSet::new();
    let mut ended_poll = None;
    for line in lines {
        if is_heartbeat_frame(&line) || lacks_realip(&line) {
            continue;
        }
        if line.ends_with(" frame → 5") {
            kept.extend(ended_poll.take());
        }
        let Some(exchange) = Exchange::read(&line) else {
            put(&mut kept, line);
            continue;
        };
        if exchange.sent.starts_with("40") {
            connected.insert(exchange.session.clone());
        }
        // Who has not connected yet is pinged once, and that is all the answer there is.
        if !connected.contains(&exchange.session) {
            kept.push(fold(&exchange, &line));
            continue;
        }
        let packets = exchange.packets();
        if exchange.sent == "3" || packets.is_empty() {
            continue;
        }
        let line = exchange.with_answer_below(&packets.join(" ␞ "));
        if packets == ["6"] {
            ended_poll = Some(line);
        } else {
            kept.push(line);
        }
    }
    kept.extend(ended_poll);
    kept
}

/// Adds a line. Two programs that run at once write in either order: what the publisher
/// wrote goes before what the subscriber heard.
fn put(lines: &mut Vec<String>, line: String) {
    let is_heard = |line: &String| line.starts_with("  subscriber  Message ");
    let mut at = lines.len();
    if line.starts_with("  publisher ") {
        at -= lines.iter().rev().take_while(|line| is_heard(line)).count();
    }
    lines.insert(at, line);
}

fn is_heartbeat_frame(line: &str) -> bool {
    ["→ 2", "→ 3", "← 2", "← 3"]
        .iter()
        .any(|packet| line.ends_with(&format!(" frame {packet}")))
}

/// On a machine whose nginx will not do, the stage says so and builds another.
fn lacks_realip(line: &str) -> bool {
    line.contains("lacks the realip module")
}

/// A request and its answer, as they stand on a line.
struct Exchange {
    /// `  you         GET /…`, with what it sent.
    request: String,
    /// What was sent.
    sent: String,
    /// The session that the request names, as far as it is shown.
    session: Option<String>,
    /// `● A  200  `, before the body.
    status: String,
    body: String,
}

impl Exchange {
    fn read(line: &str) -> Option<Self> {
        static EXCHANGE: LazyLock<Regex> =
            pattern!(r"^(.*\b(?:GET|POST) \S+(?:   (.+?))?)  → ((?:.*? )?\d{3})(?:  (.*))?$");
        static SESSION: LazyLock<Regex> = pattern!(r"[?&]sid=([\w-]+)");
        let parts = EXCHANGE.captures(line)?;
        let part = |index| parts.get(index).map_or("", |part| part.as_str()).to_owned();
        let session = SESSION.captures(line).map(|found| found[1].to_owned());
        Some(Self {
            request: part(1),
            sent: part(2),
            session,
            status: part(3),
            body: part(4),
        })
    }

    /// What the answer holds besides pings.
    fn packets(&self) -> Vec<&str> {
        let packets = self.body.split(" ␞ ");
        packets.filter(|packet| *packet != "2").collect()
    }

    fn with_answer_below(&self, body: &str) -> String {
        let answer = format!("{}  {body}", self.status);
        format!("{}\n{:14}  → {}", self.request, "", answer.trim_end())
    }
}

/// Splits the line of an exchange again where a terminal would be too narrow for it.
fn fold(exchange: &Exchange, line: &str) -> String {
    /// As `lab` does it: a terminal's width.
    const WIDTH: usize = 80;
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    exchange.with_answer_below(&exchange.body)
}

/// Who was named how.
#[derive(Default)]
struct Names {
    processes: HashMap<String, String>,
    /// How many processes there have been under each name.
    generations: HashMap<String, usize>,
    sessions: Vec<String>,
    /// Many have asked at once, some of them several times.
    turn_is_chance: bool,
}

impl Names {
    fn redact(&mut self, line: &str) -> String {
        let line = self.turn(line);
        let line = ports(&line);
        let line = self.pids(&line);
        let line = self.session_ids(&line);
        chance(&line)
    }

    /// Once many have asked at once, it is chance whose turn comes next, until nginx is
    /// started anew.
    fn turn(&mut self, line: &str) -> String {
        static SERVER: LazyLock<Regex> = pattern!(r"→ [●▲■] [ABC]  ");
        if line.contains("at once, ") {
            self.turn_is_chance = true;
        } else if line.starts_with("  nginx ") {
            self.turn_is_chance = false;
        }
        if self.turn_is_chance {
            return SERVER.replace(line, "→ [any server]  ").into_owned();
        }
        line.to_owned()
    }

    fn pids(&mut self, line: &str) -> String {
        static PID: LazyLock<Regex> = pattern!(r"(PID:? |kill -9 )(\d+)");
        let replaced = PID.replace_all(line, |found: &Captures| {
            let at = found.get(0).map_or(0, |whole| whole.start());
            format!("{}[{}]", &found[1], self.process(&found[2], &line[..at]))
        });
        replaced.into_owned()
    }

    /// The name of a process. `before` is what the line says before its PID: of a process
    /// that is new, it says who that is.
    fn process(&mut self, pid: &str, before: &str) -> String {
        if let Some(name) = self.processes.get(pid) {
            // Which of the processes on a shared port answers is chance.
            if name.starts_with("worker") {
                return "one of the workers".to_owned();
            }
            return name.clone();
        }
        let who = who(before);
        let generation = self.generations.entry(who.clone()).or_default();
        *generation += 1;
        let name = match generation {
            1 => who,
            later => format!("{who} {later}"),
        };
        self.processes.insert(pid.to_owned(), name.clone());
        name
    }

    fn session_ids(&mut self, line: &str) -> String {
        static IN_PACKETS: LazyLock<Regex> = pattern!(r#"(sid=|"sid":")([\w-]+)…?"#);
        static ON_CONSOLES: LazyLock<Regex> = pattern!(r"^(  \S [A-Z] +)([\w-]+)…( connected)$");
        let line = IN_PACKETS.replace_all(line, |found: &Captures| {
            format!("{}[session {}]", &found[1], self.session(&found[2]))
        });
        let replaced = ON_CONSOLES.replace(&line, |found: &Captures| {
            let number = self.session(&found[2]);
            format!("{}[session {number}]{}", &found[1], &found[3])
        });
        replaced.into_owned()
    }

    /// The number of a session. A terminal shows the first four characters of its ID.
    fn session(&mut self, id: &str) -> usize {
        let shown: String = id.chars().take(4).collect();
        let known = self.sessions.iter().position(|known| *known == shown);
        let index = known.unwrap_or_else(|| {
            self.sessions.push(shown);
            self.sessions.len() - 1
        });
        index + 1
    }
}

/// Whose process a line speaks of: the last server that it names by its letter, or the
/// program whose line it is. Where neither is said there is but one server.
fn who(before: &str) -> String {
    static LETTER: LazyLock<Regex> = pattern!(r"(?:[●▲■◆★▼] ([A-Z])\b|\b([A-Z]) \($)");
    static PROGRAM: LazyLock<Regex> = pattern!(r"^  (\w+) ");
    if let Some(letter) = LETTER.captures_iter(before).last() {
        let letter = letter.get(1).or(letter.get(2));
        return letter.map_or("", |letter| letter.as_str()).to_owned();
    }
    match PROGRAM.captures(before) {
        Some(program) if &program[1] == "you" => "somebody".to_owned(),
        Some(program) => program[1].to_owned(),
        None => "A".to_owned(),
    }
}

/// The article's ports, in the lines in which somebody says where they listen.
fn ports(line: &str) -> String {
    static SERVER: LazyLock<Regex> = pattern!(r"^(.*)(running on )\d+( port)");
    static URL: LazyLock<Regex> = pattern!(r"^(  (?:nginx|Redis) +\w+://127\.0\.0\.1:)\d+");
    let line = SERVER.replace(line, |found: &Captures| {
        let port = match who(&found[1]).as_bytes() {
            [letter @ b'A'..=b'Z'] => 8000 + u32::from(letter - b'A'),
            // The one port that chapter 2's workers share.
            _ => 8010,
        };
        format!("{}{}{port}{}", &found[1], &found[2], &found[3])
    });
    let replaced = URL.replace(&line, |found: &Captures| {
        let port = if found[1].starts_with("  nginx") {
            3000
        } else {
            6379
        };
        format!("{}{port}", &found[1])
    });
    replaced.into_owned()
}

/// What is chance, or somebody's machine.
fn chance(line: &str) -> String {
    static NAMED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"^(  nginx +)nginx \d.*", "${1}[which nginx]"),
            (r"^(  Redis +redis://[\d.:]+), .*", "$1, [which Redis]"),
            // One is a process, the other a part of the stage's.
            (r"^(  Redis +)(?:kill -9 .*|stopped, .*)", "${1}[killed]"),
            (r"\b\d+\.\d+ s\b", "[time]"),
            (r"^(  date: ).*", "${1}[time]"),
            (r"^(  content-length: ).*", "${1}[length]"),
            (r"\b\d+ more lost", "[some] more lost"),
            (r"(Of 90 at once, )\d+", "${1}[some]"),
            (r"(shared port: +)\d+ / \d+ / \d+", "${1}[by chance]"),
            // The operating system has several words for it.
            (
                r"→ the connection broke: .*",
                "→ the connection broke: [how]",
            ),
            (
                r"\(the connection broke: .*\)$",
                "(the connection broke: [how])",
            ),
        ]
        .map(|(chance, name)| (Regex::new(chance).expect("a pattern"), name))
        .into()
    });
    let mut line = line.to_owned();
    for (chance, name) in NAMED.iter() {
        line = chance.replace_all(&line, *name).into_owned();
    }
    consistent_hash(&three_settings(&line))
}

/// Pings count too in the table of the three settings, and come when they come.
fn three_settings(line: &str) -> String {
    static ROW: LazyLock<Regex> =
        pattern!(r#"^( *(?:\["\w+"\]|\(the default\)))( +\d+)( +\d+)( +\d+)( +\d+)$"#);
    let measure = |cell: &str| match cell.trim().parse() {
        Ok(2_u32..10) => aligned("[<10]", cell),
        Ok(21..) => aligned("[>20]", cell),
        _ => cell.to_owned(),
    };
    let replaced = ROW.replace(line, |row: &Captures| {
        let bytes = [4, 5].map(|index| aligned("[bytes]", &row[index]));
        row[1].to_owned() + &measure(&row[2]) + &measure(&row[3]) + &bytes.concat()
    });
    replaced.into_owned()
}

/// In the same column as the figure that it stands for.
fn aligned(name: &str, cell: &str) -> String {
    format!("{name:>width$}", width = cell.len())
}

/// `hash … consistent` computes from the servers' ports, which differ from run to run.
fn consistent_hash(line: &str) -> String {
    static ROW: LazyLock<Regex> = pattern!(r"^ *hash \$remote_addr  ");
    static SPREAD: LazyLock<Regex> = pattern!(r"(\d+)/(\d+)/(\d+) *");
    if !ROW.is_match(line) {
        return line.to_owned();
    }
    let replaced = SPREAD.replace_all(line, |spread: &Captures| {
        let used = (1..=3).filter(|index| &spread[*index] != "0").count();
        let name = if used == 1 { "[one]" } else { "[several]" };
        format!("{name:width$}", width = spread[0].len())
    });
    replaced.trim_end().to_owned()
}
