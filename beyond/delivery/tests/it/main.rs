//! The tests of `delivery`.

mod ways;
