//! One webhook with work: its lane, its record, its attempts on their way.
//!
//! Virtual: started when something waits for the webhook, stopped when nothing does. A message becomes an input of the
//! lane ([`crate::policy::lane`]); the lane's effects are carried out here.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::attempt::{self, Attempt, Current, End, Sent};
use super::early;
use super::local::{Local, RidingBody};
use super::partition::{PartitionActor, Rested};
use super::recorder::{self, Job};
use super::steps;
use crate::clock;
use crate::cluster::tenure::Tenure;
use crate::config::Config;
use crate::domain::{EntryId, Millis, Receipt, Webhook, WebhookId};
use crate::policy::breaker::{self, Standing};
use crate::policy::lane::{Delivery, Effect, Input, Known, Lane, Limits, Round, Verdict};
use crate::policy::shares::Key;
use crate::policy::waiting::Waiting;
use crate::store::mailboxes;
use crate::store::outcomes::Outcome;
use crate::store::{self, keys, record};
use crate::telemetry::events as facts;

/// When a record is read again whose reading Redis rejected.
const LOAD_AGAIN: Duration = Duration::from_secs(5);
/// When a record is read again whose secrets could not be decrypted: nothing tells when it is encrypted otherwise.
const UNLOCK_AGAIN: Duration = Duration::from_secs(10);

type Body = Arc<RidingBody>;

/// Deliveries were put into the mailbox.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Delivered {
    /// Of which taking of the partition this tells; from an earlier one it is void.
    pub take: u64,
    /// The last one before them.
    pub previous: EntryId,
    /// The new ones, in order.
    pub deliveries: Vec<Delivery<Body>>,
}

/// An event that matches, before its dispatch.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Early {
    /// Of which taking of the partition this tells.
    pub take: u64,
    /// What may be attempted now.
    pub delivery: Delivery<Body>,
}

/// An attempt ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Attempted {
    /// Which delivery.
    pub entry: EntryId,
    /// How.
    pub end: End,
}

/// An outcome has been recorded, or there was nothing to record it for.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Recorded {
    /// Which delivery.
    pub entry: EntryId,
    /// Which of the two.
    pub receipt: Receipt,
}

/// The webhook's record was read again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Changed {
    /// What it says now.
    pub webhook: Arc<Webhook>,
    /// What is kept of its failures.
    pub standing: Standing,
}

/// Starts nothing new; answers when nothing is in flight.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Ends the actor at once; attempts on their way are given up.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// What a webhook's actor begins with.
#[derive(Clone)]
pub struct Start {
    /// The things of its arbiter.
    pub local: Rc<Local>,
    /// Its partition's actor.
    pub owner: Addr<PartitionActor>,
    /// Its partition.
    pub tenure: Rc<Tenure>,
    /// The taking of the partition that holds now.
    pub take: Rc<Cell<u64>>,
    /// Which webhook.
    pub id: WebhookId,
    /// What is known of its queue.
    pub known: Known,
    /// The last entry of which no message could tell.
    pub missed: Rc<Cell<EntryId>>,
    /// What of it is due and has not been started, for the partition to see.
    pub waiting: Rc<Cell<Waiting>>,
    /// Who is told what comes of early deliveries.
    pub early: Rc<early::Early>,
    /// How many of them may start now, for the partition to see.
    pub room: Rc<Cell<usize>>,
}

/// The actor of one webhook.
pub struct WebhookActor {
    start: Start,
    ready: Option<Ready>,
    attempts: HashMap<EntryId, AbortHandle>,
    timer: Option<SpawnHandle>,
    /// When the record is read again because it is locked.
    locked: Option<SpawnHandle>,
    draining: Vec<oneshot::Sender<()>>,
    /// How many messages of a change were taken.
    changes: u64,
    /// The taking of the partition that the lane's knowledge is of.
    take: u64,
}

/// What there is once the record has been read.
struct Ready {
    /// Shared with the attempts, so that a change holds for those that have not been sent yet.
    current: Rc<RefCell<Current>>,
    lane: Lane<Body>,
    tenant: Key,
    owner_hash: Arc<str>,
    tenant_hash: Arc<str>,
}

/// Whose queue is read, and on whose behalf.
struct QueueOf {
    local: Rc<Local>,
    tenure: Rc<Tenure>,
    webhook: Arc<Webhook>,
    owner_hash: Arc<str>,
}

impl QueueOf {
    fn queue(&self) -> mailboxes::Queue<'_> {
        steps::queue_of(&self.local, &self.webhook.id, &self.owner_hash, &self.webhook.settings.tenant)
    }
}

impl WebhookActor {
    /// The actor; it reads its record when it starts.
    pub fn new(start: Start) -> Self {
        let take = start.take.get();
        Self {
            start,
            ready: None,
            attempts: HashMap::new(),
            timer: None,
            locked: None,
            draining: Vec::new(),
            changes: 0,
            take,
        }
    }

    fn loaded(&mut self, loaded: Loaded, ctx: &mut Context<Self>) {
        match loaded {
            Loaded::Found(webhook, standing) => self.changed(webhook, standing, ctx),
            Loaded::Missing => self.rest(None, None, ctx),
            Loaded::Failed => drop(ctx.run_later(LOAD_AGAIN, |actor, ctx| actor.load(ctx))),
        }
    }

    fn begin(&mut self, webhook: Arc<Webhook>, standing: Standing, ctx: &mut Context<Self>) {
        let lane = Lane::new(self.limits_of(&webhook), standing, self.start.known);
        let (tenant, owner) = (&webhook.settings.tenant, &webhook.settings.owner);
        let owner_hash = Arc::from(keys::owner_hash(tenant, owner));
        let (tenant_hash, tenant) = (Arc::from(keys::tenant_hash(tenant)), Key::of(tenant));
        let current = Rc::new(RefCell::new(self.current(webhook)));
        self.ready = Some(Ready { current, lane, tenant, owner_hash, tenant_hash });
        self.step(Input::Tick, ctx);
    }

    fn current(&self, webhook: Arc<Webhook>) -> Current {
        let endpoint = Rc::new(self.start.local.sender.endpoint(&webhook.settings));
        Current { webhook, endpoint }
    }

    fn limits_of(&self, webhook: &Webhook) -> Limits {
        let Config { delivery, breaker, queue, .. } = &*self.start.local.config;
        let breaker = breaker::Policy {
            failure_threshold: breaker.failure_threshold,
            pause: breaker.pause,
            max_pause: breaker.max_pause,
            disable_after: breaker.disable_after,
        };
        let (rate, max_age) = (delivery.default_rate_limit_per_second, delivery.max_age);
        let max_pending = usize::try_from(queue.max_pending_per_webhook).unwrap_or(usize::MAX);
        Limits::of(webhook, rate, max_age, max_pending, breaker)
    }

    fn step(&mut self, input: Input<Body>, ctx: &mut Context<Self>) {
        for effect in self.effects_of(input, ctx) {
            self.perform(effect, ctx);
        }
        self.settle();
    }

    fn effects_of(&mut self, input: Input<Body>, ctx: &mut Context<Self>) -> Vec<Effect<Body>> {
        let (missed, now) = (self.start.missed.get(), clock::now());
        let retaken = std::mem::replace(&mut self.take, self.start.take.get()) != self.take;
        let Some(ready) = &mut self.ready else { return Vec::new() };
        let mut effects = Vec::new();
        if retaken {
            effects = ready.lane.step(Input::Retaken, missed, now);
            // Redis may hold another record than the one that was read.
            self.load(ctx);
        }
        let Some(ready) = &mut self.ready else { return effects };
        effects.extend(ready.lane.step(input, missed, now));
        self.start.waiting.set(ready.lane.waiting(now));
        self.start.room.set(ready.lane.room_for_early(now));
        effects
    }

    fn load(&self, ctx: &mut Context<Self>) {
        ctx.spawn(
            load(self.start.clone()).into_actor(self).map(|loaded, actor, ctx| actor.loaded(loaded, ctx)),
        );
    }

    /// The record is known, for the first time or anew.
    fn changed(&mut self, webhook: Arc<Webhook>, standing: Standing, ctx: &mut Context<Self>) {
        self.note_lock(&webhook, ctx);
        let Some(ready) = &self.ready else {
            self.begin(webhook, standing, ctx);
            return;
        };
        let limits = self.limits_of(&webhook);
        ready.current.replace(self.current(webhook));
        self.step(Input::Changed { limits, standing }, ctx);
    }

    /// A lane of a webhook that is locked starts nothing, as one that is inactive; its events are queued all the same.
    fn note_lock(&mut self, webhook: &Webhook, ctx: &mut Context<Self>) {
        facts::webhook_read(webhook);
        self.unlocked(ctx);
        if webhook.locked.is_some() {
            facts::webhook_waits_for_its_key();
            self.locked = Some(ctx.run_later(UNLOCK_AGAIN, |actor, ctx| actor.load(ctx)));
        }
    }

    fn unlocked(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.locked.take() {
            ctx.cancel_future(timer);
            facts::webhook_waits_no_more();
        }
    }

    fn settle(&mut self) {
        if self.ready.as_ref().is_none_or(|ready| ready.lane.is_settled()) {
            for waiting in self.draining.drain(..) {
                // Who waited may have stopped waiting.
                let _ = waiting.send(());
            }
        }
    }

    fn perform(&mut self, effect: Effect<Body>, ctx: &mut Context<Self>) {
        match effect {
            Effect::Start(delivery) => self.attempt(delivery, ctx),
            Effect::Probes => facts::breaker_probes(&self.start.id),
            Effect::Record(verdict) => self.record_unsent(verdict, ctx),
            Effect::Decline(entry) => self.start.early.declined(entry, &self.start.owner),
            Effect::ReadMailbox { round, after, count } => self.read_mailbox(round, after, count, ctx),
            Effect::ReadRetries { round, count } => self.read_retries(round, count, ctx),
            Effect::WakeAt(at) => self.wake_at(at, ctx),
            Effect::Idle(next) => self.idle(next, ctx),
        }
    }

    fn attempt(&mut self, delivery: Delivery<Body>, ctx: &mut Context<Self>) {
        let Some(ready) = &self.ready else { return };
        let entry = delivery.entry;
        let attempt = Attempt {
            local: self.start.local.clone(),
            tenure: self.start.tenure.clone(),
            current: ready.current.clone(),
            tenant: ready.tenant,
            actor: ctx.address(),
            delivery,
        };
        let task = actix::spawn(attempt::run(attempt));
        self.attempts.insert(entry, task.abort_handle());
    }

    /// A delivery ended without a request.
    fn record_unsent(&mut self, verdict: Verdict, ctx: &mut Context<Self>) {
        let Some(ready) = &self.ready else { return };
        let webhook = ready.current.borrow().webhook.clone();
        let event = (webhook.settings.tenant.clone(), verdict.event.clone());
        let (local, partition) = (self.start.local.clone(), self.start.tenure.partition);
        let (owner_hash, tenant_hash) = (ready.owner_hash.clone(), ready.tenant_hash.clone());
        let fetched =
            async move { mailboxes::body(&local.redis, &local.keys, partition, &event.0, &event.1).await };
        ctx.spawn(fetched.into_actor(self).map(move |body, actor, ctx| {
            let event_type = body.ok().flatten().map_or_else(|| Arc::from("unknown"), |body| body.event_type);
            let outcome = attempt::outcome(&webhook, owner_hash, tenant_hash, event_type, verdict, None);
            recorder::record(&actor.start.local, actor.job(outcome, ctx));
        }));
    }

    /// What a read of the queue needs, and may take with it.
    fn queue(&self) -> Option<QueueOf> {
        let Start { local, tenure, .. } = self.start.clone();
        let ready = self.ready.as_ref()?;
        let (webhook, owner_hash) = (ready.current.borrow().webhook.clone(), ready.owner_hash.clone());
        Some(QueueOf { local, tenure, webhook, owner_hash })
    }

    fn read_mailbox(&mut self, round: Round, after: EntryId, count: usize, ctx: &mut Context<Self>) {
        let Some(of) = self.queue() else { return };
        let soon = self.limits_of(&of.webhook).rate_per_second.is_none();
        let work = async move {
            let queued = steps::read_mailbox(&of.local, &of.tenure, &of.queue(), after, count).await?;
            // What is sent one by one over hours holds no memory meanwhile.
            let tenant = &of.webhook.settings.tenant;
            let bodies = if soon {
                steps::read_bodies(&of.local, of.tenure.partition, tenant, &queued).await
            } else {
                Vec::new()
            };
            Ok(queued.into_iter().zip(bodies.into_iter().chain(std::iter::repeat(None))))
        };
        let delivery = |(queued, body): (mailboxes::Queued, Option<Body>)| Delivery {
            entry: queued.entry,
            event: queued.event,
            attempt: 1,
            body,
        };
        ctx.spawn(work.into_actor(self).map(move |answer, actor, ctx| {
            let input = actor.input_of(round, answer, |queued| Input::MailboxRead {
                round,
                deliveries: queued.map(delivery).collect(),
            });
            actor.step(input, ctx);
        }));
    }

    fn read_retries(&mut self, round: Round, count: usize, ctx: &mut Context<Self>) {
        let Some(of) = self.queue() else { return };
        let work = async move { steps::read_retries(&of.local, &of.tenure, &of.queue(), count).await };
        let delivery = |retry: mailboxes::Retry| {
            let mailboxes::Retry { due, entry, event, attempt } = retry;
            (due, Delivery { entry, event, attempt, body: None })
        };
        ctx.spawn(work.into_actor(self).map(move |answer, actor, ctx| {
            let input = actor.input_of(round, answer, |retries| Input::RetriesRead {
                round,
                retries: retries.into_iter().map(delivery).collect(),
            });
            actor.step(input, ctx);
        }));
    }

    fn input_of<T>(
        &self,
        round: Round,
        answer: Result<T, store::Error>,
        input: impl FnOnce(T) -> Input<Body>,
    ) -> Input<Body> {
        match answer {
            Ok(found) => input(found),
            Err(error) => {
                facts::redis_failed(self.start.tenure.partition, "read a queue", &error);
                Input::ReadFailed(round)
            }
        }
    }

    fn wake_at(&mut self, at: Millis, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = Some(ctx.run_later(at.since(clock::now()), |actor, ctx| actor.step(Input::Tick, ctx)));
    }

    fn idle(&mut self, next: Option<Millis>, ctx: &mut Context<Self>) {
        let Some(ready) = &self.ready else { return };
        let cursor = ready.lane.is_active().then(|| ready.lane.cursor());
        self.rest(cursor, next, ctx);
    }

    fn rest(&mut self, cursor: Option<EntryId>, next: Option<Millis>, ctx: &mut Context<Self>) {
        let rested = Rested { webhook: self.start.id.clone(), cursor, changes: self.changes, next };
        ctx.spawn(self.start.owner.send(rested).into_actor(self).map(|_, _, _| ()));
    }

    fn attempted(&mut self, entry: EntryId, end: End, ctx: &mut Context<Self>) {
        self.attempts.remove(&entry);
        let (input, sent) = match end {
            End::Sent(sent) => {
                let result = Box::new(sent.result.clone());
                (Input::Attempted { entry, result, jitter: rand::random() }, Some(sent))
            }
            End::Unsendable { for_good } => (Input::Unsendable { entry, for_good }, None),
        };
        for effect in self.effects_of(input, ctx) {
            match (effect, &sent) {
                (Effect::Record(verdict), Some(sent)) if verdict.entry == entry => {
                    self.record(verdict, sent, ctx);
                }
                (effect, _) => self.perform(effect, ctx),
            }
        }
        self.settle();
    }

    fn record(&self, verdict: Verdict, sent: &Sent, ctx: &mut Context<Self>) {
        let Some(ready) = &self.ready else { return };
        let (owner_hash, tenant_hash) = (ready.owner_hash.clone(), ready.tenant_hash.clone());
        let Sent { webhook, event_type, event_size, result } = sent;
        let (event_type, is_early) = (event_type.clone(), verdict.early);
        let outcome = attempt::outcome(webhook, owner_hash, tenant_hash, event_type, verdict, Some(result));
        let outcome = Outcome { event_size: Some(*event_size), ..outcome };
        let job = self.job(outcome, ctx);
        if is_early { self.start.early.ended(job) } else { recorder::record(&self.start.local, job) }
    }

    /// What the next attempt, or the next decision, waits for is urgent.
    fn job(&self, outcome: Outcome, ctx: &mut Context<Self>) -> Job {
        let (tenure, owner, actor) = (self.start.tenure.clone(), self.start.owner.clone(), ctx.address());
        let is_awaited = self.ready.as_ref().is_some_and(|ready| ready.lane.awaits_records());
        let is_urgent = is_awaited || outcome.change.is_some() || outcome.disable.is_some();
        Job { tenure, owner, actor, outcome, is_urgent, was_unanswered: false }
    }
}

/// What came of reading a webhook's record.
enum Loaded {
    /// The record, and what is kept of the webhook's failures.
    Found(Arc<Webhook>, Standing),
    /// There is no such webhook, or its record cannot be read: when it is written, a message tells.
    Missing,
    /// Redis rejected the reading, and nothing tells when that is over.
    Failed,
}

async fn load(start: Start) -> Loaded {
    let Start { local, tenure, id, .. } = start;
    match steps::read_record(&local, tenure.partition, &id).await {
        Ok((text, standing)) => match text.and_then(|text| record::decode(&id, &text, &local.keyring).ok()) {
            Some(webhook) => Loaded::Found(Arc::new(webhook), standing),
            None => Loaded::Missing,
        },
        Err(error) => {
            facts::redis_failed(tenure.partition, "read a record", &error);
            Loaded::Failed
        }
    }
}

impl Actor for WebhookActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        const MAILBOX: usize = 64;
        ctx.set_mailbox_capacity(MAILBOX);
        facts::actor_started();
        ctx.wait(load(self.start.clone()).into_actor(self).map(|loaded, actor, ctx| {
            actor.loaded(loaded, ctx);
            // Without a lane nobody keeps what is told from now on.
            actor.start.known = if actor.ready.is_some() { actor.start.known } else { Known::Nothing };
        }));
    }

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        facts::actor_stopped();
        self.unlocked(ctx);
        for attempt in self.attempts.values() {
            attempt.abort();
        }
    }
}

impl Handler<Delivered> for WebhookActor {
    type Result = ();

    fn handle(&mut self, Delivered { take, previous, deliveries }: Delivered, ctx: &mut Context<Self>) {
        let is_void = take != self.start.take.get();
        let input = if is_void { Input::Tick } else { Input::Delivered { previous, deliveries } };
        self.step(input, ctx);
    }
}

impl Handler<Early> for WebhookActor {
    type Result = ();

    fn handle(&mut self, Early { take, delivery }: Early, ctx: &mut Context<Self>) {
        if take == self.start.take.get() && self.ready.is_some() {
            self.step(Input::Early(delivery), ctx);
        } else {
            self.start.early.declined(delivery.entry, &self.start.owner);
        }
    }
}

impl Handler<Attempted> for WebhookActor {
    type Result = ();

    fn handle(&mut self, Attempted { entry, end }: Attempted, ctx: &mut Context<Self>) {
        self.attempted(entry, end, ctx);
    }
}

impl Handler<Recorded> for WebhookActor {
    type Result = ();

    fn handle(&mut self, Recorded { entry, receipt }: Recorded, ctx: &mut Context<Self>) {
        self.step(Input::Recorded { entry, receipt }, ctx);
    }
}

impl Handler<Changed> for WebhookActor {
    type Result = ();

    fn handle(&mut self, Changed { webhook, standing }: Changed, ctx: &mut Context<Self>) {
        self.changes += 1;
        self.changed(webhook, standing, ctx);
    }
}

impl Handler<Drain> for WebhookActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) -> ResponseFuture<()> {
        let (sender, receiver) = oneshot::channel();
        self.draining.push(sender);
        self.step(Input::Drain, ctx);
        // An actor that ends has nothing in flight either.
        Box::pin(async move { receiver.await.unwrap_or(()) })
    }
}

impl Handler<Stop> for WebhookActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
