//! Queueing again what has failed for good for a webhook: the dead deliveries of a span of time, step by step.
//!
//! A recovery lies in Redis (`recovery:<webhook>`), so it outlives nodes. Its partition's owner carries it out: each step takes
//! some entries of the list of the dead and queues their events by the way of any resend, in the script that moves the
//! recovery's place in that list. So a repeated step does nothing twice. Steps wait while much is queued: new events of the webhook
//! are not kept behind all that is recovered, and what is cancelled has not all been queued.
//!
//! An event is queued again only where its delivery still stands as dead, and no entry that sends it again awaits dispatch: not what
//! has been sent again since.
//! Sources: Redis `XRANGE`, `HMGET`.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use redis::Cmd;

use super::events::{RawEntry, entries_of, unreadable};
use super::keys::event_hash;
use super::meter::Called;
use super::script::Script;
use super::{Error, Keys, Redis};
use crate::domain::{EntryId, EventId, Millis, Partition, Pattern, Tenant, WebhookId};

static BEGIN: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::RecoveryBegin, include_str!("scripts/recovery_begin.lua")));
static STEP: LazyLock<Script> =
    LazyLock::new(|| Script::of_queues(Called::RecoveryStep, include_str!("scripts/recovery_step.lua")));
static CANCEL: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::RecoveryCancel, include_str!("scripts/recovery_cancel.lua")));

/// Entries of the list of the dead that are looked at by one command.
const CHUNK: usize = 500;
/// Entries that one step takes.
const STEP_ENTRIES: usize = 100;
/// No step is made while so many deliveries are queued for the webhook, those that wait for a retry included.
pub const MOST_QUEUED: u64 = 500;
/// How far apart the clock of the node that recorded a death and that of Redis, which named its entry, are reckoned with.
const APART: Duration = Duration::from_secs(60);
/// How long the bodies of what was queued are kept at least, so that they are there when the entries are dispatched.
const HOLD: Duration = Duration::from_secs(24 * 3600);

/// One webhook, and the way to it.
#[derive(Clone, Copy, Debug)]
pub struct Recoveries<'a> {
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
}

/// Which deliveries are meant: those that died from `since` on and before `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub since: Millis,
    /// The moment after the last; `None` = now.
    pub until: Option<Millis>,
    /// Only events of those types.
    pub event: Option<Pattern>,
}

/// What a recovery would queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Events by type whose delivery stands as dead and whose body is kept.
    pub by_event: BTreeMap<String, u64>,
    /// Events whose body is no longer kept.
    pub body_gone: u64,
    /// The last entry of the list that belongs to the span.
    last: EntryId,
}

impl Survey {
    /// How many events would be queued.
    pub fn total(&self) -> u64 {
        self.by_event.values().sum()
    }
}

/// How a recovery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Some of it is still to be queued.
    Running,
    /// All of it was queued.
    Completed,
    /// Its owner ended it.
    Cancelled,
    /// The webhook was switched off.
    Stopped,
}

impl Status {
    const ALL: [Self; 4] = [Self::Running, Self::Completed, Self::Cancelled, Self::Stopped];

    /// The word for it in records and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        }
    }
}

/// A recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Names it.
    pub id: String,
    /// How it stands.
    pub status: Status,
    /// What it is about.
    pub span: Span,
    /// How many events it found when it began.
    pub total: u64,
    /// How many of them it has queued.
    pub requeued: u64,
    /// Dead deliveries that it passed by: delivered or queued since, named twice, or without a body.
    pub skipped: u64,
    /// When it began.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
}

/// What came of beginning one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is under way.
    Begun,
    /// There is no such webhook (any more).
    NoWebhook,
    /// The webhook is switched off.
    Inactive,
    /// Another one is under way.
    Running,
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    Done,
    /// There is no room now.
    Wait,
    /// The recovery has ended.
    Over,
}

/// A part of the list of the dead.
struct Chunk {
    /// How many entries there were.
    read: usize,
    /// The last of them.
    last: Option<EntryId>,
    /// Those that can be read.
    dead: Vec<Dead>,
}

/// Where a recovery stands.
struct Place {
    id: String,
    span: Span,
    /// The last entry of the list of the dead that it has taken.
    cursor: EntryId,
    /// The last one that it will take.
    last: EntryId,
    /// The last entry of the events stream that it made.
    entry: Option<EntryId>,
}

/// A dead delivery.
struct Dead {
    /// When it died, by the clock of who recorded it.
    at: Millis,
    event: EventId,
    event_type: String,
}

impl Recoveries<'_> {
    /// Looks what a recovery of `span` would queue; changes nothing. Reads all of the span, a chunk at a time.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn survey(&self, span: &Span) -> Result<Survey, Error> {
        let mut survey = Survey::default();
        let (mut cursor, mut seen) = (span.start(), HashSet::new());
        let end = span.until.map_or_else(|| "+".to_owned(), |until| format!("({}-0", (until + APART).0));
        loop {
            let Chunk { read, last, dead } = self.dead(cursor, &end, CHUNK).await?;
            let Some(last) = last else { break };
            (cursor, survey.last) = (last, last);
            let wanted = dead.into_iter().filter(|dead| span.takes(dead));
            let new: Vec<Dead> = wanted.filter(|dead| seen.insert(dead.event.clone())).collect();
            self.look_at(new, &mut survey).await?;
            if read < CHUNK {
                break;
            }
        }
        Ok(survey)
    }

    async fn look_at(&self, dead: Vec<Dead>, survey: &mut Survey) -> Result<(), Error> {
        if dead.is_empty() {
            return Ok(());
        }
        let looks: Vec<Cmd> = dead.iter().map(|dead| self.look(&dead.event)).collect();
        let found: Vec<[Option<String>; 2]> = self.redis.each(&looks).await?;
        for (dead, [status, has_type]) in dead.into_iter().zip(found) {
            match (status, has_type) {
                (Some(status), Some(_)) if status.starts_with("dead ") => {
                    *survey.by_event.entry(dead.event_type).or_default() += 1;
                }
                // Its record has ended: it may have been delivered since, but nobody can tell.
                (None, None) => survey.body_gone += 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// What the event's record says of the delivery, and whether there is one: its type lies with its body.
    fn look(&self, event: &EventId) -> Cmd {
        let key = self.keys.key(self.partition, &format!("event:{}", event_hash(self.tenant, event)));
        redis::cmd("HMGET").arg(key).arg(format!("to:{}", self.webhook)).arg("type").to_owned()
    }

    /// Begins what `survey` found in `span`. May be repeated with the same `id`.
    ///
    /// # Errors
    /// As [`Redis::query`]; after [`Error::Unanswered`] it may have begun.
    pub async fn begin(&self, id: &str, span: &Span, survey: &Survey, now: Millis) -> Result<Begun, Error> {
        let route = self.key();
        let mut call = BEGIN.on(&route);
        call.arg(self.keys.of(self.partition)).arg(self.webhook.as_str()).arg(id);
        call.arg(span.since.0).arg(span.until.map(|until| until.0.to_string()).unwrap_or_default());
        call.arg(span.event.as_ref().map(Pattern::to_string).unwrap_or_default()).arg(survey.total());
        call.arg(span.start().to_string()).arg(survey.last.to_string()).arg(now.0);
        match call.run::<String>(self.redis).await?.as_str() {
            "begun" => Ok(Begun::Begun),
            "missing" => Ok(Begun::NoWebhook),
            "inactive" => Ok(Begun::Inactive),
            "running" => Ok(Begun::Running),
            _ => Err(unreadable("recovery_begin")),
        }
    }

    /// The last recovery of the webhook.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn last(&self) -> Result<Option<Recovery>, Error> {
        let fields: BTreeMap<String, String> =
            self.redis.query(redis::cmd("HGETALL").arg(self.key())).await?;
        Ok(read(&fields))
    }

    /// Ends the recovery that is under way, if one is; whether there ever was one.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn cancel(&self, now: Millis) -> Result<bool, Error> {
        let route = self.key();
        let mut call = CANCEL.on(&route);
        call.arg(self.keys.of(self.partition)).arg(self.webhook.as_str()).arg(now.0);
        Ok(call.run::<u64>(self.redis).await? == 1)
    }

    /// Takes one step of the recovery that is under way, for the holder of the lease.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the lease has another token; as [`Redis::query`]. May be repeated.
    pub async fn step(&self, token: &str, now: Millis) -> Result<Step, Error> {
        let Some(Place { id, span, cursor: from, last: to, entry }) = self.place().await? else {
            return Ok(Step::Over);
        };
        let has_room = self.has_room(entry).await?;
        // Without room it stays where it is, and only looks whether the webhook is still on.
        let (is_last, after, dead) = if has_room {
            let Chunk { read, last, dead } = self.dead(from, &to.to_string(), STEP_ENTRIES).await?;
            let after = last.unwrap_or(to);
            (read < STEP_ENTRIES || after >= to, after, dead)
        } else {
            (false, from, Vec::new())
        };
        let route = self.keys.key(self.partition, "lease");
        let mut call = STEP.on(&route);
        call.arg(self.keys.of(self.partition)).arg(token).arg(now.0).arg(self.webhook.as_str()).arg(&id);
        call.arg(from.to_string()).arg(after.to_string());
        call.arg(u8::from(is_last)).arg(HOLD.as_secs());
        for dead in dead.iter().filter(|dead| span.takes(dead)) {
            call.arg(dead.event.as_str()).arg(event_hash(self.tenant, &dead.event)).arg(&dead.event_type);
        }
        match call.run::<Vec<String>>(self.redis).await?.first().map(String::as_str) {
            Some("done" | "moved") => Ok(if has_room { Step::Done } else { Step::Wait }),
            Some("over") => Ok(Step::Over),
            _ => Err(unreadable("recovery_step")),
        }
    }

    /// Where the recovery that is under way stands.
    async fn place(&self) -> Result<Option<Place>, Error> {
        let fields: BTreeMap<String, String> =
            self.redis.query(redis::cmd("HGETALL").arg(self.key())).await?;
        let Some(Recovery { id, status: Status::Running, span, .. }) = read(&fields) else { return Ok(None) };
        let entry = |name: &str| fields.get(name)?.parse::<EntryId>().ok();
        let (Some(cursor), Some(last)) = (entry("cursor"), entry("last")) else {
            return Err(unreadable("recovery"));
        };
        Ok(Some(Place { id, span, cursor, last, entry: entry("entry") }))
    }

    /// Whether another step may be made: what the last one made has been dispatched, and not too much is queued.
    async fn has_room(&self, entry: Option<EntryId>) -> Result<bool, Error> {
        let of = |command: &str, kind: &str| {
            redis::cmd(command).arg(self.keys.of_webhook(self.partition, kind, self.webhook)).to_owned()
        };
        let queued: Vec<u64> = self.redis.each(&[of("XLEN", "mbox"), of("ZCARD", "retry")]).await?;
        if queued.iter().sum::<u64>() >= MOST_QUEUED {
            return Ok(false);
        }
        let Some(entry) = entry else { return Ok(true) };
        let mut range = redis::cmd("XRANGE");
        range.arg(self.keys.key(self.partition, "events")).arg(entry.to_string()).arg(entry.to_string());
        Ok(entries_of(self.redis.query(&range).await?)?.is_empty())
    }

    /// Up to `count` entries of the list of the dead after `after`.
    async fn dead(&self, after: EntryId, end: &str, count: usize) -> Result<Chunk, Error> {
        let mut range = redis::cmd("XRANGE");
        range
            .arg(self.keys.of_webhook(self.partition, "dead", self.webhook))
            .arg(format!("({after}"))
            .arg(end);
        let entries = entries_of(self.redis.query(range.arg("COUNT").arg(count)).await?)?;
        let (read, last) = (entries.len(), entries.last().map(|(entry, _)| *entry));
        Ok(Chunk { read, last, dead: entries.into_iter().filter_map(dead_of).collect() })
    }

    fn key(&self) -> String {
        self.keys.of_webhook(self.partition, "recovery", self.webhook)
    }
}

impl Span {
    fn takes(&self, dead: &Dead) -> bool {
        let is_within = self.since <= dead.at && self.until.is_none_or(|until| dead.at < until);
        is_within && self.event.as_ref().is_none_or(|wanted| wanted.matches(&dead.event_type))
    }

    /// The place in the list of the dead before the first that may be meant.
    fn start(&self) -> EntryId {
        match self.since.minus(APART).0.checked_sub(1) {
            Some(ms) => EntryId { ms, seq: u64::MAX },
            None => EntryId::ZERO,
        }
    }
}

/// The webhooks of a partition whose recovery is under way.
///
/// # Errors
/// As [`Redis::query`].
pub async fn running(redis: &Redis, keys: &Keys, partition: Partition) -> Result<Vec<WebhookId>, Error> {
    let names: Vec<String> =
        redis.query(redis::cmd("SMEMBERS").arg(keys.key(partition, "recoveries"))).await?;
    Ok(names.into_iter().filter_map(|name| name.parse().ok()).collect())
}

fn dead_of((entry, fields): RawEntry) -> Option<Dead> {
    let field = |name: &[u8]| {
        let (_, value) = fields.iter().find(|(field, _)| field == name)?;
        std::str::from_utf8(value).ok()
    };
    let at = field(b"a").and_then(|at| at.parse().ok()).unwrap_or(entry.ms);
    Some(Dead { at: Millis(at), event: field(b"e")?.parse().ok()?, event_type: field(b"t")?.to_owned() })
}

fn read(fields: &BTreeMap<String, String>) -> Option<Recovery> {
    let number = |name: &str| fields.get(name)?.parse::<u64>().ok();
    let status = fields.get("status")?;
    Some(Recovery {
        id: fields.get("id")?.clone(),
        status: Status::ALL.into_iter().find(|known| known.as_str() == status)?,
        span: Span {
            since: Millis(number("since")?),
            until: number("until").map(Millis),
            event: fields.get("event").and_then(|event| event.parse().ok()),
        },
        total: number("total")?,
        requeued: number("requeued")?,
        skipped: number("skipped")?,
        started_at: Millis(number("started")?),
        ended_at: number("ended").map(Millis),
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
