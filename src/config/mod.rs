//! The settings of a node: read from a file and the environment, checked as a whole, then never changed.
//!
//! `config/default.toml` is the documentation of every key and is embedded in the binary. The way of a setting:
//! [`layers`] puts default, file and environment over each other and refuses what the default does not know; `raw`
//! gives the result a shape; `check` holds every value against its range and against the others and makes a [`Config`].
//! Faults are collected all the way, so a person sees all of them at once.

mod catalogue;
mod check;
pub mod checked;
pub mod fault;
pub mod keys;
pub mod layers;
mod load;
mod raw;

pub use check::{LOG_FILTER, is_log_filter};
pub use checked::{
    Api, Auth, Breaker, Cluster, Config, Dashboard, Delivery, Jwks, Limits, Log, LogFormat, Origins,
    ProxyUrl, Queue, Redis, RedisMode, Security, Server, Telemetry,
};
pub use fault::{Fault, Faults, redacted_url};
pub use layers::Layers;
pub use load::{Machine, environment, load};
