//! What a partition is told.

use actix::prelude::*;

use crate::domain::{EntryId, Millis, WebhookId};
use crate::policy::breaker::Change;
use crate::store::Error;
use crate::store::events::Entry;

/// Entries of the events stream, from the reader.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Arrived {
    /// What was read, in order.
    pub entries: Vec<Entry>,
    /// How often the feed had been rewound when the read began.
    pub rewinds: u64,
}

/// An early attempt has ended, or was not made.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ended;

/// Outcomes of the partition cannot be recorded, now or later.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Failed(pub Error);

/// A recorded outcome has opened or closed the breaker of a webhook.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Turned {
    /// Which.
    pub webhook: WebhookId,
    /// What it did.
    pub change: Change,
}

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
