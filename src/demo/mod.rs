//! `demo`: three nodes, one of them killed in the middle of its work, and the count that proves that nothing was lost.
//!
//! [`stage`] starts and ends the processes, [`ledger`] counts what arrives, [`story`] makes things happen and tells of
//! them. The webhooks are managed and the events published through the public API alone; who owns which partition is
//! read from Redis, as `cluster status` does.

mod ledger;
mod stage;
mod story;

pub use story::{Options, run};
