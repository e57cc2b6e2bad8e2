//! map
pub mod api;
pub mod clock;
pub mod config;
pub mod domain;
pub mod policy;
pub mod store;
pub mod telemetry;
