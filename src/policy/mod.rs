//! The decisions, pure: values in, values out. Time, randomness and load arrive as arguments.

pub mod address;
pub mod breaker;
pub mod due;
pub mod early;
pub mod filter;
pub mod forwarded;
pub mod histogram;
pub mod json;
pub mod lane;
pub mod last_minute;
pub mod lease;
pub mod matching;
pub mod pace;
pub mod partition;
pub mod pauses;
pub mod placement;
pub mod retake;
pub mod retry;
pub mod roster;
pub mod sealing;
pub mod shares;
pub mod signing;
pub mod trace;
pub mod waiting;
