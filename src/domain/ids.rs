//! Names of things. Each is checked once, where it enters, and then carried as its own type.

use std::fmt::{self, Write as _};
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Millis;

/// Whose events and webhooks these are: an organization, or the private tenant of a user without one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tenant {
    /// `org:<id>`
    Organization(Arc<str>),
    /// `user:<sub>`
    User(Arc<str>),
}

impl Tenant {
    /// The organization's id, or `None` in a user's private tenant: the `organizationId` of an event's body.
    pub fn organization_id(&self) -> Option<&str> {
        match self {
            Self::Organization(id) => Some(id),
            Self::User(_) => None,
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(id) => write!(f, "org:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
        }
    }
}

/// A text is not the kind of name that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct BadName(pub &'static str);

impl FromStr for Tenant {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match text.split_once(':') {
            Some(("org", id)) if !id.is_empty() => Ok(Self::Organization(id.into())),
            Some(("user", id)) if !id.is_empty() => Ok(Self::User(id.into())),
            _ => Err(BadName("tenant")),
        }
    }
}

/// The `sub` of a token: the person or service that owns a webhook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub Arc<str>);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A group of one tenant's webhooks that live in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u8);

/// A slice of all tenants' shards: the unit that a node owns. Below `cluster.partitions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{:02}", self.0)
    }
}

/// Names a node of the cluster: 1..=64 letters, digits, `.`, `_` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(legal);
        if fits { Ok(Self(text.into())) } else { Err(BadName("node id")) }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `wh_` + shard (two hex digits) + 22 random letters and digits. Cheap to clone: it is a key of many maps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebhookId(Arc<str>);

impl WebhookId {
    /// Letters and digits after the shard.
    pub const RANDOM_LENGTH: usize = 22;

    /// The id of a webhook in `shard`; `random` must be [`Self::RANDOM_LENGTH`] ASCII letters and digits.
    pub fn new(shard: Shard, random: &str) -> Self {
        debug_assert_eq!(random.len(), Self::RANDOM_LENGTH);
        Self(format!("wh_{:02x}{random}", shard.0).into())
    }

    /// The shard that the id was made for: with the tenant it tells the partition.
    pub fn shard(&self) -> Shard {
        Shard(u8::from_str_radix(&self.0[3..5], 16).expect("checked when the id was made"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WebhookId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let rest = text.strip_prefix("wh_").ok_or(BadName("webhook id"))?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let fits = rest.len() == 2 + Self::RANDOM_LENGTH
            && rest.bytes().take(2).all(lower_hex)
            && rest.bytes().all(|b| b.is_ascii_alphanumeric());
        if fits { Ok(Self(text.into())) } else { Err(BadName("webhook id")) }
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event's id: `evt_…` made by us, or 1..=64 of `A-Za-z0-9_-` given by the publisher. Unique within a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Arc<str>);

impl EventId {
    /// The longest id, in characters.
    pub const MAX_LENGTH: usize = 64;

    /// An id of ours: `evt_` + the time in ms (12 hex digits) + 80 random bits. Such ids sort by time.
    pub fn made(at: Millis, random: u128) -> Self {
        Self(format!("evt_{:012x}{:020x}", at.0, random >> 48).into())
    }

    /// When an id of ours was made, on the clock of the node that made it. A client's own may look like one.
    pub fn made_at(&self) -> Option<Millis> {
        const TIME: usize = 12;
        const LENGTH: usize = 32;
        let digits = self.0.strip_prefix("evt_").filter(|digits| digits.len() == LENGTH)?;
        u64::from_str_radix(digits.get(..TIME)?, 16).ok().map(Millis)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(legal);
        if fits { Ok(Self(text.into())) } else { Err(BadName("event id")) }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Redis stream id (`<ms>-<seq>`): names an entry of the events stream, and with it every delivery made from it.
///
/// Its milliseconds are Redis's clock when the entry was stored. Source: Redis "Streams", section "Entry IDs".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds since the Unix epoch on Redis's clock.
    pub ms: u64,
    /// Counts entries within a millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let (ms, seq) = text.split_once('-').ok_or(BadName("entry id"))?;
        let number = |part: &str| part.parse().map_err(|_| BadName("entry id"));
        Ok(Self { ms: number(ms)?, seq: number(seq)? })
    }
}

/// The name of one attempt: `att_<ms>_<seq>_<tail>`, the stream id of its row in the webhook's log and the last characters
/// of the webhook's id. Rows of two webhooks may have one stream id; the tail tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The row's place in its log.
    pub row: EntryId,
    tail: [u8; Self::TAIL],
}

impl AttemptId {
    /// Characters of the webhook's id. Only webhooks with rows of one stream id need different ones, so few will do.
    const TAIL: usize = 6;

    /// The name of the attempt that lies at `row` in the log of `webhook`.
    pub fn new(webhook: &WebhookId, row: EntryId) -> Self {
        let tail = webhook.0.as_bytes().last_chunk().expect("a webhook id is longer than its tail");
        Self { row, tail: *tail }
    }

    /// Whether it names an attempt at `webhook`.
    pub fn is_of(&self, webhook: &WebhookId) -> bool {
        *self == Self::new(webhook, self.row)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "att_{}_{}_", self.row.ms, self.row.seq)?;
        self.tail.iter().try_for_each(|byte| f.write_char(char::from(*byte)))
    }
}

impl FromStr for AttemptId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = BadName("attempt id");
        let mut parts = text.strip_prefix("att_").ok_or(bad)?.splitn(3, '_');
        let mut number = || {
            let digits = parts.next().filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|digits| digits.parse().ok()).ok_or(bad)
        };
        let row = EntryId { ms: number()?, seq: number()? };
        let tail =
            parts.next().and_then(|tail| <[u8; Self::TAIL]>::try_from(tail.as_bytes()).ok()).ok_or(bad)?;
        if tail.iter().all(u8::is_ascii_alphanumeric) { Ok(Self { row, tail }) } else { Err(bad) }
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Tenant, NodeId, WebhookId, EventId, EntryId, AttemptId, UserId);

impl FromStr for UserId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.is_empty() { Err(BadName("user id")) } else { Ok(Self(text.into())) }
    }
}

/// Bytes shared by everything on one arbiter that needs them.
pub type SharedBytes = Rc<[u8]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_id_tells_its_shard() {
        let id = WebhookId::new(Shard(13), "abcdefghijklmnopqrstuv");
        assert_eq!(id.as_str(), "wh_0dabcdefghijklmnopqrstuv");
        assert_eq!(id.shard(), Shard(13));
        assert_eq!(id.as_str().parse(), Ok(id));
    }

    #[test]
    fn attempts_of_two_webhooks_have_different_ids_whatever_their_rows_are_called() {
        let webhooks =
            ["abcdefghijklmnopqrstuv", "abcdefghijklmnopqrstuw"].map(|id| WebhookId::new(Shard(0), id));
        let row = EntryId { ms: 17, seq: 3 };
        let [first, second] = webhooks.each_ref().map(|webhook| AttemptId::new(webhook, row));
        assert_ne!(first, second);
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!(webhooks.each_ref().map(|webhook| first.is_of(webhook)), [true, false]);
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        for bad in [
            "",
            "wh_",
            "wh_zzabcdefghijklmnopqrstuv",
            "wh_0dabcdefghijklmnopqrst-v",
            "wh_0Dabcdefghijklmnopqrstuv",
        ] {
            assert!(bad.parse::<WebhookId>().is_err(), "{bad}");
        }
        for bad in ["", "a b", "ümlaut", &"x".repeat(65), "a:b", "a{b}"] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
        for bad in [
            "",
            "att_",
            "att_1",
            "att_1_",
            "att_1_2",
            "att_-1_2_abcdef",
            "att_1_+2_abcdef",
            "att_1_2_abcde",
            "att_1_2_abcde-",
            "att_1_2_abcdefg",
        ] {
            assert!(bad.parse::<AttemptId>().is_err(), "{bad}");
        }
        for bad in ["", "org:", "user:", "team:x"] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_id_of_ours_tells_when_it_was_made_and_others_do_not() {
        let id = EventId::made(Millis(1_768_473_000_000), u128::MAX);
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.made_at(), Some(Millis(1_768_473_000_000)));
        for other in ["evt_1", "order-17", &format!("evt_{}", "-".repeat(32)), &"f".repeat(36)] {
            assert_eq!(other.parse::<EventId>().map(|id| id.made_at()), Ok(None), "{other}");
        }
    }

    #[test]
    fn names_survive_a_round_trip() {
        let attempt = "att_17_3_qrstuv".parse::<AttemptId>();
        assert_eq!(attempt.map(|id| id.to_string()), Ok("att_17_3_qrstuv".to_owned()));
        assert_eq!("17-3".parse(), Ok(EntryId { ms: 17, seq: 3 }));
        assert_eq!("org:a:b".parse::<Tenant>().map(|t| t.to_string()), Ok("org:a:b".to_owned()));
    }
}
