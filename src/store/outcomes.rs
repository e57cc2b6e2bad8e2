//! Recording what came of attempts: the one script after which a delivery is delivered, dead or due again.
//!
//! Each item is recorded at most once, whoever repeats it: taking the delivery out of the place where it waited is the
//! test, in the same step as everything that follows from it.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Value;

use super::meter::Called;
use super::script::{Answers, Call, Script, Section};
use super::{Error, Keys, Redis, stats};
use crate::domain::{DisabledReason, EntryId, ErrorKind, EventId, Millis, Receipt, Tenant, WebhookId};
use crate::policy::breaker::{Change, Signal};

static OUTCOME: LazyLock<Script> =
    LazyLock::new(|| Script::in_sections(Called::Outcome, include_str!("scripts/outcome.lua")));

/// Where a delivery waited when its attempt started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the mailbox: it was the first attempt.
    Mailbox,
    /// In the retry set.
    Retries,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The endpoint took it.
    Delivered,
    /// It is tried again then.
    Retry(Millis),
    /// It has failed for good.
    Dead,
}

/// One attempt's outcome, ready to be recorded.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which webhook.
    pub webhook: WebhookId,
    /// Its tenant, for the log.
    pub tenant: Tenant,
    /// The hash of its owner.
    pub owner_hash: Arc<str>,
    /// The hash of its tenant.
    pub tenant_hash: Arc<str>,
    /// Names the delivery.
    pub entry: EntryId,
    /// Where it waited.
    pub source: Source,
    /// What was delivered.
    pub event: EventId,
    /// Its hash.
    pub event_hash: String,
    /// Its type.
    pub event_type: Arc<str>,
    /// The size of its body, in bytes; `None` where the body is not at hand.
    pub event_size: Option<usize>,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// Why the attempt failed; `None` is success.
    pub error_kind: Option<ErrorKind>,
    /// What follows.
    pub disposition: Disposition,
    /// The log row as stored, and the answer's body where it lies beside the row.
    pub row: (String, Option<String>),
    /// How long the request took; `None` when none was made.
    pub elapsed: Option<Duration>,
    /// The endpoint asked to be left alone until then.
    pub paused_until: Option<Millis>,
    /// What it tells of the endpoint.
    pub signal: Signal,
    /// What it changed of the breaker.
    pub change: Option<Change>,
    /// The webhook is switched off.
    pub disable: Option<DisabledReason>,
}

impl Outcome {
    /// Whether it is that of a delivery that arrived at its first attempt, and changes nothing but counts.
    pub fn is_plain(&self) -> bool {
        let arrived = self.disposition == Disposition::Delivered && self.signal == Signal::Succeeded;
        let first = self.source == Source::Mailbox && self.attempt == 1;
        let changes = self.paused_until.is_some() || self.change.is_some() || self.disable.is_some();
        arrived && first && self.row.1.is_none() && !changes
    }
}

/// Lifetimes and bounds that the outcome script applies.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeLimits {
    /// `log.max_attempts`
    pub log_max: u64,
    /// How many dead deliveries a webhook keeps.
    pub dead_max: u64,
    /// How long the record of an ended event lives.
    pub closed: Duration,
    /// The same for an event with a dead delivery.
    pub dead: Duration,
}

/// What came of a batch of outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Of each item.
    pub receipts: Vec<Receipt>,
    /// How much was set aside, because what lies in Redis is not what we write.
    pub set_aside: u64,
}

/// Records batches, one of each partition, in one step each. What is broken of one webhook costs that part of its record
/// alone. On a Redis Cluster one batch at a time.
///
/// # Errors
/// Those of the call are of all batches, the others of one: [`Error::Fenced`] when its lease has another token. After
/// [`Error::Unanswered`] repeat the same batches.
pub async fn record(
    redis: &Redis,
    keys: &Keys,
    now: Millis,
    limits: &OutcomeLimits,
    sections: &[Section<'_, [&Outcome]>],
) -> Result<Vec<Result<Recorded, Error>>, Error> {
    let Some(first) = sections.first() else { return Ok(Vec::new()) };
    let route = keys.key(first.partition, "lease");
    let mut call = OUTCOME.on(&route);
    call.arg(keys.of(first.partition)).arg(now.0).arg(limits.log_max).arg(limits.dead_max);
    call.arg(limits.closed.as_secs()).arg(limits.dead.as_secs());
    let orders: Vec<Vec<usize>> = sections.iter().map(|section| by_webhook(section.items)).collect();
    for (section, order) in sections.iter().zip(&orders) {
        call.arg(keys.of(section.partition)).arg(section.token);
        add_outcomes(&mut call, section.items, order);
        call.end_section();
    }
    let answers = call.run_sections(redis).await?;
    let read = |(answers, order): (Result<Answers, Error>, &Vec<usize>)| Ok(recorded(&answers?, order));
    Ok(answers.into_iter().zip(&orders).map(read).collect())
}

fn recorded(Answers { items, set_aside }: &Answers, order: &[usize]) -> Recorded {
    let mut receipts = vec![Receipt::Gone; order.len()];
    for (at, answer) in order.iter().zip(items) {
        receipts[*at] = receipt(answer);
    }
    Recorded { receipts, set_aside: *set_aside }
}

/// What the scripts answer of an outcome; 3 is for who writes without a script ([`super::arrivals`]).
pub(super) fn receipt(answer: &Value) -> Receipt {
    match answer {
        Value::Int(1 | 3) => Receipt::Recorded,
        Value::Int(2) => Receipt::NoWebhook,
        _ => Receipt::Gone,
    }
}

/// The outcomes of a section by webhook: what they share is sent once. Every argument costs Redis a microsecond all in
/// all, and there are tens of thousands of outcomes a second.
fn add_outcomes(call: &mut Call<'_>, outcomes: &[&Outcome], order: &[usize]) {
    for of_webhook in order.chunk_by(|one, other| outcomes[*one].webhook == outcomes[*other].webhook) {
        let first = outcomes[of_webhook[0]];
        call.arg(first.webhook.as_str())
            .arg(&*first.owner_hash)
            .arg(&*first.tenant_hash)
            .arg(of_webhook.len());
        for at in of_webhook {
            add_outcome(call, outcomes[*at]);
        }
    }
}

/// The places of outcomes in the order in which they are sent: by webhook, those of one as they came.
fn by_webhook(outcomes: &[&Outcome]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..outcomes.len()).collect();
    order.sort_by(|one, other| outcomes[*one].webhook.as_str().cmp(outcomes[*other].webhook.as_str()));
    order
}

fn add_outcome(call: &mut Call<'_>, outcome: &Outcome) {
    let further = if outcome.is_plain() { Vec::new() } else { further(outcome) };
    call.arg(match (outcome.disposition, further.is_empty()) {
        (Disposition::Delivered, true) => "delivered",
        (Disposition::Delivered, false) => "delivered+",
        (Disposition::Retry(_), _) => "retry+",
        (Disposition::Dead, _) => "dead+",
    });
    call.arg(outcome.entry.to_string())
        .arg(&outcome.event_hash)
        .arg(&*outcome.event_type)
        .arg(&outcome.row.0);
    add_elapsed(call, outcome);
    match outcome.event_size {
        Some(bytes) => call.arg(bytes),
        None => call.arg(""),
    };
    if further.is_empty() {
        return;
    }
    call.arg(further.len());
    for (name, value) in &further {
        call.arg(name).arg(&**value);
    }
}

/// A plain outcome, as the dispatch script takes it.
pub(super) fn add_arrival(call: &mut Call<'_>, outcome: &Outcome) {
    call.arg(outcome.webhook.as_str()).arg(&*outcome.owner_hash).arg(&outcome.row.0);
    add_elapsed(call, outcome);
}

fn add_elapsed(call: &mut Call<'_>, outcome: &Outcome) {
    match millis_of(outcome) {
        Some(ms) => call.arg(ms).arg(stats::bucket_of(ms)),
        None => call.arg(0).arg(""),
    };
}

/// How long its request took, in ms, if one was made.
pub(super) fn millis_of(outcome: &Outcome) -> Option<u32> {
    outcome.elapsed.map(|elapsed| u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX))
}

/// The member of the retry set for an attempt of the delivery.
fn member(outcome: &Outcome, attempt: u32) -> String {
    super::mailboxes::Retry::member(outcome.entry, attempt, &outcome.event)
}

/// What an outcome has besides what each has; nothing for a delivery that arrived at its first attempt, as most do.
fn further(outcome: &Outcome) -> Vec<(&'static str, Cow<'_, str>)> {
    let mut further = Vec::new();
    if outcome.source == Source::Retries {
        further.push(("from", Cow::from(member(outcome, outcome.attempt))));
    }
    if outcome.attempt != 1 {
        further.push(("attempt", Cow::from(outcome.attempt.to_string())));
    }
    match outcome.signal {
        Signal::Succeeded => {}
        Signal::Failed => further.push(("signal", Cow::from("bad"))),
        Signal::Nothing => further.push(("signal", Cow::from(""))),
    }
    if outcome.disposition != Disposition::Delivered {
        further.push(("id", Cow::from(outcome.event.as_str())));
    }
    if let Disposition::Retry(due) = outcome.disposition {
        further.push(("due", Cow::from(due.0.to_string())));
        further.push(("member", Cow::from(member(outcome, outcome.attempt + 1))));
    }
    further.extend(outcome.row.1.as_deref().map(|body| ("answer", Cow::from(body))));
    further.extend(outcome.paused_until.map(|until| ("paused", Cow::from(until.0.to_string()))));
    further.extend(outcome.disable.map(|reason| ("disable", Cow::from(reason.code()))));
    let (pauses, ends) = match outcome.change {
        Some(Change::Opened { pauses, until }) => (pauses, until.0),
        Some(Change::Closed) => (0, 0),
        None => return further,
    };
    further.push(("pauses", Cow::from(pauses.to_string())));
    further.push(("pause_ends", Cow::from(ends.to_string())));
    further
}
