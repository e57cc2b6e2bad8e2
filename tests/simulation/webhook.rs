//! One active webhook as `actors::webhook` and `actors::attempt` are: the production lane, and what carries it out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use salesos_webhooks::domain::{AttemptResult, EntryId, ErrorKind, Failure, Millis, Receipt};
use salesos_webhooks::policy::breaker::Standing;
use salesos_webhooks::policy::lane::{Delivery, Effect, Input, Known, Lane, Limits, Verdict};

use crate::checks::Sending;
use crate::model::{Answer, Outcome};
use crate::owner::{Owner, event_id};
use crate::random::Random;
use crate::schedule::{Ms, Spec};
use crate::world::{LaneCall, OwnerCall, ToLane, ToOwner, World};

/// The messages that wait while a webhook's record is read.
const MAILBOX: usize = 64;
/// How long an endpoint may take to answer.
const TIMEOUT: Ms = 6_000;

/// An attempt on its way.
#[derive(Debug)]
struct Flight {
    id: u64,
    delivery: Delivery<()>,
    started_at: Ms,
    sent_at: Option<Ms>,
    /// When what was known at its start was read at the earliest.
    known_since: Ms,
}

/// A webhook with an actor.
#[derive(Debug)]
pub struct Slot {
    pub told: EntryId,
    pub missed: EntryId,
    lane_id: u64,
    pub lane: Option<Lane<()>>,
    known: Known,
    active: bool,
    take: u64,
    inbox: VecDeque<Input<()>>,
    timer: u64,
    flights: BTreeMap<EntryId, Flight>,
}

impl Slot {
    /// An actor that reads its record.
    pub fn new(lane_id: u64, known: Known, take: u64) -> Self {
        Self {
            told: EntryId::ZERO,
            missed: EntryId::ZERO,
            lane_id,
            lane: None,
            known,
            active: true,
            take,
            inbox: VecDeque::new(),
            timer: 0,
            flights: BTreeMap::new(),
        }
    }

    /// Whether it takes no more messages for now.
    pub fn is_full(&self) -> bool {
        self.inbox.len() >= MAILBOX
    }

    /// Whether nothing is in flight.
    pub fn is_settled(&self) -> bool {
        self.lane.as_ref().is_some_and(Lane::is_settled)
    }
}

fn limits_of(spec: &Spec, active: bool) -> Limits {
    Limits { active, ..spec.limits.clone() }
}

fn event_of(delivery: &Delivery<()>) -> usize {
    delivery.event.as_str()[4..].parse().unwrap_or_default()
}

impl Owner {
    /// Gives a lane an input and carries out what it answers.
    pub fn step(&mut self, webhook: usize, input: Input<()>, world: &mut World) {
        for effect in self.effects_of(webhook, input, world) {
            self.perform(webhook, effect, world);
        }
    }

    fn effects_of(&mut self, webhook: usize, input: Input<()>, world: &mut World) -> Vec<Effect<()>> {
        let (takes, now) = (self.tenure.takes, world.clock());
        let Some(slot) = self.slots.get_mut(&webhook) else { return Vec::new() };
        let Some(lane) = &mut slot.lane else {
            slot.inbox.push_back(input);
            return Vec::new();
        };
        world.tell(|| format!("{:?} lane of {webhook}: {input:?}", self.life));
        let retaken = std::mem::replace(&mut slot.take, takes) != takes;
        let missed = slot.missed;
        let mut effects = if retaken { lane.step(Input::Retaken, missed, now) } else { Vec::new() };
        effects.extend(lane.step(input, missed, now));
        let lane = slot.lane_id;
        if retaken {
            self.call(OwnerCall::Lane { webhook, lane, what: LaneCall::Record }, 0, world);
        }
        world.tell(|| format!("     -> {effects:?}"));
        effects
    }

    fn perform(&mut self, webhook: usize, effect: Effect<()>, world: &mut World) {
        let Some(slot) = self.slots.get_mut(&webhook) else { return };
        let lane = slot.lane_id;
        match effect {
            Effect::Start(delivery) => self.start_attempt(webhook, delivery, world),
            Effect::Probes => world.totals.probes += 1,
            Effect::Record(verdict) => {
                let is_early = verdict.early;
                let outcome = outcome(webhook, verdict, self.tenure.taken_at);
                self.record_verdict(outcome, lane, is_early, world);
            }
            Effect::Decline(entry) => self.declined(entry, world),
            Effect::ReadMailbox { round, after, count } => {
                let what = LaneCall::Mailbox { round, after, count };
                self.call(OwnerCall::Lane { webhook, lane, what }, 0, world);
            }
            Effect::ReadRetries { round, count } => {
                let what = LaneCall::Retries { round, count };
                self.call(OwnerCall::Lane { webhook, lane, what }, 0, world);
            }
            Effect::WakeAt(at) => {
                slot.timer += 1;
                let (timer, wait) = (slot.timer, at.0.saturating_sub(world.clock().0));
                self.later(wait, ToOwner::Lane { webhook, lane, what: ToLane::Tick(timer) }, world);
            }
            Effect::Idle(next) => {
                let cursor = slot.lane.as_ref().filter(|lane| lane.is_active()).map(Lane::cursor);
                let wait = world.random.between(0, 2);
                self.later(wait, ToOwner::Rested { webhook, cursor, next }, world);
            }
        }
    }

    fn start_attempt(&mut self, webhook: usize, delivery: Delivery<()>, world: &mut World) {
        let (entry, id) = (delivery.entry, world.number());
        let Some(slot) = self.slots.get_mut(&webhook) else { return };
        let known_since = self.tenure.taken_at;
        let flight = Flight { id, delivery, started_at: world.now, sent_at: None, known_since };
        let fetches = flight.delivery.body.is_none().then(|| event_of(&flight.delivery));
        slot.flights.insert(entry, flight);
        let lane = slot.lane_id;
        match fetches {
            Some(event) => {
                let what = LaneCall::Body { entry, flight: id, event };
                self.call(OwnerCall::Lane { webhook, lane, what }, 0, world);
            }
            None => {
                let wait = world.random.between(0, 1);
                self.later(wait, ToOwner::Lane { webhook, lane, what: ToLane::Go(entry, id) }, world);
            }
        }
    }

    /// The body is there: the request is sent, if it may be.
    fn send(&mut self, webhook: usize, entry: EntryId, id: u64, world: &mut World) {
        let valid_until = self.tenure.valid_until;
        let handing_over_since = self.draining_since;
        let Some(slot) = self.slots.get_mut(&webhook) else { return };
        let Some(flight) = slot.flights.get_mut(&entry).filter(|flight| flight.id == id) else { return };
        if !slot.active || world.instant() >= valid_until {
            self.not_now(webhook, entry, world);
            return;
        }
        flight.sent_at = Some(world.now);
        let late = handing_over_since.is_some_and(|since| flight.started_at > since);
        world.checks.that(!late, || format!("{entry} for {webhook} is started while its owner hands over"));
        let (attempt, flight_known_since, lane) = (flight.delivery.attempt, flight.known_since, slot.lane_id);
        let in_flight = slot.flights.values().filter(|flight| flight.sent_at.is_some()).count();
        let started_at = slot.flights[&entry].started_at;
        let opened_at = world.redis.queues[webhook].opened_at;
        // A probe from before Redis went back is not one that Redis knows of.
        let beside = |flight: &&Flight| {
            let is_later = flight.started_at > opened_at && flight.known_since >= flight_known_since;
            flight.sent_at.is_some() && is_later
        };
        let since_opened = slot.flights.values().filter(beside).count();
        let spec = &world.specs[webhook];
        let limits = &spec.limits;
        let moods = if world.now < world.heals_at { spec.moods } else { [0; 5] };
        let (wait, result) = answer_of(moods, &mut world.random, world.now);
        let sending = Sending {
            request: (webhook, entry, attempt),
            by: self.life,
            lane,
            token: &self.tenure.token,
            known_since: flight_known_since,
            in_flight: (in_flight, limits.max_concurrency),
            started_at,
            since_opened,
            taken: result.success(),
        };
        world.checks.sends(sending, &world.redis, world.now);
        world.totals.attempts += 1;
        world
            .tell(|| format!("{:?} sends {entry} to {webhook}: {:?} in {wait} ms", self.life, result.status));
        let ordered = world.specs[webhook].limits.ordered;
        self.later(
            wait,
            ToOwner::Lane { webhook, lane, what: ToLane::Ended(entry, id, Box::new(result)) },
            world,
        );
        if ordered {
            self.watch_tenure(webhook, lane, (entry, id), world);
        }
    }

    fn watch_tenure(&self, webhook: usize, lane: u64, (entry, id): (EntryId, u64), world: &mut World) {
        let wait = world.ms_of(self.tenure.valid_until).saturating_sub(world.now);
        self.later(wait, ToOwner::Lane { webhook, lane, what: ToLane::RunOut(entry, id) }, world);
    }

    /// An ordered attempt is given up when another node may have taken the partition.
    fn run_out(&mut self, webhook: usize, lane: u64, entry: EntryId, id: u64, world: &mut World) {
        let flies = |slot: &Slot| slot.flights.get(&entry).is_some_and(|flight| flight.id == id);
        if !self.slots.get(&webhook).is_some_and(flies) {
            return;
        }
        if world.instant() < self.tenure.valid_until {
            self.watch_tenure(webhook, lane, (entry, id), world);
        } else {
            self.not_now(webhook, entry, world);
        }
    }

    /// Nothing comes of an attempt; the delivery waits on.
    fn not_now(&mut self, webhook: usize, entry: EntryId, world: &mut World) {
        let Some(slot) = self.slots.get_mut(&webhook) else { return };
        if let Some(flight) = slot.flights.remove(&entry)
            && flight.sent_at.is_some()
        {
            let request = (webhook, entry, flight.delivery.attempt);
            world.checks.gives_up(request, self.life, world.now);
        }
        self.step(webhook, Input::Unsendable { entry, for_good: false }, world);
    }

    fn ended(
        &mut self,
        webhook: usize,
        entry: EntryId,
        id: u64,
        result: Box<AttemptResult>,
        world: &mut World,
    ) {
        let Some(slot) = self.slots.get_mut(&webhook) else { return };
        let lane = slot.lane_id;
        let Some(flight) = slot.flights.get(&entry).filter(|flight| flight.id == id) else { return };
        let known_since = flight.known_since;
        slot.flights.remove(&entry);
        let input = Input::Attempted { entry, result, jitter: world.random.unit() };
        for effect in self.effects_of(webhook, input, world) {
            match effect {
                Effect::Record(verdict) if verdict.entry == entry => {
                    let is_early = verdict.early;
                    self.record_verdict(outcome(webhook, verdict, known_since), lane, is_early, world);
                }
                effect => self.perform(webhook, effect, world),
            }
        }
    }

    /// Something reaches a lane.
    pub fn lane_takes(&mut self, webhook: usize, lane: u64, what: ToLane, world: &mut World) {
        let Some(slot) = self.slots.get(&webhook).filter(|slot| slot.lane_id == lane) else { return };
        match what {
            ToLane::Tick(timer) if timer == slot.timer => self.step(webhook, Input::Tick, world),
            ToLane::Tick(_) => {}
            ToLane::Recorded(entry, recorded) => {
                let receipt = if recorded { Receipt::Recorded } else { Receipt::Gone };
                self.step(webhook, Input::Recorded { entry, receipt }, world);
            }
            ToLane::Go(entry, id) => self.send(webhook, entry, id, world),
            ToLane::Ended(entry, id, result) => self.ended(webhook, entry, id, result, world),
            ToLane::RunOut(entry, id) => self.run_out(webhook, lane, entry, id, world),
        }
    }

    /// A call of a lane was answered.
    pub fn lane_answered(
        &mut self,
        webhook: usize,
        lane: u64,
        what: LaneCall,
        answer: Answer,
        world: &mut World,
    ) {
        let Some(slot) = self.slots.get_mut(&webhook).filter(|slot| slot.lane_id == lane) else { return };
        match (what, answer) {
            (LaneCall::Record, Answer::Record(active, standing)) => {
                if slot.lane.is_some() {
                    self.change_lane(webhook, active, standing, world);
                } else {
                    self.lane_loaded(webhook, active, standing, world);
                }
            }
            (LaneCall::Mailbox { round, .. }, Answer::Mailbox(found)) => {
                let delivery =
                    |(entry, event)| Delivery { entry, event: event_id(event), attempt: 1, body: None };
                let deliveries = found.into_iter().map(delivery).collect();
                self.step(webhook, Input::MailboxRead { round, deliveries }, world);
            }
            (LaneCall::Retries { round, .. }, Answer::Retries(found)) => {
                let retry = |(due, entry, attempt, event)| {
                    (due, Delivery { entry, event: event_id(event), attempt, body: None })
                };
                let retries = found.into_iter().map(retry).collect();
                self.step(webhook, Input::RetriesRead { round, retries }, world);
            }
            (LaneCall::Body { entry, flight, .. }, Answer::Body(true)) => {
                self.send(webhook, entry, flight, world)
            }
            (LaneCall::Body { entry, .. }, _) => {
                slot.flights.remove(&entry);
                self.step(webhook, Input::Unsendable { entry, for_good: true }, world);
            }
            _ => {}
        }
    }

    /// A call of a lane was not answered.
    pub fn lane_call_failed(&mut self, webhook: usize, lane: u64, what: LaneCall, world: &mut World) {
        if self.slots.get(&webhook).is_none_or(|slot| slot.lane_id != lane) {
            return;
        }
        match what {
            LaneCall::Mailbox { round, .. } | LaneCall::Retries { round, .. } => {
                self.step(webhook, Input::ReadFailed(round), world);
            }
            LaneCall::Body { entry, .. } => self.not_now(webhook, entry, world),
            LaneCall::Record => {}
        }
    }

    fn lane_loaded(&mut self, webhook: usize, active: bool, standing: Standing, world: &mut World) {
        let Some(slot) = self.slots.get_mut(&webhook) else { return };
        slot.lane = Some(Lane::new(limits_of(&world.specs[webhook], active), standing, slot.known));
        slot.active = active;
        let waiting = std::mem::take(&mut slot.inbox);
        self.step(webhook, Input::Tick, world);
        waiting.into_iter().for_each(|input| self.step(webhook, input, world));
    }

    /// A webhook's record was read again.
    pub fn change_lane(&mut self, webhook: usize, active: bool, standing: Standing, world: &mut World) {
        let Some(slot) = self.slots.get_mut(&webhook) else { return };
        if slot.lane.is_some() {
            slot.active = active;
        }
        let limits = limits_of(&world.specs[webhook], active);
        self.step(webhook, Input::Changed { limits, standing }, world);
    }

    /// An outcome is recorded, or the delivery is gone: its lane hears of it, if it still lives.
    pub fn tell_recorded(&mut self, outcome: &Outcome, lane: u64, recorded: bool, world: &mut World) {
        let (webhook, wait) = (outcome.webhook, world.random.between(0, 1));
        let what = ToLane::Recorded(outcome.entry, recorded);
        self.later(wait, ToOwner::Lane { webhook, lane, what }, world);
    }

    /// All attempts are given up.
    pub fn give_up_attempts(&mut self, world: &mut World) {
        for (webhook, slot) in &mut self.slots {
            for (entry, flight) in std::mem::take(&mut slot.flights) {
                world.checks.gives_up((*webhook, entry, flight.delivery.attempt), self.life, world.now);
            }
        }
        world.checks.troubles(self.life.0, world.now);
    }
}

fn outcome(webhook: usize, verdict: Verdict, known_since: Ms) -> Outcome {
    Outcome {
        webhook,
        entry: verdict.entry,
        event: verdict.event.as_str()[4..].parse().unwrap_or_default(),
        was_retry: verdict.was_retry,
        attempt: verdict.attempt,
        next: verdict.next,
        paused_until: verdict.paused_until,
        signal: verdict.signal,
        change: verdict.change,
        disable: verdict.disable.is_some(),
        known_since,
    }
}

/// How an endpoint answers, and after how long.
fn answer_of(moods: [u64; 5], random: &mut Random, now: Ms) -> (Ms, AttemptResult) {
    let (quick, mood) = (random.between(1, 80), random.between(0, 99));
    let mut below = 0;
    let [refused, slow, silent, busy, gone] = moods.map(|chance| {
        below += chance;
        mood < below
    });
    let (wait, status, kind, retry_after) = if refused {
        (quick, Some(500), Some(ErrorKind::HttpStatus), None)
    } else if slow {
        (random.between(500, TIMEOUT), Some(200), None, None)
    } else if silent {
        (TIMEOUT, None, Some(ErrorKind::Timeout), None)
    } else if busy {
        (quick, Some(429), Some(ErrorKind::HttpStatus), Some(Duration::from_secs(random.between(1, 4))))
    } else if gone {
        (quick, Some(410), Some(ErrorKind::HttpStatus), None)
    } else {
        (quick, Some(200), None, None)
    };
    let failure = kind.map(|kind| Failure { kind, message: String::new() });
    let elapsed = Duration::from_millis(wait);
    let at = Millis(crate::model::EPOCH + now);
    (wait, AttemptResult { at, elapsed, status, response_body: None, failure, retry_after })
}
