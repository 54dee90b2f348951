//! Reports when a part ends although the stage has not ended it.

use tokio::task::AbortHandle;

use crate::{
    parts::process::{Process, ended, how},
    seen::{
        event::{Event, Part},
        journal::Journal,
    },
};

/// Watches a part's process until it is dropped. Drop it before you end the part.
pub struct Watch(AbortHandle);

impl Watch {
    /// Watches `process`. When the process ends, the terminal shows that, and the note `way_back`,
    /// which says how to start it again.
    pub fn new(part: Part, process: &Process, journal: &Journal, way_back: String) -> Self {
        let (exit, pid, journal) = (process.watch_exit(), process.pid(), journal.clone());
        let watching = tokio::spawn(async move {
            if let Some(status) = ended(exit).await {
                journal.record(Event::Down {
                    part,
                    how: format!("PID {pid} {}", how(status)),
                });
                journal.record(Event::Note { text: way_back });
            }
        });
        Self(watching.abort_handle())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}
