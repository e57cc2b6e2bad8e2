//! The vocabulary: what the words of the service mean, as plain values.
//!
//! No I/O, no clock, no randomness: a value of this module means the same on every node and in every test.
//! Everything else imports from here; this module imports nothing of the crate.

#[cfg(test)]
pub(crate) mod arbitrary;
pub mod attempt;
pub mod catalogue;
pub mod encryption_key;
pub mod event;
pub mod filter;
pub mod ids;
pub mod json;
#[cfg(test)]
mod properties;
pub mod refusal;
pub mod time;
pub mod trace;
pub mod webhook;

pub use attempt::{AttemptResult, AttemptRow, ErrorKind, Failure, Receipt};
pub use catalogue::{Catalogue, EventType};
pub use encryption_key::{EncryptionKey, KeyId, Lock};
pub use event::{Event, EventBody};
pub use filter::Filter;
pub use ids::{AttemptId, EntryId, EventId, NodeId, Partition, Shard, Tenant, UserId, WebhookId};
pub use refusal::{KeyReading, Refusal};
pub use time::Millis;
pub use trace::{SpanId, TraceContext, TraceId, TraceParent};
pub use webhook::{Backoff, DisabledReason, Pattern, Retries, Secret, SkipReason, Status, Webhook};
