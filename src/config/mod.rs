//! The settings of a node: read from a file and the environment, checked as a whole, then never changed.
//!
//! `config/default.toml` is the documentation of every key and is embedded in the binary.

pub mod checked;

pub use checked::{
    Api, Auth, Cluster, Config, Delivery, Limits, Log, LogFormat, Queue, Redis, Server, Telemetry,
};
