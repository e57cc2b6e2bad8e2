//! What is queued for a webhook: its mailbox, its retries, and when it wants attention.
//!
//! Reading, and dropping what is queued for a deleted webhook; the scripts of `store::events` and `store::outcomes` write.
//! Only a partition's owner calls these. What cannot be read is told apart (`store::unreadable`) and stops nothing.
//! Sources: Redis `XRANGE`, `ZRANGE`.

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value};

use super::events::{RawEntry, entries_of, text, unreadable as not_as_asked};
use super::meter::Called;
use super::script::{Call, Script};
use super::unreadable::{self, Unreadable};
use super::{Error, Keys, Redis, keys};
use crate::domain::{EntryId, EventBody, EventId, Millis, Partition, Tenant, WebhookId};
use crate::policy::breaker::Standing;

static PURGE: LazyLock<Script> =
    LazyLock::new(|| Script::of_queues(Called::Purge, include_str!("scripts/purge.lua")));

/// A delivery that waits in a mailbox for its first attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Names the delivery.
    pub entry: EntryId,
    /// What to deliver.
    pub event: EventId,
}

/// A delivery that waits for another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// When.
    pub due: Millis,
    /// Names the delivery.
    pub entry: EntryId,
    /// What to deliver.
    pub event: EventId,
    /// The number of the attempt that is due, from 2.
    pub attempt: u32,
}

impl Retry {
    /// The member of the retry set that stands for this.
    pub fn member(entry: EntryId, attempt: u32, event: &EventId) -> String {
        format!("{entry} {attempt} {event}")
    }

    /// Only what [`Self::member`] writes: by that text it is removed again.
    pub(super) fn parse(member: &[u8], score: f64) -> Option<Self> {
        let text = std::str::from_utf8(member).ok()?;
        let mut parts = text.splitn(3, ' ');
        let entry = parts.next()?.parse().ok()?;
        let attempt = parts.next()?.parse().ok().filter(|attempt| *attempt > 0)?;
        let event = parts.next()?.parse().ok()?;
        // A score is a whole number of milliseconds, far below the 2^53 that a double holds exactly.
        let due = Millis(score.max(0.0) as u64);
        (Self::member(entry, attempt, &event) == text).then_some(Self { due, entry, event, attempt })
    }
}

/// A part of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// What waits, in order.
    pub readable: Vec<T>,
    /// What is not ours to make sense of.
    pub unreadable: Vec<Unreadable>,
}

impl<T> Found<T> {
    fn new(items: impl Iterator<Item = Result<T, Unreadable>>) -> Self {
        let mut found = Self { readable: Vec::new(), unreadable: Vec::new() };
        for item in items {
            match item {
                Ok(item) => found.readable.push(item),
                Err(item) => found.unreadable.push(item),
            }
        }
        found
    }
}

/// The next `count` entries of a mailbox after `after`.
///
/// # Errors
/// As [`Redis::query`].
pub async fn read(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    webhook: &WebhookId,
    after: EntryId,
    count: usize,
) -> Result<Found<Queued>, Error> {
    let mut command = redis::cmd("XRANGE");
    command.arg(keys.of_webhook(partition, "mbox", webhook)).arg(format!("({after}")).arg("+");
    let entries = entries_of(redis.query(command.arg("COUNT").arg(count)).await?)?;
    let queued = |(entry, fields): RawEntry| {
        let event =
            fields.iter().find(|(name, _)| name == b"e").and_then(|(_, id)| std::str::from_utf8(id).ok());
        let event = event.and_then(|id| id.parse().ok()).map(|event| Queued { entry, event });
        event.ok_or_else(|| Unreadable::in_mailbox(entry, &fields))
    };
    Ok(Found::new(entries.into_iter().map(queued)))
}

/// The `count` retries that are due first.
///
/// # Errors
/// As [`Redis::query`].
pub async fn read_retries(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    webhook: &WebhookId,
    count: usize,
) -> Result<Found<Retry>, Error> {
    let mut command = redis::cmd("ZRANGE");
    command
        .arg(keys.of_webhook(partition, "retry", webhook))
        .arg(0)
        .arg(count.saturating_sub(1))
        .arg("WITHSCORES");
    let members: Vec<(Vec<u8>, f64)> = redis.query(&command).await?;
    let parse = |(member, due): (Vec<u8>, f64)| {
        Retry::parse(&member, due).ok_or_else(|| Unreadable::in_retries(member))
    };
    Ok(Found::new(members.into_iter().map(parse)))
}

/// The body of an event, or `None` when it is no longer stored.
///
/// # Errors
/// As [`Redis::query`].
pub async fn body(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    tenant: &Tenant,
    event: &EventId,
) -> Result<Option<EventBody>, Error> {
    Ok(read_body(redis.query(&body_command(keys, partition, tenant, event)).await?))
}

/// As [`body`], of several events in one round trip.
///
/// # Errors
/// As [`Redis::each`].
pub async fn bodies(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    tenant: &Tenant,
    events: &[EventId],
) -> Result<Vec<Option<EventBody>>, Error> {
    let commands: Vec<Cmd> =
        events.iter().map(|event| body_command(keys, partition, tenant, event)).collect();
    Ok(redis.each(&commands).await?.into_iter().map(read_body).collect())
}

fn body_command(keys: &Keys, partition: Partition, tenant: &Tenant, event: &EventId) -> Cmd {
    let key = keys.key(partition, &format!("event:{}", keys::event_hash(tenant, event)));
    let mut command = redis::cmd("HMGET");
    command.arg(key).arg("type").arg("body").arg("trace");
    command
}

/// The type, the body and the trace of an event, as far as they are stored.
type BodyFields = (Option<String>, Option<Vec<u8>>, Option<Vec<u8>>);

fn read_body((kind, bytes, trace): BodyFields) -> Option<EventBody> {
    let trace = trace.and_then(|context| std::str::from_utf8(&context).ok()?.parse().ok());
    kind.zip(bytes).map(|(kind, bytes)| EventBody {
        event_type: Arc::from(kind),
        bytes: Bytes::from(bytes),
        trace,
    })
}

/// The type of an event, or `None` when it is no longer stored.
///
/// # Errors
/// As [`Redis::query`].
pub async fn event_type(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    tenant: &Tenant,
    event: &EventId,
) -> Result<Option<String>, Error> {
    let key = keys.key(partition, &format!("event:{}", keys::event_hash(tenant, event)));
    redis.query(redis::cmd("HGET").arg(key).arg("type")).await
}

/// The webhooks of a partition that want attention, with the time, a chunk at a time: those after the first `skip`.
///
/// # Errors
/// As [`Redis::query`].
pub async fn wake(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    until: Millis,
    skip: usize,
    count: usize,
) -> Result<Vec<(WebhookId, Millis)>, Error> {
    times(redis, &keys.key(partition, "wake"), until, skip, count).await
}

/// The webhooks of a partition whose breaker is open, with the end of its pause, a chunk at a time.
///
/// # Errors
/// As [`Redis::query`].
pub async fn breakers(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    skip: usize,
    count: usize,
) -> Result<Vec<(WebhookId, Millis)>, Error> {
    times(redis, &keys.key(partition, "breakers"), Millis::MAX, skip, count).await
}

/// A part of a sorted set of webhooks by time.
async fn times(
    redis: &Redis,
    key: &str,
    until: Millis,
    skip: usize,
    count: usize,
) -> Result<Vec<(WebhookId, Millis)>, Error> {
    let mut command = redis::cmd("ZRANGE");
    command.arg(key).arg("-inf").arg(until.0).arg("BYSCORE");
    let found: Vec<(String, f64)> =
        redis.query(command.arg("LIMIT").arg(skip).arg(count).arg("WITHSCORES")).await?;
    let readable = |(id, due): (String, f64)| Some((id.parse().ok()?, Millis(due.max(0.0) as u64)));
    Ok(found.into_iter().filter_map(readable).collect())
}

/// Whose queue it is, and how long records of ended events live.
#[derive(Clone, Debug)]
pub struct Queue<'a> {
    /// The webhook.
    pub webhook: &'a WebhookId,
    /// The hash of its owner.
    pub owner_hash: &'a str,
    /// Its tenant.
    pub tenant: &'a Tenant,
    /// `log.payload_retention_days`
    pub closed: Duration,
    /// The same for an event with a dead delivery.
    pub dead: Duration,
}

impl Queue<'_> {
    /// The arguments with which the scripts that empty a queue begin.
    pub(super) fn add_to(&self, call: &mut Call<'_>, prefix: &str, token: &str, now: Millis) {
        call.arg(prefix).arg(token).arg(now.0).arg(self.webhook.as_str()).arg(self.owner_hash);
        call.arg(keys::tenant_hash(self.tenant)).arg(self.closed.as_secs()).arg(self.dead.as_secs());
    }
}

/// What one call of [`purge`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// Whether there may be more.
    pub more: bool,
    /// How many items could not be read and were set aside.
    pub set_aside: u64,
}

/// Drops up to a chunk of what is queued for a deleted webhook.
///
/// # Errors
/// [`Error::Fenced`] when the lease has another token.
pub async fn purge(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    token: &str,
    now: Millis,
    queue: &Queue<'_>,
) -> Result<Purged, Error> {
    const CHUNK: usize = 200;
    let mut queued = read(redis, keys, partition, queue.webhook, EntryId::ZERO, CHUNK).await?;
    let retries = read_retries(redis, keys, partition, queue.webhook, CHUNK).await?;
    queued.unreadable.extend(retries.unreadable);
    let set_aside =
        unreadable::set_aside(redis, keys, partition, token, now, queue, &queued.unreadable).await?;
    let (queued, retries) = (queued.readable, retries.readable);
    if queued.is_empty() && retries.is_empty() {
        return Ok(Purged { more: set_aside > 0, set_aside });
    }
    let route = keys.key(partition, "lease");
    let mut call = PURGE.on(&route);
    queue.add_to(&mut call, &keys.of(partition), token, now);
    let hash_of = |event: &EventId| keys::event_hash(queue.tenant, event);
    for item in &queued {
        call.arg(item.entry.to_string()).arg(hash_of(&item.event));
    }
    for item in &retries {
        call.arg(Retry::member(item.entry, item.attempt, &item.event)).arg(hash_of(&item.event));
    }
    call.run::<u64>(redis).await?;
    Ok(Purged { more: true, set_aside })
}

/// The fields of `count:<webhook>` that make a [`Standing`], in the order that [`standing_of`] expects.
pub(super) const STANDING: [&str; 6] = ["paused", "row", "failing", "pauses", "pause_ends", "turn"];

/// The standing that those fields tell of.
pub(super) fn standing_of(fields: &[Option<u64>]) -> Standing {
    let field = |index: usize| fields.get(index).copied().flatten();
    let small = |index| u32::try_from(field(index).unwrap_or(0)).unwrap_or(u32::MAX);
    Standing {
        asked_until: Millis(field(0).unwrap_or(0)),
        failures: small(1),
        failing_since: field(2).map(Millis),
        pauses: small(3),
        pause_ends: Millis(field(4).unwrap_or(0)),
        turn: field(5).unwrap_or(0),
    }
}

/// The raw record of a webhook, and what is kept of its failures.
///
/// # Errors
/// As [`Redis::query`].
pub async fn record_and_standing(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    webhook: &WebhookId,
) -> Result<(Option<String>, Standing), Error> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HGET").arg(keys.key(partition, "webhooks")).arg(webhook.as_str());
    pipeline.cmd("HMGET").arg(keys.of_webhook(partition, "count", webhook)).arg(&STANDING);
    let (record, kept): (Option<String>, Vec<Option<u64>>) = redis.pipeline(&pipeline).await?;
    Ok((record, standing_of(&kept)))
}

/// The raw record of a webhook.
///
/// # Errors
/// As [`Redis::query`].
pub async fn record(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    webhook: &WebhookId,
) -> Result<Option<String>, Error> {
    redis.query(redis::cmd("HGET").arg(keys.key(partition, "webhooks")).arg(webhook.as_str())).await
}

/// The records of a partition, a chunk at a time: answers the next cursor, 0 at the end.
///
/// # Errors
/// As [`Redis::query`].
pub async fn scan_records(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    cursor: u64,
) -> Result<(u64, Vec<(String, String)>), Error> {
    let mut command = redis::cmd("HSCAN");
    let answer: Value =
        redis.query(command.arg(keys.key(partition, "webhooks")).arg(cursor).arg("COUNT").arg(200)).await?;
    let Value::Array(parts) = answer else { return Err(not_as_asked("HSCAN")) };
    let [next, Value::Array(fields)] = &parts[..] else { return Err(not_as_asked("HSCAN")) };
    let next = text(next).and_then(|next| next.parse().ok()).ok_or_else(|| not_as_asked("HSCAN"))?;
    let owned = |value: &Value| text(value).map(str::to_owned);
    let pairs = fields.chunks_exact(2).filter_map(|pair| owned(&pair[0]).zip(owned(&pair[1])));
    Ok((next, pairs.collect()))
}
