//! The lane against a model of its queue: whatever the order of events, nothing is lost, doubled or out of order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// Redis, as far as a lane sees it.
#[derive(Default)]
struct Model {
    /// What awaits its dispatch.
    stream: VecDeque<u64>,
    /// What came of early attempts of that.
    early: BTreeMap<u64, Verdict>,
    mailbox: BTreeSet<u64>,
    retries: BTreeMap<u64, (Millis, u32)>,
    told: u64,
    missed: u64,
    published: u64,
    delivered: Vec<u64>,
    dead: Vec<u64>,
    attempts: BTreeMap<u64, u32>,
    /// Asked for and not yet done, in any order.
    pending: Vec<Effect<()>>,
    /// Read and not yet answered.
    read: Vec<Input<()>>,
    reads: usize,
    /// What is kept of the failures, of what is recorded.
    kept: Standing,
    /// The same of what the lane has decided.
    decided: Standing,
    /// Whether the lane takes whatever is read next.
    doubts: bool,
    /// The probe that is out.
    probe: Option<u64>,
}

impl Model {
    fn perform(&mut self, effects: Vec<Effect<()>>, now: Millis) {
        for effect in effects {
            match &effect {
                Effect::Start(delivery) => {
                    let seq = delivery.entry.seq;
                    let doubled = self.pending.iter().any(|other| {
                        matches!(other, Effect::Start(other) if other.entry.seq == seq)
                            || matches!(other, Effect::Record(other) if other.entry.seq == seq)
                    });
                    assert!(!doubled && !self.early.contains_key(&seq), "{seq} is in flight twice");
                    let waiting = match delivery.attempt {
                        1 => self.mailbox.contains(&seq) || self.stream.contains(&seq),
                        attempt => {
                            self.retries.get(&seq).is_some_and(|(due, n)| *due <= now && *n == attempt)
                        }
                    };
                    assert!(waiting, "{seq} was started and does not wait");
                    if self.decided.is_open() {
                        assert!(self.decided.pause_ends <= now, "{seq} was started in a pause");
                        assert_eq!(self.probe.replace(seq), None, "{seq} was started beside the probe");
                    }
                    *self.attempts.entry(seq).or_default() += 1;
                    self.pending.push(effect);
                }
                Effect::Record(verdict) => {
                    if turn(&mut self.decided, verdict) {
                        self.probe = None;
                    }
                    self.reads += 1;
                    if self.stream.contains(&verdict.entry.seq) {
                        assert!(verdict.early);
                        self.early.insert(verdict.entry.seq, verdict.clone());
                    } else {
                        self.pending.push(effect);
                    }
                }
                Effect::Decline(entry) => {
                    let started =
                        |effect: &Effect<()>| matches!(effect, Effect::Start(other) if other.entry == *entry);
                    assert!(!self.pending.iter().any(started), "{entry} is declined and on its way");
                }
                // Every other read is made at once, and its answer may come when it no longer is true.
                Effect::ReadMailbox { .. } | Effect::ReadRetries { .. } if self.reads.is_multiple_of(2) => {
                    self.reads += 1;
                    let answer = self.look(&effect);
                    self.read.push(answer);
                }
                Effect::ReadMailbox { .. } | Effect::ReadRetries { .. } => {
                    self.reads += 1;
                    self.pending.push(effect)
                }
                Effect::WakeAt(_) | Effect::Idle(_) | Effect::Probes => {}
            }
        }
    }

    fn record(&mut self, verdict: &Verdict) -> Input<()> {
        let seq = verdict.entry.seq;
        let removed = match verdict.was_retry {
            true => self.retries.remove(&seq).is_some(),
            false => self.mailbox.remove(&seq),
        };
        assert!(removed, "{seq} is recorded twice");
        turn(&mut self.kept, verdict);
        match verdict.next {
            Next::Delivered => self.delivered.push(seq),
            Next::Retry(due) => drop(self.retries.insert(seq, (due, verdict.attempt + 1))),
            Next::Dead | Next::Expired | Next::Bodiless => self.dead.push(seq),
        }
        recorded(seq)
    }

    fn look(&self, read: &Effect<()>) -> Input<()> {
        match read {
            Effect::ReadMailbox { round, after, count } => {
                let after = if *after == EntryId::ZERO { 0 } else { after.seq };
                let found = self.mailbox.range(after + 1..).take(*count);
                Input::MailboxRead { round: *round, deliveries: found.map(|seq| delivery(*seq)).collect() }
            }
            Effect::ReadRetries { round, count } => {
                let mut all: Vec<_> = self.retries.iter().map(|(seq, (due, n))| (*due, *seq, *n)).collect();
                all.sort_unstable();
                let of = |(due, seq, attempt)| (due, Delivery { attempt, ..delivery(seq) });
                Input::RetriesRead { round: *round, retries: all.into_iter().take(*count).map(of).collect() }
            }
            _ => Input::Tick,
        }
    }

    fn is_done(&self) -> bool {
        self.stream.is_empty()
            && self.mailbox.is_empty()
            && self.retries.is_empty()
            && self.pending.is_empty()
            && self.read.is_empty()
    }

    /// Does one of the things asked for; `chance` picks which and how it goes.
    fn answer(&mut self, chance: usize) -> Option<Input<()>> {
        if !self.read.is_empty() && (chance.is_multiple_of(2) || self.pending.is_empty()) {
            return Some(self.read.swap_remove(chance % self.read.len()));
        }
        if self.pending.is_empty() {
            return None;
        }
        let effect = self.pending.swap_remove(chance % self.pending.len());
        Some(match effect {
            Effect::Start(_) if chance.is_multiple_of(11) => {
                let Effect::Start(delivery) = effect else { unreachable!() };
                *self.attempts.entry(delivery.entry.seq).or_default() -= 1;
                self.probe.take_if(|probe| *probe == delivery.entry.seq);
                Input::Unsendable { entry: delivery.entry, for_good: false }
            }
            Effect::Start(delivery) => {
                attempted(delivery.entry.seq, if chance.is_multiple_of(3) { 500 } else { 200 })
            }
            Effect::Record(verdict) => self.record(&verdict),
            Effect::ReadMailbox { round, .. } | Effect::ReadRetries { round, .. }
                if chance.is_multiple_of(7) =>
            {
                Input::ReadFailed(round)
            }
            read => self.look(&read),
        })
    }

    fn publish(&mut self, count: u64, heard: bool) -> Option<Input<()>> {
        let (previous, first) = (self.told, self.published + 1);
        self.published += count;
        self.told = self.published;
        self.mailbox.extend(first..=self.told);
        if heard {
            return Some(delivered(previous, first..=self.told));
        }
        self.missed = self.told;
        None
    }

    /// Events that the lane may attempt before their dispatch.
    fn publish_early(&mut self, count: u64, lane: &mut TestLane, now: Millis) {
        for _ in 0..count {
            self.published += 1;
            self.stream.push_back(self.published);
            self.step(lane, Input::Early(delivery(self.published)), now);
        }
    }

    /// Dispatches what awaits that, in order: what has arrived is recorded, what has not goes into the mailbox.
    fn dispatch(&mut self, heard: bool, lane: &mut TestLane, now: Millis) {
        while let Some(seq) = self.stream.pop_front() {
            let ended = self.early.remove(&seq);
            let plain = |verdict: &&Verdict| verdict.next == Next::Delivered && verdict.change.is_none();
            if let Some(verdict) = ended.as_ref().filter(plain) {
                self.delivered.push(verdict.entry.seq);
                self.step(lane, recorded(seq), now);
                continue;
            }
            self.mailbox.insert(seq);
            let previous = std::mem::replace(&mut self.told, seq);
            if heard {
                self.step(lane, delivered(previous, seq..=seq), now);
            } else {
                self.missed = seq;
            }
            self.pending.extend(ended.map(Effect::Record));
        }
    }

    /// Reads the record; the answer comes later, and may be true no longer.
    fn read_record(&mut self, limits: &Limits) {
        self.read.push(Input::Changed { limits: limits.clone(), standing: self.kept });
    }

    /// The failures are forgotten.
    fn forget(&mut self) {
        self.kept = Standing { turn: self.kept.turn + 1, ..Standing::default() };
    }

    fn hears(&mut self, standing: Standing) {
        let turns =
            |effect: &Effect<()>| matches!(effect, Effect::Record(verdict) if verdict.change.is_some());
        if self.doubts && self.pending.iter().any(turns) {
            return;
        }
        let newer = std::mem::take(&mut self.doubts) || standing.turn > self.decided.turn;
        let same = self.decided.is_open() && self.decided.pauses == standing.pauses;
        if newer && same {
            self.decided.turn = standing.turn;
        } else if newer {
            (self.decided, self.probe) = (standing, None);
        }
    }

    fn step(&mut self, lane: &mut TestLane, input: Input<()>, now: Millis) {
        match &input {
            Input::Changed { standing, .. } => self.hears(*standing),
            Input::Retaken => self.doubts = true,
            _ => {}
        }
        let missed = if self.missed == 0 { EntryId::ZERO } else { entry(self.missed) };
        let effects = lane.step(input, missed, now);
        self.perform(effects, now);
    }
}

/// What a verdict does to what is kept; whether it turns the breaker.
fn turn(standing: &mut Standing, verdict: &Verdict) -> bool {
    let turned = match verdict.change {
        Some(Change::Opened { pauses, until }) => Standing { pauses, pause_ends: until, ..*standing },
        Some(Change::Closed) => Standing { pauses: 0, pause_ends: Millis(0), ..*standing },
        None => return false,
    };
    *standing = Standing { turn: standing.turn + 1, ..turned };
    true
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(250) })]

    #[test]
    fn every_delivery_ends_exactly_once_whatever_the_order_of_events(
        ordered in any::<bool>(),
        rate in proptest::option::of(5..200_u32),
        known in any::<bool>(),
        failure_threshold in 1..5_u32,
        script in proptest::collection::vec((0..14_u8, any::<prop::sample::Index>(), 1..20_u64), 1..120),
    ) {
        let mut model = Model::default();
        let mut now = NOW;
        let limits = Limits {
            ordered,
            max_concurrency: if ordered { 1 } else { 4 },
            rate_per_second: rate,
            breaker: breaker::Policy { failure_threshold, pause: Duration::from_secs(7), ..limits().breaker },
            ..limits()
        };
        let known = if known { Known::EmptyUpTo(EntryId::ZERO) } else { Known::Nothing };
        let mut lane = TestLane::new(limits.clone(), Standing::default(), known);
        model.step(&mut lane, Input::Tick, now);
        for (action, chance, count) in script {
            let chance = chance.index(10_000);
            if action < 2 {
                // Events leave the stream in its order.
                model.dispatch(chance % 3 > 0, &mut lane, now);
            }
            let input = match action {
                0 => model.publish(count, true),
                1 => model.publish(count, false),
                2 => { now = now + Duration::from_secs(count * 3); Some(Input::Tick) }
                3 if count % 4 == 0 => { model.missed = 0; Some(Input::Retaken) }
                4 if count % 2 == 0 => { model.read_record(&limits); None }
                5 if count % 5 == 0 => { model.forget(); model.read_record(&limits); None }
                10 | 11 => { model.publish_early(count.min(6), &mut lane, now); None }
                12 if count % 2 == 0 => { model.dispatch(chance % 3 > 0, &mut lane, now); None }
                _ => model.answer(chance),
            };
            model.step(&mut lane, input.unwrap_or(Input::Tick), now);
            let flying = model.pending.iter().filter(|effect| matches!(effect, Effect::Start(_))).count();
            prop_assert!(flying <= if ordered { 1 } else { 4 }, "too many in flight");
        }
        for turn in 0..40_000 {
            if model.is_done() {
                break;
            }
            model.dispatch(true, &mut lane, now);
            let input = match model.answer(turn * 2 + 1) {
                Some(input) => input,
                None => { now = now + Duration::from_secs(30); Input::Tick }
            };
            model.step(&mut lane, input, now);
        }
        let mut ended: Vec<u64> = model.delivered.iter().chain(&model.dead).copied().collect();
        ended.sort_unstable();
        let all: Vec<u64> = (1..=model.published).collect();
        prop_assert!(ended == all, "{} of {} ended", ended.len(), all.len());
        prop_assert!(model.attempts.values().all(|n| *n <= 2), "one attempt and one retry");
        if ordered {
            prop_assert!(model.delivered.windows(2).all(|pair| pair[0] < pair[1]), "out of order");
        }
    }
}
