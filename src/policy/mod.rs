//! The decisions, pure: values in, values out. Time, randomness and load arrive as arguments.

pub mod partition;
pub mod signing;
