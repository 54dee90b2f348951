//! The pause between two experiments.

use std::{
    io::{self, BufRead},
    thread,
};

use tokio::sync::mpsc;

/// Receives `()` each time Enter is pressed, and `None` once the input has ended.
pub type Enter = mpsc::UnboundedReceiver<()>;

/// Listens for Enter.
///
/// A separate thread reads the terminal. With Tokio's own reader the program could not end
/// before the next Enter.
pub fn enter_pressed() -> Enter {
    let (pressed, enter) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if line.is_err() || pressed.send(()).is_err() {
                return;
            }
        }
    });
    enter
}
