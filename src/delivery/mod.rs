//! One attempt: build the request, sign it, vet the address, send, and say what came of it.
//!
//! [`request`], [`endpoint`] and [`classify`] are pure; [`resolver`] (over [`names`] and [`system`]), [`dial`], [`proxy`],
//! [`stream`], [`client`] and [`send`] touch the network; [`pool`] says who may. A failed attempt is a value
//! ([`crate::domain::AttemptResult`]), never an `Err`.

pub mod classify;
pub mod client;
pub mod dial;
pub mod endpoint;
pub mod names;
pub mod places;
pub mod pool;
pub mod proxy;
pub mod request;
pub mod resolver;
pub mod send;
pub mod stream;
pub mod system;

pub use dial::Sockets;
pub use endpoint::Endpoint;
pub use send::{Error, Sender, Turn};
