//! Time, chance, and the ways between nodes and Redis: one queue of what is going to happen, in order.
//!
//! A command travels, is carried out, and its answer travels back; on a troubled way each of them may be lost, late or
//! doubled. Whoever asked hears of it once: the answer, a time-out, or that the connection broke.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::ops::AddAssign;
use std::rc::Rc;
use std::time::{Duration, Instant};

use salesos_webhooks::domain::{AttemptResult, EntryId, Millis, Partition};
use salesos_webhooks::policy::lane::Round;

use crate::checks::{Checks, Life};
use crate::model::{Answer, Command, EPOCH, Instruction, Outcome, Redis, Token};
use crate::random::Random;
use crate::schedule::{Fault, Ms, Schedule, Spec, Trouble};

/// The longest wait for an answer.
pub const TIMEOUT: Ms = 2_000;
/// How long a read of events waits for something to arrive. Longer than in production, which only saves steps here.
const BLOCK: Ms = 2_000;
/// Steps that are shown of a schedule that fails.
const SHOWN: usize = 40;

/// Why a node asked.
#[derive(Clone, Debug)]
pub enum Purpose {
    Beat,
    Renew {
        held: Vec<(Partition, Token)>,
        sent: Ms,
    },
    Look(Vec<Partition>),
    Take {
        partition: Partition,
        token: Token,
        sent: Ms,
    },
    /// Nobody waits for the answer.
    Parting,
    /// An owner's call; how often it has failed, and the token that it shows.
    Owner {
        partition: u16,
        owner: u64,
        failures: u32,
        token: Token,
        what: OwnerCall,
    },
}

/// A call of a partition's owner.
#[derive(Clone, Debug)]
pub enum OwnerCall {
    Load {
        take: u64,
    },
    Read {
        rewinds: u64,
    },
    Dispatch(Rc<Vec<Instruction>>),
    /// With the lanes that wait for it.
    Record(Rc<Vec<Outcome>>, Rc<Vec<u64>>),
    Changed {
        entry: EntryId,
        webhook: usize,
    },
    LookOver,
    Lane {
        webhook: usize,
        lane: u64,
        what: LaneCall,
    },
}

/// A call on behalf of a lane.
#[derive(Clone, Debug)]
pub enum LaneCall {
    Record,
    Mailbox { round: Round, after: EntryId, count: usize },
    Retries { round: Round, count: usize },
    Body { entry: EntryId, flight: u64, event: usize },
}

/// What reaches a node.
#[derive(Clone, Debug)]
pub enum ToNode {
    Answered(u64, Answer),
    TimedOut(u64),
    /// A call that failed is due again.
    Again(Purpose),
    Beat,
    Turn,
    /// Its connections broke.
    CutOff,
    HandOverEnds {
        partition: u16,
        owner: u64,
    },
    Owner {
        partition: u16,
        owner: u64,
        what: ToOwner,
    },
}

/// What reaches the owner of a partition.
#[derive(Clone, Debug)]
pub enum ToOwner {
    Due(u64),
    Look,
    LookOver,
    Rested { webhook: usize, cursor: Option<EntryId>, next: Option<Millis> },
    Lane { webhook: usize, lane: u64, what: ToLane },
}

/// What reaches a lane.
#[derive(Clone, Debug)]
pub enum ToLane {
    Tick(u64),
    Recorded(EntryId, bool),
    Go(EntryId, u64),
    Ended(EntryId, u64, Box<AttemptResult>),
    RunOut(EntryId, u64),
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A command arrives at Redis.
    Arrives {
        era: u64,
        call: u64,
        command: Command,
    },
    /// A read has waited long enough.
    BlockEnds(u64),
    Node(Life, ToNode),
    Publish(usize),
    Stored {
        era: u64,
        event: usize,
    },
    Accepted {
        era: u64,
        event: usize,
    },
    Fault(Fault),
    /// What a fail-over will go back to is copied.
    Copied {
        lasts: Ms,
        redis: Box<Redis>,
    },
    Start(usize),
    /// The checks look at everything.
    Look,
}

#[derive(Debug)]
struct Due {
    at: Ms,
    seq: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The earliest is the greatest, as a heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

/// Numbers that are added up and shown by their names.
macro_rules! totals {
    ($($name:ident),* $(,)?) => {
        /// What has happened, counted.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Totals {
            $(pub $name: u64,)*
        }

        impl AddAssign for Totals {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl fmt::Display for Totals {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:>16} {}", self.$name, stringify!($name).replace('_', " "))?;)*
                Ok(())
            }
        }
    };
}

totals! {
    schedules,
    virtual_ms,
    steps,
    kills,
    pauses,
    restarts,
    outages,
    fail_overs,
    commands_lost,
    answers_lost,
    doubled,
    timed_out,
    takes,
    retakes,
    hand_overs,
    fenced,
    events,
    events_lost,
    early,
    attempts,
    probes,
    duplicates,
}

/// Everything but the nodes.
#[derive(Debug)]
pub struct World {
    pub now: Ms,
    pub random: Random,
    pub redis: Redis,
    pub checks: Checks,
    pub specs: Vec<Spec>,
    /// From then on endpoints answer at once.
    pub heals_at: Ms,
    pub totals: Totals,
    /// How the way of each node is.
    pub ways: Vec<Trouble>,
    /// Redis answers nobody until then.
    pub down_until: Ms,
    /// How often all connections have broken.
    pub era: u64,
    pub calls: BTreeMap<u64, (Life, Purpose)>,
    queue: BinaryHeap<Due>,
    waiting: BTreeMap<u64, (u16, EntryId)>,
    numbers: u64,
    start: Instant,
    shown: Option<VecDeque<String>>,
}

impl World {
    /// A world in which nothing has happened. `tells` keeps the last steps.
    pub fn new(random: Random, schedule: &Schedule, tells: bool) -> Self {
        let nodes = schedule.nodes;
        Self {
            now: 0,
            random,
            redis: Redis::default(),
            checks: Checks::of(nodes),
            specs: schedule.webhooks.clone(),
            heals_at: schedule.heals_at,
            totals: Totals::default(),
            ways: vec![Trouble::default(); nodes],
            down_until: 0,
            era: 0,
            calls: BTreeMap::new(),
            queue: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            numbers: 0,
            // Any instant will do: only differences count.
            start: Instant::now(),
            shown: tells.then(VecDeque::new),
        }
    }

    /// The monotonic clock.
    pub fn instant(&self) -> Instant {
        self.instant_at(self.now)
    }

    /// What the monotonic clock shows then.
    pub fn instant_at(&self, at: Ms) -> Instant {
        self.start + Duration::from_millis(at)
    }

    /// When the monotonic clock shows `instant`.
    pub fn ms_of(&self, instant: Instant) -> Ms {
        instant.saturating_duration_since(self.start).as_millis() as Ms
    }

    /// The wall clock.
    pub fn clock(&self) -> Millis {
        Millis(EPOCH + self.now)
    }

    /// A number that nothing else has.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Lets something happen after a while.
    pub fn after(&mut self, wait: Ms, event: Event) {
        let seq = self.number();
        self.queue.push(Due { at: self.now + wait, seq, event });
    }

    /// The next thing that happens, and its place in the order.
    pub fn next(&mut self) -> Option<(u64, Event)> {
        let Due { at, seq, event } = self.queue.pop()?;
        self.now = self.now.max(at);
        Some((seq, event))
    }

    /// Puts off what a node cannot notice now.
    pub fn put_off(&mut self, seq: u64, until: Ms, event: Event) {
        self.queue.push(Due { at: until, seq, event });
    }

    /// Shows a step, if this schedule is told.
    pub fn tell(&mut self, step: impl FnOnce() -> String) {
        let now = self.now;
        let Some(shown) = &mut self.shown else { return };
        if shown.len() == SHOWN {
            shown.pop_front();
        }
        shown.push_back(format!("{now:>7} {}", step()));
    }

    /// The last steps.
    pub fn told(&self) -> String {
        self.shown.iter().flatten().map(|step| format!("  {step}\n")).collect()
    }

    /// Sends a command of a node.
    pub fn call(&mut self, life: Life, purpose: Purpose, command: Command) {
        let number = self.number();
        let way = self.way(life.0);
        let patience = if matches!(command, Command::ReadEvents { .. }) { BLOCK + TIMEOUT } else { TIMEOUT };
        self.calls.insert(number, (life, purpose));
        self.after(patience, Event::Node(life, ToNode::TimedOut(number)));
        if self.random.percent(way.command_lost) {
            self.totals.commands_lost += 1;
            return;
        }
        let again = self.random.percent(way.doubled).then(|| command.clone());
        self.send(way, number, command);
        if let Some(command) = again {
            self.totals.doubled += 1;
            self.send(way, number, command);
        }
    }

    fn send(&mut self, way: Trouble, call: u64, command: Command) {
        let wait = self.random.between(0, way.delay);
        let era = self.era;
        self.after(wait, Event::Arrives { era, call, command });
    }

    /// How the way of a node is now.
    fn way(&self, node: usize) -> Trouble {
        let way = self.ways[node];
        if way.until > self.now { way } else { Trouble { delay: 3, ..Trouble::default() } }
    }

    /// A command has arrived.
    pub fn arrives(&mut self, era: u64, call: u64, command: &Command) {
        if era != self.era || self.now < self.down_until {
            return;
        }
        let answer = self.redis.execute(command, self.now, &mut self.checks);
        let is_routine = match &answer {
            Answer::Signs(_) | Answer::Looked(_) => true,
            Answer::Entries(entries) => entries.is_empty(),
            Answer::Renewed(ours) => ours.iter().all(|ours| *ours),
            _ => false,
        };
        if !is_routine {
            self.tell(|| format!("redis {command:?} -> {answer:?}"));
        }
        match (&answer, command) {
            (Answer::Entries(entries), Command::ReadEvents { partition, after }) if entries.is_empty() => {
                self.waiting.insert(call, (*partition, *after));
                self.after(BLOCK, Event::BlockEnds(call));
            }
            _ => self.answer(call, answer),
        }
        if matches!(command, Command::Record { .. } | Command::Activate(_)) {
            self.wake_readers();
        }
    }

    /// Sends an answer back.
    fn answer(&mut self, call: u64, answer: Answer) {
        let Some((life, _)) = self.calls.get(&call) else { return };
        let life = *life;
        let way = self.way(life.0);
        if self.random.percent(way.answer_lost) {
            self.totals.answers_lost += 1;
            return;
        }
        let wait = self.random.between(0, way.delay);
        self.after(wait, Event::Node(life, ToNode::Answered(call, answer)));
    }

    /// Answers the reads for which something has arrived.
    pub fn wake_readers(&mut self) {
        let arrived = |(_, (partition, after)): &(&u64, &(u16, EntryId))| {
            let last = self.redis.parts[usize::from(*partition)].events.last_key_value();
            last.is_some_and(|(entry, _)| entry > after)
        };
        let calls: Vec<u64> = self.waiting.iter().filter(arrived).map(|(call, _)| *call).collect();
        for call in calls {
            let Some((partition, after)) = self.waiting.remove(&call) else { continue };
            let read = Command::ReadEvents { partition, after };
            let answer = self.redis.execute(&read, self.now, &mut self.checks);
            self.answer(call, answer);
        }
    }

    /// A read that nothing has arrived for ends.
    pub fn block_ends(&mut self, call: u64) {
        if self.waiting.remove(&call).is_some() {
            self.answer(call, Answer::Entries(Vec::new()));
        }
    }

    /// Redis goes on with another copy: whatever was on its way is gone.
    pub fn replace_redis(&mut self, redis: Redis, down_for: Ms) {
        self.redis = redis;
        self.era += 1;
        self.down_until = self.now + down_for;
        self.waiting.clear();
    }

    /// Forgets the calls of a node; answers why it made them.
    pub fn cut(&mut self, node: usize) -> Vec<Purpose> {
        let of_node = |(_, (life, _)): &(&u64, &(Life, Purpose))| life.0 == node;
        let calls: Vec<u64> = self.calls.iter().filter(of_node).map(|(call, _)| *call).collect();
        self.waiting.retain(|call, _| !calls.contains(call));
        calls.iter().filter_map(|call| self.calls.remove(call)).map(|(_, purpose)| purpose).collect()
    }
}
