//! The HTTP API. A handler reads top to bottom what the route does: its first argument is the caller (which is the
//! authentication), its body is checked by [`fields`], its work is a call of `store`, its failures are [`Error`]s.
//!
//! [`routes`] lists every route, [`request`] is what happens around each, [`server`] binds the ports.

pub mod access;
pub mod app;
pub mod audit;
pub mod auth;
pub mod body;
pub mod cluster;
pub mod connections;
pub mod cors;
pub mod deliveries;
pub mod docs;
pub mod error;
pub mod events;
pub mod fields;
pub mod files;
pub mod filter_test;
pub mod health;
pub mod log_level;
pub mod openapi;
pub mod pages;
pub mod publish;
pub mod query;
pub mod rate_limit;
pub mod recover;
pub mod request;
pub mod routes;
pub mod server;
pub mod source;
pub mod stats;
#[cfg(test)]
pub(crate) mod testing;
pub mod trial;
mod verified;
pub mod webhooks;

pub use app::{App, Shared};
pub use error::Error;
