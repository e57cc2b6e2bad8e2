//! Records what came of attempts, for all partitions of an arbiter together.
//!
//! Nothing waits for an ordinary outcome to be recorded, so that under load it may wait for others: what is recorded of a
//! webhook and of its owner is written once a call, however many outcomes it has. The more the last round had, the longer
//! until the next ([`pace`]): below some 2,000 outcomes a second every one is recorded at once, above it they gather. What the next attempt waits
//! for is always recorded at once. While Redis answers, a node that dies repeats what it had not recorded: at most [`ENOUGH`] requests, or
//! those of [`MOST`], arrive twice besides those that were on their way.
//!
//! Outcomes are held until they are recorded or their partition is lost, in any order but that of one webhook's. Those that the
//! dispatch of their event records ([`crate::policy::early`]) do not come here, and have no place in that order.
//! A call without an answer is repeated: the script tests what had been recorded. On a Redis Cluster, where no script works
//! for two partitions, each partition has a recorder of its own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::Addr;
use futures_util::FutureExt;
use tokio::sync::Notify;

use super::local::{Backoff, Local, tell};
use super::partition::{Failed, PartitionActor, Turned};
use super::webhook::{Recorded, WebhookActor};
use crate::clock;
use crate::cluster::tenure::Tenure;
use crate::domain::Receipt;
use crate::store::Error;
use crate::store::outcomes::{self, Outcome};
use crate::store::script::Section;
use crate::telemetry::events as facts;

/// How long a round makes the next one wait for each outcome that it had. Measured at 100 webhooks and full load: calls of
/// forty outcomes a webhook cost Redis half as much a delivery as calls of two.
const EACH: Duration = Duration::from_micros(500);
/// The longest wait.
const MOST: Duration = Duration::from_millis(200);
/// With this many outcomes a round begins at once.
const ENOUGH: usize = 1024;
/// Outcomes in one call; more of one partition wait for the next.
const CALL: usize = 128;

/// An outcome to be recorded.
#[derive(Debug)]
pub struct Job {
    /// For whom it is recorded.
    pub tenure: Rc<Tenure>,
    /// Who is told when that fails, or what it changed.
    pub owner: Addr<PartitionActor>,
    /// Who is told what came of it.
    pub actor: Addr<WebhookActor>,
    /// The outcome.
    pub outcome: Outcome,
    /// Something waits for it.
    pub is_urgent: bool,
    /// A call with it had no answer, and may have recorded it.
    pub was_unanswered: bool,
}

/// The outcomes of one partition.
#[derive(Debug)]
struct Group {
    tenure: Rc<Tenure>,
    jobs: VecDeque<Job>,
}

/// The outcomes of one arbiter that wait to be recorded.
#[derive(Debug, Default)]
pub struct Recorder {
    groups: RefCell<VecDeque<Group>>,
    count: Cell<usize>,
    is_urgent: Cell<bool>,
    running: Cell<bool>,
    /// When the next round is due.
    due: Cell<Option<Instant>>,
    hurry: Notify,
}

/// How long after a round of that many outcomes the next one begins, if nothing hurries it.
fn pace(outcomes: usize) -> Duration {
    EACH.saturating_mul(u32::try_from(outcomes).unwrap_or(u32::MAX)).min(MOST)
}

/// Has an outcome recorded; its webhook's actor is told.
pub fn record(local: &Rc<Local>, job: Job) {
    let recorder = local.recorder(job.tenure.partition);
    recorder.add(job);
    if !recorder.running.replace(true) {
        actix::spawn(run(local.clone(), recorder));
    }
}

impl Recorder {
    fn add(&self, job: Job) {
        self.count.set(self.count.get() + 1);
        self.is_urgent.set(self.is_urgent.get() || job.is_urgent);
        if self.may_hurry() {
            self.hurry.notify_one();
        }
        let mut groups = self.groups.borrow_mut();
        match groups.iter_mut().find(|group| Rc::ptr_eq(&group.tenure, &job.tenure)) {
            Some(group) => group.jobs.push_back(job),
            None => {
                let tenure = job.tenure.clone();
                groups.push_back(Group { tenure, jobs: VecDeque::from([job]) });
            }
        }
    }

    fn may_hurry(&self) -> bool {
        self.is_urgent.get() || self.count.get() >= ENOUGH
    }

    /// Waits until the next round may begin.
    async fn wait(&self) {
        // A notice may be of what an earlier round has recorded.
        while let Some(due) = self.due.get()
            && !self.may_hurry()
        {
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => break,
                () = self.hurry.notified() => {}
            }
        }
        self.is_urgent.set(false);
        self.due.set(Some(clock::monotonic() + pace(self.count.get())));
    }

    /// What the next call carries: the outcomes of whole partitions, or the first of one that has more than a call may.
    fn take(&self) -> Vec<Group> {
        let mut groups = self.groups.borrow_mut();
        let (mut taken, mut count) = (Vec::new(), 0);
        while count < CALL
            && let Some(mut group) = groups.pop_front()
        {
            let jobs = group.jobs.len();
            if group.tenure.has_ended() {
                // Whoever has the partition now repeats what was not recorded.
                self.count.set(self.count.get() - jobs);
                continue;
            }
            if jobs > CALL {
                let rest = group.jobs.split_off(CALL);
                groups.push_front(Group { tenure: group.tenure.clone(), jobs: rest });
            }
            count += group.jobs.len();
            taken.push(group);
        }
        self.count.set(self.count.get() - count);
        taken
    }

    /// What was not recorded waits again; of its partition it comes first.
    fn put_back(&self, mut group: Group) {
        self.count.set(self.count.get() + group.jobs.len());
        self.is_urgent.set(self.is_urgent.get() || group.jobs.iter().any(|job| job.is_urgent));
        let mut groups = self.groups.borrow_mut();
        if let Some(at) = groups.iter().position(|held| Rc::ptr_eq(&held.tenure, &group.tenure))
            && let Some(mut later) = groups.remove(at)
        {
            group.jobs.append(&mut later.jobs);
        }
        groups.push_back(group);
    }
}

/// Runs until nothing waits.
async fn run(local: Rc<Local>, recorder: Rc<Recorder>) {
    let _running = Running(recorder.clone());
    let mut backoff = Backoff::default();
    while recorder.count.get() > 0 {
        recorder.wait().await;
        // All that waits now, in as many calls as it takes.
        for _ in 0..recorder.count.get().div_ceil(CALL) {
            let taken = recorder.take();
            let owners: Vec<Addr<PartitionActor>> =
                taken.iter().filter_map(|group| group.jobs.front()).map(|job| job.owner.clone()).collect();
            match AssertUnwindSafe(call(&local, &recorder, taken)).catch_unwind().await {
                Ok(true) => backoff = Backoff::default(),
                Ok(false) => {
                    backoff.wait().await;
                    break;
                }
                // What it had taken is lost here and lies in Redis: its partitions are taken anew.
                Err(_) => owners.iter().for_each(|owner| tell(owner, Failed(Error::unanswered()))),
            }
        }
    }
}

/// Lets another run begin when this one ends, however that is.
struct Running(Rc<Recorder>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(false);
    }
}

/// Whether nothing of it has to be tried again.
async fn call(local: &Local, recorder: &Recorder, taken: Vec<Group>) -> bool {
    let tokens: Vec<_> = taken.iter().map(|group| group.tenure.token()).collect();
    let items: Vec<Vec<&Outcome>> =
        taken.iter().map(|group| group.jobs.iter().map(|job| &job.outcome).collect()).collect();
    let sections: Vec<Section<'_, [&Outcome]>> = (0..taken.len())
        .map(|at| Section {
            partition: taken[at].tenure.partition,
            token: &tokens[at],
            items: &items[at][..],
        })
        .collect();
    let limits = local.outcome_limits();
    let disturbed = local.dispatches.steady.disturbed_by(items.iter().flatten().copied());
    let answers = outcomes::record(&local.redis, &local.keys, clock::now(), &limits, &sections).await;
    drop(disturbed);
    let answers = answers.unwrap_or_else(|error| taken.iter().map(|_| Err(error.clone())).collect());
    let mut is_done = true;
    for ((group, answer), token) in taken.into_iter().zip(answers).zip(&tokens) {
        match answer {
            Ok(recorded) => close(group, recorded),
            Err(error) => is_done &= failed(recorder, group, error, token),
        }
    }
    is_done
}

/// Whether that was the end of it.
fn failed(recorder: &Recorder, mut group: Group, error: Error, token: &str) -> bool {
    let is_to_repeat = match &error {
        Error::Fenced => group.tenure.has_outlived(token),
        error => error.is_transient(),
    };
    if is_to_repeat {
        if error.is_transient() {
            facts::redis_failed(group.tenure.partition, "record", &error);
        }
        // Any other error says that nothing has happened.
        if matches!(error, Error::Unanswered(_)) {
            group.jobs.iter_mut().for_each(|job| job.was_unanswered = true);
        }
        recorder.put_back(group);
        return false;
    }
    if let Some(job) = group.jobs.front() {
        tell(&job.owner, Failed(error));
    }
    true
}

fn close(group: Group, recorded: outcomes::Recorded) {
    facts::quarantined(group.tenure.partition, recorded.set_aside);
    for (job, receipt) in group.jobs.into_iter().zip(recorded.receipts) {
        let Job { owner, actor, outcome, was_unanswered, .. } = job;
        match receipt {
            // What a call without an answer recorded is counted with the call that found it done.
            Receipt::Gone if !was_unanswered => {}
            Receipt::Recorded | Receipt::Gone => {
                facts::recorded(&outcome);
                if let Some(change) = outcome.change {
                    tell(&owner, Turned { webhook: outcome.webhook.clone(), change });
                }
            }
            Receipt::NoWebhook => facts::webhook_is_gone(&outcome),
        }
        tell(&actor, Recorded { entry: outcome.entry, receipt });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_gather_outcomes_only_when_many_come() {
        assert!(pace(1) < Duration::from_millis(1), "one by one they are recorded at once");
        let rounds = |per_second: u32| {
            let mut outcomes = 1;
            for _ in 0..100 {
                let came = per_second as f64 * pace(outcomes).as_secs_f64();
                outcomes = (came as usize).clamp(1, ENOUGH);
            }
            outcomes
        };
        assert_eq!(rounds(1_500), 1);
        assert_eq!(rounds(4_000), 800, "a fifth of a second");
        assert_eq!(rounds(20_000), ENOUGH);
    }
}
