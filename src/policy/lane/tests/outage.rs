//! An endpoint that fails for ten minutes and recovers, in simulated time: what is sent meanwhile with the breaker and
//! without one, that nothing is lost, and how what has gathered is let out. `--nocapture` prints the figures.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// How long the endpoint fails.
const DOWN: Duration = Duration::from_secs(600);
/// One event a second for so long.
const EVENTS: u64 = 1800;
const PER_SECOND: u32 = 10;
/// `Pace`'s burst: a tenth of a second's worth, at least 1.
const BURST: usize = 1;
/// What an attempt takes.
const ANSWER: Duration = Duration::from_millis(40);
/// What Redis takes.
const CALL: Duration = Duration::from_millis(2);
/// No event is older when all is done.
const END: Duration = Duration::from_secs(30 * 86_400);

/// What comes at its time.
enum Due {
    /// The next event is published.
    Publish,
    /// For the lane that is there then, if it is the one that asked.
    Tell(u64, Input<()>),
    /// An outcome reaches Redis.
    Record(u64, Verdict),
    /// A queue is read.
    Look(u64, Effect<()>),
    /// Nobody is there, and something may start.
    Return,
}

/// One webhook: its lane, what Redis holds of it, its endpoint, and a clock.
struct Outage {
    limits: Limits,
    now: Millis,
    due: BTreeMap<(Millis, u64), Due>,
    /// Numbers what is due.
    count: u64,
    lane: Option<TestLane>,
    /// Numbers the lanes: one that has nothing to do for long goes, and another comes.
    lanes: u64,
    kept: Standing,
    published: u64,
    mailbox: BTreeSet<u64>,
    retries: BTreeMap<u64, (Millis, u32)>,
    delivered: usize,
    dead: usize,
    /// When attempts started, and whether the breaker was open.
    starts: Vec<(Millis, bool)>,
    /// The end of the first attempt that succeeded.
    recovered: Option<Millis>,
    /// When nothing of the outage was left.
    drained: Option<Millis>,
    at_recovery: [usize; 4],
}

impl Outage {
    fn new(retries: Retries, failure_threshold: u32) -> Self {
        let limits = Limits {
            max_concurrency: 16,
            rate_per_second: Some(PER_SECOND),
            retries,
            max_age: END,
            breaker: breaker::Policy { failure_threshold, ..limits().breaker },
            ..limits()
        };
        let mut outage = Self {
            limits,
            now: NOW,
            due: BTreeMap::new(),
            count: 0,
            lane: None,
            lanes: 0,
            kept: Standing::default(),
            published: 0,
            mailbox: BTreeSet::new(),
            retries: BTreeMap::new(),
            delivered: 0,
            dead: 0,
            starts: Vec::new(),
            recovered: None,
            drained: None,
            at_recovery: [0; 4],
        };
        outage.at(Duration::ZERO, Due::Publish);
        outage
    }

    fn at(&mut self, after: Duration, due: Due) {
        self.count += 1;
        self.due.insert((self.now + after, self.count), due);
    }

    fn back(&self) -> Millis {
        NOW + DOWN
    }

    fn told(&self) -> EntryId {
        if self.published == 0 { EntryId::ZERO } else { entry(self.published) }
    }

    fn queued(&self) -> usize {
        self.mailbox.len() + self.retries.len()
    }

    /// Published, delivered, queued, dead.
    fn account(&self) -> [usize; 4] {
        [usize::try_from(self.published).unwrap(), self.delivered, self.queued(), self.dead]
    }

    fn run(&mut self) {
        while let Some(((now, _), due)) = self.due.pop_first() {
            assert!(now.since(NOW) < END, "it does not end: {:?}", self.account());
            self.now = now;
            self.handle(due);
            let [published, delivered, queued, dead] = self.account();
            assert_eq!(delivered + queued + dead, published, "nothing is lost");
            // Of what arrives every second one may be on its way.
            if self.recovered.is_some() && self.queued() <= 1 && self.drained.is_none() {
                self.drained = Some(now);
            }
        }
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Publish => self.publish(),
            Due::Tell(lane, input) if lane == self.lanes => self.step(input),
            Due::Record(lane, verdict) => {
                let input = self.record(&verdict);
                self.at(CALL, Due::Tell(lane, input));
            }
            Due::Look(lane, read) => {
                let answer = self.look(&read);
                self.at(CALL, Due::Tell(lane, answer));
            }
            Due::Return if self.lane.is_none() => self.return_to_work(),
            Due::Tell(..) | Due::Return => {}
        }
    }

    fn publish(&mut self) {
        let previous = self.told();
        self.published += 1;
        self.mailbox.insert(self.published);
        if self.published < EVENTS {
            self.at(Duration::from_secs(1), Due::Publish);
        }
        if self.lane.is_some() {
            let deliveries = vec![Delivery { entry: self.told(), ..delivery(self.published) }];
            self.step(Input::Delivered { previous, deliveries });
        } else {
            // Nobody is woken for a webhook that rests.
            self.at(self.kept.rests_until().since(self.now), Due::Return);
        }
    }

    fn return_to_work(&mut self) {
        self.lanes += 1;
        self.lane = Some(Lane::new(self.limits.clone(), self.kept, Known::Nothing));
        self.step(Input::Tick);
    }

    fn step(&mut self, input: Input<()>) {
        let (now, told) = (self.now, self.told());
        let Some(lane) = &mut self.lane else { return };
        for effect in lane.step(input, told, now) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect<()>) {
        let lane = self.lanes;
        match effect {
            Effect::Start(delivery) => self.attempt(&delivery),
            Effect::Record(verdict) => self.at(CALL, Due::Record(lane, verdict)),
            Effect::ReadMailbox { .. } | Effect::ReadRetries { .. } => self.at(CALL, Due::Look(lane, effect)),
            Effect::WakeAt(at) => self.at(at.since(self.now), Due::Tell(lane, Input::Tick)),
            Effect::Idle(next) => {
                self.lane = None;
                if let Some(next) = next {
                    self.at(next.since(self.now), Due::Return);
                }
            }
            Effect::Probes => {}
            Effect::Decline(entry) => panic!("{entry} is no early delivery"),
        }
    }

    fn attempt(&mut self, delivery: &Delivery<()>) {
        self.starts.push((self.now, self.kept.is_open()));
        let end = self.now + ANSWER;
        let status = if end < self.back() { 500 } else { 200 };
        if status == 200 && self.recovered.is_none() {
            self.recovered = Some(end);
            self.at_recovery = self.account();
        }
        let Input::Attempted { entry, result, .. } = attempted(delivery.entry.seq, status) else { return };
        // Spread as chance would, and the same each time.
        let jitter = (self.starts.len() * 37 % 100) as f64 / 100.0;
        self.at(ANSWER, Due::Tell(self.lanes, Input::Attempted { entry, result, jitter }));
    }

    fn record(&mut self, verdict: &Verdict) -> Input<()> {
        let seq = verdict.entry.seq;
        let waited = match verdict.was_retry {
            true => self.retries.remove(&seq).is_some(),
            false => self.mailbox.remove(&seq),
        };
        assert!(waited, "{seq} has ended before");
        match verdict.next {
            Next::Delivered => self.delivered += 1,
            Next::Retry(due) => drop(self.retries.insert(seq, (due, verdict.attempt + 1))),
            Next::Dead | Next::Expired | Next::Bodiless => self.dead += 1,
        }
        match verdict.change {
            Some(Change::Opened { pauses, until }) => {
                self.kept = Standing { pauses, pause_ends: until, turn: self.kept.turn + 1, ..self.kept };
            }
            Some(Change::Closed) => self.kept = Standing { turn: self.kept.turn + 1, ..Standing::default() },
            None => {}
        }
        recorded(seq)
    }

    fn look(&self, read: &Effect<()>) -> Input<()> {
        match *read {
            Effect::ReadMailbox { round, after, count } => {
                let after = if after == EntryId::ZERO { 0 } else { after.seq };
                let found = self.mailbox.range(after + 1..).take(count);
                Input::MailboxRead { round, deliveries: found.map(|seq| delivery(*seq)).collect() }
            }
            Effect::ReadRetries { round, count } => {
                let mut all: Vec<_> = self.retries.iter().map(|(seq, (due, n))| (*due, *seq, *n)).collect();
                all.sort_unstable();
                let of = |(due, seq, attempt)| (due, Delivery { attempt, ..delivery(seq) });
                Input::RetriesRead { round, retries: all.into_iter().take(count).map(of).collect() }
            }
            _ => Input::Tick,
        }
    }

    fn starts_while_down(&self) -> usize {
        self.starts.iter().filter(|(at, _)| *at < self.back()).count()
    }

    /// The most starts within any second from `since` on.
    fn longest_burst(&self, since: Millis) -> usize {
        let starts: Vec<Millis> = self.starts.iter().map(|(at, _)| *at).filter(|at| *at >= since).collect();
        let within = |first: usize| {
            let second = starts[first] + Duration::from_secs(1);
            starts[first..].iter().take_while(|at| **at < second).count()
        };
        (0..starts.len()).map(within).max().unwrap_or_default()
    }

    fn print(&self, what: &str) {
        let secs = |at: Option<Millis>| at.map_or(0, |at| at.since(self.back()).as_secs());
        let [published, delivered, queued, dead] = self.at_recovery;
        println!("{what}: {} attempts while down", self.starts_while_down());
        println!(
            "  back for {} s, first success: published {published} = delivered {delivered} + queued \
             {queued} + dead {dead}",
            secs(self.recovered)
        );
        let [published, delivered, queued, dead] = self.account();
        println!(
            "  at the end: published {published} = delivered {delivered} + queued {queued} + dead {dead}; {} attempts, \
             at most {} in a second once it was back; nothing left of the outage after {} s",
            self.starts.len(),
            self.longest_burst(self.back()),
            secs(self.drained)
        );
    }
}

/// The same outage with the default breaker and with one that never opens.
fn both(what: &str, retries: &Retries) -> [Outage; 2] {
    [("default breaker", limits().breaker.failure_threshold), ("no breaker", u32::MAX)].map(
        |(name, threshold)| {
            let mut outage = Outage::new(retries.clone(), threshold);
            outage.run();
            outage.print(&format!("{what}, {name}"));
            outage
        },
    )
}

/// What holds for every such outage with a breaker.
fn check(with: &Outage, without: &Outage) {
    assert!(with.starts_while_down() * 20 < without.starts_while_down(), "far fewer attempts");
    for outage in [with, without] {
        let [published, delivered, queued, dead] = outage.account();
        assert_eq!((published, queued), (usize::try_from(EVENTS).unwrap(), 0));
        assert_eq!(delivered + dead, published);
        assert!(outage.longest_burst(NOW) <= PER_SECOND as usize + BURST, "within its rate limit");
    }
    assert!(with.dead <= without.dead, "waiting uses nothing up");
    let [_, _, backlog, _] = with.at_recovery;
    let spare = u64::from(PER_SECOND) - 1;
    let drained = with.drained.unwrap().since(with.recovered.unwrap()).as_secs();
    let least = backlog as u64 / spare;
    assert!(
        (least..=least + least / 10).contains(&drained),
        "{backlog} in {drained} s, as fast as it may be"
    );
    // Attempts of an open breaker are probes, each alone until the pause is over that its failure began.
    let probes: Vec<Millis> = with.starts.iter().filter(|(_, open)| *open).map(|(at, _)| *at).collect();
    let pauses: Vec<u64> = probes.windows(2).map(|pair| (pair[1].since(pair[0])).as_secs()).collect();
    for (number, pause) in pauses.iter().enumerate() {
        let least = 60 << number;
        assert!((least..=least + least / 10 + 1).contains(pause), "{pauses:?}");
    }
    let recovered = with.recovered.unwrap();
    let last = *probes.last().unwrap();
    assert_eq!(last + ANSWER, recovered, "a probe finds the endpoint back");
    let between = with.starts.iter().filter(|(at, _)| *at > last && *at < recovered).count();
    assert_eq!(between, 0, "and until it has, nothing else starts");
}

#[test]
fn an_outage_of_ten_minutes_costs_a_few_attempts_and_no_event() {
    let fixed = Retries { attempts: 3, delay_seconds: 60, backoff: Backoff::Fixed, schedule: None };
    let [with, without] = both("3 retries, 60 s apart", &fixed);
    check(&with, &without);
    assert!(without.dead > 100, "or there would be nothing to save");

    let exponential = Retries { attempts: 20, backoff: Backoff::Exponential, ..fixed };
    let [with, without] = both("20 retries, 60 s doubling", &exponential);
    check(&with, &without);
    assert_eq!((with.dead, without.dead), (0, 0));
}
