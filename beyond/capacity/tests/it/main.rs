//! The tests of `capacity`.

mod limits;
