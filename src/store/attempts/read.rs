//! Reading one webhook's log: a page of it, or one row.
//!
//! Without a filter a page costs what it holds and the rows that it skips; with one, the newest `max_attempts` rows are
//! read once, or where nobody asks how many pass, those up to the end of the page. Both go in chunks, so that no single command keeps Redis from others for long.

use std::time::Duration;

use bytes::Bytes;
use redis::{Pipeline, Value};

use super::decode;
use crate::domain::{AttemptId, AttemptRow, EntryId, Millis, Partition, Pattern, Tenant, WebhookId};
use crate::store::events::{RawEntry, entries_of};
use crate::store::keys::event_hash;
use crate::store::{Error, Keys, Redis, delivered_record};

/// Rows read by one command: at 600 bytes a row well under a millisecond of Redis's time.
const CHUNK: usize = 500;

/// How far behind a node's clock that of Redis is reckoned with.
pub(super) const APART: Duration = Duration::from_secs(60);

/// The largest event body shown in a listing, in bytes.
const SHOWN_PAYLOAD: usize = 4096;

/// One webhook's log, for reading.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLog<'a> {
    /// The way to Redis.
    pub redis: &'a Redis,
    /// Names its keys.
    pub keys: &'a Keys,
    /// The webhook's partition.
    pub partition: Partition,
    /// The webhook's tenant.
    pub tenant: &'a Tenant,
    /// The webhook.
    pub webhook: &'a WebhookId,
    /// How much of the log may be seen.
    pub shown: Shown,
}

/// What of a log may be seen. Redis may hold more: it is trimmed now and then, and in whole blocks.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// `log.max_attempts`: that many rows, the newest.
    pub max_attempts: u64,
    /// Now less `log.retention`: nothing older.
    pub not_before: Millis,
}

/// Which rows are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter<'a> {
    /// Only those that succeeded, or that did not.
    pub success: Option<bool>,
    /// Only those whose event type matches.
    pub event: Option<&'a Pattern>,
    /// Only those of that event.
    pub event_id: Option<&'a str>,
    /// Only those made at that time or later.
    pub since: Option<Millis>,
    /// Only those made before that time.
    pub until: Option<Millis>,
    /// Only those that ended their delivery, or that another attempt was to follow.
    pub is_final: Option<bool>,
}

/// Which part of the rows that pass: `take` of them after the first `skip`.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How many to leave out.
    pub skip: usize,
    /// How many to give, at most.
    pub take: usize,
}

/// A part of a log.
#[derive(Debug)]
pub struct Page {
    /// Newest first.
    pub rows: Vec<Logged>,
    /// How many rows pass the filter in all.
    pub total: u64,
}

/// A part of a log without the count of what passes.
#[derive(Debug)]
pub struct Newest {
    /// Newest first.
    pub rows: Vec<Logged>,
    /// Whether older rows pass too.
    pub has_more: bool,
}

/// How far a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// To the end of the window.
    Window,
    /// To the end of the log.
    Log,
}

/// One row with what lies beside it.
#[derive(Debug)]
pub struct Logged {
    /// The row; `response_body` is filled in from beside it.
    pub row: AttemptRow,
    /// What was sent.
    pub payload: Payload,
}

/// What was sent, as far as it can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The event's body is no longer kept.
    Gone,
    /// Too long for a listing.
    TooLong,
    /// The bytes that were sent.
    Whole(Bytes),
}

/// What is known of an event's body before it is fetched.
enum Length {
    /// So many bytes lie in the event's record; 0 = there is none.
    InRecord(usize),
    /// It arrived everywhere at once: its record was read with the body.
    Whole(Payload),
}

impl Length {
    /// `begin` is the beginning of the record of an event that arrived everywhere at once, if it is one.
    fn read(begin: Value, length: Value) -> Result<Self, Error> {
        let begin: Vec<u8> = redis::from_redis_value(begin).map_err(redis::RedisError::from)?;
        match delivered_record::decode(begin).map(|record| record.body) {
            Some(body) if body.len() > SHOWN_PAYLOAD => Ok(Self::Whole(Payload::TooLong)),
            Some(body) => Ok(Self::Whole(Payload::Whole(body))),
            None => Ok(Self::InRecord(redis::from_redis_value(length).map_err(redis::RedisError::from)?)),
        }
    }
}

/// A row as it is stored.
type Stored = (EntryId, String);

impl AttemptLog<'_> {
    /// The rows of `window` among those that pass `filter`, and how many pass.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn list(&self, filter: Filter<'_>, window: Window) -> Result<Page, Error> {
        let known = if filter.is_open() { self.total().await? } else { None };
        let reach = if known.is_some() { Reach::Window } else { Reach::Log };
        let (stored, counted) = self.scan(filter, window, reach).await?;
        Ok(Page { rows: self.complete(stored).await?, total: known.unwrap_or(counted) })
    }

    /// The rows of `window` among those that pass `filter`. Reads no further than it must to find them, and counts nothing.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn newest(&self, filter: Filter<'_>, window: Window) -> Result<Newest, Error> {
        let one_more = Window { take: window.take.saturating_add(1), ..window };
        let (mut stored, _) = self.scan(filter, one_more, Reach::Window).await?;
        let has_more = stored.len() > window.take;
        stored.truncate(window.take);
        Ok(Newest { rows: self.complete(stored).await?, has_more })
    }

    /// One row, with its payload whatever its length. `None` when there is no such row (any more), or it is another
    /// webhook's.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn get(&self, id: AttemptId) -> Result<Option<Logged>, Error> {
        if !id.is_of(self.webhook) || id.row.ms < self.shown.not_before.0 {
            return Ok(None);
        }
        let entries = entries_of(self.redis.query(&exactly(&self.key("log"), id.row)).await?)?;
        let stored = entries.into_iter().filter_map(stored).collect();
        let Some(logged) = self.complete(stored).await?.pop() else { return Ok(None) };
        let Payload::TooLong = logged.payload else { return Ok(Some(logged)) };
        let payload = self.whole_body(&logged.row).await?.map_or(Payload::Gone, Payload::Whole);
        Ok(Some(Logged { payload, ..logged }))
    }

    /// The newest failed attempt among the newest `within` rows (at most as many as one command reads), without what lies
    /// beside it: one short read, however long the log is.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn last_failed(&self, within: usize) -> Result<Option<AttemptRow>, Error> {
        let newest = self.chunk("+", None, within.min(CHUNK)).await?;
        let failed = Filter { success: Some(false), ..Filter::default() };
        let found = newest.into_iter().filter_map(stored).filter(|(_, text)| failed.matches(text));
        // A test tells of itself, and counts nowhere.
        Ok(found.filter_map(|(id, text)| decode(id, &text)).find(|row| !row.is_test))
    }

    /// How many rows there are to see, if that can be told without reading them: not while many rows past their age
    /// await the sweep.
    async fn total(&self) -> Result<Option<u64>, Error> {
        let log = self.key("log");
        let past = self.shown.not_before.0.saturating_sub(1);
        let mut reads = Pipeline::new();
        reads.cmd("XLEN").arg(&log);
        reads.cmd("XRANGE").arg(&log).arg("-").arg(past).arg("COUNT").arg(CHUNK);
        let (length, past): (u64, Value) = self.redis.pipeline(&reads).await?;
        let past = entries_of(past)?.len();
        let shown = length.saturating_sub(u64::try_from(past).unwrap_or(u64::MAX));
        Ok((past < CHUNK).then_some(shown.min(self.shown.max_attempts)))
    }

    /// Reads from the newest row on: the rows of `window` among those that pass, and how many of those read passed.
    async fn scan(
        &self,
        filter: Filter<'_>,
        window: Window,
        reach: Reach,
    ) -> Result<(Vec<Stored>, u64), Error> {
        let end = window.skip.saturating_add(window.take);
        let rows = usize::try_from(self.shown.max_attempts).unwrap_or(usize::MAX);
        let is_full = |passed: usize| reach == Reach::Window && passed >= end;
        let mut unread = if reach == Reach::Window && filter.is_open() { end.min(rows) } else { rows };
        let (mut found, mut passed) = (Vec::with_capacity(window.take), 0_usize);
        let mut before = "+".to_owned();
        while unread > 0 && !is_full(passed) {
            let asked = unread.min(CHUNK);
            let chunk = self.chunk(&before, filter.since, asked).await?;
            let Some((last, _)) = chunk.last() else { break };
            before = format!("({last}");
            unread = if chunk.len() < asked { 0 } else { unread - asked };
            for row in chunk.into_iter().filter_map(stored).filter(|(_, text)| filter.matches(text)) {
                if (window.skip..end).contains(&passed) {
                    found.push(row);
                }
                passed += 1;
            }
        }
        Ok((found, u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    async fn chunk(&self, before: &str, since: Option<Millis>, count: usize) -> Result<Vec<RawEntry>, Error> {
        // A row is recorded after its attempt was made, by another clock.
        let oldest = since.unwrap_or_default().minus(APART).max(self.shown.not_before);
        let mut range = redis::cmd("XREVRANGE");
        range.arg(self.key("log")).arg(before).arg(oldest.0).arg("COUNT").arg(count);
        entries_of(self.redis.query(&range).await?)
    }

    /// Reads the rows and fetches what lies beside them. A row that is not ours is left out: the others are still of use.
    async fn complete(&self, stored: Vec<Stored>) -> Result<Vec<Logged>, Error> {
        let mut rows: Vec<AttemptRow> = stored.iter().filter_map(|(id, text)| decode(*id, text)).collect();
        let lengths = self.fill_answers(&mut rows).await?;
        let mut bodies = self.bodies(&rows, &lengths).await?.into_iter();
        let with_payload = rows.into_iter().zip(lengths).map(|(row, length)| {
            let payload = match length {
                Length::Whole(payload) => payload,
                Length::InRecord(0) => Payload::Gone,
                Length::InRecord(1..=SHOWN_PAYLOAD) => {
                    bodies.next().flatten().map_or(Payload::Gone, Payload::Whole)
                }
                Length::InRecord(_) => Payload::TooLong,
            };
            Logged { row, payload }
        });
        Ok(with_payload.collect())
    }

    /// Puts the answers that lie beside into their rows; gives what is known of each row's event body.
    async fn fill_answers(&self, rows: &mut [AttemptRow]) -> Result<Vec<Length>, Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut reads = Pipeline::new();
        // In this order: what is sent again moves from the first to the second between them.
        for row in rows.iter() {
            reads
                .cmd("GETRANGE")
                .arg(self.delivered_key(row))
                .arg(0)
                .arg(delivered_record::MOST_HEAD + SHOWN_PAYLOAD);
        }
        for row in rows.iter() {
            reads.cmd("HSTRLEN").arg(self.event_key(row)).arg("body");
        }
        for id in rows.iter().filter(|row| row.body_beside).filter_map(|row| row.id) {
            reads.add_command(exactly(&self.key("answer"), id));
        }
        let mut lengths: Vec<Value> = self.redis.pipeline(&reads).await?;
        let answers = lengths.split_off(2 * rows.len());
        for (row, answer) in rows.iter_mut().filter(|row| row.body_beside).zip(answers) {
            row.response_body = entries_of(answer)?.pop().and_then(|entry| text(entry, "b"));
        }
        let in_records = lengths.split_off(rows.len());
        lengths.into_iter().zip(in_records).map(|(begin, length)| Length::read(begin, length)).collect()
    }

    /// The bodies in those rows' events' records that are there and short enough to show, in the rows' order.
    async fn bodies(&self, rows: &[AttemptRow], lengths: &[Length]) -> Result<Vec<Option<Bytes>>, Error> {
        let is_shown = |length: &Length| matches!(length, Length::InRecord(1..=SHOWN_PAYLOAD));
        let shown = rows.iter().zip(lengths).filter(|(_, length)| is_shown(length));
        let mut reads = Pipeline::new();
        for (row, _) in shown {
            reads.cmd("HGET").arg(self.event_key(row)).arg("body");
        }
        if reads.is_empty() { Ok(Vec::new()) } else { self.redis.pipeline(&reads).await }
    }

    /// The body of a row's event, whatever its length.
    async fn whole_body(&self, row: &AttemptRow) -> Result<Option<Bytes>, Error> {
        let mut reads = Pipeline::new();
        reads.cmd("GET").arg(self.delivered_key(row));
        reads.cmd("HGET").arg(self.event_key(row)).arg("body");
        let (value, in_record): (Option<Vec<u8>>, Option<Vec<u8>>) = self.redis.pipeline(&reads).await?;
        let whole = value.and_then(delivered_record::decode).map(|record| record.body);
        Ok(whole.or_else(|| in_record.map(Bytes::from)))
    }

    fn event_key(&self, row: &AttemptRow) -> String {
        self.keys.key(self.partition, &format!("event:{}", event_hash(self.tenant, &row.event_id)))
    }

    fn delivered_key(&self, row: &AttemptRow) -> String {
        delivered_record::key(self.keys, self.partition, &event_hash(self.tenant, &row.event_id))
    }

    fn key(&self, kind: &str) -> String {
        self.keys.of_webhook(self.partition, kind, self.webhook)
    }
}

/// Reads the one entry `id` of a stream.
fn exactly(key: &str, id: EntryId) -> redis::Cmd {
    let mut range = redis::cmd("XRANGE");
    range.arg(key).arg(id.to_string()).arg(id.to_string());
    range
}

pub(super) fn stored(entry: RawEntry) -> Option<Stored> {
    let id = entry.0;
    text(entry, "r").map(|text| (id, text))
}

/// Field `name` of an entry, when it is there and is text.
fn text((_, fields): RawEntry, name: &str) -> Option<String> {
    let (_, value) = fields.into_iter().find(|(field, _)| field == name.as_bytes())?;
    String::from_utf8(value).ok()
}
