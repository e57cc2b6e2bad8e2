//! The service from outside: the real binary as a child process, a real Redis, real sockets.
//!
//! Every test has its own Redis, node and receivers, so they run side by side. Nothing is mocked, nothing is waited for
//! with a sleep: a test looks until a condition holds or its deadline has passed ([`harness::eventually`]), and where it
//! claims that something does *not* happen, it first waits for something that comes after it in the same queue.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking and may read the clock"
)]

mod harness;

mod adding_up;
mod addresses;
mod audit;
mod auth;
mod bounds;
mod breaker;
mod clients;
mod cluster;
mod cors;
mod dashboard;
mod deliveries;
mod demo;
mod disclosure;
mod endpoint;
mod filters;
mod garbage;
mod hostile;
mod identity;
mod isolation;
mod limits;
mod logs;
mod names;
mod operator;
mod pacing;
mod proxied;
mod publishing;
mod recovering;
mod redis_faults;
mod redis_modes;
mod retries;
mod secrets;
mod shares;
mod smoke;
mod statistics;
mod survival;
mod switching;
mod traces;
mod trusted;
mod watching;
mod webhooks;
