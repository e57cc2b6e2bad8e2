//! The record of an event that had arrived at all its targets before its dispatch: one value, `delivered:<hash>`.
//!
//! Most events end so. The hash that another event's record is costs Redis some 5 us more to write, of 12, and twice the memory,
//! for a value above 64 bytes makes it a table. Who sends such an event again makes it that hash first (`scripts/resend.lua`).
//!
//! The value: `<type> <trace or -> <ms> <webhook>,<webhook>,…`, a line feed, and the body. Behind the webhooks come those that
//! subscribe to it and did not get it, as `<webhook>=<reason>`.

use bytes::Bytes;

use super::Keys;
use crate::domain::{Millis, Partition, SkipReason, TraceContext, WebhookId};
use crate::policy::matching::Skipped;

/// The longest first line: [`crate::policy::early::MOST_TARGETS`] webhooks that got it,
/// [`crate::policy::matching::MOST_SKIPPED`] that did not, and a type, a trace and a time.
pub const MOST_HEAD: usize = 5120;

/// What such a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredRecord {
    /// When that was recorded.
    pub at: Millis,
    /// The webhooks that it went to.
    pub webhooks: Vec<WebhookId>,
    /// Those that subscribe to it and did not get it.
    pub skipped: Vec<Skipped>,
    /// What each received.
    pub body: Bytes,
}

/// The name of the record of an event by its hash ([`super::keys::event_hash`]).
pub fn key(keys: &Keys, partition: Partition, hash: &str) -> String {
    keys.key(partition, &format!("delivered:{hash}"))
}

/// The value of a record; `trace` is the span of the dispatch.
pub fn encode<'a>(
    event_type: &str,
    trace: Option<TraceContext>,
    at: Millis,
    webhooks: impl Iterator<Item = &'a WebhookId>,
    skipped: &[Skipped],
    body: &[u8],
) -> Vec<u8> {
    let mut value = Vec::with_capacity(256 + body.len());
    value.extend_from_slice(event_type.as_bytes());
    let trace = trace.map_or_else(|| "-".to_owned(), |trace| trace.to_string());
    value.extend_from_slice(format!(" {trace} {} ", at.0).as_bytes());
    for (n, webhook) in webhooks.enumerate() {
        if n > 0 {
            value.push(b',');
        }
        value.extend_from_slice(webhook.as_str().as_bytes());
    }
    if !skipped.is_empty() {
        value.push(b',');
        value.extend_from_slice(skipped_text(skipped).as_bytes());
    }
    value.push(b'\n');
    value.extend_from_slice(body);
    value
}

/// How webhooks that did not get an event are written here and told to scripts: `<webhook>=<reason>,…`.
pub(super) fn skipped_text(skipped: &[Skipped]) -> String {
    let parts: Vec<String> =
        skipped.iter().map(|(webhook, reason)| format!("{webhook}={}", reason.as_str())).collect();
    parts.join(",")
}

/// Reads a record; `None` if it is none of ours.
pub fn decode(value: Vec<u8>) -> Option<DeliveredRecord> {
    let value = Bytes::from(value);
    let end = value.iter().take(MOST_HEAD).position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&value[..end]).ok()?;
    let mut words = head.split(' ').skip(2);
    let at = Millis(words.next()?.parse().ok()?);
    let (mut webhooks, mut skipped) = (Vec::new(), Vec::new());
    for part in words.next()?.split(',') {
        match part.split_once('=') {
            Some((id, reason)) => skipped.push((id.parse().ok()?, SkipReason::from_word(reason)?)),
            None => webhooks.push(part.parse().ok()?),
        }
    }
    Some(DeliveredRecord { at, webhooks, skipped, body: value.slice(end + 1..) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Shard;
    use crate::policy::early::MOST_TARGETS;
    use crate::policy::matching::MOST_SKIPPED;

    #[test]
    fn what_is_written_is_read() {
        let trace: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        let webhook =
            |name: char| WebhookId::new(Shard(0), &name.to_string().repeat(WebhookId::RANDOM_LENGTH));
        let many = vec![webhook('c'); MOST_TARGETS];
        let not_to = |count| vec![(webhook('d'), SkipReason::Filtered); count];
        for (trace, webhooks, skipped) in [
            (None, vec![webhook('a')], not_to(0)),
            (Some(trace), vec![webhook('a'), webhook('b')], not_to(1)),
            (Some(trace), many, not_to(MOST_SKIPPED)),
        ] {
            let body = b"{\"a\":\"\n\"}";
            let value = encode("deal.won", trace, Millis(17), webhooks.iter(), &skipped, body);
            assert!(value.len() < MOST_HEAD);
            let expected =
                DeliveredRecord { at: Millis(17), webhooks, skipped, body: Bytes::from_static(body) };
            assert_eq!(decode(value), Some(expected));
        }
    }

    #[test]
    fn what_is_no_record_is_not_read() {
        for value in [
            "",
            "deal.won - 17 wh_1",
            "deal.won - x wh_1\n{}",
            "deal.won - 17 wh 1\n{}",
            "deal.won - 17 wh_1=why\n{}",
            "deal.won\n{}",
        ] {
            assert_eq!(decode(value.into()), None, "{value}");
        }
        assert_eq!(decode(vec![b'a'; 1 << 20]), None);
    }
}
