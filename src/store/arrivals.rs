//! Records events that have arrived at all their targets without a script, where nothing has to be decided.
//!
//! That is so of a *steady* webhook: it has no row of failures, no open breaker, and its statistics of the hour have begun. What an arrival
//! changes of it are counts, which need no look at what was there. The dispatch script does the same and tells which webhooks are
//! steady; it takes whatever is not so. A script costs Redis three times as much for an event as these commands: its arguments become
//! values of Lua and its commands texts again.
//!
//! A script looks at the lease in the same step in which it writes. Here the lease is watched, then looked at, then all is
//! written in one transaction, which Redis refuses if a watched lease has changed since: nothing is written by who does not hold it.
//! The holder's own renewal is such a change too: then all is done again. A call without an answer may come to its end later, beside the
//! script that repeats it: [`Arrivals::record`] prevents that by such a change before it gives up.
//!
//! What is written of a webhook that was deleted a moment ago goes when its control entry is carried out; only the sums of its owner
//! keep it.
//!
//! Not on a Redis Cluster, where a transaction has one partition. Sources: Redis "Transactions", `WATCH`, `EXEC`, `BITFIELD`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};

use super::events::{Batch, DispatchLimits, Dispatched, Instruction, text};
use super::meter::{Called, measured};
use super::outcomes::{Outcome, millis_of};
use super::script::Section;
use super::stats::hours::Slots;
use super::{Error, Keys, Redis, delivered_record, keys, leases, stats};
use crate::domain::{EntryId, Event, Millis, Receipt};
use crate::policy::matching::Skipped;
use crate::policy::trace;

/// How often a call is tried while leases change under it.
const TRIES: usize = 3;
/// An event whose id we made so long ago at most has been published once: no record of it exists. Who repeats a publication later
/// than that may find one.
const FIRST: Duration = Duration::from_secs(23 * 3600);
/// How many parts that were set aside are kept for a look at them; as `quarantine` in `scripts/queues.lua`.
const QUARANTINE: usize = 1000;

/// Writes for one thread. A transaction has a connection to itself until it ends; as many are kept as there were at once.
#[derive(Debug)]
pub struct Arrivals {
    redis: Redis,
    /// With the [`Redis::generation`] in which each was opened: a later one may be of another server.
    idle: RefCell<Vec<(u64, MultiplexedConnection)>>,
}

/// What can be written without a script, of one partition.
pub type Arrived<'a> = Section<'a, [Instruction]>;

/// Whether all of `items` have arrived and are such that nothing but their webhooks decides how they are recorded.
pub fn may_write(items: &[Instruction], now: Millis) -> bool {
    let is_first = |event: &Event| {
        let made = event.id.made_at().filter(|made| *made <= now);
        made.is_some_and(|made| now.0 - made.0 < FIRST.as_millis() as u64)
    };
    let is_timed = |outcomes: &[Outcome]| outcomes.iter().all(|outcome| outcome.elapsed.is_some());
    items.iter().all(|item| match item {
        Instruction::Arrived { event, outcomes, .. } => is_first(event) && is_timed(outcomes),
        _ => false,
    })
}

impl Arrivals {
    /// Connects with the first call.
    pub fn new(redis: Redis) -> Self {
        Self { redis, idle: RefCell::default() }
    }

    /// Records what has arrived at steady webhooks, of each partition all or nothing. `None` for one that is left to the script
    /// ([`super::events::dispatch`]): its lease is not ours, or would not stand still, or something older lies in its stream, or no answer came, so
    /// that it may have been recorded, which the script tests.
    ///
    /// # Errors
    /// No answer came, and none either to what keeps such a call from being carried out later. As [`super::events::dispatch`].
    pub async fn record(
        &self,
        keys: &Keys,
        now: Millis,
        limits: &DispatchLimits,
        sections: &[Arrived<'_>],
    ) -> Result<Vec<Option<Batch>>, Error> {
        let written = measured(Called::Arrival, self.on_a_connection(keys, now, limits, sections)).await;
        let error = match written {
            Ok(batches) => return Ok(batches),
            Err(error) => error,
        };
        if matches!(error, Error::Unanswered(_)) {
            self.redis.distrust();
            // Over the connection that the script takes: what comes after it finds that a lease has changed.
            let held: Vec<_> =
                sections.iter().map(|section| (section.partition, Arc::from(section.token))).collect();
            leases::renew(&self.redis, keys, &held).await?;
        }
        Ok(sections.iter().map(|_| None).collect())
    }

    async fn on_a_connection(
        &self,
        keys: &Keys,
        now: Millis,
        limits: &DispatchLimits,
        sections: &[Arrived<'_>],
    ) -> Result<Vec<Option<Batch>>, Error> {
        let generation = self.redis.generation();
        // One that fails, or whose call is dropped half-way, is not put back.
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle.filter(|(of, _)| *of == generation) {
            Some((_, idle)) => idle,
            // Boxed: it is rare, and 6 KB that every call would carry about.
            None => Box::pin(self.redis.open_own("", Duration::ZERO)).await?,
        };
        let written = write(&mut connection, keys, now, limits, sections).await;
        match &written {
            Ok(_) => self.idle.borrow_mut().push((generation, connection)),
            Err(error) if error.is_of_another_server() => self.redis.distrust(),
            Err(_) => {}
        }
        written
    }
}

async fn write(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    now: Millis,
    limits: &DispatchLimits,
    sections: &[Arrived<'_>],
) -> Result<Vec<Option<Batch>>, Error> {
    for _ in 0..TRIES {
        let may_be_written = watch(connection, keys, sections).await?;
        let mut transaction = Transaction::new(now, limits);
        for (section, _) in sections.iter().zip(&may_be_written).filter(|(_, may)| **may) {
            transaction.add(keys, section);
        }
        let answers: Option<Vec<RedisResult<Value>>> = transaction.pipeline.query_async(connection).await?;
        let Some(answers) = answers else { continue };
        set_aside(connection, keys, &transaction, sections, &answers).await;
        return Ok(transaction.read(sections, &may_be_written, &answers));
    }
    Ok(sections.iter().map(|_| None).collect())
}

/// Watches the leases; which sections may be written: the lease is ours, and nothing lies in the stream before what has arrived. Whatever
/// does is unknown to the caller, who must read the partition anew.
async fn watch(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    sections: &[Arrived<'_>],
) -> Result<Vec<bool>, Error> {
    let mut look = Pipeline::with_capacity(2 * sections.len() + 1);
    let leases: Vec<String> = sections.iter().map(|section| keys.key(section.partition, "lease")).collect();
    look.cmd("WATCH").arg(&leases).ignore();
    for (section, lease) in sections.iter().zip(&leases) {
        let oldest = section.items.iter().find_map(arrived).map(|(entry, ..)| entry).unwrap_or_default();
        look.cmd("HGET").arg(lease).arg("token");
        look.cmd("XRANGE").arg(keys.key(section.partition, "events")).arg("-").arg(format!("({oldest}"));
        look.arg("COUNT").arg(1);
    }
    let answers: Vec<Value> = look.query_async(connection).await?;
    let may_be_written = |(section, answers): (&Arrived<'_>, &[Value])| match answers {
        [token, Value::Array(older)] => text(token) == Some(section.token) && older.is_empty(),
        _ => false,
    };
    Ok(sections.iter().zip(answers.chunks(2)).map(may_be_written).collect())
}

/// What is counted of one webhook, or of an owner, in a call.
#[derive(Default)]
struct Counts<'a> {
    delivered: u64,
    sum_ms: u64,
    buckets: HashMap<usize, u64>,
    types: HashMap<&'a str, u64>,
}

impl<'a> Counts<'a> {
    fn count(&mut self, event_type: &'a str, ms: u32) {
        self.delivered += 1;
        self.sum_ms += u64::from(ms);
        *self.buckets.entry(stats::bucket_of(ms)).or_default() += 1;
        *self.types.entry(event_type).or_default() += 1;
    }
}

/// The commands of one call.
struct Transaction<'a> {
    pipeline: Pipeline,
    now: Millis,
    limits: &'a DispatchLimits,
    slots: Slots,
    /// Of each section that is in it: where its commands begin.
    begins: Vec<usize>,
}

impl<'a> Transaction<'a> {
    fn new(now: Millis, limits: &'a DispatchLimits) -> Self {
        let mut pipeline = Pipeline::new();
        pipeline.atomic().ignore_errors();
        Self { pipeline, now, limits, slots: Slots::of(now), begins: Vec::new() }
    }

    fn add(&mut self, keys: &Keys, section: &Arrived<'_>) {
        self.begins.push(self.pipeline.len());
        let prefix = keys.of(section.partition);
        let stream = format!("{prefix}events");
        let arrived = || section.items.iter().filter_map(arrived);
        let (mut webhooks, mut owners) = (HashMap::new(), HashMap::<&str, Counts<'_>>::new());
        let mut bytes = 0;
        for item @ (_, event, outcomes, _) in arrived() {
            bytes += event.body.len() as i64;
            self.add_event(&prefix, section, item);
            for outcome in outcomes {
                let (kind, ms) = (&*outcome.event_type, millis_of(outcome).unwrap_or_default());
                webhooks.entry(&outcome.webhook).or_insert_with(Counts::default).count(kind, ms);
                owners.entry(&*outcome.owner_hash).or_default().count(kind, ms);
            }
        }
        self.pipeline.cmd("XDEL").arg(&stream);
        let remove = &mut self.pipeline;
        arrived().for_each(|(entry, ..)| _ = remove.arg(entry.to_string()));
        self.pipeline.cmd("HINCRBY").arg(format!("{prefix}usage")).arg("undispatched").arg(-bytes);
        for (webhook, counts) in webhooks {
            self.add_webhook(&prefix, webhook.as_str(), &counts);
        }
        for (owner, counts) in owners {
            self.add_owner(&format!("{prefix}stats:{owner}"), &counts);
        }
    }

    /// The rows of its attempts, and its record.
    fn add_event(
        &mut self,
        prefix: &str,
        section: &Arrived<'_>,
        (entry, event, outcomes, skipped): Item<'_>,
    ) {
        for outcome in outcomes {
            let log = format!("{prefix}log:{}", outcome.webhook);
            self.pipeline.cmd("XADD").arg(log).arg("MAXLEN").arg("~").arg(self.limits.log_max);
            self.pipeline.arg("*").arg("r").arg(&outcome.row.0);
        }
        let hash = outcomes.first().map(|outcome| outcome.event_hash.clone());
        let hash = hash.unwrap_or_else(|| keys::event_hash(&event.tenant, &event.id));
        let span = event.trace.map(|publish| trace::dispatch(publish, section.partition, entry));
        let webhooks = outcomes.iter().map(|outcome| &outcome.webhook);
        let record =
            delivered_record::encode(&event.event_type, span, self.now, webhooks, skipped, &event.body);
        self.pipeline.cmd("SET").arg(format!("{prefix}delivered:{hash}")).arg(record);
        self.pipeline.arg("EX").arg(self.limits.closed.as_secs());
    }

    fn add_webhook(&mut self, prefix: &str, webhook: &str, counts: &Counts<'_>) {
        let (pipeline, slots) = (&mut self.pipeline, &self.slots);
        let count = format!("{prefix}count:{webhook}");
        pipeline.cmd("HSET").arg(&count).arg("last").arg(self.now.0).arg("last_ok").arg(self.now.0);
        for name in ["ok", "delivered"] {
            pipeline.cmd("HINCRBY").arg(&count).arg(name).arg(counts.delivered);
        }
        pipeline.cmd("BITFIELD").arg(format!("{prefix}hours:{webhook}"));
        let mut add = |kind: &str, bit: usize, n: u64| {
            pipeline.arg("INCRBY").arg(kind).arg(bit).arg(n);
        };
        add("u32", slots.ok_bit(), counts.delivered);
        add("i64", slots.sum_bit(), counts.sum_ms);
        counts.buckets.iter().for_each(|(bucket, n)| add("u32", slots.bucket_bit(*bucket), *n));
        let types = format!("{prefix}types:{webhook}");
        for (event_type, n) in &counts.types {
            pipeline.cmd("HINCRBY").arg(&types).arg(format!("e:{event_type}:ok")).arg(*n);
        }
    }

    fn add_owner(&mut self, key: &str, counts: &Counts<'_>) {
        let (pipeline, Slots { week, day, .. }) = (&mut self.pipeline, &self.slots);
        let mut add = |field: &str, n: u64| {
            pipeline.cmd("HINCRBY").arg(key).arg(field).arg(n);
        };
        add("ok", counts.delivered);
        add("delivered", counts.delivered);
        add(&format!("{week}:ok"), counts.delivered);
        add(&format!("{day}:n"), counts.delivered);
        if counts.sum_ms > 0 {
            add(&format!("{day}:sum"), counts.sum_ms);
        }
        counts.buckets.iter().for_each(|(bucket, n)| add(&format!("{day}:b{bucket}"), *n));
        counts.types.iter().for_each(|(event_type, n)| add(&format!("e:{event_type}:ok"), *n));
    }

    /// What came of each section; `None` of one that is not in it.
    fn read(
        &self,
        sections: &[Arrived<'_>],
        may_be_written: &[bool],
        answers: &[RedisResult<Value>],
    ) -> Vec<Option<Batch>> {
        let ends = self.begins.iter().skip(1).copied().chain([answers.len()]);
        let mut parts = self.begins.iter().zip(ends).map(|(begin, end)| answers.get(*begin..end));
        let read = |(section, may): (&Arrived<'_>, &bool)| {
            let part = if *may { parts.next()?? } else { return None };
            let set_aside = part.iter().filter(|answer| answer.is_err()).count() as u64;
            let recorded =
                |(_, _, outcomes, _): Item<'_>| Dispatched::Recorded(vec![Receipt::Recorded; outcomes.len()]);
            let answers: Vec<_> = section.items.iter().filter_map(arrived).map(recorded).collect();
            let webhooks = section.items.iter().filter_map(arrived).flat_map(|(_, _, outcomes, _)| outcomes);
            let steady = webhooks.map(|outcome| outcome.webhook.clone()).filter(|_| set_aside == 0).collect();
            Some(Batch { answers, set_aside, steady })
        };
        sections.iter().zip(may_be_written).map(read).collect()
    }
}

/// The entry, the event, its outcomes, and who did not get it.
type Item<'a> = (EntryId, &'a Event, &'a [Outcome], &'a [Skipped]);

fn arrived(item: &Instruction) -> Option<Item<'_>> {
    match item {
        Instruction::Arrived { entry, event, outcomes, skipped } => Some((*entry, event, outcomes, skipped)),
        _ => None,
    }
}

/// What could not be written, because what lies in its place is not what we write, is noted where a person finds it.
async fn set_aside(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    transaction: &Transaction<'_>,
    sections: &[Arrived<'_>],
    answers: &[RedisResult<Value>],
) {
    let commands = transaction.pipeline.cmd_iter().zip(answers);
    let mut notes = Pipeline::new();
    for (command, answer) in commands {
        let (Err(error), Some(redis::Arg::Simple(key))) = (answer, command.args_iter().nth(1)) else {
            continue;
        };
        let key = String::from_utf8_lossy(key);
        let prefixes = sections.iter().map(|section| keys.of(section.partition));
        let Some((prefix, place)) = prefixes
            .into_iter()
            .find_map(|prefix| Some((prefix.clone(), key.strip_prefix(&prefix)?.to_owned())))
        else {
            continue;
        };
        notes.cmd("XADD").arg(format!("{prefix}quarantine")).arg("MAXLEN").arg("~").arg(QUARANTINE);
        notes.arg("*").arg("id").arg(place).arg("entry").arg(error.to_string()).ignore();
    }
    if notes.is_empty() {
        return;
    }
    // What cannot even be kept is gone, and nothing else with it.
    let _: RedisResult<Value> = notes.ignore_errors().query_async(connection).await;
}

#[cfg(test)]
mod tests;
