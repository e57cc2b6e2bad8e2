//! The owner of one partition as `actors::partition` is: reads, matches, dispatches, records, activates webhooks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use salesos_webhooks::domain::{EntryId, EventId, Millis, Shard, WebhookId};
use salesos_webhooks::policy::breaker::{Change, Signal, Standing};
use salesos_webhooks::policy::due::DueTimes;
use salesos_webhooks::policy::early::{Fate, Ledger, Turn, Undispatched};
use salesos_webhooks::policy::lane::{Delivery, Input, Known, Lane, Next};
use salesos_webhooks::policy::pauses::Pauses;

use crate::checks::Life;
use crate::model::{Answer, Command, Dispatched, Entry, Instruction, Outcome, Token};
use crate::schedule::Ms;
use crate::webhook::Slot;
use crate::world::{Event, LaneCall, OwnerCall, Purpose, ToNode, ToOwner, World};

/// Entries in one dispatch call. Fewer than in production, so that there are calls enough to go wrong.
const DISPATCH_BATCH: usize = 8;
/// Outcomes in one call; likewise.
const OUTCOME_BATCH: usize = 8;
/// How often the wake index is looked over.
const LOOK_OVER_EVERY: Ms = 10_000;
/// One message to a webhook in a hundred finds its mailbox full.
const FULL: u64 = 2;

/// The tenure of a partition, as `cluster::tenure` keeps it.
#[derive(Clone, Debug)]
pub struct Tenure {
    pub token: Token,
    pub takes: u64,
    pub retaking: bool,
    pub valid_until: Instant,
    /// When the call that took it last was sent.
    pub taken_at: Ms,
}

/// See the module's page.
#[derive(Debug)]
pub struct Owner {
    pub id: u64,
    pub life: Life,
    pub partition: u16,
    pub tenure: Tenure,
    pub slots: BTreeMap<usize, Slot>,
    /// Since when nothing new may start.
    pub draining_since: Option<Ms>,
    /// It has ended by itself.
    pub gone: bool,
    table: Vec<usize>,
    due: DueTimes,
    pauses: Pauses,
    unseen: BTreeSet<usize>,
    due_timer: u64,
    cursor: EntryId,
    rewinds: u64,
    open: bool,
    reading: bool,
    arrived: VecDeque<(EntryId, Entry)>,
    early: Ledger<Read, (Outcome, u64)>,
    seen: EntryId,
    dispatching: bool,
    controlling: bool,
    outcomes: VecDeque<(Outcome, u64)>,
    recording: bool,
    loading: bool,
}

/// An event as it was read.
#[derive(Debug)]
struct Read {
    event: usize,
    targets: Vec<usize>,
    /// When its targets were found.
    made_at: Ms,
}

/// The name of a webhook, for what production code keeps by name.
pub fn webhook_id(number: usize) -> WebhookId {
    WebhookId::new(Shard(0), &format!("{number:022}"))
}

fn number_of(id: &WebhookId) -> usize {
    id.as_str()[5..].parse().unwrap_or_default()
}

/// The name of an event.
pub fn event_id(number: usize) -> EventId {
    format!("evt_{number}").parse().expect("letters and digits")
}

fn wait_of(failures: u32) -> Ms {
    50 << failures.min(5)
}

impl Owner {
    /// The owner of a partition that has just been taken.
    pub fn start(life: Life, partition: u16, tenure: Tenure, world: &mut World) -> Self {
        let mut owner = Self {
            id: world.number(),
            life,
            partition,
            tenure,
            slots: BTreeMap::new(),
            draining_since: None,
            gone: false,
            table: Vec::new(),
            due: DueTimes::default(),
            pauses: Pauses::default(),
            unseen: BTreeSet::new(),
            due_timer: 0,
            cursor: EntryId::ZERO,
            rewinds: 0,
            open: false,
            reading: false,
            arrived: VecDeque::new(),
            early: Ledger::default(),
            seen: EntryId::ZERO,
            dispatching: false,
            controlling: false,
            outcomes: VecDeque::new(),
            recording: false,
            loading: true,
        };
        owner.call(OwnerCall::Load { take: 1 }, 0, world);
        owner.later(LOOK_OVER_EVERY, ToOwner::LookOver, world);
        owner
    }

    /// Lets something reach this owner after a while.
    pub fn later(&self, wait: Ms, what: ToOwner, world: &mut World) {
        let (partition, owner) = (self.partition, self.id);
        world.after(wait, Event::Node(self.life, ToNode::Owner { partition, owner, what }));
    }

    /// Makes a call with the token as it is now.
    pub fn call(&mut self, what: OwnerCall, failures: u32, world: &mut World) {
        let (partition, token) = (self.partition, self.tenure.token.clone());
        let command = match &what {
            OwnerCall::Load { .. } => Command::Load(partition),
            OwnerCall::Read { .. } => Command::ReadEvents { partition, after: self.cursor },
            OwnerCall::Dispatch(batch) => {
                Command::Dispatch { partition, token: token.clone(), batch: batch.clone() }
            }
            OwnerCall::Record(batch, _) => {
                Command::Record { partition, token: token.clone(), batch: batch.clone() }
            }
            OwnerCall::Changed { webhook, .. } => Command::ReadRecord(*webhook),
            OwnerCall::LookOver => Command::Wake { partition, until: world.clock() },
            OwnerCall::Lane { webhook, what, .. } => lane_command(*webhook, what, partition),
        };
        let purpose = Purpose::Owner { partition, owner: self.id, failures, token, what };
        world.call(self.life, purpose, command);
    }

    /// A call was not answered.
    pub fn failed(&mut self, what: OwnerCall, failures: u32, token: Token, world: &mut World) {
        match what {
            OwnerCall::LookOver => {}
            OwnerCall::Lane { webhook, lane, what } if !matches!(what, LaneCall::Record) => {
                self.lane_call_failed(webhook, lane, what, world);
            }
            what => {
                if matches!(what, OwnerCall::Read { .. }) {
                    self.rewind();
                }
                let (partition, owner, failures) = (self.partition, self.id, failures + 1);
                let again = Purpose::Owner { partition, owner, failures, token, what };
                world.after(wait_of(failures - 1), Event::Node(self.life, ToNode::Again(again)));
            }
        }
    }

    /// A call that failed is made again.
    pub fn again(&mut self, what: OwnerCall, failures: u32, world: &mut World) {
        match what {
            OwnerCall::Read { .. } => {
                self.reading = false;
                self.read(world);
            }
            what => self.call(what, failures, world),
        }
    }

    /// A call was answered.
    pub fn answered(&mut self, what: OwnerCall, token: Token, answer: Answer, world: &mut World) {
        match (what, answer) {
            (what, Answer::Fenced) => self.fenced(what, token, world),
            // Taken once more meanwhile: that load tells.
            (OwnerCall::Load { take }, _) if take != self.tenure.takes => {}
            (OwnerCall::Load { .. }, Answer::Loaded(active, wake, open)) => {
                self.loaded(active, wake, open, world);
            }
            (OwnerCall::Read { rewinds }, Answer::Entries(entries)) => self.arrived(rewinds, entries, world),
            (OwnerCall::Dispatch(batch), Answer::Dispatched(answers)) => {
                (self.dispatching, self.controlling) = (false, false);
                self.dispatched(&batch, &answers, world);
                self.dispatch_next(world);
            }
            (OwnerCall::Record(batch, lanes), Answer::Recorded(now)) => {
                self.recorded(&batch, &lanes, &now, world);
            }
            (OwnerCall::Changed { entry, webhook }, Answer::Record(active, standing)) => {
                self.reread(entry, webhook, active, standing, world);
            }
            (OwnerCall::LookOver, Answer::Wake(found)) => {
                self.note_due(found);
                self.activate_due(world);
            }
            (OwnerCall::Lane { webhook, lane, what }, answer) => {
                self.lane_answered(webhook, lane, what, answer, world);
            }
            _ => {}
        }
    }

    /// The token may have been replaced since; else all here ends.
    fn fenced(&mut self, what: OwnerCall, token: Token, world: &mut World) {
        world.totals.fenced += 1;
        if self.tenure.retaking || self.tenure.token != token {
            self.failed(what, 0, token, world);
        } else {
            self.gone = true;
        }
    }

    fn loaded(
        &mut self,
        active: Vec<usize>,
        wake: Vec<(usize, Millis)>,
        open: Vec<(usize, Millis)>,
        world: &mut World,
    ) {
        self.unseen = active.iter().copied().filter(|webhook| !self.slots.contains_key(webhook)).collect();
        self.table = active;
        self.pauses = Pauses::default();
        open.into_iter().for_each(|(webhook, until)| self.pauses.set(webhook_id(webhook), until));
        self.due = DueTimes::default();
        self.note_due(wake);
        self.loading = false;
        if self.draining_since.is_none() {
            self.open = true;
            self.read(world);
        }
        self.activate_due(world);
        self.dispatch_next(world);
    }

    fn note_due(&mut self, wake: Vec<(usize, Millis)>) {
        for (webhook, due) in wake {
            if !self.slots.contains_key(&webhook) {
                self.set_due(webhook, due);
            }
        }
    }

    fn set_due(&mut self, webhook: usize, due: Millis) {
        let due = self.pauses.defer(&webhook_id(webhook), due);
        self.due.set(webhook_id(webhook), due);
    }

    /// Taken anew: what was read is void.
    pub fn retaken(&mut self, world: &mut World) {
        self.loading = true;
        self.open = false;
        self.rewind();
        self.arrived.clear();
        let take = self.tenure.takes;
        let all: Vec<usize> = self.slots.keys().copied().collect();
        for webhook in all {
            if let Some(slot) = self.slots.get_mut(&webhook) {
                (slot.told, slot.missed) = (EntryId::ZERO, EntryId::ZERO);
            }
            self.tell_lane(webhook, take, EntryId::ZERO, Vec::new(), world);
        }
        self.call(OwnerCall::Load { take }, 0, world);
    }

    fn rewind(&mut self) {
        self.cursor = EntryId::ZERO;
        self.rewinds += 1;
    }

    fn read(&mut self, world: &mut World) {
        if !self.reading && self.open && !self.gone {
            self.reading = true;
            let rewinds = self.rewinds;
            self.call(OwnerCall::Read { rewinds }, 0, world);
        }
    }

    fn arrived(&mut self, rewinds: u64, entries: Vec<(EntryId, Entry)>, world: &mut World) {
        self.reading = false;
        if rewinds == self.rewinds {
            self.cursor = entries.last().map_or(self.cursor, |(last, _)| *last);
            self.arrived.extend(entries);
        }
        self.dispatch_next(world);
        self.read(world);
    }

    fn dispatch_next(&mut self, world: &mut World) {
        if self.loading || self.tenure.retaking {
            return;
        }
        if self.draining_since.is_none() && !self.controlling {
            self.begin_events(world);
        }
        if self.dispatching {
            return;
        }
        let now = world.instant();
        let wait = if self.draining_since.is_some() { 0 } else { world.random.between(0, 1) * 20 };
        match self.early.next(now, now + Duration::from_millis(wait)) {
            Some((at, _)) if at > now => {
                let wait = (at - now).as_millis() as Ms;
                self.later(wait, ToOwner::Look, world);
            }
            Some(_) => {
                self.dispatching = true;
                let batch = self.next_batch(now);
                self.call(OwnerCall::Dispatch(Rc::new(batch)), 0, world);
            }
            None if self.draining_since.is_some() => {}
            None => {
                if let Some((entry, Entry::Changed(webhook))) = self.arrived.pop_front() {
                    (self.dispatching, self.controlling) = (true, true);
                    self.call(OwnerCall::Changed { entry, webhook }, 0, world);
                }
            }
        }
    }

    fn begin_events(&mut self, world: &mut World) {
        while let Some((entry, Entry::Event(event))) = self.arrived.front().copied() {
            self.arrived.pop_front();
            let targets = self.table.clone();
            let may_try = self.may_try(entry, world);
            self.seen = self.seen.max(entry);
            let read = Read { event, targets: targets.clone(), made_at: world.now };
            let read = Undispatched::new(entry, read, targets.len(), world.instant());
            self.early.push(match may_try {
                true => read.tried(),
                false => read.ordinary(),
            });
            for webhook in targets.into_iter().filter(|_| may_try) {
                if world.random.percent(FULL) {
                    self.early.declined(entry);
                } else {
                    let delivery = Delivery { entry, event: event_id(event), attempt: 1, body: Some(()) };
                    self.step(webhook, Input::Early(delivery), world);
                }
            }
        }
    }

    /// As in production, and now and then although a lane has no room.
    fn may_try(&self, entry: EntryId, world: &mut World) -> bool {
        let (reckless, now) = (world.random.percent(10), world.clock());
        let has_room = |lane: &Lane<()>| lane.room_for_early(now) > 0;
        let takes = |slot: &Slot| reckless || slot.lane.as_ref().is_some_and(has_room);
        let slot_of = |webhook: &usize| self.slots.get(webhook);
        entry > self.seen
            && !self.table.is_empty()
            && self.table.iter().all(|webhook| slot_of(webhook).is_some_and(takes))
    }

    fn next_batch(&mut self, now: Instant) -> Vec<Instruction> {
        let (mut batch, mut last) = (Vec::new(), EntryId::ZERO);
        while batch.len() < DISPATCH_BATCH
            && let Some((entry, read, turn)) = self.early.take(now, |entry, _| entry > last)
        {
            last = entry;
            let Read { event, targets, made_at } = read;
            batch.push(match turn {
                Turn::Arrived(outcomes) => Instruction::Arrived { entry, event, outcomes, made_at },
                Turn::Ordinary => Instruction::Event { entry, event, targets, made_at },
            });
        }
        batch
    }

    /// What came of an attempt is recorded, with the dispatch of its event or alone.
    pub fn record_verdict(&mut self, outcome: Outcome, lane: u64, is_early: bool, world: &mut World) {
        let is_urgent = world.random.percent(10);
        let is_plain = outcome.next == Next::Delivered
            && outcome.signal == Signal::Succeeded
            && (outcome.change.is_none() && outcome.paused_until.is_none() && !outcome.disable);
        let fate = match is_early {
            true => self.early.ended(outcome.entry, (outcome, lane), is_plain, is_urgent),
            false => Fate::Late((outcome, lane)),
        };
        match fate {
            Fate::Kept => self.later(0, ToOwner::Look, world),
            Fate::Late((outcome, lane)) => self.record(outcome, lane, world),
        }
    }

    /// An early delivery waits for its dispatch.
    pub fn declined(&mut self, entry: EntryId, world: &mut World) {
        self.early.declined(entry);
        self.later(0, ToOwner::Look, world);
    }

    fn dispatched(&mut self, batch: &[Instruction], answers: &[Dispatched], world: &mut World) {
        let mut deliveries: BTreeMap<usize, Vec<Delivery<()>>> = BTreeMap::new();
        for (instruction, answer) in batch.iter().zip(answers) {
            match (instruction, answer) {
                (Instruction::Changed { webhook, .. }, Dispatched::Wakes(due)) => {
                    self.wakes(*webhook, *due, world);
                }
                (Instruction::Event { entry, targets, .. }, Dispatched::Skipped) => {
                    self.done_before(*entry, targets, world);
                }
                (Instruction::Arrived { outcomes, .. }, answer) => {
                    world.totals.early += 1;
                    let recorded = !matches!(answer, Dispatched::Skipped);
                    for (outcome, lane) in outcomes {
                        self.tell_recorded(outcome, *lane, recorded, world);
                    }
                }
                (Instruction::Event { entry, event, targets, .. }, _) => {
                    let body = world.random.percent(80).then_some(());
                    let delivery = Delivery { entry: *entry, event: event_id(*event), attempt: 1, body };
                    for webhook in targets {
                        deliveries.entry(*webhook).or_default().push(delivery.clone());
                    }
                }
                (Instruction::Changed { .. }, _) => {}
            }
        }
        for (webhook, deliveries) in deliveries {
            self.deliver(webhook, deliveries, world);
        }
        for instruction in batch {
            if let Instruction::Event { entry, .. } = instruction {
                let held = self.early.dispatched(*entry);
                held.into_iter().for_each(|(outcome, lane)| self.record(outcome, lane, world));
            }
        }
        self.activate_due(world);
    }

    fn done_before(&mut self, entry: EntryId, targets: &[usize], world: &mut World) {
        for webhook in targets {
            let Some(slot) = self.slots.get_mut(webhook) else {
                self.set_due(*webhook, world.clock());
                continue;
            };
            slot.told = slot.told.max(entry);
            slot.missed = slot.told;
            let (take, told) = (self.tenure.takes, slot.told);
            self.tell_lane(*webhook, take, told, Vec::new(), world);
        }
    }

    fn deliver(&mut self, webhook: usize, deliveries: Vec<Delivery<()>>, world: &mut World) {
        let Some(last) = deliveries.last().map(|delivery| delivery.entry) else { return };
        if !self.slots.contains_key(&webhook) {
            let soon = Millis(world.clock().0 + 1_000);
            if self.pauses.defer(&webhook_id(webhook), soon) > soon {
                self.set_due(webhook, soon);
                return;
            }
            let waits = self.due.remove(&webhook_id(webhook));
            let known = if waits { Known::Nothing } else { Known::EmptyUpTo(EntryId::ZERO) };
            self.activate(webhook, known, world);
        }
        let Some(slot) = self.slots.get_mut(&webhook) else { return };
        let previous = std::mem::replace(&mut slot.told, last);
        if slot.is_full() || world.random.percent(FULL) {
            slot.missed = last;
        } else {
            self.tell_lane(webhook, self.tenure.takes, previous, deliveries, world);
        }
    }

    fn tell_lane(
        &mut self,
        webhook: usize,
        take: u64,
        previous: EntryId,
        deliveries: Vec<Delivery<()>>,
        world: &mut World,
    ) {
        let is_void = take != self.tenure.takes;
        let input = if is_void { Input::Tick } else { Input::Delivered { previous, deliveries } };
        self.step(webhook, input, world);
    }

    fn reread(
        &mut self,
        entry: EntryId,
        webhook: usize,
        active: bool,
        standing: Standing,
        world: &mut World,
    ) {
        self.table.retain(|other| *other != webhook);
        if active {
            self.table.push(webhook);
        }
        match standing.is_open() {
            true => self.pauses.set(webhook_id(webhook), standing.pause_ends),
            false => self.pauses.remove(&webhook_id(webhook)),
        }
        self.change_lane(webhook, active, standing, world);
        let instruction = Instruction::Changed { entry, webhook, active };
        self.call(OwnerCall::Dispatch(Rc::new(vec![instruction])), 0, world);
    }

    fn wakes(&mut self, webhook: usize, due: Option<Millis>, world: &mut World) {
        if self.slots.contains_key(&webhook) {
            return;
        }
        match due {
            Some(due) => self.set_due(webhook, due),
            None => drop(self.due.remove(&webhook_id(webhook))),
        }
        self.activate_due(world);
    }

    fn activate(&mut self, webhook: usize, known: Known, world: &mut World) {
        if self.draining_since.is_some() {
            return;
        }
        let known = if self.unseen.remove(&webhook) { Known::Nothing } else { known };
        let lane = world.number();
        self.slots.insert(webhook, Slot::new(lane, known, self.tenure.takes));
        let what = OwnerCall::Lane { webhook, lane, what: LaneCall::Record };
        self.call(what, 0, world);
    }

    fn activate_due(&mut self, world: &mut World) {
        let soon = Millis(world.clock().0 + 1_000);
        while self.draining_since.is_none()
            && let Some(id) = self.due.take_due(soon)
        {
            let webhook = number_of(&id);
            if !self.slots.contains_key(&webhook) {
                self.activate(webhook, Known::Nothing, world);
            }
        }
        let Some(next) = self.due.next() else { return };
        let wait = next.0.saturating_sub(world.clock().0 + 1_000).max(10);
        self.due_timer += 1;
        self.later(wait, ToOwner::Due(self.due_timer), world);
    }

    /// Something reaches the owner.
    pub fn takes(&mut self, what: ToOwner, world: &mut World) {
        match what {
            ToOwner::Due(timer) if timer == self.due_timer => self.activate_due(world),
            ToOwner::Due(_) => {}
            ToOwner::Look => self.dispatch_next(world),
            ToOwner::LookOver => {
                self.call(OwnerCall::LookOver, 0, world);
                self.later(LOOK_OVER_EVERY, ToOwner::LookOver, world);
            }
            ToOwner::Rested { webhook, cursor, next } => self.rested(webhook, cursor, next, world),
            ToOwner::Lane { webhook, lane, what } => self.lane_takes(webhook, lane, what, world),
        }
    }

    fn rested(&mut self, webhook: usize, cursor: Option<EntryId>, next: Option<Millis>, world: &mut World) {
        let Some(slot) = self.slots.get(&webhook) else { return };
        let activated = cursor.is_none() && self.table.contains(&webhook);
        let behind = cursor.is_some_and(|cursor| cursor < slot.told);
        if activated || behind || self.draining_since.is_some() {
            return;
        }
        self.slots.remove(&webhook);
        match next {
            Some(next) => self.set_due(webhook, next),
            None if cursor.is_none() => drop(self.unseen.insert(webhook)),
            None => {}
        }
        self.activate_due(world);
    }

    /// An outcome waits to be recorded.
    pub fn record(&mut self, outcome: Outcome, lane: u64, world: &mut World) {
        self.outcomes.push_back((outcome, lane));
        self.record_next(world);
    }

    fn record_next(&mut self, world: &mut World) {
        if self.recording || self.outcomes.is_empty() {
            return;
        }
        self.recording = true;
        let count = self.outcomes.len().min(OUTCOME_BATCH);
        let (batch, lanes): (Vec<Outcome>, Vec<u64>) = self.outcomes.drain(..count).unzip();
        self.call(OwnerCall::Record(Rc::new(batch), Rc::new(lanes)), 0, world);
    }

    fn recorded(&mut self, batch: &[Outcome], lanes: &[u64], now: &[bool], world: &mut World) {
        self.recording = false;
        for ((outcome, lane), now) in batch.iter().zip(lanes).zip(now) {
            match outcome.change.filter(|_| *now) {
                Some(Change::Opened { until, .. }) => self.pauses.set(webhook_id(outcome.webhook), until),
                Some(Change::Closed) => self.pauses.remove(&webhook_id(outcome.webhook)),
                None => {}
            }
            self.tell_recorded(outcome, *lane, *now, world);
        }
        self.record_next(world);
    }

    /// Nothing new starts from now on.
    pub fn drain(&mut self, world: &mut World) {
        self.draining_since = Some(world.now);
        self.open = false;
        let all: Vec<usize> = self.slots.keys().copied().collect();
        all.into_iter().for_each(|webhook| self.step(webhook, Input::Drain, world));
        self.dispatch_next(world);
    }

    /// Whether nothing is in flight or waits to be recorded.
    pub fn is_settled(&self) -> bool {
        self.early.is_empty() && self.slots.values().all(Slot::is_settled)
    }
}

fn lane_command(webhook: usize, what: &LaneCall, partition: u16) -> Command {
    match what {
        LaneCall::Record => Command::ReadRecord(webhook),
        LaneCall::Mailbox { after, count, .. } => {
            Command::ReadMailbox { webhook, after: *after, count: *count }
        }
        LaneCall::Retries { count, .. } => Command::ReadRetries { webhook, count: *count },
        LaneCall::Body { event, .. } => Command::Body { partition, event: *event },
    }
}
