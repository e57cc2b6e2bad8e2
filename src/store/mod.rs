//! Redis: every key, every script, and one file for each kind of thing that is stored.
//!
//! Nothing outside this module names a key or sends a command.

mod address;
pub mod arrivals;
pub mod attempts;
mod cluster;
pub mod connection;
pub mod delivered_record;
pub mod encryption;
pub mod event_status;
pub mod events;
pub mod forms;
pub mod keys;
pub mod last_minute;
pub mod leases;
pub mod mailboxes;
pub mod meter;
pub mod nodes;
pub mod outcomes;
pub mod overview;
pub mod preflight;
pub mod private;
#[cfg(test)]
mod properties;
pub mod publications;
pub mod record;
pub mod recoveries;
pub mod resend;
pub mod script;
mod sentinel;
pub mod stats;
#[cfg(test)]
pub(crate) mod testing;
pub mod trial;
pub mod unreadable;
pub mod webhooks;

pub use connection::{Error, Redis};
pub use keys::Keys;
pub use script::Script;
