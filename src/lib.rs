//! map

#![cfg_attr(test, allow(missing_docs, reason = "what only tests see is not part of the documentation"))]
pub mod actors;
pub mod api;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod delivery;
pub mod development;
pub mod domain;
pub mod listen;
pub mod policy;
pub mod receiver;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod token;

pub use serve::run;
