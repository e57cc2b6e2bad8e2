//! What the node tells about itself: metrics for machines, log lines for people.

pub mod metrics;
