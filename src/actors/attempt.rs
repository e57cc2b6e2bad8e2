//! One attempt from its start to its end: fetch the body, send, report. What follows is the lane's to decide, and the
//! recorder's to record.
//!
//! A task of its own for each attempt. If it is dropped on the way (the partition is lost, the node dies) the delivery
//! is still where it waited in Redis, and whoever owns the partition next makes the attempt again. An ordered webhook's
//! attempt is given up when another node may have taken the partition: two nodes must not be ahead of each other.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use futures_util::FutureExt;

use super::local::{Local, RidingBody, tell};
use super::webhook::{Attempted, WebhookActor};
use crate::clock;
use crate::cluster::tenure::Tenure;
use crate::delivery::{Endpoint, Turn};
use crate::domain::{
    AttemptResult, AttemptRow, ErrorKind, EventBody, Failure, Millis, TraceContext, Webhook,
};
use crate::policy::lane::{Delivery, Next, Verdict};
use crate::policy::shares::Key;
use crate::store::outcomes::{Disposition, Outcome, Source};
use crate::store::{attempts, keys, mailboxes};
use crate::telemetry::events::{self as facts, AttemptOf};
use crate::telemetry::traces::Open;

/// What an attempt needs.
pub struct Attempt {
    /// The things of the arbiter.
    pub local: Rc<Local>,
    /// The partition where the delivery is queued.
    pub tenure: Rc<Tenure>,
    /// The webhook as its record says, at any time.
    pub current: Rc<RefCell<Current>>,
    /// Names the tenant of the webhook among those that share the node.
    pub tenant: Key,
    /// Who decides what follows.
    pub actor: Addr<WebhookActor>,
    /// What to deliver.
    pub delivery: Delivery<Arc<RidingBody>>,
}

/// A webhook, and what its requests have in common; replaced together when its record changes.
#[derive(Clone, Debug)]
pub struct Current {
    /// As its record says.
    pub webhook: Arc<Webhook>,
    /// Made from its settings.
    pub endpoint: Rc<Endpoint>,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum End {
    /// A request was made.
    Sent(Box<Sent>),
    /// None could be made; `for_good` when the body is gone.
    Unsendable {
        /// Whether it can never be made.
        for_good: bool,
    },
}

/// A request, and what came of it.
#[derive(Debug)]
pub struct Sent {
    /// The webhook as it was when the request was made.
    pub webhook: Arc<Webhook>,
    /// The event's type.
    pub event_type: Arc<str>,
    /// The size of its body.
    pub event_size: usize,
    /// The result.
    pub result: AttemptResult,
}

/// Nothing was sent, and nothing is lost: the delivery waits on.
const NOT_NOW: End = End::Unsendable { for_good: false };

/// Makes the attempt; its webhook's actor decides what follows.
pub async fn run(attempt: Attempt) {
    let entry = attempt.delivery.entry;
    let end = make(&attempt).await;
    // There are never more than attempts in flight.
    tell(&attempt.actor, Attempted { entry, end });
}

async fn make(attempt: &Attempt) -> End {
    let Attempt { local, delivery, .. } = attempt;
    let _permit = local.permits.acquire(attempt.tenant).await;
    if !attempt.tenure.is_valid() {
        return NOT_NOW;
    }
    let fetched;
    let body = match &delivery.body {
        Some(riding) => riding.body(),
        None => match fetch(attempt).await {
            Ok(body) => {
                fetched = body;
                &fetched
            }
            Err(end) => return end,
        },
    };
    let turn = local.sender.turn(attempt.tenant).await;
    // What has changed while it waited holds for this attempt.
    let Current { webhook, endpoint } = attempt.current.borrow().clone();
    if !webhook.may_send() || !attempt.tenure.is_valid() {
        return NOT_NOW;
    }
    let sending = send(attempt, turn, &webhook, &endpoint, body);
    let result = if webhook.settings.ordered {
        tokio::select! {
            result = sending => result,
            () = attempt.tenure.run_out() => return NOT_NOW,
        }
    } else {
        sending.await
    };
    let (event_type, event_size) = (body.event_type.clone(), body.bytes.len());
    End::Sent(Box::new(Sent { webhook, event_type, event_size, result }))
}

async fn fetch(attempt: &Attempt) -> Result<EventBody, End> {
    let Attempt { local, tenure, delivery, .. } = attempt;
    let tenant = attempt.current.borrow().webhook.settings.tenant.clone();
    match mailboxes::body(&local.redis, &local.keys, tenure.partition, &tenant, &delivery.event).await {
        Ok(Some(body)) => Ok(body),
        Ok(None) => Err(End::Unsendable { for_good: true }),
        Err(error) => {
            facts::redis_failed(tenure.partition, "read a body", &error);
            Err(NOT_NOW)
        }
    }
}

async fn send(
    attempt: &Attempt,
    turn: Turn<'_>,
    webhook: &Webhook,
    endpoint: &Endpoint,
    body: &EventBody,
) -> AttemptResult {
    let Attempt { delivery, .. } = attempt;
    let of = AttemptOf { webhook, event: &delivery.event, number: delivery.attempt };
    let stored = Millis(delivery.entry.ms);
    let on_its_way = OnItsWay::new(of, (delivery.attempt == 1).then_some(stored), body.trace);
    let (at, trace) = (clock::now(), on_its_way.span.as_ref().map(Open::context));
    let sending = turn.attempt(endpoint, &delivery.event, body, delivery.attempt, at, trace);
    let result = AssertUnwindSafe(sending).catch_unwind().await.unwrap_or_else(|_| panicked(at));
    on_its_way.ended(&result);
    result
}

/// A fault of ours in making the request costs that attempt and nothing else.
fn panicked(at: Millis) -> AttemptResult {
    let message = "an internal error prevented the attempt".to_owned();
    AttemptResult {
        at,
        elapsed: Duration::ZERO,
        status: None,
        response_body: None,
        failure: Some(Failure { kind: ErrorKind::Cancelled, message }),
        retry_after: None,
    }
}

/// Counts an attempt as in flight while it lives. One that is dropped before its end, with its task, was given up.
struct OnItsWay<'a> {
    of: AttemptOf<'a>,
    span: Option<Open>,
    has_ended: bool,
}

impl<'a> OnItsWay<'a> {
    fn new(of: AttemptOf<'a>, first_of: Option<Millis>, parent: Option<TraceContext>) -> Self {
        facts::attempt_started(first_of);
        Self { of, span: Open::below(parent), has_ended: false }
    }

    fn ended(mut self, result: &AttemptResult) {
        self.has_ended = true;
        facts::attempted(&self.of, result, self.span);
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        facts::attempt_ended();
        if !self.has_ended {
            facts::attempt_given_up(&self.of, self.span);
        }
    }
}

/// What is recorded of a verdict; `result` is `None` when no request was made.
pub fn outcome(
    webhook: &Webhook,
    owner_hash: Arc<str>,
    tenant_hash: Arc<str>,
    event_type: Arc<str>,
    verdict: Verdict,
    result: Option<&AttemptResult>,
) -> Outcome {
    let disposition = match verdict.next {
        Next::Delivered => Disposition::Delivered,
        Next::Retry(due) => Disposition::Retry(due),
        Next::Dead | Next::Expired | Next::Bodiless => Disposition::Dead,
    };
    let row = row(webhook, &event_type, &verdict, result);
    let response_body = result.and_then(|result| result.response_body.clone());
    Outcome {
        webhook: webhook.id.clone(),
        tenant: webhook.settings.tenant.clone(),
        owner_hash,
        tenant_hash,
        entry: verdict.entry,
        source: if verdict.was_retry { Source::Retries } else { Source::Mailbox },
        event_hash: keys::event_hash(&webhook.settings.tenant, &verdict.event),
        event: verdict.event,
        event_type,
        event_size: None,
        attempt: verdict.attempt,
        disposition,
        error_kind: row.error_kind,
        row: attempts::encode(row, response_body),
        elapsed: result.map(|result| result.elapsed),
        paused_until: verdict.paused_until,
        signal: verdict.signal,
        change: verdict.change,
        disable: verdict.disable,
    }
}

/// Why a delivery ended without a request.
fn unsent(next: Next) -> &'static str {
    match next {
        Next::Bodiless => "its event is not stored any more",
        _ => "it waited too long to be delivered",
    }
}

fn row(webhook: &Webhook, event_type: &str, verdict: &Verdict, result: Option<&AttemptResult>) -> AttemptRow {
    let failure = match result {
        Some(result) => result.failure.clone(),
        None => Some(Failure { kind: ErrorKind::Expired, message: unsent(verdict.next).to_owned() }),
    };
    AttemptRow {
        id: None,
        event_id: verdict.event.clone(),
        event_type: event_type.to_owned(),
        url: webhook.settings.url.clone(),
        at: result.map_or_else(clock::now, |result| result.at),
        attempt: verdict.attempt,
        elapsed_ms: result.map_or(0, |result| u32::try_from(result.elapsed.as_millis()).unwrap_or(u32::MAX)),
        status: result.and_then(|result| result.status),
        error_kind: failure.as_ref().map(|failure| failure.kind),
        error_message: failure.map(|failure| failure.message),
        next_retry_at: verdict.retries_at(),
        response_body: None,
        body_beside: false,
        custom_headers: webhook.settings.headers.keys().cloned().collect(),
        is_test: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of<F: Future>(_: impl FnOnce(Attempt) -> F) -> usize {
        std::mem::size_of::<F>()
    }

    #[test]
    fn an_attempt_that_waits_for_its_turn_is_small() {
        let size = size_of(run);
        assert!(size <= 3072, "{size} bytes");
    }
}
