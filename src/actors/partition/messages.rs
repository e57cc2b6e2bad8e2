//! What a partition is told.

use actix::prelude::*;

use crate::domain::{EntryId, Millis, Receipt, WebhookId};
use crate::store::events::Entry;
use crate::store::outcomes::Outcome;

/// Entries of the events stream, from the reader.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Arrived {
    /// What was read, in order.
    pub entries: Vec<Entry>,
    /// How often the feed had been rewound when the read began.
    pub rewinds: u64,
}

/// Records an outcome; answers what came of it.
#[derive(Debug, Message)]
#[rtype(result = "Receipt")]
pub struct Record(pub Outcome);

/// A webhook has nothing to do before `next`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Rested {
    /// Which.
    pub webhook: WebhookId,
    /// The last mailbox entry that its lane has seen; `None` = whatever was told, there is no webhook or it is inactive.
    pub cursor: Option<EntryId>,
    /// How many messages of a change it had taken when it said so.
    pub changes: u64,
    /// When it wants attention again.
    pub next: Option<Millis>,
}

/// Starts nothing new; answers when everything in flight has been recorded.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Ends the actor at once.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// The partition was taken anew: Redis may not hold what it held when it was last read.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Retaken;

/// That entry of the events stream is the oldest, and the reader has passed it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Behind(pub EntryId);
