//! Publishing: `POST /api/events` and `POST /api/events/batch` (contract, section 4).
//!
//! The body that every receiver gets is written here, once. 202 means stored in every partition that holds webhooks of
//! the tenant.

use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::App;
use super::auth::{Caller, Publisher};
use super::body;
use super::error::Error;
use super::fields::{Fields, quoted, string_of};
use super::request::{concerns, trace_of};
use crate::clock;
use crate::domain::{Event, EventId, Millis, Tenant, TraceContext};
use crate::policy::json;
use crate::store::publications::{self, Publication, Published};
use crate::telemetry::events as facts;

/// The most events of one batch.
pub(super) const MAX_BATCH: usize = 1000;
/// How many times the limit of one event a batch may be long.
pub(super) const BATCH_BODIES: usize = 16;
/// Events of one batch that are on their way to Redis at once.
const AT_ONCE: usize = 64;
/// The longest `Idempotency-Key`.
pub(super) const MAX_KEY: usize = 255;
/// The longest `organizationId`, in characters.
pub(super) const MAX_ORGANIZATION: usize = 255;
/// What a client is told to wait when a queue is full.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// A body of at most `api.max_event_bytes`.
#[derive(Debug)]
pub struct EventBytes(Bytes);

/// A body of at most [`BATCH_BODIES`] times that.
#[derive(Debug)]
pub struct BatchBytes(Bytes);

/// The longest body of an event, in bytes.
pub(super) fn max_event_bytes(request: &HttpRequest) -> usize {
    request.app_data::<Data<App>>().map_or(0, |app| app.config.api.max_event_bytes)
}

impl FromRequest for EventBytes {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = body::read(request, payload, max_event_bytes(request));
        Box::pin(async { reading.await.map(Self) })
    }
}

impl FromRequest for BatchBytes {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = body::read(request, payload, BATCH_BODIES * max_event_bytes(request));
        Box::pin(async { reading.await.map(Self) })
    }
}

/// What a publication is answered with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TakenEvent)]
pub(super) struct Taken {
    id: EventId,
    #[serde(rename = "type")]
    event_type: String,
    #[schema(format = DateTime)]
    timestamp: String,
    /// Whether it was published before, so that nothing is sent now.
    duplicate: bool,
}

/// What a batch is answered with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TakenBatch)]
pub(super) struct TakenBatch {
    /// Events that are new.
    accepted: usize,
    /// Events that were published before.
    duplicates: usize,
    /// Each event, in the order of the request.
    events: Vec<Taken>,
}

/// `POST /api/events`
pub async fn one(
    app: Data<App>,
    caller: Publisher,
    request: HttpRequest,
    body: EventBytes,
) -> Result<HttpResponse, Error> {
    let (new, key) = read_one(&app, &caller, request.headers(), &body.0).inspect_err(refused)?;
    let tenant = new.tenant(&caller)?;
    // Boxed: the framework moves a handler's future about before it runs.
    let taken = Box::pin(store(&app, new.publication(tenant, key, trace_of(&request)))).await?;
    concerns(&request, &taken.id);
    Ok(HttpResponse::Accepted().json(taken))
}

fn read_one(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(NewEvent, Option<String>), Error> {
    let key = idempotency_key(headers)?;
    let mut fields = Fields::parse(body)?;
    let new = NewEvent::read(app, caller, &mut fields);
    fields.finish()?;
    let new = new.ok_or_else(|| Error::Internal("an event without a fault was not read".into(), None))?;
    Ok((new, key))
}

/// Counts a publication that is refused for what it says.
fn refused(error: &Error) {
    if error.status_code() == StatusCode::BAD_REQUEST {
        facts::publication_invalid();
    }
}

/// `POST /api/events/batch`: all events are valid, or none is taken.
pub async fn batch(
    app: Data<App>,
    caller: Publisher,
    request: HttpRequest,
    body: BatchBytes,
) -> Result<HttpResponse, Error> {
    let trace = trace_of(&request);
    let read = read_batch(&app, &caller, request.headers(), &body.0, trace);
    let publications = read.inspect_err(refused)?;
    // Started in order, so that they are stored in order.
    let stored: Vec<_> = stream::iter(publications)
        .map(|publication| store(&app, publication))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let taken = stored.into_iter().collect::<Result<Vec<Taken>, Error>>()?;
    let duplicates = taken.iter().filter(|taken| taken.duplicate).count();
    let accepted = taken.len() - duplicates;
    Ok(HttpResponse::Accepted().json(TakenBatch { accepted, duplicates, events: taken }))
}

/// All events of a batch belong below the one span of its request.
fn read_batch(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    body: &[u8],
    trace: Option<TraceContext>,
) -> Result<Vec<Publication>, Error> {
    if headers.contains_key("idempotency-key") {
        let fault = "Idempotency-Key must not be given with a batch: give each event an id";
        return Err(Error::Invalid(vec![fault.into()]));
    }
    let mut fields = Fields::parse(body)?;
    fields.require(&["events"]);
    let elements = fields.array("events").unwrap_or_default();
    if fields.is_faultless() && !(1..=MAX_BATCH).contains(&elements.len()) {
        fields.fault(format!("events must have 1 to {MAX_BATCH} elements"));
    }
    let mut read = Vec::with_capacity(elements.len().min(MAX_BATCH));
    for (index, element) in elements.into_iter().take(MAX_BATCH).enumerate() {
        match read_element(app, caller, element) {
            Ok(new) => read.push(new),
            Err(faults) => {
                faults.into_iter().for_each(|fault| fields.fault(format!("events.{index}: {fault}")))
            }
        }
    }
    let first = read.first().map(|new| new.tenant(caller)).transpose()?;
    let same = |new: &NewEvent| new.tenant(caller).ok() == first;
    if let Some(other) = read.iter().position(|new| !same(new)) {
        fields.fault(format!("events.{other}: organizationId must be the same for all events of a batch"));
    }
    fields.finish()?;
    let Some(tenant) = first else { return Ok(Vec::new()) };
    Ok(read.into_iter().map(|new| new.publication(tenant.clone(), None, trace)).collect())
}

fn read_element(app: &App, caller: &Caller, element: &RawValue) -> Result<NewEvent, Vec<String>> {
    let limit = app.config.api.max_event_bytes;
    if element.get().len() > limit {
        return Err(vec![format!("must be at most {limit} bytes")]);
    }
    let faults = |error| match error {
        Error::Invalid(faults) => faults,
        _ => vec!["must be an object".to_owned()],
    };
    let mut fields = Fields::parse(element.get().as_bytes()).map_err(faults)?;
    let new = NewEvent::read(app, caller, &mut fields);
    fields.finish().map_err(faults)?;
    new.ok_or_else(|| vec!["must be an event".to_owned()])
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let fault =
        || Error::Invalid(vec![format!("Idempotency-Key must be 1 to {MAX_KEY} visible ASCII characters")]);
    let mut given = headers.get_all("idempotency-key");
    let Some(first) = given.next() else { return Ok(None) };
    let visible = first.as_bytes().iter().all(u8::is_ascii_graphic);
    if given.next().is_some() || !visible || !(1..=MAX_KEY).contains(&first.len()) {
        return Err(fault());
    }
    first.to_str().map(|key| Some(key.to_owned())).map_err(|_| fault())
}

/// An event as a publisher gives it, checked.
struct NewEvent {
    event_type: String,
    data: String,
    id: Option<EventId>,
    timestamp: Option<Millis>,
    /// `None` = the caller's own tenant.
    organization: Option<String>,
}

impl NewEvent {
    /// Takes an event's fields; `None` when one has a fault, which is noted in `fields`.
    fn read(app: &App, caller: &Caller, fields: &mut Fields<'_>) -> Option<Self> {
        fields.require(&["type"]);
        let event_type = read_type(app, fields);
        let data = read_data(fields);
        let id = read_id(fields);
        let timestamp = fields.time("timestamp");
        let organization = read_organization(caller, fields);
        fields.is_faultless().then_some(())?;
        Some(Self { event_type: event_type?, data: data?, id, timestamp, organization })
    }

    fn tenant(&self, caller: &Caller) -> Result<Tenant, Error> {
        match &self.organization {
            None => Ok(caller.tenant.clone()),
            Some(id) if caller.tenant.organization_id() == Some(id) => Ok(caller.tenant.clone()),
            Some(id) if caller.may_publish_for_any_tenant() => Ok(Tenant::Organization(id.as_str().into())),
            Some(_) => Err(Error::Forbidden(
                "publishing for another organization needs the scope events:publish:any",
            )),
        }
    }

    fn publication(self, tenant: Tenant, key: Option<String>, trace: Option<TraceContext>) -> Publication {
        let now = clock::now();
        let own_id = self.id.is_some();
        let id = self.id.unwrap_or_else(|| EventId::made(now, rand::random()));
        let timestamp = self.timestamp.unwrap_or(now);
        let body = json::event_body(&id, &self.event_type, timestamp, tenant.organization_id(), &self.data);
        let event = Event { id, event_type: self.event_type.into(), tenant, body: body.into(), trace };
        Publication { event, timestamp, own_id, key, data: self.data }
    }
}

fn read_type(app: &App, fields: &mut Fields<'_>) -> Option<String> {
    /// No type of any catalogue is longer.
    const MAX_TYPE: usize = 255;
    let name = fields.string("type", 1..=MAX_TYPE)?;
    if app.config.catalogue.get(&name).is_some() {
        return Some(name);
    }
    let hint = app.config.catalogue.closest(&name).map(|known| format!(", did you mean \"{known}\"?"));
    fields.fault(format!("type: unknown event type \"{}\"{}", quoted(&name), hint.unwrap_or_default()));
    None
}

/// The field `data`, compact; `None` when it has a fault, which is noted in `fields`.
pub(super) fn read_data(fields: &mut Fields<'_>) -> Option<String> {
    // What is missing is no object either, and that says more than that it should not be empty: `{}` is a good value.
    let Some(raw) = fields.take("data").filter(|raw| raw.get().starts_with('{')) else {
        fields.fault("data must be an object".to_owned());
        return None;
    };
    json::compact(raw.get()).map_err(|fault| fields.fault(format!("data {fault}"))).ok()
}

fn read_id(fields: &mut Fields<'_>) -> Option<EventId> {
    let raw = fields.take("id")?;
    let id = string_of(raw).and_then(|id| id.parse().ok());
    if id.is_none() {
        fields.fault(format!("id must be 1 to {} characters of A-Z, a-z, 0-9, _ and -", EventId::MAX_LENGTH));
    }
    id
}

fn read_organization(caller: &Caller, fields: &mut Fields<'_>) -> Option<String> {
    let named =
        fields.nullable("organizationId", |fields, name| fields.string(name, 1..=MAX_ORGANIZATION)).flatten();
    if named.as_ref().is_some_and(|id| id.starts_with("user:")) {
        fields.fault("organizationId must not begin with user:".to_owned());
    }
    if named.is_none() && caller.is_publisher && caller.tenant.organization_id().is_none() {
        fields.fault("organizationId should not be empty: the token has no organization".to_owned());
    }
    named
}

async fn store(app: &App, publication: Publication) -> Result<Taken, Error> {
    let publication = Arc::new(publication);
    let event = &publication.event;
    let published = publications::publish(&app.intake, &app.layout, &publication).await;
    facts::published(published.as_ref());
    let published = published?;
    let taken = |id: &EventId, timestamp: Millis, duplicate| Taken {
        id: id.clone(),
        event_type: event.event_type.to_string(),
        timestamp: timestamp.to_string(),
        duplicate,
    };
    match published {
        Published::New => Ok(taken(&event.id, publication.timestamp, false)),
        Published::Duplicate(id, timestamp) => Ok(taken(&id, timestamp, true)),
        Published::Conflict => {
            Err(Error::Conflict("the idempotency key or id was used for another event".into()))
        }
        Published::PartitionFull => Err(Error::Busy("too many events wait to be dispatched".into(), PAUSE)),
        Published::PartlyStored => Err(Error::Busy(
            "too many events wait to be dispatched; the event may have been stored: repeat it with the same key".into(),
            PAUSE,
        )),
        Published::TenantFull => {
            Err(Error::TooManyRequests("too much waits for the endpoints of the organization".into(), PAUSE))
        }
    }
}

#[cfg(test)]
mod properties;
