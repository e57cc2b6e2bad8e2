//! Redis: every key, every script, and one file for each kind of thing that is stored.
//!
//! Nothing outside this module names a key or sends a command.

pub mod connection;
pub mod keys;
pub mod script;
pub mod stats;
#[cfg(test)]
pub mod testing;

pub use connection::{Error, Redis};
pub use keys::Keys;
pub use script::Script;
