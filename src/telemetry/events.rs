//! Each noteworthy fact is one function here, which writes the log line, the metric and the span.
//!
//! Texts are constant; values are fields. No body, secret, signature or full URL is ever a field.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus::IntCounter;

use crate::clock;
use crate::domain::{
    AttemptResult, DisabledReason, ErrorKind, EventId, Millis, NodeId, Partition, SkipReason, TraceId,
    Webhook, WebhookId,
};
use crate::policy::breaker::Change;
use crate::policy::lease::Renewal;
use crate::policy::pauses::Counts;
use crate::store::leases::Renewed;
use crate::store::outcomes::{Disposition, Outcome};
use crate::store::{self, publications::Published};

use super::metrics::{METRICS, Route};
use super::partitions::{self, Queued};
use super::quiet::QUIET;
use super::traces::{self, Open};

mod changes;
mod keys;

pub use changes::{Action, Change as Changed, Ending, changed};
pub use keys::{
    any_audience, authentication_failed, key_not_noted, keys_awaited, keys_not_read, keys_read,
    secrets_are_stored, webhook_read, webhook_waits_for_its_key, webhook_waits_no_more,
};

/// The node answers requests.
pub fn listening(api: std::net::SocketAddr, management: std::net::SocketAddr) {
    tracing::info!(%api, %management, "listening");
}

/// A request to the API and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Its method.
    pub method: &'a str,
    /// The route that took it, or what stands for none.
    pub route: &'static Route,
    /// The status of the answer.
    pub status: u16,
    /// How long it took.
    pub elapsed: Duration,
    /// Names it in the answer.
    pub request_id: &'a str,
    /// The event that it published or sent.
    pub event: Option<&'a EventId>,
    /// What failed inside.
    pub cause: Option<&'a str>,
}

/// A request to the API has been answered. These lines have a target of their own, so that they can be switched off by
/// themselves.
pub fn answered(answered: &Answered<'_>, span: Option<Open>) {
    let Answered { method, route, status, elapsed, request_id, event, cause } = *answered;
    route.count(status, elapsed);
    let (route, elapsed_ms) = (route.pattern, elapsed.as_millis() as u64);
    let (event, trace_id) = (event.map(tracing::field::display), trace_id(span.as_ref()));
    match cause {
        None => tracing::info!(
            target: "salesos_webhooks::requests",
            method, route, status, elapsed_ms, request_id, event, trace_id, "request"
        ),
        Some(cause) => tracing::warn!(
            target: "salesos_webhooks::requests",
            method, route, status, elapsed_ms, request_id, event, trace_id, cause, "request failed"
        ),
    }
    if let Some(span) = span {
        traces::ended_request(span, answered);
    }
}

/// A publication has been stored or refused, or (an error) Redis did not say.
pub fn published(result: Result<&Published, &store::Error>) {
    let label = match result {
        Ok(Published::New) => "new",
        Ok(Published::Duplicate(..)) => "duplicate",
        Ok(Published::Conflict) => "conflict",
        Ok(Published::PartitionFull | Published::PartlyStored) => "full",
        Ok(Published::TenantFull) => "tenant_full",
        Err(_) => "unavailable",
    };
    METRICS.events_published.with_label_values(&[label]).inc();
}

/// A publication was refused for what it says.
pub fn publication_invalid() {
    METRICS.events_published.with_label_values(&["invalid"]).inc();
}

/// A batch of events has been put into mailboxes; `matched` of them matched any webhook.
pub fn dispatched(events: usize, matched: usize, deliveries: usize) {
    METRICS.events_dispatched.inc_by(events as u64);
    METRICS.events_matched.inc_by(matched as u64);
    METRICS.deliveries_enqueued.inc_by(deliveries as u64);
}

/// An event was not queued for these webhooks although they subscribe to it.
pub fn skipped(reasons: impl Iterator<Item = SkipReason>) {
    for reason in reasons {
        METRICS.deliveries_skipped.with_label_values(&[reason.as_str()]).inc();
    }
}

/// An attempt is on its way; if it is a delivery's first, of an entry that was stored then.
pub fn attempt_started(first_of: Option<Millis>) {
    METRICS.attempts_in_flight.inc();
    if let Some(stored) = first_of {
        METRICS.publish_to_first_attempt.observe(clock::now().since(stored).as_secs_f64());
    }
}

/// An attempt has ended, or was given up.
pub fn attempt_ended() {
    METRICS.attempts_in_flight.dec();
}

/// Names one attempt: a delivery is an event at a webhook.
#[derive(Clone, Copy, Debug)]
pub struct AttemptOf<'a> {
    /// Where to.
    pub webhook: &'a Webhook,
    /// What.
    pub event: &'a EventId,
    /// Counts from 1.
    pub number: u32,
}

/// An attempt of a delivery has come to a result.
pub fn attempted(of: &AttemptOf<'_>, result: &AttemptResult, span: Option<Open>) {
    METRICS.attempt_duration.observe(result.elapsed.as_secs_f64());
    tested(of, result, span);
}

/// The attempt of a test has come to a result. Tests are not counted.
pub fn tested(of: &AttemptOf<'_>, result: &AttemptResult, span: Option<Open>) {
    let outcome = result.failure.as_ref().map_or("success", |failure| failure.kind.as_str());
    tracing::debug!(
        event = %of.event,
        webhook = %of.webhook.id,
        attempt = of.number,
        outcome,
        status = result.status,
        elapsed_ms = result.elapsed.as_millis() as u64,
        trace_id = trace_id(span.as_ref()),
        "attempted"
    );
    if let Some(span) = span {
        traces::ended_attempt(span, of, Some(result));
    }
}

/// An attempt was given up on its way: its partition or its webhook's actor is gone.
pub fn attempt_given_up(of: &AttemptOf<'_>, span: Option<Open>) {
    tracing::debug!(
        event = %of.event,
        webhook = %of.webhook.id,
        attempt = of.number,
        trace_id = trace_id(span.as_ref()),
        "attempt given up"
    );
    if let Some(span) = span {
        traces::ended_attempt(span, of, None);
    }
}

fn trace_id(span: Option<&Open>) -> Option<tracing::field::DisplayValue<TraceId>> {
    span.map(|span| tracing::field::display(span.context().trace))
}

/// An event has been put into mailboxes of a partition.
pub fn event_dispatched(event: &EventId, partition: Partition, deliveries: usize, span: Option<Open>) {
    tracing::debug!(%event, %partition, deliveries, trace_id = trace_id(span.as_ref()), "event dispatched");
    if let Some(span) = span {
        traces::ended_dispatch(span, event, partition, deliveries);
    }
}

/// The collector took spans.
pub fn spans_exported(spans: u64) {
    METRICS.trace_spans_exported.inc_by(spans);
}

/// Spans are lost: the collector did not take them.
pub fn spans_dropped(spans: u64) {
    METRICS.trace_spans_dropped.inc_by(spans);
}

/// The collector takes nothing; so many spans are lost since this was last told.
pub fn collector_refuses(dropped: u64, error: &dyn std::error::Error, cause: &str) {
    tracing::warn!(error = %error, cause, dropped, "traces are not taken");
}

/// The collector takes spans again.
pub fn collector_takes_again() {
    tracing::info!("traces are taken again");
}

/// An operator changes the log's level; tells whether the level that holds let that pass.
pub fn log_level_changed(old: &str, new: &str) -> bool {
    tracing::warn!(old, new, "log level changed");
    tracing::enabled!(tracing::Level::WARN)
}

// The two that nearly every attempt counts, looked up once.
static SUCCEEDED: LazyLock<IntCounter> = LazyLock::new(|| METRICS.attempts.with_label_values(&["success"]));
static DELIVERED: LazyLock<IntCounter> =
    LazyLock::new(|| METRICS.deliveries_ended.with_label_values(&["delivered"]));

/// An outcome has been recorded, once.
pub fn recorded(outcome: &Outcome) {
    match outcome.error_kind {
        None => SUCCEEDED.inc(),
        Some(kind) => METRICS.attempts.with_label_values(&[kind.as_str()]).inc(),
    }
    match outcome.disposition {
        Disposition::Delivered => DELIVERED.inc(),
        Disposition::Retry(_) => METRICS.retries_scheduled.inc(),
        Disposition::Dead => {
            METRICS.deliveries_ended.with_label_values(&["dead"]).inc();
            tracing::info!(
                event = %outcome.event,
                webhook = %outcome.webhook,
                attempt = outcome.attempt,
                kind = outcome.error_kind.map(ErrorKind::as_str),
                "delivery failed for good"
            );
        }
    }
    match outcome.change {
        Some(Change::Opened { pauses, until }) => breaker_opened(&outcome.webhook, pauses, until),
        Some(Change::Closed) => breaker_closed(&outcome.webhook),
        None => {}
    }
    if let Some(reason) = outcome.disable {
        disabled(outcome, reason);
    }
}

/// An attempt ended for a webhook that was deleted meanwhile: nothing is recorded of it, and no more is sent.
pub fn webhook_is_gone(outcome: &Outcome) {
    let Outcome { event, webhook, attempt, .. } = outcome;
    tracing::info!(%event, %webhook, attempt, "an attempt was for a deleted webhook");
}

/// A delivery ended at dispatch because the queue of its webhook was full.
pub fn overflowed(event: &EventId, webhook: &WebhookId) {
    METRICS.attempts.with_label_values(&[ErrorKind::Overflow.as_str()]).inc();
    METRICS.deliveries_ended.with_label_values(&["dead"]).inc();
    // Each has a row in the log of its webhook.
    if let Some(times) = QUIET.let_through("overflow", clock::monotonic()) {
        tracing::warn!(%event, %webhook, times, "the queue of a webhook is full");
    }
}

/// The service switched a webhook off.
fn disabled(Outcome { webhook, tenant, .. }: &Outcome, reason: DisabledReason) {
    METRICS.webhooks_disabled.with_label_values(&[reason.code()]).inc();
    tracing::warn!(%webhook, reason = reason.code(), "webhook disabled");
    let tenant = tenant.to_string();
    let change = Changed { tenant: Some(&tenant), webhook: Some(webhook), ..Changed::default() };
    changed(Action::DisableWebhook, Ending::Done, &change);
}

/// The breaker of a webhook opened, or its probe failed.
pub fn breaker_opened(webhook: &WebhookId, pauses: u32, until: Millis) {
    if pauses == 1 {
        tracing::warn!(%webhook, %until, "breaker opened: a webhook keeps failing and is left alone for a while");
    } else {
        tracing::info!(%webhook, %until, pauses, "breaker stays open: the probe of a webhook failed");
    }
}

/// A webhook whose breaker is open is tried with one attempt.
pub fn breaker_probes(webhook: &WebhookId) {
    tracing::info!(%webhook, "breaker probes: one attempt shows whether a webhook is back");
}

/// The probe of a webhook succeeded.
pub fn breaker_closed(webhook: &WebhookId) {
    tracing::info!(%webhook, "breaker closed: a webhook is back");
}

/// The webhooks of a partition by the state of their breakers.
pub fn breakers(partition: Partition, counts: Counts) {
    partitions::breakers(partition, counts);
}

/// Partitions that this node wants are held by another, which may be dead.
pub fn leases_awaited(partitions: usize, term: Duration) {
    tracing::info!(
        partitions,
        seconds = term.as_secs(),
        "waiting for partitions of another node, or of one that was killed: they are taken when its leases have stood \
         still for that long"
    );
}

/// The private Redis ended by itself and was started again.
pub fn private_redis_restarted() {
    tracing::error!("the private redis-server has ended and is started again");
}

/// This node is part of the cluster.
pub fn joined(node: &NodeId, order: u64) {
    tracing::info!(%node, order, "joined the cluster");
}

/// Nodes came or went, as this one sees it.
pub fn nodes_changed(before: &BTreeSet<NodeId>, now: &BTreeSet<NodeId>) {
    let names = |nodes: std::collections::btree_set::Difference<'_, NodeId>| {
        nodes.map(NodeId::as_str).collect::<Vec<_>>().join(",")
    };
    let (came, went) = (names(now.difference(before)), names(before.difference(now)));
    tracing::info!(nodes = now.len(), came, went, "nodes of the cluster changed");
}

/// An operator wants this node to own nothing, or to own its share again.
pub fn asked_to_drain(drain: bool) {
    tracing::info!(drain, "an operator changed whether this node owns partitions");
    let action = if drain { Action::DrainNode } else { Action::UndrainNode };
    changed(action, Ending::Done, &Changed::default());
}

/// Redis answers and holds nothing of this installation: all webhooks and events are gone.
pub fn redis_is_empty() {
    METRICS.redis_emptied.inc();
    tracing::error!(
        "redis holds no data of this installation any more: it was emptied, or lost its file. All webhooks, events and \
         logs are gone; the cluster goes on from nothing"
    );
}

/// What Redis lacks, which lacked `before` when it was last looked at.
pub fn redis_checked(before: &[String], faults: &[String]) {
    METRICS.redis_unfit.set(i64::from(!faults.is_empty()));
    if faults == before {
        return;
    }
    if faults.is_empty() {
        tracing::info!("redis is fit for use again");
    } else {
        tracing::error!(
            faults = faults.join("; "),
            "redis is not fit for use any more: what it was given may be lost. This node goes on, and would refuse to start"
        );
    }
}

/// Redis uses so much of its memory; room was scarce `before`, or is `now`.
pub fn memory_looked_at(memory: store::connection::Memory, before: bool, now: bool) {
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    METRICS.redis_memory_scarce.set(i64::from(now));
    METRICS.redis_memory_used.set(bytes(memory.used));
    METRICS.redis_memory_limit.set(bytes(memory.limit));
    let percent = (memory.share() * 100.0).round();
    match (before, now) {
        (false, true) => tracing::warn!(
            percent,
            "redis is nearly full: the bodies of events that have ended are let go at once, to make room for new ones"
        ),
        (true, false) => tracing::info!(percent, "redis has room again"),
        _ => {}
    }
}

/// Redis may have lost or regained something: what was read from it is read again.
pub fn partitions_retaken(partitions: usize) {
    METRICS.partitions_retaken.inc_by(partitions as u64);
    if partitions > 0 {
        tracing::info!(partitions, "partitions taken anew after a disturbance of redis");
    }
}

/// A renewal of a lease that is ours told what the partition holds.
pub fn queued(partition: Partition, renewed: &Renewed) {
    if renewed.renewal == Renewal::Ours {
        let queued = Queued {
            pending: renewed.pending,
            undispatched: renewed.undispatched,
            oldest_undispatched: renewed.oldest.map(|oldest| Millis(oldest.ms)),
        };
        partitions::queued(partition, queued);
    }
}

/// A partition is ours.
pub fn partition_taken(partition: Partition, waited: Duration) {
    METRICS.partitions_owned.inc();
    METRICS.takeover_duration.observe(waited.as_secs_f64());
    tracing::debug!(%partition, waited_ms = waited.as_millis() as u64, "partition taken");
}

/// A partition was given back.
pub fn partition_released(partition: Partition) {
    partitions::gone(partition);
    METRICS.partitions_owned.dec();
    tracing::debug!(%partition, "partition released");
}

/// A partition is no longer ours, and not because we gave it back.
pub fn partition_lost(partition: Partition) {
    partitions::gone(partition);
    METRICS.partitions_owned.dec();
    METRICS.leases_lost.inc();
    // It showed in the refusal of a renewal, or of a taking anew.
    METRICS.calls_fenced.inc();
    tracing::warn!(%partition, "partition lost");
}

/// A script refused to run because the lease is not ours.
pub fn fenced(partition: Partition) {
    METRICS.calls_fenced.inc();
    tracing::warn!(%partition, "call fenced off");
}

/// A Redis call of the delivery path failed; it is repeated. While Redis is away every partition meets that again and
/// again: the log tells of each step now and then, with how often it failed since.
pub fn redis_failed(partition: Partition, step: &'static str, error: &store::Error) {
    METRICS.redis_errors.inc();
    let Some(times) = QUIET.let_through(step, clock::monotonic()) else { return };
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(%partition, step, %error, cause, times, "redis call failed");
}

/// What the nodes tell of themselves could not be read: whoever asked gets the rest.
pub fn cluster_figures_missing(error: &store::Error) {
    if let Some(times) = QUIET.let_through("cluster figures", clock::monotonic()) {
        tracing::warn!(%error, times, "the cluster's figures could not be read");
    }
}

/// A call that keeps leases failed; it is made again. Told now and then, as [`redis_failed`] is.
pub fn leases_failed(step: &'static str, error: &store::Error) {
    METRICS.redis_errors.inc();
    if let Some(times) = QUIET.let_through(step, clock::monotonic()) {
        tracing::warn!(step, %error, times, "keeping leases failed");
    }
}

/// Deliveries go through a proxy, which looks names up by itself. Told once, at the start; the proxy is not named.
pub fn deliveries_go_through_a_proxy() {
    tracing::warn!(
        "deliveries go through a proxy, which resolves names again: it must refuse private addresses itself"
    );
}

/// A file that says how names are looked up is missing or wrong. The node works without it: names do not resolve.
pub fn names_do_not_resolve(file: &'static str, error: &dyn std::error::Error) {
    tracing::warn!(file, %error, "names may not resolve: a file of the system cannot be read");
}

/// So many entries could not be read and were set aside.
pub fn quarantined(partition: Partition, entries: u64) {
    if entries > 0 {
        METRICS.entries_quarantined.inc_by(entries);
        tracing::error!(%partition, entries, "unreadable entries set aside");
    }
}

/// A webhook's stored record cannot be read: nothing is sent to it.
pub fn unreadable_record(webhook: &str) {
    tracing::error!(webhook, "unreadable webhook record");
}

/// A webhook actor started.
pub fn actor_started() {
    METRICS.actors_active.inc();
}

/// A webhook actor stopped.
pub fn actor_stopped() {
    METRICS.actors_active.dec();
}

/// An actor died of a panic and is rebuilt from Redis.
pub fn actor_restarted(partition: Partition, what: &'static str) {
    METRICS.actors_restarted.inc();
    tracing::error!(%partition, what, "actor rebuilt after a panic");
}
