//! What happens in one schedule, all of it derived from its seed: nodes, webhooks, events, faults.

use std::time::Duration;

use salesos_webhooks::domain::{Backoff, Retries};
use salesos_webhooks::policy::breaker;
use salesos_webhooks::policy::lane::Limits;

use crate::random::Random;

/// Milliseconds of virtual time.
pub type Ms = u64;

/// One webhook.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Where it lives.
    pub partition: u16,
    /// Its limits while it is active.
    pub limits: Limits,
    /// In a hundred attempts: refused, answered after seconds, never answered, asked to wait, gone.
    pub moods: [u64; 5],
}

/// Something goes wrong, or somebody works on the cluster.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A node dies and starts again after a while.
    Kill { node: usize, down_for: Ms },
    /// A node stands still, and notices nothing of it.
    Freeze { node: usize, lasts: Ms },
    /// A node is stopped in order, and starts again after a while.
    Restart { node: usize, down_for: Ms },
    /// What a node sends to Redis, or is sent, gets lost, late or doubled.
    Trouble { node: usize, trouble: Trouble },
    /// A node's connections to Redis break.
    Break { node: usize },
    /// Redis answers nobody.
    Outage { lasts: Ms },
    /// Redis goes on with what it held a moment ago.
    FailOver { lost: Ms, lasts: Ms },
}

/// How the way between a node and Redis is for a while. Chances in a hundred.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// When it ends.
    pub until: Ms,
    /// A command does not arrive.
    pub command_lost: u64,
    /// An answer does not arrive.
    pub answer_lost: u64,
    /// A command arrives twice.
    pub doubled: u64,
    /// The longest delay each way.
    pub delay: Ms,
}

/// The longest delay of a message in trouble.
pub const LONGEST_DELAY: Ms = 3_000;

/// One schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// How many nodes there are.
    pub nodes: usize,
    /// How many partitions there are.
    pub partitions: u16,
    /// The webhooks.
    pub webhooks: Vec<Spec>,
    /// When events are published, and in which partition.
    pub events: Vec<(Ms, u16)>,
    /// What goes wrong when.
    pub faults: Vec<(Ms, Fault)>,
    /// From then on nothing goes wrong any more.
    pub heals_at: Ms,
}

impl Schedule {
    /// The schedule of `seed`.
    pub fn of(random: &mut Random) -> Self {
        let nodes = random.between(1, 5) as usize;
        let partitions = random.between(2, 8) as u16;
        let webhooks: Vec<Spec> =
            (0..random.between(1, 5)).map(|_| webhook(random, u64::from(partitions))).collect();
        let active_for = random.between(10_000, 40_000);
        let count = random.between(20, 160);
        let mut events: Vec<(Ms, u16)> = Vec::new();
        while (events.len() as u64) < count {
            let at = random.between(0, active_for);
            let partition = webhooks[random.index(webhooks.len())].partition;
            // Some come in bursts.
            let burst = if random.percent(15) { random.between(2, 12) } else { 1 };
            (0..burst).for_each(|n| events.push((at + n, partition)));
        }
        events.sort_unstable();
        let faults = (0..random.between(0, 6)).map(|_| fault(random, nodes, active_for)).collect();
        Self { nodes, partitions, webhooks, events, faults, heals_at: active_for }
    }
}

fn webhook(random: &mut Random, partitions: u64) -> Spec {
    let ordered = random.percent(40);
    let backoff = [Backoff::Fixed, Backoff::Linear, Backoff::Exponential][random.index(3)];
    let retries = Retries {
        attempts: random.between(0, 4) as u32,
        delay_seconds: random.between(0, 2) as u32,
        backoff,
        schedule: random.percent(20).then(|| vec![1, 3]),
    };
    let limits = Limits {
        active: true,
        max_concurrency: if ordered { 1 } else { random.between(1, 6) as usize },
        ordered,
        rate_per_second: random.percent(25).then(|| random.between(10, 60) as u32),
        retries,
        max_age: Duration::from_secs(86_400),
        max_pending: 100_000,
        breaker: breaker(random),
    };
    let moods = match random.index(3) {
        0 => [0; 5],
        1 => [5, 5, 1, 2, 1],
        _ if random.percent(30) => [80, 5, 2, 4, 1],
        _ => [30, 5, 2, 4, 1],
    };
    Spec { partition: random.between(0, partitions - 1) as u16, limits, moods }
}

/// More easily opened than in production and shorter, so that it opens and is probed often.
fn breaker(random: &mut Random) -> breaker::Policy {
    let pause = random.between(500, 3_000);
    breaker::Policy {
        failure_threshold: random.between(1, 6) as u32,
        pause: Duration::from_millis(pause),
        max_pause: Duration::from_millis(pause * random.between(1, 6)),
        disable_after: Duration::from_secs(random.between(5, 60)),
    }
}

fn fault(random: &mut Random, nodes: usize, until: Ms) -> (Ms, Fault) {
    let at = random.between(3_000, until - 1_000);
    let node = random.index(nodes);
    let fault = match random.index(9) {
        0 | 1 => Fault::Kill { node, down_for: random.between(100, 15_000) },
        2 | 3 => Fault::Freeze { node, lasts: random.between(500, 15_000) },
        4 => Fault::Restart { node, down_for: random.between(100, 8_000) },
        5 => Fault::Trouble { node, trouble: trouble(random, at) },
        6 => Fault::Break { node },
        7 => Fault::Outage { lasts: random.between(200, 9_000) },
        _ => Fault::FailOver { lost: random.between(0, 1_000), lasts: random.between(0, 4_000) },
    };
    (at, fault)
}

fn trouble(random: &mut Random, at: Ms) -> Trouble {
    let until = at + random.between(500, 9_000);
    if random.percent(25) {
        return Trouble { until, command_lost: 100, ..Trouble::default() };
    }
    Trouble {
        until,
        command_lost: random.between(0, 30),
        answer_lost: random.between(0, 40),
        doubled: random.between(0, 40),
        delay: random.between(5, LONGEST_DELAY),
    }
}
