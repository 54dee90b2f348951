//! What this repository tells its readers, compared with what it contains.
//!
//! ```text
//! cargo test -p harness --test book
//! ```
//!
//! Nothing is started here. What a lesson prints is in the snapshots, which the lesson's own tests
//! check.

mod commands;
mod configs;
mod cycles;
mod glossary;
mod ledger;
mod limits;
mod readmes;
mod redaction;
mod repository;
mod transcripts;
