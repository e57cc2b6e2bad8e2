//! What must hold, whatever happens: looked at in every step, and once more at the end.
//!
//! The checks know more than any node: all of Redis, all nodes, when what went wrong. They judge; they never take part.

use std::collections::BTreeMap;

use salesos_webhooks::domain::EntryId;
use salesos_webhooks::policy::lane::Next;
use salesos_webhooks::policy::lease::TERM;

use crate::model::{Entry, Outcome, Queue, Redis, Token};
use crate::schedule::Ms;

/// One life of a node: its number, and how often it had been started before.
pub type Life = (usize, u32);

/// A request that was sent.
#[derive(Clone, Debug)]
struct Sent {
    by: Life,
    lane: u64,
    at: Ms,
    known_since: Ms,
    /// Whether the endpoint takes it.
    taken: bool,
    /// Whether its node gave it up.
    given_up: bool,
}

/// What names a request: webhook, delivery, number of the attempt.
pub type Request = (usize, EntryId, u32);

/// A request at the moment when it is sent.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// Which.
    pub request: Request,
    /// Who.
    pub by: Life,
    /// Which lane of theirs.
    pub lane: u64,
    /// The token that they hold.
    pub token: &'a Token,
    /// When what they know of the partition was read at the earliest.
    pub known_since: Ms,
    /// How many requests of this webhook they have in flight with this one, and how many it may have.
    pub in_flight: (usize, usize),
    /// When the attempt was started.
    pub started_at: Ms,
    /// How many requests they have in flight with this one that were started since the breaker opened.
    pub since_opened: usize,
    /// Whether the endpoint takes it.
    pub taken: bool,
}

/// What is known of an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Published {
    /// The publisher has its 202.
    pub accepted: bool,
    /// A fail-over has lost it.
    pub lost: bool,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Checks {
    /// What was found first.
    pub broken: Option<String>,
    /// The events, by number.
    pub events: Vec<Published>,
    /// When something last went wrong for each node, or its webhooks' requests were given up.
    pub trouble: Vec<Ms>,
    /// Requests that were sent more than once.
    pub duplicates: u64,
    tenures: BTreeMap<Token, Life>,
    sent: BTreeMap<Request, Vec<Sent>>,
    failed_over: Option<Ms>,
}

impl Checks {
    /// The checks of a world with that many nodes.
    pub fn of(nodes: usize) -> Self {
        Self { trouble: vec![0; nodes], ..Self::default() }
    }

    /// Notes `what` unless `holds`; only the first finding counts.
    pub fn that(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(what());
        }
    }

    /// A token is made.
    pub fn makes(&mut self, token: &Token, by: Life) {
        self.tenures.insert(token.clone(), by);
    }

    /// Who made a token.
    pub fn maker(&self, token: &Token) -> Option<Life> {
        self.tenures.get(token).copied()
    }

    /// A script that shows `token` is about to write.
    pub fn writes(&mut self, holder: Option<&Token>, token: &Token) {
        let holds = holder == Some(token);
        self.that(holds, || format!("a script with the old token {token} writes"));
    }

    /// An event goes into the mailboxes of `targets`, as its owner saw them at `made_at`.
    pub fn dispatches(&mut self, entry: EntryId, targets: &[usize], made_at: Ms, at: u16, queues: &[Queue]) {
        if self.has_failed_over_since(made_at) {
            return;
        }
        let published = entry.ms - crate::model::EPOCH;
        for (webhook, queue) in queues.iter().enumerate().filter(|(_, queue)| queue.partition == at) {
            let always = queue.active && queue.changed_at < published;
            let reached = !always || targets.contains(&webhook);
            self.that(reached, || format!("{entry} misses webhook {webhook}, which was active all the time"));
        }
    }

    /// An outcome is about to be recorded.
    pub fn records(&mut self, item: &Outcome, queue: &Queue) {
        let Outcome { webhook, entry, attempt, .. } = *item;
        let first = !queue.rows.contains(&(entry, attempt)) && !queue.ended.contains_key(&entry);
        self.that(first, || format!("attempt {attempt} of {entry} for {webhook} is recorded again"));
        let in_turn =
            !queue.ordered || queue.head() == Some(entry) || self.has_failed_over_since(item.known_since);
        self.that(in_turn, || format!("{entry} of {webhook} is recorded before its head {:?}", queue.head()));
        if matches!(item.next, Next::Delivered) {
            let sent = self.sent.get(&(webhook, entry, attempt));
            let taken = sent.is_some_and(|sent| sent.iter().any(|sent| sent.taken));
            self.that(taken, || format!("{entry} of {webhook} is recorded as delivered and was not"));
        }
    }

    /// A request is about to be sent.
    pub fn sends(&mut self, sending: Sending<'_>, redis: &Redis, now: Ms) {
        let Sending { request: (webhook, entry, attempt), by, .. } = sending;
        let queue = &redis.queues[webhook];
        let reverted = self.has_failed_over_since(sending.known_since);
        let holder = redis.holder(queue.partition).and_then(|token| self.maker(token));
        let grace = reverted && !self.has_failed_over_before(now, TERM.as_millis() as Ms);
        let token = sending.token;
        self.that(holder == Some(by) || grace, || {
            format!("{by:?} sends {entry} to {webhook} with {token}, the lease is of {holder:?}")
        });
        let in_turn = !queue.ordered || queue.head() == Some(entry) || reverted;
        self.that(in_turn || queue.rows.contains(&(entry, attempt)), || {
            format!("{entry} is sent to {webhook} before its head {:?}", queue.head())
        });
        let (in_flight, most) = sending.in_flight;
        self.that(in_flight <= most, || format!("{in_flight} requests to {webhook} at once, of {most}"));
        self.leaves_alone(sending, queue, now);
        self.sends_once(sending, queue, now);
    }

    /// While a breaker is open nothing is sent but, after each pause, one probe.
    fn leaves_alone(&mut self, sending: Sending<'_>, queue: &Queue, now: Ms) {
        let (webhook, entry, _) = sending.request;
        let from_before = sending.started_at <= queue.opened_at;
        if !queue.standing.is_open() || from_before || self.has_failed_over_since(sending.known_since) {
            return;
        }
        let until = queue.standing.pause_ends.0 - crate::model::EPOCH;
        self.that(until <= now, || format!("{entry} is sent to {webhook}, which pauses until {until}"));
        let beside = sending.since_opened;
        self.that(beside <= 1, || format!("{entry} is sent to {webhook}, whose probe is out"));
    }

    /// A request may be repeated only where its end was not recorded, and for a reason.
    fn sends_once(&mut self, sending: Sending<'_>, queue: &Queue, now: Ms) {
        let Sending { request: (webhook, entry, attempt), by, lane, taken, known_since, .. } = sending;
        let before = self.sent.entry(sending.request).or_default();
        let last = before.last().cloned();
        before.push(Sent { by, lane, at: now, known_since, taken, given_up: false });
        let Some(last) = last else { return };
        self.duplicates += 1;
        let reverted = self.has_failed_over_since(last.known_since);
        let unrecorded = !queue.rows.contains(&(entry, attempt)) || self.has_failed_over_since(known_since);
        let here_alone = last.lane != lane || last.given_up;
        let trouble = self.trouble[last.by.0];
        let reason = trouble >= last.at;
        self.that(reverted || (unrecorded && here_alone && reason), || {
            format!(
                "attempt {attempt} of {entry} is sent to {webhook} again, recorded {}, by the same lane {}, \
                 sent before at {} by {:?}, whose last trouble was at {}",
                !unrecorded, !here_alone, last.at, last.by, trouble,
            )
        });
    }

    /// A request is given up by its node, which lives on.
    pub fn gives_up(&mut self, request: Request, by: Life, now: Ms) {
        if let Some(sent) = self.sent.get_mut(&request).and_then(|sent| sent.last_mut()) {
            sent.given_up = true;
        }
        self.troubles(by.0, now);
    }

    /// Something goes wrong for a node, now or until then.
    pub fn troubles(&mut self, node: usize, until: Ms) {
        self.trouble[node] = self.trouble[node].max(until);
    }

    /// Redis has lost what is not in `redis`. What was lost with its 202 is excused, and nothing else.
    pub fn fails_over(&mut self, redis: &Redis, partition_of: impl Fn(usize) -> u16, now: Ms) {
        self.failed_over = Some(now);
        for (number, event) in self.events.iter_mut().enumerate() {
            let stored = redis.parts[usize::from(partition_of(number))].stored.contains(&number);
            event.lost |= event.accepted && !stored;
        }
    }

    fn has_failed_over_since(&self, at: Ms) -> bool {
        self.failed_over.is_some_and(|failed_over| failed_over >= at)
    }

    /// Whether the last fail-over is longer ago than that.
    fn has_failed_over_before(&self, now: Ms, ago: Ms) -> bool {
        self.failed_over.is_some_and(|failed_over| failed_over + ago < now)
    }

    /// Every delivery is in exactly one place, and the counters say what happened.
    pub fn adds_up(&mut self, redis: &Redis) {
        for (webhook, queue) in redis.queues.iter().enumerate() {
            let waiting = queue.mailbox.len() + queue.retries.len();
            let entries = |retry: &(_, EntryId, _, _)| retry.1;
            let mut places: Vec<EntryId> = queue.mailbox.keys().copied().collect();
            places.extend(queue.retries.iter().map(entries));
            places.extend(queue.ended.keys());
            places.sort_unstable();
            let twice = places.windows(2).find(|pair| pair[0] == pair[1]);
            self.that(twice.is_none(), || format!("{twice:?} of {webhook} is in two places"));
            self.that(queue.pending == waiting as u64, || {
                format!("{} of {webhook} are counted as waiting, {waiting} wait", queue.pending)
            });
            let delivered = queue.ended.values().filter(|delivered| **delivered).count() as u64;
            let ended = [delivered, queue.ended.len() as u64 - delivered];
            self.that(queue.counted == ended, || {
                format!("{webhook} counts {:?} of {ended:?}", queue.counted)
            });
        }
    }

    /// At the end everything has ended, for everybody.
    pub fn has_ended(&mut self, redis: &Redis, partition_of: impl Fn(usize) -> u16) {
        self.adds_up(redis);
        for (number, event) in self.events.clone().into_iter().enumerate() {
            let part = &redis.parts[usize::from(partition_of(number))];
            let record = part.records.get(&number);
            self.that(event.accepted, || format!("event {number} was never accepted"));
            self.that(record.is_some() || event.lost, || format!("event {number} is lost"));
            let Some((entry, targets)) = record else { continue };
            for webhook in targets {
                let queue = &redis.queues[*webhook];
                let ended = queue.ended.contains_key(entry);
                self.that(ended, || format!("event {number} ({entry}) never ends for {webhook}"));
                let rows = queue.rows.iter().filter(|row| row.0 == *entry).map(|row| row.1);
                let in_a_row = rows.clone().eq(1..=rows.count() as u32);
                self.that(in_a_row, || format!("attempts of {entry} for {webhook} are missing"));
            }
        }
    }
}

/// What still waits in `redis`; `None` when nothing does.
pub fn what_waits(redis: &Redis) -> Option<String> {
    for (partition, part) in redis.parts.iter().enumerate() {
        if let Some((entry, what)) = part.events.first_key_value() {
            let kind = if matches!(what, Entry::Event(_)) { "event" } else { "change" };
            return Some(format!("{kind} {entry} waits for its dispatch in {partition}"));
        }
    }
    for (webhook, queue) in redis.queues.iter().enumerate() {
        if queue.head().is_some() || queue.wake.is_some() {
            let (head, wake, active) = (queue.head(), queue.wake, queue.active);
            return Some(format!("webhook {webhook}: head {head:?}, wake {wake:?}, active {active}"));
        }
    }
    None
}
