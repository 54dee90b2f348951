//! What a Redis says about itself: whether it is the same process as before.

use redis::{aio::MultiplexedConnection, cmd};

#[derive(Clone)]
pub(crate) struct About {
    /// A random number of the process.
    pub(crate) run_id: String,
    /// How many connections it has closed because their clients did not read fast enough.
    pub(crate) too_slow: u64,
}

impl About {
    /// `None` if the user may not ask. Before version 7.2, Redis does not count slow clients.
    pub(crate) async fn ask(connection: &mut MultiplexedConnection) -> Option<Self> {
        let info: String = cmd("INFO").query_async(connection).await.ok()?;
        let field = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        Some(Self {
            run_id: field("run_id")?.to_owned(),
            too_slow: field("client_output_buffer_limit_disconnections")
                .and_then(|count| count.parse().ok())
                .unwrap_or_default(),
        })
    }

    /// If it is the process from before, it was not away: then whether it has closed a connection
    /// for being slow.
    pub(crate) fn has_dropped(&self, before: Option<Self>) -> Option<bool> {
        let before = before.filter(|before| before.run_id == self.run_id)?;
        Some(self.too_slow > before.too_slow)
    }
}
