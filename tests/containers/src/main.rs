//! One container for a test, from its start to its removal.
//!
//! The tests start this program and write to its stdin: first what to start, as one line of
//! JSON, then orders. It answers each line with one line: `ok`, or `error: …`. The container is
//! removed when stdin ends, so it ends with the test, whatever happens to that.

#[cfg(feature = "docker")]
mod container;

#[cfg(feature = "docker")]
fn main() -> std::process::ExitCode {
    container::main()
}

#[cfg(not(feature = "docker"))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "error: this was built without containers: cargo build -p containers --features docker"
    );
    std::process::ExitCode::FAILURE
}
