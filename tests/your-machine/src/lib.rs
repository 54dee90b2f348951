//! Says at the end of `cargo test --workspace` what this machine could not test.
