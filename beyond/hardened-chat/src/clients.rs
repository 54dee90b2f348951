//! What clients do: they poll slowly, come in large numbers, do not read, send large cookies.

pub mod between_polls;
pub mod burst;
pub mod large_cookie;
pub mod slow_reader;
