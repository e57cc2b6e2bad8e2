//! One attempt: build the request, sign it, vet the address, send, and say what came of it.
//!
//! [`request`] and [`classify`] are pure; [`resolver`] and [`send`] touch the network. A failed attempt is a value
//! ([`crate::domain::AttemptResult`]), never an `Err`.

pub mod classify;
pub mod request;
pub mod resolver;
pub mod send;

pub use send::{Error, Sender};
