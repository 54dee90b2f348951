//! Nothing but dependencies: one set of features for the whole workspace.
//!
//! Cargo compiles a dependency again for each set of features that somebody selects. Chapter by
//! chapter that would be Tokio, serde and axum four times. So the crates on which everything
//! stands are named in this package's manifest, with all features that any package selects.
//! `.ci/one-feature-set` checks that it works.
