//! What a webhook does next: the whole behaviour of its actor as a machine without I/O.
//!
//! A [`Lane`] holds the window of deliveries that wait for their first attempt, the retries that are due soon, and what
//! is in flight. Every input is answered with effects; time and chance arrive as arguments. It decides order,
//! concurrency, pace, pauses and retries; the breaker ([`crate::policy::breaker`]) is a part of it. It knows nothing of Redis, HTTP or actors.
//!
//! For correctness: a delivery is started only while it is in neither `window`, `retries` nor `in_flight` twice (entry
//! ids tell), and `told` against `cursor` shows whether the mailbox holds more than the lane has seen. Only for speed:
//! deliveries handed over directly with their bodies, and the number of retries held in memory.

mod machine;
#[cfg(test)]
mod tests;
mod words;

pub use machine::{HELD_RETRIES, Lane, WINDOW};
pub use words::{Delivery, Effect, Input, Known, Limits, Next, Round, Verdict};
