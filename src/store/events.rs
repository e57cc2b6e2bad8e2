//! Published events: reading what awaits dispatch, and putting it into mailboxes. Storing them: [`super::publications`].
//!
//! An event leaves the events stream only in the script that puts it into its mailboxes, and that removal is the test
//! that makes a repeat harmless; every other mechanism here only saves work.
//! Sources: Redis `XADD`, `XREAD`, `XDEL`.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use redis::aio::MultiplexedConnection;

use super::meter::Called;
use super::outcomes::{self, Outcome};
use super::script::{Answers, Script, Section};
use super::{Error, Keys, Redis, delivered_record, keys};
use crate::domain::{EntryId, Event, EventId, Millis, Partition, Receipt, Tenant, WebhookId};
use crate::policy::matching::Skipped;
use crate::policy::trace;

static DISPATCH: LazyLock<Script> =
    LazyLock::new(|| Script::in_sections(Called::Dispatch, include_str!("scripts/dispatch.lua")));

/// What awaits dispatch in a partition.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the stream; the name of every delivery made from it.
    pub id: EntryId,
    /// What it asks for.
    pub kind: EntryKind,
}

impl Entry {
    /// About how much memory it takes.
    pub fn size(&self) -> usize {
        const OVERHEAD: usize = 256;
        OVERHEAD + if let EntryKind::Event(event) = &self.kind { event.body.len() } else { 0 }
    }
}

/// The kinds of entries of an events stream.
#[derive(Clone, Debug)]
pub enum EntryKind {
    /// Published: match it and put it into mailboxes.
    Event(Event),
    /// The webhook's record was written: read it again.
    Changed(WebhookId),
    /// The webhook is gone: drop what is queued for it. Holds the hash of its owner, and its tenant.
    Deleted(WebhookId, String, Tenant),
    /// One stored event goes to one webhook again. Holds the event's hash.
    Resend(WebhookId, EventId, String),
    /// What has failed for good for the webhook is to be queued again.
    Recover(WebhookId),
    /// Not what we write: its fields as text, to be set aside.
    Unreadable(String),
}

/// Where a reader stands in one partition's events stream.
#[derive(Clone, Debug)]
pub struct Position {
    /// Whose stream.
    pub partition: Partition,
    /// The last entry that was read.
    pub after: EntryId,
}

/// Waits up to `block` (`None` = not at all) for entries after the given positions; at most `count` of each stream.
///
/// # Errors
/// As [`Redis::query`]. Cancelling it leaves the connection blocked: drop the connection then.
pub async fn read(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    positions: &[Position],
    count: usize,
    block: Option<Duration>,
) -> Result<Vec<(Partition, Vec<Entry>)>, Error> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(count);
    if let Some(block) = block {
        command.arg("BLOCK").arg(block.as_millis() as u64);
    }
    command.arg("STREAMS");
    let names: Vec<String> =
        positions.iter().map(|position| keys.key(position.partition, "events")).collect();
    for name in &names {
        command.arg(name);
    }
    for position in positions {
        command.arg(position.after.to_string());
    }
    let answer: Value = command.query_async(connection).await?;
    let streams = match answer {
        Value::Nil => return Ok(Vec::new()),
        Value::Array(streams) => streams,
        _ => return Err(unreadable("XREAD")),
    };
    let mut found = Vec::with_capacity(streams.len());
    for stream in streams {
        let (name, entries) = pair(stream).ok_or_else(|| unreadable("XREAD"))?;
        let name = text(&name).ok_or_else(|| unreadable("XREAD"))?;
        if let Some(at) = names.iter().position(|asked| asked == name) {
            found.push((positions[at].partition, entries_of(entries)?.into_iter().map(read_entry).collect()));
        }
    }
    Ok(found)
}

/// A field of a stream entry: its name, which is text in what we write, and its value.
pub(super) type Field = (Vec<u8>, Vec<u8>);

/// A stream entry as Redis gives it: its id and its fields.
pub(super) type RawEntry = (EntryId, Vec<Field>);

/// Reads the entries of a stream out of an answer of `XRANGE` or of one stream of `XREAD`.
pub(super) fn entries_of(value: Value) -> Result<Vec<RawEntry>, Error> {
    let Value::Array(entries) = value else { return Err(unreadable("stream")) };
    entries.into_iter().map(|entry| raw_entry(entry).ok_or_else(|| unreadable("stream"))).collect()
}

fn raw_entry(entry: Value) -> Option<RawEntry> {
    let (id, fields) = pair(entry)?;
    let id = text(&id)?.parse().ok()?;
    let Value::Array(fields) = fields else { return None };
    let mut pairs = Vec::with_capacity(fields.len() / 2);
    let mut fields = fields.into_iter();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) = (fields.next(), fields.next())
    {
        pairs.push((name, value));
    }
    Some((id, pairs))
}

pub(super) fn read_entry((id, mut fields): RawEntry) -> Entry {
    let kind = read_kind(&mut fields).unwrap_or_else(|| EntryKind::Unreadable(describe(&fields)));
    Entry { id, kind }
}

/// What is noted of an entry that is set aside: the names of its fields, for the values may be a customer's data.
pub(super) fn describe(fields: &[Field]) -> String {
    const MOST: usize = 200;
    let names: Vec<_> = fields.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    format!("fields: {}", names.join(",")).chars().take(MOST).collect()
}

/// The body is moved out of `fields`: it is not copied on its way through the node.
fn read_kind(fields: &mut [Field]) -> Option<EntryKind> {
    let body = fields.iter_mut().find(|(name, _)| name == b"b").map(|(_, value)| std::mem::take(value));
    let field = |wanted: &str| {
        let (_, value) = fields.iter().find(|(name, _)| name == wanted.as_bytes())?;
        std::str::from_utf8(value).ok()
    };
    let webhook = || field("w")?.parse::<WebhookId>().ok();
    match field("k")? {
        "event" => Some(EntryKind::Event(Event {
            id: field("e")?.parse().ok()?,
            event_type: Arc::from(field("t")?),
            tenant: field("n")?.parse::<Tenant>().ok()?,
            body: Bytes::from(body?),
            // What is no context costs the trace and not the event.
            trace: field("c").and_then(|context| context.parse().ok()),
        })),
        "changed" => Some(EntryKind::Changed(webhook()?)),
        "deleted" => Some(EntryKind::Deleted(webhook()?, field("o")?.to_owned(), field("n")?.parse().ok()?)),
        "recover" => Some(EntryKind::Recover(webhook()?)),
        "resend" => Some(EntryKind::Resend(webhook()?, field("e")?.parse().ok()?, field("h")?.to_owned())),
        _ => None,
    }
}

/// One instruction to the dispatch script.
#[derive(Clone, Debug)]
pub enum Instruction {
    /// Put an event into the mailboxes of its targets.
    Event {
        /// The event's place in the stream.
        entry: EntryId,
        /// The event.
        event: Event,
        /// Webhook and owner hash of each match.
        targets: Vec<(WebhookId, Arc<str>)>,
        /// Who subscribes to it and does not get it.
        skipped: Vec<Skipped>,
        /// Which of several calls this is, when the fan-out is larger than [`MAX_TARGETS`].
        chunk: Chunk,
        /// Whether the record of the event is kept here although nothing matched: it is the tenant's home.
        keep: bool,
    },
    /// An event that every one of its targets has taken already goes into no mailbox: that is recorded.
    Arrived {
        /// The event's place in the stream.
        entry: EntryId,
        /// The event.
        event: Event,
        /// What came of it at each target, all of them plain ([`Outcome::is_plain`]).
        outcomes: Vec<Outcome>,
        /// Who subscribes to it and does not get it.
        skipped: Vec<Skipped>,
    },
    /// Queue a stored event for one webhook again.
    Resend {
        /// The control entry.
        entry: EntryId,
        /// The event.
        event: EventId,
        /// Its hash.
        event_hash: String,
        /// The hash of the tenant.
        tenant_hash: Arc<str>,
        /// Where to.
        webhook: WebhookId,
        /// The hash of the webhook's owner.
        owner_hash: Arc<str>,
    },
    /// A record was read again: set when the webhook wakes.
    Changed {
        /// The control entry.
        entry: EntryId,
        /// Whose record.
        webhook: WebhookId,
        /// Whether anything may be sent to it.
        active: bool,
    },
    /// A deleted webhook's queue is empty: remove the rest.
    Deleted {
        /// The control entry.
        entry: EntryId,
        /// Which webhook.
        webhook: WebhookId,
    },
    /// Set an unreadable entry aside.
    Quarantine {
        /// The entry.
        entry: EntryId,
        /// What is known of it.
        text: String,
    },
    /// Remove a control entry that has nothing to do any more.
    Skip {
        /// The entry.
        entry: EntryId,
    },
}

impl Instruction {
    /// The event's place in the stream, where it goes into mailboxes.
    pub fn queued(&self) -> Option<EntryId> {
        if let Self::Event { entry, .. } = self { Some(*entry) } else { None }
    }

    /// Who subscribes to its event and does not get it.
    pub fn skipped(&self) -> &[Skipped] {
        match self {
            Self::Event { skipped, .. } | Self::Arrived { skipped, .. } => skipped,
            _ => &[],
        }
    }

    /// The event that it queues.
    pub fn event(&self) -> Option<&EventId> {
        match self {
            Self::Event { event, .. } | Self::Arrived { event, .. } => Some(&event.id),
            Self::Resend { event, .. } => Some(event),
            Self::Changed { .. } | Self::Deleted { .. } | Self::Quarantine { .. } | Self::Skip { .. } => None,
        }
    }
}

/// Which of several calls an instruction belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// One call has all targets.
    Whole,
    /// More calls follow.
    Part,
    /// The last of several calls.
    Last,
}

/// The largest fan-out of one call, and the most mailbox entries that a batch of calls may write.
pub const MAX_TARGETS: usize = 1000;

/// What the dispatch script did with one instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispatched {
    /// It had been done before.
    Skipped,
    /// Done.
    Done,
    /// Done, but for these webhooks.
    But(Left),
    /// For `Arrived`: what came of recording each outcome.
    Recorded(Vec<Receipt>),
    /// For `Changed`: when the webhook wants attention (0 = now), `None` = never.
    Wakes(Option<Millis>),
}

/// Into whose queue an event was not put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// It was full.
    pub full: Vec<WebhookId>,
    /// Something else than a queue lies in its place; the delivery is set aside.
    pub broken: Vec<WebhookId>,
}

/// What the dispatch script did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// With each instruction.
    pub answers: Vec<Dispatched>,
    /// How much was set aside, because what lies in Redis is not what we write.
    pub set_aside: u64,
    /// The webhooks of which another arrival in the same hour changes nothing but counts; each as often as it was named.
    pub steady: Vec<WebhookId>,
}

/// Lifetimes and bounds that the dispatch script applies.
#[derive(Clone, Copy, Debug)]
pub struct DispatchLimits {
    /// How long the record of an event without open deliveries lives.
    pub closed: Duration,
    /// The same for an event with a dead delivery.
    pub dead: Duration,
    /// `queue.max_pending_per_webhook`
    pub max_pending: u64,
    /// `log.max_attempts`
    pub log_max: u64,
    /// How many dead deliveries a webhook keeps.
    pub dead_max: u64,
}

/// Carries out batches of instructions, one of each partition, in one step each. On a Redis Cluster one at a time.
///
/// # Errors
/// Those of the call are of all batches, the others of one: [`Error::Fenced`] when its lease has another token. After
/// [`Error::Unanswered`] the same batches must be repeated before any other of their partitions.
pub async fn dispatch(
    redis: &Redis,
    keys: &Keys,
    now: Millis,
    limits: &DispatchLimits,
    sections: &[Section<'_, [Instruction]>],
) -> Result<Vec<Result<Batch, Error>>, Error> {
    let Some(first) = sections.first() else { return Ok(Vec::new()) };
    let route = keys.key(first.partition, "lease");
    let mut call = DISPATCH.on(&route);
    call.arg(keys.of(first.partition)).arg(now.0).arg(limits.closed.as_secs()).arg(limits.dead.as_secs());
    call.arg(limits.max_pending).arg(limits.log_max).arg(limits.dead_max);
    for section in sections {
        call.arg(keys.of(section.partition)).arg(section.token);
        for instruction in section.items {
            add_instruction(&mut call, section.partition, instruction);
        }
        call.end_section();
    }
    let answers = call.run_sections(redis).await?;
    let read = |(section, answers): (&Section<'_, [Instruction]>, Result<Answers, Error>)| {
        read_batch(section.items, answers?)
    };
    Ok(sections.iter().zip(answers).map(read).collect())
}

fn read_batch(batch: &[Instruction], answers: Answers) -> Result<Batch, Error> {
    let read =
        |(instruction, answer)| read_dispatched(instruction, answer).ok_or_else(|| unreadable("dispatch"));
    let Answers { items, set_aside } = answers;
    let steady = batch.iter().zip(&items).flat_map(|(instruction, answer)| steady_of(instruction, answer));
    // Of what was set aside it may be what the word relies on.
    let steady = steady.filter(|_| set_aside == 0).collect();
    Ok(Batch { answers: batch.iter().zip(items).map(read).collect::<Result<_, _>>()?, set_aside, steady })
}

fn steady_of(instruction: &Instruction, answer: &Value) -> Vec<WebhookId> {
    let Instruction::Arrived { outcomes, .. } = instruction else { return Vec::new() };
    let is_steady = |at: usize| match answer {
        Value::Int(code) => *code == 1,
        Value::Array(answers) => answers.get(at) == Some(&Value::Int(1)),
        _ => false,
    };
    let webhooks = outcomes.iter().enumerate().filter(|(at, _)| is_steady(*at));
    webhooks.map(|(_, outcome)| outcome.webhook.clone()).collect()
}

fn add_instruction(call: &mut super::script::Call<'_>, partition: Partition, instruction: &Instruction) {
    match instruction {
        Instruction::Event { entry, event, targets, skipped, chunk, keep } => {
            let mode = match chunk {
                Chunk::Whole => "whole",
                Chunk::Part => "part",
                Chunk::Last => "last",
            };
            let trace = event.trace.map(|publish| trace::dispatch(publish, partition, *entry));
            call.arg("event").arg(mode).arg(entry.to_string()).arg(event.id.as_str());
            call.arg(keys::event_hash(&event.tenant, &event.id)).arg(&*event.event_type);
            call.arg(keys::tenant_hash(&event.tenant))
                .arg(u8::from(*keep))
                .arg(&event.body[..])
                .arg(trace.map(|trace| trace.to_string()).unwrap_or_default())
                .arg(delivered_record::skipped_text(skipped))
                .arg(targets.len());
            for (webhook, owner) in targets {
                call.arg(webhook.as_str()).arg(&**owner);
            }
        }
        Instruction::Arrived { entry, event, outcomes, skipped } => {
            let trace = event.trace.map(|publish| trace::dispatch(publish, partition, *entry));
            call.arg("arrived").arg(entry.to_string()).arg(keys::event_hash(&event.tenant, &event.id));
            call.arg(&*event.event_type)
                .arg(&event.body[..])
                .arg(trace.map(|trace| trace.to_string()).unwrap_or_default())
                .arg(delivered_record::skipped_text(skipped))
                .arg(outcomes.len());
            outcomes.iter().for_each(|outcome| outcomes::add_arrival(call, outcome));
        }
        Instruction::Resend { entry, event, event_hash, tenant_hash, webhook, owner_hash } => {
            call.arg("resend").arg(entry.to_string()).arg(event.as_str()).arg(event_hash).arg(&**tenant_hash);
            call.arg(webhook.as_str()).arg(&**owner_hash);
        }
        Instruction::Changed { entry, webhook, active } => {
            call.arg("changed").arg(entry.to_string()).arg(webhook.as_str()).arg(u8::from(*active));
        }
        Instruction::Deleted { entry, webhook } => {
            call.arg("deleted").arg(entry.to_string()).arg(webhook.as_str());
        }
        Instruction::Quarantine { entry, text } => {
            call.arg("quarantine").arg(entry.to_string()).arg(text);
        }
        Instruction::Skip { entry } => {
            call.arg("skip").arg(entry.to_string());
        }
    }
}

fn read_dispatched(instruction: &Instruction, answer: Value) -> Option<Dispatched> {
    match (instruction, answer) {
        (Instruction::Changed { .. }, Value::Int(due)) => {
            Some(Dispatched::Wakes(u64::try_from(due).ok().map(Millis)))
        }
        (_, Value::Int(0)) => Some(Dispatched::Skipped),
        (Instruction::Arrived { outcomes, .. }, Value::Int(_)) => {
            Some(Dispatched::Recorded(vec![Receipt::Recorded; outcomes.len()]))
        }
        (Instruction::Arrived { .. }, Value::Array(answers)) => {
            Some(Dispatched::Recorded(answers.iter().map(outcomes::receipt).collect()))
        }
        (_, Value::Int(_)) => Some(Dispatched::Done),
        (_, Value::Array(names)) => read_left(&names).map(Dispatched::But),
        _ => None,
    }
}

fn read_left(names: &[Value]) -> Option<Left> {
    let mut left = Left::default();
    for name in names.iter().map(text) {
        match name?.strip_prefix('!') {
            Some(broken) => left.broken.push(broken.parse().ok()?),
            None => left.full.push(name?.parse().ok()?),
        }
    }
    Some(left)
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let Value::Array(parts) = value else { return None };
    <[Value; 2]>::try_from(parts).ok().map(|[first, second]| (first, second))
}

/// The text of an answer that is one.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// An answer that is not of the form that the command gives.
pub(super) fn unreadable(what: &'static str) -> Error {
    Error::Rejected((redis::ErrorKind::UnexpectedReturnType, what).into())
}

#[cfg(test)]
mod tests;
