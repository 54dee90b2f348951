//! The tests of `hardened-chat`, and of `deploy/`, which runs it.

mod deploy;
mod hostile;
mod kubernetes;
mod lesson;
mod small_requests;
