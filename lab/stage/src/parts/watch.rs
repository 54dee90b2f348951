//! Says so when a part ends and nobody on the stage has ended it.

use tokio::task::AbortHandle;

use crate::{
    parts::process::{Process, ended, how},
    seen::{
        event::{Event, Part},
        journal::Journal,
    },
};

/// Watches a part's process for as long as it is kept. Drop it before the part is ended.
pub struct Watch(AbortHandle);

impl Watch {
    /// Watches `process`. When it ends, the terminal says so, and `way_back` says how to
    /// bring it back.
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
