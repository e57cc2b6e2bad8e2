//! The decisions, pure: values in, values out. Time, randomness and load arrive as arguments.

pub mod address;
pub mod json;
pub mod partition;
pub mod retry;
pub mod signing;
