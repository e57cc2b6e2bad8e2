//! One webhook with work: its lane, its record, its attempts on their way.
//!
//! Virtual: started when something waits for the webhook, stopped when nothing does. A message becomes an input of the
//! lane ([`crate::policy::lane`]); the lane's effects are carried out here.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::attempt::{self, Attempt, End};
use super::local::{Local, RidingBody};
use super::partition::{PartitionActor, Rested};
use super::steps;
use crate::clock;
use crate::domain::{AttemptResult, EntryId, Millis, Partition, Webhook, WebhookId};
use crate::policy::lane::{Delivery, Effect, Input, Known, Lane, Limits, Verdict};
use crate::store::mailboxes::{self, Queue};
use crate::store::outcomes::Outcome;
use crate::store::{self, keys, record};
use crate::telemetry::events as facts;

type Body = Arc<RidingBody>;

/// Deliveries were put into the mailbox.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Delivered {
    /// The last one before them.
    pub previous: EntryId,
    /// The new ones, in order.
    pub deliveries: Vec<Delivery<Body>>,
}

/// An attempt ended; answers what is to be recorded.
#[derive(Debug, Message)]
#[rtype(result = "Option<Box<Outcome>>")]
pub struct Attempted {
    /// Which delivery.
    pub entry: EntryId,
    /// How.
    pub end: End,
}

/// An outcome has been recorded, or the delivery is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Recorded {
    /// Which delivery.
    pub entry: EntryId,
    /// Whether it was recorded.
    pub recorded: bool,
}

/// The webhook's record was read again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Changed {
    /// What it says now.
    pub webhook: Arc<Webhook>,
    /// The webhook rests until then.
    pub paused: Option<Millis>,
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
pub struct Start {
    /// The things of its arbiter.
    pub local: Rc<Local>,
    /// Its partition's actor.
    pub owner: Addr<PartitionActor>,
    /// Its partition.
    pub partition: Partition,
    /// Which webhook.
    pub id: WebhookId,
    /// What is known of its queue.
    pub known: Known,
    /// The last entry of which no message could tell.
    pub missed: Rc<Cell<EntryId>>,
    /// The token of the partition's lease.
    pub token: Arc<str>,
}

/// The actor of one webhook.
pub struct WebhookActor {
    start: Start,
    ready: Option<Ready>,
    attempts: HashMap<EntryId, AbortHandle>,
    timer: Option<SpawnHandle>,
    draining: Vec<oneshot::Sender<()>>,
}

/// What there is once the record has been read.
struct Ready {
    webhook: Arc<Webhook>,
    lane: Lane<Body>,
    owner_hash: Arc<str>,
    tenant_hash: Arc<str>,
}

/// What a read of the queue takes along.
struct Reading {
    local: Rc<Local>,
    partition: Partition,
    token: Arc<str>,
    webhook: Arc<Webhook>,
    owner_hash: Arc<str>,
}

impl Reading {
    fn queue(&self) -> Queue<'_> {
        steps::queue_of(&self.local, &self.webhook.id, &self.owner_hash, &self.webhook.settings.tenant)
    }
}

impl WebhookActor {
    /// The actor; it reads its record when it starts.
    pub fn new(start: Start) -> Self {
        Self { start, ready: None, attempts: HashMap::new(), timer: None, draining: Vec::new() }
    }

    fn loaded(&mut self, loaded: Option<(Webhook, Option<Millis>)>, ctx: &mut Context<Self>) {
        let Some((webhook, paused)) = loaded else {
            self.rest(None, None, ctx);
            return;
        };
        let lane = Lane::new(self.limits_of(&webhook), paused.unwrap_or_default(), self.start.known);
        let (tenant, owner) = (&webhook.settings.tenant, &webhook.settings.owner);
        let owner_hash = Arc::from(keys::owner_hash(tenant, owner));
        let tenant_hash = Arc::from(keys::tenant_hash(tenant));
        self.ready = Some(Ready { webhook: Arc::new(webhook), lane, owner_hash, tenant_hash });
        self.step(Input::Tick, ctx);
    }

    fn limits_of(&self, webhook: &Webhook) -> Limits {
        let delivery = &self.start.local.config.delivery;
        Limits::of(webhook, delivery.default_rate_limit_per_second, delivery.max_age)
    }

    fn step(&mut self, input: Input<Body>, ctx: &mut Context<Self>) {
        for effect in self.effects_of(input) {
            self.perform(effect, ctx);
        }
        self.settle();
    }

    fn effects_of(&mut self, input: Input<Body>) -> Vec<Effect<Body>> {
        let missed = self.start.missed.get();
        self.ready.as_mut().map(|ready| ready.lane.step(input, missed, clock::now())).unwrap_or_default()
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
            Effect::Record(verdict) => self.record_unsent(verdict, ctx),
            Effect::ReadMailbox { after, count } => self.read_mailbox(after, count, ctx),
            Effect::ReadRetries { count } => self.read_retries(count, ctx),
            Effect::WakeAt(at) => self.wake_at(at, ctx),
            Effect::Idle(next) => self.idle(next, ctx),
        }
    }

    fn attempt(&mut self, delivery: Delivery<Body>, ctx: &mut Context<Self>) {
        let Some(ready) = &self.ready else { return };
        let entry = delivery.entry;
        let attempt = Attempt {
            local: self.start.local.clone(),
            partition: self.start.partition,
            webhook: ready.webhook.clone(),
            actor: ctx.address(),
            owner: self.start.owner.clone(),
            delivery,
        };
        let task = actix::spawn(attempt::run(attempt));
        self.attempts.insert(entry, task.abort_handle());
    }

    /// A delivery ended without a request.
    fn record_unsent(&mut self, verdict: Verdict, ctx: &mut Context<Self>) {
        let Some(ready) = &self.ready else { return };
        let event = (ready.webhook.settings.tenant.clone(), verdict.event.clone());
        let (local, partition) = (self.start.local.clone(), self.start.partition);
        let (actor, owner, entry) = (ctx.address(), self.start.owner.clone(), verdict.entry);
        let known = (ready.webhook.clone(), ready.owner_hash.clone(), ready.tenant_hash.clone());
        actix::spawn(async move {
            let body = mailboxes::body(&local.redis, &local.keys, partition, &event.0, &event.1).await;
            let event_type = body.ok().flatten().map_or_else(|| Arc::from("unknown"), |body| body.event_type);
            let (webhook, owner_hash, tenant_hash) = known;
            let outcome = attempt::outcome(&webhook, owner_hash, tenant_hash, event_type, verdict, None);
            attempt::record(outcome, entry, &owner, &actor).await;
        });
    }

    fn reading(&self) -> Option<Reading> {
        let Start { local, partition, token, .. } = &self.start;
        let Ready { webhook, owner_hash, .. } = self.ready.as_ref()?;
        Some(Reading {
            local: local.clone(),
            partition: *partition,
            token: token.clone(),
            webhook: webhook.clone(),
            owner_hash: owner_hash.clone(),
        })
    }

    fn read_mailbox(&mut self, after: EntryId, count: usize, ctx: &mut Context<Self>) {
        let Some(reading) = self.reading() else { return };
        let work = async move {
            let Reading { local, partition, token, .. } = &reading;
            steps::read_mailbox(local, *partition, token, &reading.queue(), after, count).await
        };
        ctx.spawn(work.into_actor(self).map(|answer, actor, ctx| {
            let delivery = |queued: mailboxes::Queued| Delivery {
                entry: queued.entry,
                event: queued.event,
                attempt: 1,
                body: None,
            };
            let input = actor
                .input_of(answer, |queued| Input::MailboxRead(queued.into_iter().map(delivery).collect()));
            actor.step(input, ctx);
        }));
    }

    fn read_retries(&mut self, count: usize, ctx: &mut Context<Self>) {
        let Some(reading) = self.reading() else { return };
        let work = async move {
            let Reading { local, partition, token, .. } = &reading;
            steps::read_retries(local, *partition, token, &reading.queue(), count).await
        };
        ctx.spawn(work.into_actor(self).map(|answer, actor, ctx| {
            let delivery = |retry: mailboxes::Retry| {
                let mailboxes::Retry { due, entry, event, attempt } = retry;
                (due, Delivery { entry, event, attempt, body: None })
            };
            let input = actor
                .input_of(answer, |retries| Input::RetriesRead(retries.into_iter().map(delivery).collect()));
            actor.step(input, ctx);
        }));
    }

    fn input_of<T>(
        &self,
        answer: Result<T, store::Error>,
        input: impl FnOnce(T) -> Input<Body>,
    ) -> Input<Body> {
        match answer {
            Ok(found) => input(found),
            Err(error) => {
                facts::redis_failed(self.start.partition, "read a queue", &error);
                Input::ReadFailed
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
        let cursor = ready.webhook.is_active.then(|| ready.lane.cursor());
        self.rest(cursor, next, ctx);
    }

    fn rest(&mut self, cursor: Option<EntryId>, next: Option<Millis>, ctx: &mut Context<Self>) {
        let rested = Rested { webhook: self.start.id.clone(), cursor, next };
        ctx.spawn(self.start.owner.send(rested).into_actor(self).map(|_, _, _| ()));
    }

    fn attempted(&mut self, entry: EntryId, end: End, ctx: &mut Context<Self>) -> Option<Box<Outcome>> {
        self.attempts.remove(&entry);
        let (input, sent) = match end {
            End::Sent(event_type, result) => {
                let input = Input::Attempted { entry, result: result.clone(), jitter: rand::random() };
                (input, Some((event_type, result)))
            }
            End::Unsendable { for_good } => (Input::Unsendable { entry, for_good }, None),
        };
        let mut outcome = None;
        for effect in self.effects_of(input) {
            match (effect, &sent) {
                (Effect::Record(verdict), Some((event_type, result))) if verdict.entry == entry => {
                    outcome = self.outcome(verdict, event_type.clone(), result);
                }
                (effect, _) => self.perform(effect, ctx),
            }
        }
        self.settle();
        outcome
    }

    fn outcome(
        &self,
        verdict: Verdict,
        event_type: Arc<str>,
        result: &AttemptResult,
    ) -> Option<Box<Outcome>> {
        let ready = self.ready.as_ref()?;
        if let Some(reason) = verdict.disable {
            facts::disabled(&self.start.id, reason);
        }
        let (owner_hash, tenant_hash) = (ready.owner_hash.clone(), ready.tenant_hash.clone());
        let outcome =
            attempt::outcome(&ready.webhook, owner_hash, tenant_hash, event_type, verdict, Some(result));
        Some(Box::new(outcome))
    }
}

/// The record and until when the webhook rests; `None` when there is no such webhook or its record cannot be read.
async fn load(start: (Rc<Local>, Partition, WebhookId)) -> Option<(Webhook, Option<Millis>)> {
    let (local, partition, id) = start;
    let (text, paused) = steps::read_record(&local, partition, &id).await.ok()?;
    Some((record::decode(&id, &text?).ok()?, paused))
}

impl Actor for WebhookActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        const MAILBOX: usize = 64;
        ctx.set_mailbox_capacity(MAILBOX);
        facts::actor_started();
        let start = (self.start.local.clone(), self.start.partition, self.start.id.clone());
        ctx.wait(load(start).into_actor(self).map(|loaded, actor, ctx| actor.loaded(loaded, ctx)));
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        facts::actor_stopped();
        for attempt in self.attempts.values() {
            attempt.abort();
        }
    }
}

impl Handler<Delivered> for WebhookActor {
    type Result = ();

    fn handle(&mut self, Delivered { previous, deliveries }: Delivered, ctx: &mut Context<Self>) {
        self.step(Input::Delivered { previous, deliveries }, ctx);
    }
}

impl Handler<Attempted> for WebhookActor {
    type Result = Option<Box<Outcome>>;

    fn handle(
        &mut self,
        Attempted { entry, end }: Attempted,
        ctx: &mut Context<Self>,
    ) -> Option<Box<Outcome>> {
        self.attempted(entry, end, ctx)
    }
}

impl Handler<Recorded> for WebhookActor {
    type Result = ();

    fn handle(&mut self, Recorded { entry, recorded }: Recorded, ctx: &mut Context<Self>) {
        self.step(Input::Recorded { entry, recorded }, ctx);
    }
}

impl Handler<Changed> for WebhookActor {
    type Result = ();

    fn handle(&mut self, Changed { webhook, paused }: Changed, ctx: &mut Context<Self>) {
        let limits = self.limits_of(&webhook);
        if let Some(ready) = &mut self.ready {
            ready.webhook = webhook;
        }
        self.step(Input::Changed { limits, paused_until: paused.unwrap_or_default() }, ctx);
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
