//! What the node tells about itself: log lines, metrics and spans, written together so that they cannot disagree.

pub mod events;
mod key_age;
pub mod last_minute;
mod line;
pub mod logging;
pub mod metrics;
pub mod partitions;
mod quiet;
pub mod traces;
mod writer;
