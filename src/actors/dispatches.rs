//! The dispatch calls of an arbiter's partitions. What waits while a call is under way goes together in the next one: a
//! call of its own for each of many partitions costs Redis and the node more than what it carries.
//!
//! Each partition has one batch on its way, and repeats it until its end is known ([`super::steps::dispatch`]); this only
//! carries batches, by the script or, where nothing has to be decided, without ([`super::steady`]). On a Redis
//! Cluster, where no script works for two partitions, each travels alone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::local::Local;
use super::rounds::Rounds;
use super::steady::{Begun, Epoch, Steady};
use crate::clock;
use crate::domain::{Millis, Partition, WebhookId};
use crate::store::arrivals::{self, Arrivals};
use crate::store::events::{self, Batch, Instruction, MAX_TARGETS};
use crate::store::script::Section;
use crate::store::stats::hours::Slots;
use crate::store::{Error, Redis};

/// Calls on their way at once. Another begins where what waits fills it, so that a busy partition's batch is not kept behind
/// one after the other of all the others'.
const MOST_CALLS: usize = 8;
/// Outcomes in one call; a single batch may have more.
const MOST_OUTCOMES: usize = 128;
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

    /// The webhooks whose outcomes it has.
    fn webhooks(&self) -> impl Iterator<Item = &WebhookId> + Clone {
        let outcomes = self.instructions().iter().filter_map(|instruction| match instruction {
            Instruction::Arrived { outcomes, .. } => Some(outcomes),
            _ => None,
        });
        outcomes.flatten().map(|outcome| &outcome.webhook)
    }

    /// How many outcomes it has.
    fn outcomes(&self) -> usize {
        self.webhooks().count()
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
    /// Of which webhooks an arrival is recorded without a script.
    pub steady: Steady,
    /// What records it.
    arrivals: Arrivals,
}

impl Dispatches {
    /// Nothing waits; calls go over connections as `redis` has them.
    pub fn new(redis: Redis) -> Self {
        let rounds = Rounds::new(clock::monotonic());
        Self {
            waiting: RefCell::default(),
            weight: Cell::new(0),
            running: Cell::new(0),
            is_failing: Cell::new(false),
            rounds,
            steady: Steady::default(),
            arrivals: Arrivals::new(redis),
        }
    }

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
        return by_script(local, clock::now(), &[&part]).await.remove(0);
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
        let parts: Vec<&Part> = taken.iter().map(|(part, _)| part).collect();
        let answers = call(local, &parts).await;
        // Who asked may be gone: its partition is not ours any more.
        taken.into_iter().zip(answers).for_each(|((_, to), answer)| drop(to.send(answer)));
    }
}

/// Carries parts out, with a script or, where nothing has to be decided, without.
async fn call(local: &Local, parts: &[&Part]) -> Vec<Result<Batch, Error>> {
    let now = clock::now();
    let begun = begin(local, now);
    let steady = &local.dispatches.steady;
    let (plain, other): (Vec<usize>, Vec<usize>) = (0..parts.len()).partition(|at| {
        let part = parts[*at];
        arrivals::may_write(part.instructions(), now) && steady.take(&part.token, part.webhooks())
    });
    let parts_at = |places: &[usize]| -> Vec<&Part> { places.iter().map(|at| parts[*at]).collect() };
    let (plain_parts, other_parts) = (parts_at(&plain), parts_at(&other));
    let answers = futures_util::join!(
        without_script(local, now, begun, &plain_parts),
        by_script(local, now, &other_parts)
    );
    let mut answers: Vec<_> =
        plain.into_iter().zip(answers.0).chain(other.into_iter().zip(answers.1)).collect();
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn begin(local: &Local, now: Millis) -> Begun {
    let (hour, generation) = (Slots::of(now).hour, local.redis.generation());
    local.dispatches.steady.begin(Epoch { hour, generation })
}

/// What it does not do the script does, which tests whether it was done.
async fn without_script(
    local: &Local,
    now: Millis,
    begun: Begun,
    parts: &[&Part],
) -> Vec<Result<Batch, Error>> {
    if parts.is_empty() {
        return Vec::new();
    }
    let sections: Vec<_> = parts.iter().map(|part| part.section()).collect();
    let limits = local.dispatch_limits();
    let batches = match local.dispatches.arrivals.record(&local.keys, now, &limits, &sections).await {
        Ok(batches) => batches,
        Err(error) => return parts.iter().map(|_| Err(error.clone())).collect(),
    };
    let left: Vec<&Part> =
        parts.iter().zip(&batches).filter(|(_, batch)| batch.is_none()).map(|(part, _)| *part).collect();
    local.dispatches.is_failing.set(false);
    let mut by_script = by_script(local, now, &left).await.into_iter();
    let answer = |batch: Option<Batch>| match batch {
        Some(batch) => Ok(batch),
        None => by_script.next().unwrap_or_else(|| Err(Error::unanswered())),
    };
    let answers: Vec<_> = batches.into_iter().map(answer).collect();
    tell_steady(local, begun, parts, &answers);
    answers
}

async fn by_script(local: &Local, now: Millis, parts: &[&Part]) -> Vec<Result<Batch, Error>> {
    if parts.is_empty() {
        return Vec::new();
    }
    let begun = begin(local, now);
    let sections: Vec<_> = parts.iter().map(|part| part.section()).collect();
    let limits = local.dispatch_limits();
    let answers = events::dispatch(&local.redis, &local.keys, now, &limits, &sections).await;
    local.dispatches.is_failing.set(answers.is_err());
    let answers = answers.unwrap_or_else(|error| parts.iter().map(|_| Err(error.clone())).collect());
    tell_steady(local, begun, parts, &answers);
    answers
}

fn tell_steady(local: &Local, begun: Begun, parts: &[&Part], answers: &[Result<Batch, Error>]) {
    for (part, answer) in parts.iter().zip(answers) {
        let steady = answer.iter().flat_map(|batch| &batch.steady);
        steady.for_each(|webhook| local.dispatches.steady.tell(begun, &part.token, webhook.clone()));
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
