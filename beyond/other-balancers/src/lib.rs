//! Other balancers: HAProxy in nginx's place, and nginx's own `sticky`.

mod config;
pub mod haproxy;
pub mod process;
pub mod sticky;

use lab::Stage;

/// Says that an experiment is left out, and which program it needs.
pub fn left_out(stage: &Stage, needs: &str) {
    stage.note(format!("This experiment did not run:\n{needs}."));
}
