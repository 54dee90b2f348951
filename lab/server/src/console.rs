//! The console.

use std::{
    fmt,
    io::{self, Write},
};

/// Writes a line to stdout. If stdout is closed, the server still continues.
pub fn log(line: impl fmt::Display) {
    let _nobody_reads = writeln!(io::stdout(), "{line}");
}
