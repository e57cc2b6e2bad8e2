//! `POST /api/webhooks/{id}/test`: one attempt, at once, from this node, outside of the lane, with a sample or with `data` that the
//! caller gives. What is given is written as a publication is, and within its limit.
//!
//! It runs in a task of its own: a client that goes away neither takes the row with it nor leaves the webhook locked.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::web::{Data, Json};
use actix_web::{FromRequest, HttpRequest};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::access::{Id, Purpose, find};
use super::audit::Trail;
use super::auth::Writer;
use super::body::read_if_any;
use super::fields::{Fields, quoted};
use super::publish::{max_event_bytes, read_data};
use super::request::{concerns, trace_of};
use super::{App, Error};
use crate::clock;
use crate::delivery::request::NAMES;
use crate::domain::{AttemptResult, AttemptRow, ErrorKind, EventBody, EventId, EventType, Millis, Webhook};
use crate::policy::json;
use crate::policy::shares::Key;
use crate::store;
use crate::store::attempts::encode;
use crate::store::trial::{Ended, Trial};
use crate::telemetry::events::{self as facts, AttemptOf};
use crate::telemetry::traces::Open;

/// The event of a test that names no other; nothing can subscribe to it.
pub const TEST: &str = "test";
/// The longest name of an event type that is looked for.
const LONGEST_TYPE: usize = 255;
/// Time for the record of a test, beyond its attempt.
const MARGIN: Duration = Duration::from_secs(5);
/// How often the record is tried.
const TRIES: u32 = 3;
/// Between the tries.
const BETWEEN: Duration = Duration::from_millis(500);

/// What a test came to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TestReport)]
pub struct Report {
    /// Whether the endpoint answered 2xx in time.
    pub success: bool,
    /// The same, for people.
    pub message: String,
    /// The type of the event that was sent.
    pub event: String,
    /// The event that was sent.
    pub event_id: EventId,
    /// The status of the answer, if one came.
    pub status_code: Option<u16>,
    /// How long it took, in milliseconds.
    pub response_time_ms: u32,
    /// The beginning of the answer's body, as text.
    pub response_body: Option<String>,
    /// What went wrong, if something did.
    pub error: Option<String>,
    /// The kind of that, for who explains it; the log tells it to others.
    #[serde(skip)]
    pub error_kind: Option<ErrorKind>,
}

/// An event made for a test.
struct Sample {
    id: EventId,
    body: EventBody,
}

/// A body of at most `api.max_event_bytes`, if there is any.
#[derive(Debug)]
pub struct TestBytes(Option<Bytes>);

impl FromRequest for TestBytes {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = read_if_any(request, payload, max_event_bytes(request));
        Box::pin(async { reading.await.map(Self) })
    }
}

/// The handler. Inactive webhooks too; the body may name an event type, whose sample is sent then, and hold the data to send.
pub async fn run(
    app: Data<App>,
    caller: Writer,
    trail: Trail,
    id: Id,
    request: HttpRequest,
    body: TestBytes,
) -> Result<Json<Report>, Error> {
    let webhook = find(&app, &caller, &id.0, Purpose::Change).await?;
    let fields = body.0.as_deref().map_or_else(|| Ok(Fields::empty()), Fields::parse)?;
    tested(&app, &webhook, &request, &trail, fields).await.map(Json)
}

/// Makes one attempt with the data or the sample that `fields` ask for; `request` tells the trace. An attempt that fails is a
/// report too. The caller has found `webhook` for a change.
///
/// # Errors
/// [`Error::Invalid`] with every fault, 409 while another test of the webhook runs or its secret cannot be decrypted, or
/// the store's.
pub async fn tested(
    app: &App,
    webhook: &Webhook,
    request: &HttpRequest,
    trail: &Trail,
    fields: Fields<'_>,
) -> Result<Report, Error> {
    let mut sample = read_sample(app, webhook, fields)?;
    if webhook.locked.is_some() {
        return Err(store::Error::Locked(webhook.id.clone()).into());
    }
    sample.body.trace = trace_of(request);
    concerns(request, &sample.id);
    let (app, webhook, told) = (app.clone(), webhook.clone(), trail.clone());
    let task = actix_web::rt::spawn(async move { attempt(&app, &webhook, sample, &told).await });
    let ended = async { task.await.map_err(|_| Error::Internal("a test did not end".into(), None))? };
    trail.follow(ended).await
}

fn read_sample(app: &App, webhook: &Webhook, mut fields: Fields<'_>) -> Result<Sample, Error> {
    let (wanted, known) = read_type(app, &mut fields);
    let given = fields.has("data").then(|| read_data(&mut fields)).flatten();
    let is_given = given.is_some();
    let data = given.unwrap_or_else(|| sample_of(known, webhook));
    let sample = Sample::new(&wanted, &data, webhook, clock::now());
    let (length, limit) = (sample.body.bytes.len(), app.config.api.max_event_bytes);
    if is_given && length > limit {
        fields.fault(format!("data makes an event of {length} bytes, at most {limit} are allowed"));
    }
    fields.finish().map(|()| sample)
}

/// The field `event`, and what the catalogue has of it.
fn read_type<'a>(app: &'a App, fields: &mut Fields<'_>) -> (String, Option<&'a EventType>) {
    let wanted = fields.string("event", 1..=LONGEST_TYPE).unwrap_or_else(|| TEST.to_owned());
    let known = app.config.catalogue.get(&wanted);
    if known.is_none() && wanted != TEST {
        let hint = app.config.catalogue.closest(&wanted).map(|name| format!(", did you mean \"{name}\"?"));
        fields.fault(format!(
            "event: unknown event type \"{}\"{}",
            quoted(&wanted),
            hint.unwrap_or_default()
        ));
    }
    (wanted, known)
}

/// The compact data that a test of that type sends when none is given; `None` for a type that there is not.
pub fn sample(app: &App, webhook: &Webhook, event: &str) -> Option<String> {
    let known = app.config.catalogue.get(event);
    (known.is_some() || event == TEST).then(|| sample_of(known, webhook))
}

/// The names of the headers that requests of a webhook have: its own, then the service's.
pub fn header_names(webhook: &Webhook) -> Vec<&str> {
    let is_ours = |name: &&str| NAMES.iter().any(|ours| name.eq_ignore_ascii_case(ours));
    let own = webhook.settings.headers.keys().map(String::as_str).filter(|name| !is_ours(name));
    own.chain(NAMES).collect()
}

/// The compact data of a test for which none is given.
fn sample_of(known: Option<&EventType>, webhook: &Webhook) -> String {
    let data = match known {
        Some(known) => known.sample.to_string(),
        None => json!({"message": "This is a test of your webhook.", "webhookId": webhook.id}).to_string(),
    };
    // Samples are ours, and not deep.
    json::compact(&data).unwrap_or_else(|_| "{}".to_owned())
}

impl Sample {
    /// `data` is compact.
    fn new(event_type: &str, data: &str, webhook: &Webhook, now: Millis) -> Self {
        let id = EventId::made(now, rand::random());
        let organization = webhook.settings.tenant.organization_id();
        let bytes = json::event_body(&id, event_type, now, organization, data).into();
        Self { id, body: EventBody { event_type: event_type.into(), bytes, trace: None } }
    }
}

async fn attempt(app: &App, webhook: &Webhook, sample: Sample, trail: &Trail) -> Result<Report, Error> {
    let tenant = &webhook.settings.tenant;
    let partition = app.layout.partition_of(tenant, webhook.id.shard());
    let limit = webhook.timeout() + MARGIN;
    let trial = Trial::begin(&app.redis, &app.keys, partition, tenant, &webhook.id, limit).await?;
    let trial = trial.ok_or(Error::Conflict("a test of this webhook is running".into()))?;
    let Sample { id, body } = &sample;
    let (of, span) = (AttemptOf { webhook, event: id, number: 1 }, Open::below(body.trace));
    let trace = span.as_ref().map(Open::context);
    let endpoint = app.sender.endpoint(&webhook.settings);
    let turn = app.sender.turn(Key::of(tenant)).await;
    let result = turn.attempt(&endpoint, id, body, 1, clock::now(), trace).await;
    facts::tested(&of, &result, span);
    trail.was_done();
    let ended = Ended {
        event: id,
        body,
        at: result.at,
        success: result.success(),
        row: encode(row(webhook, &sample, &result), result.response_body.clone()),
        log_max: app.config.log.max_attempts,
        keep: app.config.log.payload_retention,
    };
    record(&trial, &ended).await?;
    Ok(report(sample, result))
}

/// Records the end of a test; tries again when Redis does not answer, which writes nothing twice.
async fn record(trial: &Trial<'_>, ended: &Ended<'_>) -> Result<(), store::Error> {
    for _ in 1..TRIES {
        match trial.end(ended).await {
            Err(error) if error.is_transient() => tokio::time::sleep(BETWEEN).await,
            // A webhook that was deleted meanwhile has no log.
            answer => return answer.map(|_| ()),
        }
    }
    trial.end(ended).await.map(|_| ())
}

fn row(webhook: &Webhook, sample: &Sample, result: &AttemptResult) -> AttemptRow {
    AttemptRow {
        id: None,
        event_id: sample.id.clone(),
        event_type: sample.body.event_type.to_string(),
        url: webhook.settings.url.clone(),
        at: result.at,
        attempt: 1,
        elapsed_ms: elapsed_ms(result),
        status: result.status,
        error_kind: result.failure.as_ref().map(|failure| failure.kind),
        error_message: result.failure.as_ref().map(|failure| failure.message.clone()),
        next_retry_at: None,
        response_body: None,
        body_beside: false,
        custom_headers: webhook.settings.headers.keys().cloned().collect(),
        is_test: true,
    }
}

fn report(sample: Sample, result: AttemptResult) -> Report {
    let success = result.success();
    let message = if success { "the endpoint took the test" } else { "the endpoint did not take the test" };
    Report {
        success,
        message: message.to_owned(),
        event: sample.body.event_type.to_string(),
        event_id: sample.id,
        status_code: result.status,
        response_time_ms: elapsed_ms(&result),
        response_body: result.response_body,
        error_kind: result.failure.as_ref().map(|failure| failure.kind),
        error: result.failure.map(|failure| failure.message),
    }
}

fn elapsed_ms(result: &AttemptResult) -> u32 {
    u32::try_from(result.elapsed.as_millis()).unwrap_or(u32::MAX)
}
