//! The text of each event in the terminal.

use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};

use crate::seen::{
    event::{Event, Exchange, Expected, Forwarded, Part},
    redact::{redact, redact_console},
};

/// Turns an address into a server's letter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cast {
    servers: Vec<(char, SocketAddr)>,
}

impl Cast {
    /// From now on, the server at `address` is `letter`.
    pub(crate) fn is(&mut self, letter: char, address: SocketAddr) {
        self.servers.retain(|(other, _)| *other != letter);
        self.servers.push((letter, address));
    }

    fn letter(&self, address: SocketAddr) -> Option<char> {
        self.servers
            .iter()
            .find(|(_, known)| *known == address)
            .map(|(letter, _)| *letter)
    }

    /// The servers that nginx asked, in order. Servers without an answer get a cross.
    fn tried(&self, tried: &[SocketAddr]) -> String {
        let Some((last, failed)) = tried.split_last() else {
            return String::new();
        };
        let name = |address: &SocketAddr| match self.letter(*address) {
            Some(letter) => badge(letter),
            None => address.to_string(),
        };
        let mut text: String = failed
            .iter()
            .map(|address| format!("{} {} ", name(address), paint(RED, "✗")))
            .collect();
        text.push_str(&name(last));
        text
    }
}

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// Width of the column with the name.
const WHO: usize = 10;
/// A request and its answer share a line if they fit this width. A terminal has 80 columns.
const LINE: usize = 80 - (2 + WHO + 2);
/// How much of a body or frame is shown.
const BODY: usize = 51;

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A server's letter with its shape, in its colour.
///
/// The shape helps people who cannot see the colour.
fn badge(letter: char) -> String {
    const BADGES: [(char, AnsiColor); 6] = [
        ('●', AnsiColor::Cyan),
        ('▲', AnsiColor::Yellow),
        ('■', AnsiColor::Magenta),
        ('◆', AnsiColor::Blue),
        ('★', AnsiColor::Green),
        ('▼', AnsiColor::Red),
    ];
    let index = (letter as usize).wrapping_sub('A' as usize) % BADGES.len();
    let (shape, colour) = BADGES[index];
    paint(colour.on_default().bold(), &format!("{shape} {letter}"))
}

fn who(part: Part) -> String {
    match part {
        Part::Server(letter) => format!("{}{}", badge(letter), " ".repeat(WHO - 3)),
        other => column(&other.to_string()),
    }
}

/// A name, padded to the width of its column.
fn column(name: &str) -> String {
    paint(BOLD, &format!("{name:WHO$}"))
}

/// The lines for `event`, with ANSI colours. There is no line break at the end.
pub(crate) fn render(event: &Event, cast: &Cast) -> String {
    match event {
        Event::Chapter { title } => paint(BOLD, title),
        Event::Step { title } => format!("\n{}", paint(BOLD, &format!("── {title}"))),
        Event::Note { text } => text
            .lines()
            .map(|line| format!("  {line}").trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n"),
        Event::Claim {
            text,
            seen,
            expects,
            held,
        } => render_claim(text, seen, *expects, *held),
        Event::Up { part, detail, .. } => format!("  {}  {detail}", who(*part)),
        Event::Down { part, how } => format!("  {}  {}", who(*part), paint(RED, how)),
        Event::Said { part, line } => format!("  {}  {}", who(*part), redact_console(line)),
        Event::Asked { .. } => String::new(),
        Event::Exchange(exchange) => render_exchange(exchange, cast),
        Event::Frame { client, sent, text } => {
            let arrow = if *sent { "→" } else { "←" };
            format!("  {}  frame {arrow} {}", column(client), cut(&redact(text)))
        }
        Event::Forwarded(forwarded) => render_forwarded(forwarded, cast),
        Event::Published { channel, bytes } => {
            format!("  {}  {bytes} bytes on {channel}", who(Part::Redis))
        }
        Event::Message {
            from,
            to,
            text,
            arrived,
        } => {
            let end = if *arrived {
                paint(GREEN, "arrives")
            } else {
                paint(RED, "does not arrive")
            };
            format!("  {}  to {to}: {text:?} {end}", column(from))
        }
    }
}

fn render_claim(text: &str, seen: &str, expects: Expected, held: bool) -> String {
    let mut text = text.to_owned();
    if held && expects == Expected::Failure {
        text = format!("fails, as predicted: {text}");
    }
    if !held {
        text.push_str(": not so");
    }
    if !seen.is_empty() {
        let fits = text.chars().count() + seen.chars().count() <= 73;
        text.push_str(if fits { " (" } else { "\n    (" });
        text.push_str(seen);
        text.push(')');
    }
    if held && expects == Expected::Failure {
        format!("  {} {text}", paint(YELLOW, "!"))
    } else if held {
        format!("  {} {text}", paint(GREEN, "✓"))
    } else {
        format!("  {} {}", paint(RED, "✗"), paint(RED, &text))
    }
}

fn render_exchange(exchange: &Exchange, cast: &Cast) -> String {
    let mut request = format!("{} {}", exchange.method, redact(&exchange.target));
    if !exchange.sent.is_empty() {
        request = format!("{request}   {}", redact(&readable(&exchange.sent)));
    }
    let answer = match &exchange.outcome {
        Ok(answered) => {
            let status = answered.status.to_string();
            let style = if answered.status < 400 { GREEN } else { RED };
            let status = paint(style, &status);
            match cut(&redact(&readable(&answered.body))) {
                body if body.is_empty() => status,
                body => format!("{status}  {body}"),
            }
        }
        Err(reason) => paint(RED, reason),
    };
    let failed_at_nginx = matches!(&exchange.outcome, Ok(answered) if answered.status == 502);
    let tried = match cast.tried(&exchange.tried) {
        tried if !tried.is_empty() => format!("{tried}  "),
        _ if failed_at_nginx => format!("{NOBODY}  "),
        _ => String::new(),
    };
    let one_line = format!("{request}  → {tried}{answer}");
    let who = column(&exchange.client);
    if anstream::adapter::strip_str(&one_line)
        .to_string()
        .chars()
        .count()
        <= LINE
    {
        format!("  {who}  {one_line}")
    } else {
        format!("  {who}  {request}\n  {:WHO$}    → {tried}{answer}", "")
    }
}

fn render_forwarded(forwarded: &Forwarded, cast: &Cast) -> String {
    let request = forwarded
        .request
        .rsplit_once(' ')
        .map_or(forwarded.request.as_str(), |(request, _protocol)| request);
    let tried = match cast.tried(&forwarded.tried) {
        tried if tried.is_empty() => NOBODY.to_owned(),
        tried => tried,
    };
    let style = if forwarded.status < 400 { GREEN } else { RED };
    let held = if forwarded.seconds < 1.0 {
        String::new()
    } else {
        paint(DIM, &format!("  held {:.1} s", forwarded.seconds))
    };
    format!(
        "  {}  {} {}  → {tried}  {}{held}",
        who(Part::Nginx),
        forwarded.client,
        redact(request),
        paint(style, &forwarded.status.to_string())
    )
}

/// Stands in place of a server's letter if nginx has no server that it could ask.
const NOBODY: &str = "nobody";

/// The beginning of a text, if it is long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(BODY) {
        Some((at, _)) => format!("{}…", text[..at].trim_end_matches('…')),
        None => text.to_owned(),
    }
}

/// Replaces the record separator between the packets of a payload, because no terminal shows it.
fn readable(payload: &str) -> String {
    payload.replace('\x1e', " ␞ ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::seen::event::Answered;

    fn plain(event: &Event) -> String {
        let mut cast = Cast::default();
        cast.is('A', ([127, 0, 0, 1], 8000).into());
        cast.is('B', ([127, 0, 0, 1], 8001).into());
        anstream::adapter::strip_str(&render(event, &cast)).to_string()
    }

    fn get(target: &str, tried: &[u16], status: u16, body: &str) -> Event {
        Event::Exchange(Exchange {
            id: 0,
            client: "you".into(),
            method: "GET",
            target: target.into(),
            sent: String::new(),
            tried: tried
                .iter()
                .map(|port| ([127, 0, 0, 1], *port).into())
                .collect(),
            outcome: Ok(Answered {
                status,
                body: body.into(),
            }),
            took: Duration::ZERO,
        })
    }

    #[test]
    fn an_answer_names_the_server_by_its_letter() {
        assert_eq!(
            plain(&get("/", &[8001], 200, "Hi, PID: 7")),
            "  you         GET /  → ▲ B  200  Hi, PID: 7"
        );
    }

    #[test]
    fn a_server_that_does_not_answer_is_crossed_out() {
        assert_eq!(
            plain(&get("/", &[8000, 8001], 200, "Hi, PID: 7")),
            "  you         GET /  → ● A ✗ ▲ B  200  Hi, PID: 7"
        );
    }

    #[test]
    fn with_every_server_dead_nobody_answers() {
        assert_eq!(
            plain(&get("/", &[], 502, "")),
            "  you         GET /  → nobody  502"
        );
    }

    #[test]
    fn no_line_about_a_request_is_wider_than_80_columns() {
        let sid = "Xy9-abcdefgh_0123";
        let shown = plain(&get(
            &format!("/socket.io/?EIO=4&transport=websocket&sid={sid}"),
            &[8001],
            200,
            &"x".repeat(200),
        ));
        assert!(
            shown.lines().all(|line| line.chars().count() <= 80),
            "{shown}"
        );
    }

    #[test]
    fn a_claim_that_fails_says_so_in_words() {
        let claim = |held| Event::Claim {
            text: "nobody connects".into(),
            seen: "3 of 30".into(),
            expects: Expected::Success,
            held,
        };
        assert_eq!(plain(&claim(true)), "  ✓ nobody connects (3 of 30)");
        assert_eq!(
            plain(&claim(false)),
            "  ✗ nobody connects: not so (3 of 30)"
        );
    }

    #[test]
    fn a_session_id_is_never_shown_whole() {
        let sid = "Xy9-abcdefgh_0123";
        let shown = plain(&get(
            &format!("/socket.io/?EIO=4&transport=polling&sid={sid}"),
            &[8000],
            200,
            &format!(r#"40{{"sid":"{sid}"}}"#),
        ));
        assert!(!shown.contains(sid), "{shown}");
        assert_eq!(shown.matches("Xy9-…").count(), 2, "{shown}");
    }

    proptest! {
        #[test]
        fn text_without_a_session_id_is_shown_as_it_is(text in "[a-zA-Z0-9 {}\"=]*") {
            prop_assume!(!text.contains("sid"));
            prop_assert_eq!(redact(&text), text);
        }
    }
}
