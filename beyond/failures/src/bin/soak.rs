//! Clients come and go for half an hour, and servers and Redis are killed at random.
//!
//! ```text
//! cargo run -p failures --bin soak                              30 minutes; exits 0 or 1
//! cargo run -p failures --bin soak -- --minutes 30 --seed 7     the same events in the same order
//! ```

use std::{cell::RefCell, process::ExitCode, rc::Rc};

use anyhow::Context;
use failures::{serve, soak::Soak};
use lab::{Lesson, Stage};

fn main() -> ExitCode {
    let options = Rc::new(RefCell::new(None::<Soak>));
    let read = Rc::clone(&options);
    Lesson::new("Soak test: do the promises hold for half an hour?", serve)
        .ends_by_itself()
        .with(
            "soak",
            "Clients come and go, and parts die",
            async move |stage: &mut Stage| {
                let soak = read.borrow_mut().take().context("the soak test has run")?;
                soak.run(stage).await
            },
        )
        .run_with(|soak: Soak| {
            options.replace(Some(soak));
            None
        })
}
