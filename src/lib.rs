//! map
pub mod clock;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod policy;
pub mod store;
