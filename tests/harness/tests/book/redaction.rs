//! Redaction: what it names, and what it leaves as it is.

use harness::redact::redact;

#[test]
fn a_process_keeps_its_name_whoever_is_said_to_have_answered() {
    let text = "  ● A         Server running on 25521 port, PID: 7\n  \
                  ▲ B         Server running on 25522 port, PID: 8\n  \
                  you         GET /  → ● A  200  Hi, PID: 8\n  \
                  ▲ B         Server running on 25522 port, PID: 9\n";
    assert_eq!(
        redact(text),
        "  ● A         Server running on 8000 port, PID: [A]\n  \
           ▲ B         Server running on 8001 port, PID: [B]\n  \
           you         GET /  → ● A  200  Hi, PID: [B]\n  \
           ▲ B         Server running on 8001 port, PID: [B 2]\n"
    );
}

#[test]
fn pings_are_left_out_however_they_fall() {
    let session = |rest: &[&str]| {
        let lines = ["POST /?sid=abcd…   40  → 200  ok"].iter().chain(rest);
        redact(
            &lines
                .map(|line| format!("  you         {line}\n"))
                .collect::<String>(),
        )
    };
    let quiet = session(&[
        "GET /?sid=abcd…  → 200  40{}",
        "frame → 2probe",
        "frame ← 3probe",
        "GET /?sid=abcd…  → 200  6",
        "frame → 5",
    ]);
    let pinged_at_once = session(&[
        "GET /?sid=abcd…  → 200  2 ␞ 40{}",
        "POST /?sid=abcd…   3  → 200  ok",
        "frame → 2probe",
        "GET /?sid=abcd…  → 200  6",
        "frame ← 3probe",
        "frame → 5",
        "frame ← 2",
        "frame → 3",
    ]);
    let pinged_later = session(&[
        "GET /?sid=abcd…  → 200  40{}",
        "GET /?sid=abcd…  → 200  2",
        "frame → 2probe",
        "POST /?sid=abcd…   3  → 200  ok",
        "frame ← 3probe",
        "GET /?sid=abcd…  → 200  6",
        "frame → 5",
    ]);
    assert_eq!(quiet, pinged_at_once);
    assert_eq!(quiet, pinged_later);
    assert!(
        quiet.contains("3probe") && quiet.contains("200  6"),
        "{quiet}"
    );
}

/// It is all that a server has to say to a client that has a session and no more.
#[test]
fn the_ping_that_answers_a_first_poll_is_kept() {
    let text = "  you         GET /?sid=abcd…  → ■ C  200  2\n";
    assert_eq!(redact(text), text.replace("abcd…", "[session 1]"));
}
