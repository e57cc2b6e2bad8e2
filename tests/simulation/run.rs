//! One schedule from its seed to its end: makes the world, lets things happen, looks at the result.

use std::panic::{AssertUnwindSafe, catch_unwind};

use salesos_webhooks::domain::Partition;

use crate::checks::{Published, what_waits};
use crate::model::{Command, Redis};
use crate::node::Node;
use crate::random::Random;
use crate::schedule::{Fault, LONGEST_DELAY, Ms, Schedule};
use crate::world::{Event, TIMEOUT, ToNode, Totals, World};

/// How often the checks look at everything.
const LOOK_EVERY: Ms = 250;
/// Within that time after anything went wrong every partition has an owner.
const OWNED_WITHIN: Ms = 6_000;
/// Within that time after the last fault everything has ended.
const ENDS_WITHIN: Ms = 180_000;
/// A webhook that is gone is switched on again by its user after that long.
const SWITCHED_ON_AFTER: Ms = 3_000;
/// A publisher repeats what was not answered after that long.
const REPEATS_AFTER: Ms = 2_000;

struct Run {
    schedule: Schedule,
    world: World,
    nodes: Vec<Node>,
    /// Since when each partition has been without an owner.
    orphaned: Vec<Ms>,
}

/// Runs the schedule of `seed`; `tells` keeps its last steps for the report.
///
/// # Errors
/// What does not hold, and when.
pub fn run(seed: u64, tells: bool) -> Result<Totals, String> {
    let mut random = Random::new(seed);
    let schedule = Schedule::of(&mut random);
    let mut run = Run::new(schedule, random, tells);
    // A panic of the production code is a finding like any other, and the steps before it are wanted.
    if catch_unwind(AssertUnwindSafe(|| run.go_on())).is_err() {
        run.world.checks.that(false, || "a panic".to_owned());
    }
    run.end().map_err(|broken| format!("{broken}\n{}", run.world.told()))
}

impl Run {
    fn new(schedule: Schedule, random: Random, tells: bool) -> Self {
        let mut world = World::new(random, &schedule, tells);
        world.redis = Redis::new(&schedule.webhooks, schedule.partitions);
        world.checks.events = vec![Published::default(); schedule.events.len()];
        world.totals.schedules = 1;
        world.totals.events = schedule.events.len() as u64;
        (0..schedule.nodes).for_each(|node| world.after(0, Event::Start(node)));
        for (event, (at, _)) in schedule.events.iter().enumerate() {
            world.after(*at, Event::Publish(event));
        }
        for (at, fault) in &schedule.faults {
            world.after(*at, Event::Fault(fault.clone()));
        }
        world.after(LOOK_EVERY, Event::Look);
        let nodes = (0..schedule.nodes).map(|number| Node::new(number, schedule.partitions)).collect();
        let orphaned = vec![0; usize::from(schedule.partitions)];
        Self { schedule, world, nodes, orphaned }
    }

    fn go_on(&mut self) {
        while !self.is_over()
            && let Some((seq, event)) = self.world.next()
        {
            self.world.totals.steps += 1;
            self.happens(seq, event);
        }
    }

    fn happens(&mut self, seq: u64, event: Event) {
        let world = &mut self.world;
        match event {
            Event::Arrives { era, call, command } => world.arrives(era, call, &command),
            Event::BlockEnds(call) => world.block_ends(call),
            Event::Node(life, what) => {
                let node = &mut self.nodes[life.0];
                if node.life != life || !node.alive {
                    return;
                }
                if node.frozen_until > world.now {
                    world.put_off(seq, node.frozen_until, Event::Node(life, what));
                } else {
                    node.takes(what, world);
                }
            }
            Event::Publish(event) => self.publish(event),
            Event::Stored { era, event } => self.stored(era, event),
            Event::Accepted { era, event } if era == world.era => world.checks.events[event].accepted = true,
            Event::Accepted { .. } => {}
            Event::Fault(fault) => self.fails(fault),
            Event::Copied { lasts, redis } => self.fails_over(*redis, lasts),
            Event::Start(node) if !self.nodes[node].alive => {
                world.tell(|| format!("node {node} starts"));
                self.nodes[node].start(world);
            }
            Event::Start(_) => {}
            Event::Look => self.look(),
        }
    }

    /// A publisher sends its event until it has a 202.
    fn publish(&mut self, event: usize) {
        let world = &mut self.world;
        if world.checks.events[event].accepted {
            return;
        }
        world.after(REPEATS_AFTER, Event::Publish(event));
        for _ in 0..world.random.between(0, 20).clamp(1, 2) {
            let (wait, era) = (world.random.between(0, 5), world.era);
            if !world.random.percent(3) {
                world.after(wait, Event::Stored { era, event });
            }
        }
    }

    fn stored(&mut self, era: u64, event: usize) {
        let world = &mut self.world;
        if era != world.era || world.now < world.down_until {
            return;
        }
        let partition = self.schedule.events[event].1;
        world.redis.execute(&Command::Publish { partition, event }, world.now, &mut world.checks);
        world.tell(|| format!("event {event} is stored in {partition}"));
        world.wake_readers();
        if !world.random.percent(3) {
            let wait = world.random.between(0, 5);
            world.after(wait, Event::Accepted { era, event });
        }
    }

    fn fails(&mut self, fault: Fault) {
        let world = &mut self.world;
        world.tell(|| format!("--- {fault:?}"));
        match fault {
            Fault::Kill { node, down_for } if self.nodes[node].alive => {
                world.totals.kills += 1;
                self.nodes[node].kill(world);
                world.after(down_for, Event::Start(node));
            }
            Fault::Freeze { node, lasts } if self.nodes[node].alive => {
                world.totals.pauses += 1;
                self.nodes[node].frozen_until = world.now + lasts;
                world.checks.troubles(node, world.now + lasts + TIMEOUT);
            }
            Fault::Restart { node, down_for } if self.nodes[node].alive => {
                world.totals.restarts += 1;
                self.nodes[node].stopping = Some(down_for);
            }
            Fault::Trouble { node, trouble } => {
                world.ways[node] = trouble;
                world.checks.troubles(node, trouble.until + 2 * LONGEST_DELAY);
            }
            Fault::Break { node } => self.cut_off(node, 0),
            Fault::Outage { lasts } => {
                world.totals.outages += 1;
                world.down_until = world.down_until.max(world.now + lasts);
                let until = world.now + lasts + TIMEOUT;
                (0..self.nodes.len()).for_each(|node| world.checks.troubles(node, until));
            }
            Fault::FailOver { lost, lasts } => {
                let redis = Box::new(world.redis.clone());
                world.after(lost, Event::Copied { lasts, redis });
            }
            Fault::Kill { .. } | Fault::Freeze { .. } | Fault::Restart { .. } => {}
        }
    }

    fn cut_off(&mut self, node: usize, lasts: Ms) {
        let world = &mut self.world;
        world.checks.troubles(node, world.now + lasts + TIMEOUT);
        world.after(0, Event::Node(self.nodes[node].life, ToNode::CutOff));
    }

    fn fails_over(&mut self, redis: Redis, lasts: Ms) {
        let (schedule, world) = (&self.schedule, &mut self.world);
        world.totals.fail_overs += 1;
        world.tell(|| "--- the copy takes over".to_owned());
        world.replace_redis(redis, lasts);
        world.checks.fails_over(&world.redis, |event| schedule.events[event].1, world.now);
        (0..self.nodes.len()).for_each(|node| self.cut_off(node, lasts));
    }

    fn look(&mut self) {
        self.switch_on();
        self.look_at_owners();
        let world = &mut self.world;
        if world.now.is_multiple_of(4 * LOOK_EVERY) {
            world.checks.adds_up(&world.redis);
        }
        let late = world.now > self.schedule.heals_at + ENDS_WITHIN;
        let waits = || what_waits(&world.redis).unwrap_or_else(|| "a partition has no owner".to_owned());
        world.checks.that(!late, || format!("it never ends: {}", waits()));
        world.after(LOOK_EVERY, Event::Look);
    }

    /// The user of a webhook whose endpoint said that it is gone sees to it.
    fn switch_on(&mut self) {
        let world = &mut self.world;
        if world.now < world.down_until {
            return;
        }
        for webhook in 0..world.redis.queues.len() {
            let queue = &world.redis.queues[webhook];
            if !queue.active && queue.changed_at + SWITCHED_ON_AFTER <= world.now {
                world.tell(|| format!("webhook {webhook} is switched on"));
                world.redis.execute(&Command::Activate(webhook), world.now, &mut world.checks);
                world.wake_readers();
            }
        }
    }

    fn has_owner(&self, partition: u16) -> bool {
        let Some(token) = self.world.redis.holder(partition) else { return false };
        let awake = |node: &&Node| node.alive && node.frozen_until <= self.world.now;
        let owns = |node: &Node| node.holdings.held().any(|held| held == (Partition(partition), token));
        self.nodes.iter().filter(awake).any(|node| owns(node) && node.owners.contains_key(&partition))
    }

    fn look_at_owners(&mut self) {
        let now = self.world.now;
        let trouble = self.world.checks.trouble.iter().copied().max().unwrap_or_default();
        // Who is being stopped owns nothing new, and a cluster of nobody nothing at all.
        let somebody = self
            .nodes
            .iter()
            .any(|node| node.alive && node.stopping.is_none() && node.frozen_until + OWNED_WITHIN <= now);
        for partition in 0..self.schedule.partitions {
            let orphaned = &mut self.orphaned[usize::from(partition)];
            *orphaned = (*orphaned).max(trouble);
            let since = *orphaned;
            if self.has_owner(partition) || !somebody {
                self.orphaned[usize::from(partition)] = now;
            } else {
                let in_time = now <= since + OWNED_WITHIN;
                self.world.checks.that(in_time, || format!("{partition} has had no owner since {since}"));
            }
        }
    }

    fn is_over(&self) -> bool {
        let world = &self.world;
        let accepted = || world.checks.events.iter().all(|event| event.accepted);
        let owned = || (0..self.schedule.partitions).all(|partition| self.has_owner(partition));
        let ended = world.now > self.schedule.heals_at && accepted() && what_waits(&world.redis).is_none();
        world.checks.broken.is_some() || (ended && owned())
    }

    fn end(&mut self) -> Result<Totals, String> {
        let (schedule, world) = (&self.schedule, &mut self.world);
        world.checks.has_ended(&world.redis, |event| schedule.events[event].1);
        world.totals.virtual_ms = world.now;
        world.totals.duplicates = world.checks.duplicates;
        world.totals.events_lost = world.checks.events.iter().filter(|event| event.lost).count() as u64;
        match world.checks.broken.take() {
            None => Ok(world.totals),
            Some(broken) => Err(format!("after {} ms: {broken}", world.now)),
        }
    }
}
