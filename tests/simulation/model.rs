//! Redis as the scripts of `src/store/scripts` leave it: leases, events, mailboxes, retries, wake index, counters.
//!
//! Every command is one step, as a script is. What the scripts write for people alone (rows' texts, statistics by the
//! hour, expiry) is left out; that a row was written, and what was counted, is kept. A copy of the whole is what a
//! replica that lags behind holds.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use salesos_webhooks::domain::{EntryId, Millis, Partition};
use salesos_webhooks::policy::breaker::{Change, Signal, Standing};
use salesos_webhooks::policy::lane::Next;
use salesos_webhooks::policy::lease::Seen;
use salesos_webhooks::policy::roster::Sign;

use crate::checks::Checks;
use crate::schedule::{Ms, Spec};

/// The token of a lease.
pub type Token = Arc<str>;

/// What the clock of Redis shows at the start of every schedule.
pub const EPOCH: Ms = 1_000_000_000;

/// An entry of an events stream.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// An event, by its number.
    Event(usize),
    /// A webhook was switched on or off.
    Changed(usize),
}

/// One partition, but for its queues.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Token and beat.
    pub lease: Option<(Token, u64)>,
    /// What awaits dispatch.
    pub events: BTreeMap<EntryId, Entry>,
    last: EntryId,
    /// The events that were stored, by their idempotency key.
    pub stored: BTreeSet<usize>,
    /// The records of events: for each that was dispatched its entry and its targets.
    pub records: BTreeMap<usize, (EntryId, Vec<usize>)>,
}

/// A delivery that waits for another attempt: when, its entry, the attempt, the event.
pub type Retry = (Millis, EntryId, u32, usize);

/// The queue and the counters of one webhook.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// Where it is.
    pub partition: u16,
    /// Whether it has one attempt at a time.
    pub ordered: bool,
    /// What its record says.
    pub active: bool,
    /// When the record was last written.
    pub changed_at: Ms,
    /// What is kept of its failures.
    pub standing: Standing,
    /// When its breaker opened last.
    pub opened_at: Ms,
    /// What waits for its first attempt.
    pub mailbox: BTreeMap<EntryId, usize>,
    last: EntryId,
    /// What waits for another.
    pub retries: BTreeSet<Retry>,
    /// When it wants attention.
    pub wake: Option<Millis>,
    /// Counted: not ended yet.
    pub pending: u64,
    /// Counted: delivered, dead.
    pub counted: [u64; 2],
    /// The rows of the log.
    pub rows: BTreeSet<(EntryId, u32)>,
    /// What has ended, and whether it was delivered.
    pub ended: BTreeMap<EntryId, bool>,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whose.
    pub webhook: usize,
    /// Which delivery.
    pub entry: EntryId,
    /// Of which event.
    pub event: usize,
    /// Whether it waited in the retry set.
    pub was_retry: bool,
    /// The number of the attempt.
    pub attempt: u32,
    /// What follows.
    pub next: Next,
    /// A pause that the endpoint asked for.
    pub paused_until: Option<Millis>,
    /// What it tells of the endpoint.
    pub signal: Signal,
    /// What it changed of the breaker.
    pub change: Option<Change>,
    /// Whether the webhook is to be switched off.
    pub disable: bool,
    /// When what its owner knew at its start was read at the earliest.
    pub known_since: Ms,
}

/// An instruction of the dispatch script.
#[derive(Clone, Debug)]
pub enum Instruction {
    /// An event into mailboxes; made from what was known at `made_at`.
    Event { entry: EntryId, event: usize, targets: Vec<usize>, made_at: Ms },
    /// An event that its targets have taken already: what came of it at each, and whose lane is told.
    Arrived { entry: EntryId, event: usize, outcomes: Vec<(Outcome, u64)>, made_at: Ms },
    /// A webhook wakes or sleeps as its record says.
    Changed { entry: EntryId, webhook: usize, active: bool },
}

impl Instruction {
    fn entry(&self) -> EntryId {
        match self {
            Self::Event { entry, .. } | Self::Arrived { entry, .. } | Self::Changed { entry, .. } => *entry,
        }
    }
}

/// What the dispatch script answers for one instruction.
#[derive(Clone, Copy, Debug)]
pub enum Dispatched {
    /// It had been done before.
    Skipped,
    /// Now.
    Done,
    /// When the webhook wakes.
    Wakes(Option<Millis>),
}

/// A command on its way.
#[derive(Clone, Debug)]
pub enum Command {
    Beat { node: usize, sign: Sign },
    Leave { node: usize },
    Renew(Vec<(Partition, Token)>),
    Look(Vec<Partition>),
    Take { partition: Partition, token: Token, seen: Seen },
    Release { partition: Partition, token: Token },
    Load(u16),
    ReadEvents { partition: u16, after: EntryId },
    Dispatch { partition: u16, token: Token, batch: Rc<Vec<Instruction>> },
    Record { partition: u16, token: Token, batch: Rc<Vec<Outcome>> },
    ReadRecord(usize),
    ReadMailbox { webhook: usize, after: EntryId, count: usize },
    ReadRetries { webhook: usize, count: usize },
    Body { partition: u16, event: usize },
    Wake { partition: u16, until: Millis },
    Publish { partition: u16, event: usize },
    Activate(usize),
}

/// What Redis says.
#[derive(Clone, Debug)]
pub enum Answer {
    Done,
    /// The lease has another token.
    Fenced,
    Signs(Vec<Sign>),
    Renewed(Vec<bool>),
    Looked(Vec<Seen>),
    Taken(bool),
    /// The active webhooks, those that want attention, and those whose breaker is open.
    Loaded(Vec<usize>, Vec<(usize, Millis)>, Vec<(usize, Millis)>),
    Entries(Vec<(EntryId, Entry)>),
    Dispatched(Vec<Dispatched>),
    Recorded(Vec<bool>),
    Record(bool, Standing),
    Mailbox(Vec<(EntryId, usize)>),
    Retries(Vec<Retry>),
    Body(bool),
    Wake(Vec<(usize, Millis)>),
}

/// The model.
#[derive(Clone, Debug, Default)]
pub struct Redis {
    /// Its partitions.
    pub parts: Vec<Part>,
    /// The queues of the webhooks.
    pub queues: Vec<Queue>,
    nodes: BTreeMap<usize, Sign>,
}

impl Redis {
    /// A Redis that holds the records of `webhooks` and nothing else.
    pub fn new(webhooks: &[Spec], partitions: u16) -> Self {
        let queue = |spec: &Spec| Queue {
            partition: spec.partition,
            ordered: spec.limits.ordered,
            active: true,
            ..Queue::default()
        };
        let queues = webhooks.iter().map(queue).collect();
        Self { parts: vec![Part::default(); usize::from(partitions)], queues, ..Self::default() }
    }

    /// Carries a command out.
    pub fn execute(&mut self, command: &Command, now: Ms, checks: &mut Checks) -> Answer {
        match command {
            Command::Beat { node, sign } => {
                self.nodes.insert(*node, sign.clone());
                Answer::Signs(self.nodes.values().cloned().collect())
            }
            Command::Leave { node } => {
                self.nodes.remove(node);
                Answer::Done
            }
            Command::Renew(held) => Answer::Renewed(held.iter().map(|held| self.renew(held)).collect()),
            Command::Look(all) => Answer::Looked(all.iter().map(|partition| self.look(*partition)).collect()),
            Command::Take { partition, token, seen } => Answer::Taken(self.take(*partition, token, seen)),
            Command::Release { partition, token } => {
                let lease = &mut self.parts[usize::from(partition.0)].lease;
                lease.take_if(|(held, _)| held == token);
                Answer::Done
            }
            Command::Dispatch { partition, token, batch } => {
                if self.is_fenced(*partition, token) || self.is_out_of_turn(*partition, batch) {
                    return Answer::Fenced;
                }
                checks.writes(self.holder(*partition), token);
                let all = batch.iter().map(|item| self.dispatch(*partition, item, now, checks));
                Answer::Dispatched(all.collect())
            }
            Command::Record { partition, token, batch } => {
                if self.is_fenced(*partition, token) {
                    return Answer::Fenced;
                }
                checks.writes(self.holder(*partition), token);
                Answer::Recorded(batch.iter().map(|item| self.record(item, now, checks)).collect())
            }
            Command::Publish { partition, event } => self.publish(*partition, *event, now),
            Command::Activate(webhook) => self.switch(*webhook, true, now),
            _ => self.read(command),
        }
    }

    fn read(&self, command: &Command) -> Answer {
        match command {
            Command::Load(partition) => {
                let of = |webhook: &usize| self.queues[*webhook].partition == *partition;
                let active = |webhook: &usize| of(webhook) && self.queues[*webhook].active;
                let all = 0..self.queues.len();
                let open = |webhook: &usize| of(webhook) && self.queues[*webhook].standing.is_open();
                let pause = |webhook: usize| (webhook, self.queues[webhook].standing.pause_ends);
                Answer::Loaded(
                    all.clone().filter(active).collect(),
                    self.wakes(*partition, Millis::MAX),
                    all.filter(open).map(pause).collect(),
                )
            }
            Command::ReadEvents { partition, after } => {
                let events = &self.parts[usize::from(*partition)].events;
                let behind = events.iter().filter(|(entry, _)| **entry > *after);
                Answer::Entries(behind.map(|(entry, what)| (*entry, *what)).collect())
            }
            Command::ReadRecord(webhook) => {
                let queue = &self.queues[*webhook];
                Answer::Record(queue.active, queue.standing)
            }
            Command::ReadMailbox { webhook, after, count } => {
                let mailbox = self.queues[*webhook].mailbox.iter().filter(|(entry, _)| **entry > *after);
                Answer::Mailbox(mailbox.take(*count).map(|(entry, event)| (*entry, *event)).collect())
            }
            Command::ReadRetries { webhook, count } => {
                Answer::Retries(self.queues[*webhook].retries.iter().take(*count).copied().collect())
            }
            Command::Body { partition, event } => {
                Answer::Body(self.parts[usize::from(*partition)].records.contains_key(event))
            }
            Command::Wake { partition, until } => Answer::Wake(self.wakes(*partition, *until)),
            _ => Answer::Done,
        }
    }

    /// The token of a lease.
    pub fn holder(&self, partition: u16) -> Option<&Token> {
        self.parts[usize::from(partition)].lease.as_ref().map(|(token, _)| token)
    }

    fn is_fenced(&self, partition: u16, token: &Token) -> bool {
        self.holder(partition) != Some(token)
    }

    /// Whether an older entry than the first of `batch` lies in the stream: Redis has gone back to a moment ago.
    fn is_out_of_turn(&self, partition: u16, batch: &[Instruction]) -> bool {
        let oldest = self.parts[usize::from(partition)].events.keys().next();
        oldest.zip(batch.first()).is_some_and(|(oldest, first)| *oldest < first.entry())
    }

    fn renew(&mut self, (partition, token): &(Partition, Token)) -> bool {
        match &mut self.parts[usize::from(partition.0)].lease {
            Some((held, beat)) if held == token => {
                *beat += 1;
                true
            }
            _ => false,
        }
    }

    fn look(&self, partition: Partition) -> Seen {
        let lease = self.parts[usize::from(partition.0)].lease.as_ref();
        Seen {
            token: lease.map(|(token, _)| token.to_string()),
            beat: lease.map(|(_, beat)| beat.to_string()),
        }
    }

    fn take(&mut self, partition: Partition, token: &Token, seen: &Seen) -> bool {
        let now = self.look(partition);
        if now.token.as_deref() == Some(token) {
            return true;
        }
        if now.token.is_some() && now != *seen {
            return false;
        }
        self.parts[usize::from(partition.0)].lease = Some((token.clone(), 0));
        true
    }

    fn wakes(&self, partition: u16, until: Millis) -> Vec<(usize, Millis)> {
        let queues = self.queues.iter().enumerate().filter(|(_, queue)| queue.partition == partition);
        queues
            .filter_map(|(webhook, queue)| Some((webhook, queue.wake.filter(|due| *due <= until)?)))
            .collect()
    }

    /// Stores an event, once. Answers as a repeat does: it is stored.
    fn publish(&mut self, partition: u16, event: usize, now: Ms) -> Answer {
        let part = &mut self.parts[usize::from(partition)];
        if part.stored.insert(event) {
            part.append(Entry::Event(event), now);
        }
        Answer::Done
    }

    fn switch(&mut self, webhook: usize, active: bool, now: Ms) -> Answer {
        let queue = &mut self.queues[webhook];
        (queue.active, queue.changed_at) = (active, now);
        if active {
            queue.standing = Standing { turn: queue.standing.turn + 1, ..Standing::default() };
        }
        self.parts[usize::from(queue.partition)].append(Entry::Changed(webhook), now);
        Answer::Done
    }

    fn dispatch(&mut self, at: u16, item: &Instruction, now: Ms, checks: &mut Checks) -> Dispatched {
        let part = &mut self.parts[usize::from(at)];
        match item {
            Instruction::Event { entry, event, targets, made_at } => {
                if part.events.remove(entry).is_none() {
                    return Dispatched::Skipped;
                }
                part.records.insert(*event, (*entry, targets.clone()));
                checks.dispatches(*entry, targets, *made_at, at, &self.queues);
                targets.iter().for_each(|webhook| self.queues[*webhook].enqueue(*entry, *event, checks));
                Dispatched::Done
            }
            Instruction::Arrived { entry, event, outcomes, made_at } => {
                if part.events.remove(entry).is_none() {
                    return Dispatched::Skipped;
                }
                let targets: Vec<usize> = outcomes.iter().map(|(outcome, _)| outcome.webhook).collect();
                checks.dispatches(*entry, &targets, *made_at, at, &self.queues);
                part.records.insert(*event, (*entry, targets));
                for (outcome, _) in outcomes {
                    let queue = &mut self.queues[outcome.webhook];
                    checks.records(outcome, queue);
                    queue.arrives(outcome, Millis(EPOCH + now), checks);
                }
                Dispatched::Done
            }
            Instruction::Changed { entry, webhook, active } => {
                part.events.remove(entry);
                let queue = &mut self.queues[*webhook];
                let paused = queue.standing.rests_until();
                Dispatched::Wakes(queue.rewake(*active, Millis(EPOCH + now), paused))
            }
        }
    }

    fn record(&mut self, item: &Outcome, now: Ms, checks: &mut Checks) -> bool {
        let queue = &mut self.queues[item.webhook];
        if !queue.waits(item) {
            return false;
        }
        checks.records(item, queue);
        queue.record(item, Millis(EPOCH + now));
        if item.disable {
            self.switch(item.webhook, false, now);
        }
        true
    }
}

impl Part {
    /// Appends under the id that `*` gives.
    fn append(&mut self, what: Entry, now: Ms) {
        let ms = EPOCH + now;
        let seq = if self.last.ms >= ms { self.last.seq + 1 } else { 0 };
        self.last = EntryId { ms: ms.max(self.last.ms), seq };
        self.events.insert(self.last, what);
    }
}

impl Queue {
    fn enqueue(&mut self, entry: EntryId, event: usize, checks: &mut Checks) {
        checks.that(entry > self.last, || format!("{entry} is put into a mailbox after {}", self.last));
        let waits = self.retries.iter().any(|retry| retry.1 == entry) || self.ended.contains_key(&entry);
        checks.that(!waits, || format!("{entry} is in two places"));
        self.last = entry;
        self.mailbox.insert(entry, event);
        self.wake = Some(Millis(0));
        self.pending += 1;
    }

    /// What was never in it is delivered.
    fn arrives(&mut self, item: &Outcome, now: Millis, checks: &mut Checks) {
        let waits = self.mailbox.contains_key(&item.entry) || self.ended.contains_key(&item.entry);
        checks.that(!waits, || format!("{} is in two places", item.entry));
        self.rows.insert((item.entry, item.attempt));
        self.counted[0] += 1;
        self.ended.insert(item.entry, true);
        self.keep(item, now);
    }

    fn retry_of(&self, entry: EntryId, attempt: u32) -> Option<Retry> {
        self.retries.iter().find(|retry| retry.1 == entry && retry.2 == attempt).copied()
    }

    fn waits(&self, item: &Outcome) -> bool {
        if item.was_retry {
            return self.retry_of(item.entry, item.attempt).is_some();
        }
        self.mailbox.contains_key(&item.entry)
    }

    fn record(&mut self, item: &Outcome, now: Millis) {
        self.mailbox.remove(&item.entry);
        if let Some(retry) = self.retry_of(item.entry, item.attempt) {
            self.retries.remove(&retry);
        }
        self.rows.insert((item.entry, item.attempt));
        let delivered = matches!(item.next, Next::Delivered);
        if let Next::Retry(due) = item.next {
            self.retries.insert((due, item.entry, item.attempt + 1, item.event));
        } else {
            self.pending -= 1;
            self.counted[usize::from(!delivered)] += 1;
            self.ended.insert(item.entry, delivered);
        }
        self.keep(item, now);
        let (active, paused) = (self.active && !item.disable, self.standing.rests_until());
        self.rewake(active, now, paused);
    }

    fn keep(&mut self, item: &Outcome, now: Millis) {
        let standing = &mut self.standing;
        standing.asked_until = item.paused_until.unwrap_or(standing.asked_until);
        match item.signal {
            Signal::Succeeded => (standing.failures, standing.failing_since) = (0, None),
            Signal::Failed => {
                standing.failures += 1;
                standing.failing_since = standing.failing_since.or(Some(now));
            }
            Signal::Nothing => {}
        }
        standing.turn += u64::from(item.change.is_some());
        match item.change {
            Some(Change::Opened { pauses, until }) => {
                (standing.pauses, standing.pause_ends) = (pauses, until);
                self.opened_at = now.0 - EPOCH;
            }
            Some(Change::Closed) => (standing.pauses, standing.pause_ends) = (0, Millis(0)),
            None => {}
        }
    }

    fn rewake(&mut self, active: bool, now: Millis, paused: Millis) -> Option<Millis> {
        let due =
            if self.mailbox.is_empty() { self.retries.first().map(|retry| retry.0) } else { Some(Millis(0)) };
        let rests = |due: Millis| if paused > now && paused > due { paused } else { due };
        self.wake = due.filter(|_| active).map(rests);
        self.wake
    }

    /// The delivery that an ordered webhook has to finish first.
    pub fn head(&self) -> Option<EntryId> {
        let retry = self.retries.iter().map(|retry| retry.1).min();
        retry.or_else(|| self.mailbox.keys().next().copied())
    }
}

/// What `Seen` is to a node that holds the lease itself.
pub fn is_token(seen: &Seen, token: &str) -> bool {
    seen.token.as_deref() == Some(token)
}
