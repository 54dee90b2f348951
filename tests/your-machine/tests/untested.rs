//! What this machine could not test, in one paragraph at the end of all tests.

use std::io::{self, Write};

use harness::all_untested;

#[test]
fn what_was_not_tested_is_said_once() {
    let untested = all_untested();
    if untested.is_empty() {
        return;
    }
    let list: String = untested.iter().map(|line| format!("\n  {line}")).collect();
    let paragraph = format!(
        "\nNOT TESTED on this machine:{list}\n\
         Everything else was tested. To test these as well, install what each line names, and run\n\
         `cargo test --workspace` again. On Debian and Ubuntu:\n  \
         apt-get install nginx-light haproxy redis-server redis-tools chromium nodejs npm docker.io\n"
    );
    // Not `eprintln!`, which libtest keeps to itself.
    let _unread = writeln!(io::stderr(), "{paragraph}");
}
