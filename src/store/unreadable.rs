//! What lies in a webhook's queue and is not what we write: it is set aside, and the rest of the queue goes on.
//!
//! For correctness: the lease token, and the removal of the item as the test that makes a repeat harmless. The partition's
//! stream `quarantine` holds what is known of the newest thousand or so, for people.

use std::sync::LazyLock;

use super::events::{Field, describe};
use super::mailboxes::Queue;
use super::meter::Called;
use super::script::Script;
use super::{Error, Keys, Redis, keys};
use crate::domain::{EntryId, EventId, Millis, Partition};

static SET_ASIDE: LazyLock<Script> =
    LazyLock::new(|| Script::of_queues(Called::SetAside, include_str!("scripts/set_aside.lua")));

/// An item of a webhook's queue that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    place: Place,
    name: Vec<u8>,
    /// Whether it was counted as pending: what has our form in part was written by us, or by another version of us.
    counted: bool,
    event: Option<EventId>,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Mailbox,
    Retries,
}

impl Unreadable {
    /// The mailbox entry `entry` with those fields.
    pub(super) fn in_mailbox(entry: EntryId, fields: &[Field]) -> Self {
        let name = entry.to_string();
        Self {
            place: Place::Mailbox,
            counted: fields.iter().any(|(name, _)| name == b"e"),
            event: None,
            text: format!("{name} {}", describe(fields)),
            name: name.into(),
        }
    }

    /// That member of the retry set.
    pub(super) fn in_retries(member: Vec<u8>) -> Self {
        const SHOWN: usize = 200;
        let text = String::from_utf8_lossy(&member);
        let mut parts = text.splitn(3, ' ');
        let counted = parts.next().is_some_and(|entry| entry.parse::<EntryId>().is_ok());
        let event = parts.nth(1).filter(|_| counted).and_then(|event| event.parse().ok());
        let text = text.chars().take(SHOWN).collect();
        Self { place: Place::Retries, name: member, counted, event, text }
    }
}

/// Sets those items aside; answers how many were still there.
///
/// # Errors
/// [`Error::Fenced`] when the lease has another token. After [`Error::Unanswered`] it may have happened; a repeat is
/// harmless.
pub async fn set_aside(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    token: &str,
    now: Millis,
    queue: &Queue<'_>,
    items: &[Unreadable],
) -> Result<u64, Error> {
    if items.is_empty() {
        return Ok(0);
    }
    let route = keys.key(partition, "lease");
    let mut call = SET_ASIDE.on(&route);
    queue.add_to(&mut call, &keys.of(partition), token, now);
    for Unreadable { place, name, counted, event, text } in items {
        let place = match place {
            Place::Mailbox => "mbox",
            Place::Retries => "retry",
        };
        let hash = event.as_ref().map(|event| keys::event_hash(queue.tenant, event)).unwrap_or_default();
        call.arg(place).arg(&name[..]).arg(u8::from(*counted)).arg(hash).arg(text);
    }
    call.run(redis).await
}

#[cfg(test)]
mod tests;
