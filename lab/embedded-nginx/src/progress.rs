//! Shows the progress of the build: a bar on a terminal. In a log, it is one line at the start and
//! one at the end.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::sources::VERSION;

/// Progress on stderr. Dropped before [`Progress::done`], it leaves a clean line for the error.
pub(crate) struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    pub(crate) fn start() -> Self {
        let bar =
            ProgressBar::new(0).with_prefix(format!("building nginx {VERSION} from source, once"));
        // indicatif draws on a terminal only.
        if bar.is_hidden() {
            eprintln!("{}", bar.prefix());
        }
        Self {
            bar,
            started: Instant::now(),
        }
    }

    /// Names the present stage of the build, for a stage without a count.
    pub(crate) fn stage(&self, stage: &'static str) {
        self.bar.set_style(style("{prefix}: {msg}"));
        self.bar.set_message(stage);
    }

    /// Counts C files from now on.
    pub(crate) fn files(&self, total: usize) {
        self.bar.set_length(total as u64);
        self.bar
            .set_style(style("{prefix}: {pos}/{len} C files {wide_bar}"));
    }

    pub(crate) fn file_done(&self) {
        self.bar.inc(1);
    }

    pub(crate) fn done(self) {
        self.bar.finish_and_clear();
        eprintln!(
            "built nginx {VERSION} in {:.0} s",
            self.started.elapsed().as_secs_f32()
        );
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are valid")
}
