//! The dispatch calls of an arbiter's partitions. What waits while a call is under way goes together in the next one: a
//! call of its own for each of many partitions costs Redis and the node more than what it carries.
//!
//! Each partition has one batch on its way, and repeats it until its end is known ([`super::steps::dispatch`]); this only
//! carries batches. On a Redis Cluster, where no script works for two partitions, each travels alone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::local::Local;
use super::rounds::Rounds;
use crate::clock;
use crate::domain::Partition;
use crate::store::Error;
use crate::store::events::{self, Batch, Instruction, MAX_TARGETS};
use crate::store::script::Section;

/// Calls on their way at once. Another begins where what waits fills it, so that a busy partition's batch is not kept behind
/// one after the other of all the others'.
const MOST_CALLS: usize = 4;
/// Outcomes in one call; a single batch may have more.
const MOST_OUTCOMES: usize = 64;
/// Bytes of bodies in one call; a single batch may have more.
const CALL_BYTES: usize = 4 << 20;

/// Some instructions of one partition.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which partition.
    pub partition: Partition,
    /// The token of its lease.
    pub token: Arc<str>,
    /// The instructions of the partition's batch.
    pub batch: Rc<Vec<Instruction>>,
    /// Those of them that are meant.
    pub range: Range<usize>,
}

impl Part {
    fn instructions(&self) -> &[Instruction] {
        &self.batch[self.range.clone()]
    }

    fn section(&self) -> Section<'_, [Instruction]> {
        Section { partition: self.partition, token: &self.token, items: self.instructions() }
    }

    /// How many mailbox entries and bytes it may write.
    fn weight(&self) -> (usize, usize) {
        let of = |instruction: &Instruction| match instruction {
            Instruction::Event { targets, event, .. } => (weight_of(targets.len(), false), event.body.len()),
            Instruction::Arrived { outcomes, event, .. } => {
                (weight_of(outcomes.len(), true), event.body.len())
            }
            _ => (1, 0),
        };
        self.instructions().iter().map(of).fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
    }

    /// How many outcomes it has.
    fn outcomes(&self) -> usize {
        let of = |instruction: &Instruction| match instruction {
            Instruction::Arrived { outcomes, .. } => outcomes.len(),
            _ => 0,
        };
        self.instructions().iter().map(of).sum()
    }
}

/// What the targets of an event weigh in a call, of [`MAX_TARGETS`]: an outcome costs Redis many times what an entry of a mailbox
/// does.
pub fn weight_of(targets: usize, has_arrived: bool) -> usize {
    if has_arrived { targets * (MAX_TARGETS / MOST_OUTCOMES) } else { targets }
}

type Waiting = (Part, oneshot::Sender<Result<Batch, Error>>);

/// The batches of one arbiter that wait for a call.
#[derive(Debug)]
pub struct Dispatches {
    waiting: RefCell<VecDeque<Waiting>>,
    /// The targets of those that wait, weighed as a call's.
    weight: Cell<usize>,
    /// Calls on their way.
    running: Cell<usize>,
    /// The last call that ended had no answer, or was refused.
    is_failing: Cell<bool>,
    /// When events go that nothing waits for.
    pub rounds: Rounds,
}

impl Default for Dispatches {
    fn default() -> Self {
        let rounds = Rounds::new(clock::monotonic());
        Self {
            waiting: RefCell::default(),
            weight: Cell::new(0),
            running: Cell::new(0),
            is_failing: Cell::new(false),
            rounds,
        }
    }
}

impl Dispatches {
    /// Whether Redis did not carry out the last call.
    pub fn is_failing(&self) -> bool {
        self.is_failing.get()
    }

    fn add(&self, waiting: Waiting) {
        self.weight.set(self.weight.get() + waiting.0.weight().0);
        self.waiting.borrow_mut().push_back(waiting);
    }

    /// Whether what waits wants a call of its own now.
    fn wants_a_call(&self) -> bool {
        match self.running.get() {
            0 => true,
            running => running < MOST_CALLS && self.weight.get() >= MAX_TARGETS,
        }
    }

    /// What the next call carries: at least one batch, if one waits.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.borrow_mut();
        let (mut taken, mut targets, mut bytes) = (Vec::new(), 0, 0);
        while let Some((part, _)) = waiting.front() {
            let weight = part.weight();
            (targets, bytes) = (targets + weight.0, bytes + weight.1);
            if !taken.is_empty() && (targets > MAX_TARGETS || bytes > CALL_BYTES) {
                break;
            }
            self.weight.set(self.weight.get() - weight.0);
            taken.extend(waiting.pop_front());
        }
        taken
    }
}

/// Carries out the instructions of one partition in one step.
///
/// # Errors
/// As [`events::dispatch`].
pub async fn carry_out(local: &Rc<Local>, part: Part) -> Result<Batch, Error> {
    if local.redis.is_cluster() {
        local.dispatches.rounds.count(part.outcomes());
        let (limits, sections) = (local.dispatch_limits(), [part.section()]);
        let answers = events::dispatch(&local.redis, &local.keys, clock::now(), &limits, &sections).await;
        local.dispatches.is_failing.set(answers.is_err());
        return answers?.remove(0);
    }
    let (sender, answer) = oneshot::channel();
    local.dispatches.add((part, sender));
    if local.dispatches.wants_a_call() {
        actix::spawn(run(Running::new(local.clone())));
    }
    // A run that died has perhaps done it.
    answer.await.unwrap_or_else(|_| Err(Error::unanswered()))
}

/// Runs until nothing waits.
async fn run(running: Running) {
    let local = &running.0;
    loop {
        let taken = local.dispatches.take();
        if taken.is_empty() {
            return;
        }
        local.dispatches.rounds.count(taken.iter().map(|(part, _)| part.outcomes()).sum());
        let sections: Vec<_> = taken.iter().map(|(part, _)| part.section()).collect();
        let limits = local.dispatch_limits();
        let answers = events::dispatch(&local.redis, &local.keys, clock::now(), &limits, &sections).await;
        drop(sections);
        local.dispatches.is_failing.set(answers.is_err());
        // Who asked may be gone: its partition is not ours any more.
        match answers {
            Ok(answers) => taken.into_iter().zip(answers).for_each(|((_, to), answer)| drop(to.send(answer))),
            Err(error) => taken.into_iter().for_each(|(_, to)| drop(to.send(Err(error.clone())))),
        }
    }
}

/// Counts as a call on its way until it ends, however that is.
struct Running(Rc<Local>);

impl Running {
    fn new(local: Rc<Local>) -> Self {
        local.dispatches.running.set(local.dispatches.running.get() + 1);
        Self(local)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let running = &self.0.dispatches.running;
        running.set(running.get() - 1);
    }
}
