//! The delivery log of a webhook (contract, section 6), and sending a logged delivery again.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::Payload as RequestBody;
use actix_web::web::{Data, Json};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::access::{self, Id, NO_WEBHOOK, Purpose, find};
use super::audit::Trail;
use super::auth::{Caller, Reader, Writer};
use super::query::{self, Query};
use super::{App, Error};
use crate::clock;
use crate::delivery::request::plain_headers;
use crate::domain::{AttemptId, AttemptRow, ErrorKind, EventId, Millis, Pattern, Webhook, WebhookId};
use crate::store::attempts::{self, AttemptLog, Filter, Logged, Payload, Shown, Window};
use crate::store::resend::{Resent, resend};

/// What stands for the value of a header that the webhook's owner chose.
const HIDDEN: &str = "***";
/// What a client is told to wait when too much awaits dispatch.
const PAUSE: Duration = Duration::from_secs(5);
/// Attempts of one event that are given. A delivery has 21 at most; what is beyond is of resends.
const MOST_OF_EVENT: usize = 100;
/// Attempts among which the last failed one is looked for. While a webhook keeps failing it is the newest but for tests.
const NEWEST: usize = 100;

/// The `{attemptId}` of a route. What is no attempt id names no attempt: 404.
#[derive(Clone, Copy, Debug)]
pub struct Attempt(pub AttemptId);

impl FromRequest for Attempt {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut RequestBody) -> Self::Future {
        let given = request.match_info().get("attemptId").unwrap_or_default();
        ready(given.parse().map(Self).map_err(|_| NO_ATTEMPT))
    }
}

const NO_ATTEMPT: Error = Error::NotFound("attempt");

/// `GET /api/webhooks/{id}/deliveries`: one row an attempt, newest first.
pub async fn list(
    app: Data<App>,
    caller: Reader,
    id: Id,
    request: HttpRequest,
) -> Result<Json<Listing>, Error> {
    let webhook = find(&app, &caller, &id.0, Purpose::Read).await?;
    let mut query = Query::of(&request);
    let (success, page) = (query.boolean("success"), query.page());
    let (event, event_id) = (query.text("event").map(|text| pattern_of(&text)), query.text("eventId"));
    let (since, until, is_final) = (query.time("since"), query.time("until"), query.boolean("final"));
    query.finish()?;
    let filter =
        Filter { success, event: event.as_ref(), event_id: event_id.as_deref(), since, until, is_final };
    let found = self::page(&app, &webhook, filter, page).await?;
    let logs = found.rows.into_iter().map(|logged| View::of(&webhook.id, logged)).collect();
    Ok(Json(Listing { logs, pagination: Pagination::new(page, found.total) }))
}

/// A page of the attempts that pass `filter`, newest first. The caller has found `webhook` for themselves.
///
/// # Errors
/// The store's.
pub async fn page(
    app: &App,
    webhook: &Webhook,
    filter: Filter<'_>,
    page: query::Page,
) -> Result<attempts::Page, Error> {
    Ok(log_of(app, webhook).list(filter, window_of(page)).await?)
}

/// As [`page`], but without the count of all that pass, which reads the whole log.
///
/// # Errors
/// The store's.
pub async fn newest(
    app: &App,
    webhook: &Webhook,
    filter: Filter<'_>,
    page: query::Page,
) -> Result<attempts::Newest, Error> {
    Ok(log_of(app, webhook).newest(filter, window_of(page)).await?)
}

fn window_of(page: query::Page) -> Window {
    let skip = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    Window { skip, take: page.limit as usize }
}

/// The attempts of one event for one webhook, newest first, at most [`MOST_OF_EVENT`]. `since` (the event's time, say) saves
/// reading what is older. The caller has found `webhook` for themselves.
///
/// # Errors
/// The store's.
pub async fn of_event(
    app: &App,
    webhook: &Webhook,
    event: &EventId,
    since: Option<Millis>,
) -> Result<Vec<Logged>, Error> {
    let filter = Filter { event_id: Some(event.as_str()), since, ..Filter::default() };
    let window = Window { skip: 0, take: MOST_OF_EVENT };
    Ok(log_of(app, webhook).list(filter, window).await?.rows)
}

/// The newest failed attempt among the newest [`NEWEST`], without the answer's body where that is long. The caller has found
/// `webhook` for themselves.
///
/// # Errors
/// The store's.
pub async fn last_failed(app: &App, webhook: &Webhook) -> Result<Option<AttemptRow>, Error> {
    Ok(log_of(app, webhook).last_failed(NEWEST).await?)
}

/// The types that are asked for: a name, or a family as webhooks subscribe to (`lead.*`). What is neither is a name that no event
/// has.
pub fn pattern_of(text: &str) -> Pattern {
    text.parse().unwrap_or_else(|_| Pattern::Exact(text.to_owned()))
}

/// `GET /api/webhooks/{id}/deliveries/{attemptId}`: with the whole payload and the headers that were sent.
pub async fn show(app: Data<App>, caller: Reader, id: Id, attempt: Attempt) -> Result<Json<Whole>, Error> {
    let webhook = find(&app, &caller, &id.0, Purpose::Read).await?;
    let logged = one(&app, &webhook, attempt.0).await?;
    let request_headers = headers_of(&logged.row);
    Ok(Json(Whole { row: View::of(&webhook.id, logged), request_headers }))
}

/// One attempt with its whole payload. The caller has found `webhook` for themselves.
///
/// # Errors
/// 404 when the log has no such attempt (any more), or the store's.
pub async fn one(app: &App, webhook: &Webhook, attempt: AttemptId) -> Result<Logged, Error> {
    log_of(app, webhook).get(attempt).await?.ok_or(NO_ATTEMPT)
}

/// `POST /api/webhooks/{id}/deliveries/{attemptId}/retry`: the event is queued for that webhook again, each time.
pub async fn retry(
    app: Data<App>,
    caller: Writer,
    trail: Trail,
    id: Id,
    attempt: Attempt,
) -> Result<HttpResponse, Error> {
    let webhook = find(&app, &caller, &id.0, Purpose::Read).await?;
    let event_id = resent(&app, &caller, &trail, &webhook, attempt.0).await?;
    Ok(HttpResponse::Accepted().json(Queued { queued: 1, event_id: &event_id }))
}

/// Queues the event of an attempt for its webhook again; says which event that is.
///
/// # Errors
/// 403 and 404 where the caller may not change the webhook, 404 without such an attempt, 409 where the event cannot be
/// sent again (any more), 503 while too much awaits dispatch.
pub async fn resent(
    app: &App,
    caller: &Caller,
    trail: &Trail,
    webhook: &Webhook,
    attempt: AttemptId,
) -> Result<EventId, Error> {
    access::check(caller, webhook, Purpose::Change)?;
    let log = log_of(app, webhook);
    let AttemptRow { event_id, event_type, .. } = log.get(attempt).await?.ok_or(NO_ATTEMPT)?.row;
    let event = (&event_id, event_type.as_str());
    let tenant = &webhook.settings.tenant;
    let resent = resend(&app.redis, &app.keys, log.partition, tenant, &webhook.id, event);
    let resent = trail.follow(resent).await?;
    if !matches!(resent, Resent::Queued) {
        trail.nothing_was_done();
    }
    match resent {
        Resent::Queued => Ok(event_id),
        Resent::NoWebhook => Err(NO_WEBHOOK),
        Resent::Inactive => Err(Error::Conflict("the webhook is not active".into())),
        Resent::BodyGone => Err(Error::Conflict("the body of the event is no longer kept".into())),
        Resent::Test => Err(Error::Conflict("a test is not sent again: make another one".into())),
        Resent::PartitionFull => Err(Error::Busy("too many events await their dispatch".into(), PAUSE)),
    }
}

fn log_of<'a>(app: &'a App, webhook: &'a Webhook) -> AttemptLog<'a> {
    let tenant = &webhook.settings.tenant;
    let settings = &app.config.log;
    AttemptLog {
        redis: &app.redis,
        keys: &app.keys,
        partition: app.layout.partition_of(tenant, webhook.id.shard()),
        tenant,
        webhook: &webhook.id,
        shown: Shown {
            max_attempts: settings.max_attempts,
            not_before: clock::now().minus(settings.retention),
        },
    }
}

/// A page of the log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryLog)]
pub struct Listing {
    /// The rows of the page, newest first.
    logs: Vec<View>,
    pagination: Pagination,
}

#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    /// Counts from 1.
    page: u32,
    limit: u32,
    /// Rows on all pages.
    total: u64,
    total_pages: u64,
}

impl Pagination {
    fn new(query::Page { page, limit }: query::Page, total: u64) -> Self {
        Self { page, limit, total, total_pages: total.div_ceil(limit.into()) }
    }
}

/// One attempt to deliver one event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
struct View {
    id: Option<AttemptId>,
    webhook_id: WebhookId,
    /// The event's type; `test` for a test.
    event: String,
    event_id: EventId,
    url: String,
    /// The body that was sent; null once it is no longer kept, and in a listing where it is long.
    #[schema(value_type = Option<Object>)]
    request_payload: Option<Box<RawValue>>,
    /// True where a listing leaves the payload out because it is long.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    payload_truncated: bool,
    /// The status of the answer, if one came.
    status_code: Option<u16>,
    /// The beginning of the answer's body, as text.
    response_body: Option<String>,
    response_time_ms: u32,
    /// Counts from 1.
    #[schema(minimum = 1)]
    attempt_number: u32,
    success: bool,
    error_message: Option<String>,
    error_kind: Option<ErrorKind>,
    #[schema(format = DateTime)]
    next_retry_at: Option<String>,
    /// When the attempt was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// Present, and true, for a test, whatever type of event it sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
}

impl View {
    fn of(webhook: &WebhookId, Logged { row, payload }: Logged) -> Self {
        Self {
            id: row.id.map(|id| AttemptId::new(webhook, id)),
            webhook_id: webhook.clone(),
            success: row.success(),
            event: row.event_type,
            event_id: row.event_id,
            url: row.url,
            payload_truncated: payload == Payload::TooLong,
            request_payload: json_of(payload),
            status_code: row.status,
            response_body: row.response_body,
            response_time_ms: row.elapsed_ms,
            attempt_number: row.attempt,
            error_message: row.error_message,
            error_kind: row.error_kind,
            next_retry_at: row.next_retry_at.map(|at| at.to_string()),
            created_at: row.at.to_string(),
            test: row.is_test,
        }
    }
}

/// The bytes that were sent, as they were sent: the numbers and the order in them are the publisher's.
fn json_of(payload: Payload) -> Option<Box<RawValue>> {
    match payload {
        Payload::Whole(bytes) => serde_json::from_slice(&bytes).ok(),
        Payload::Gone | Payload::TooLong => None,
    }
}

/// One attempt with what was sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WholeAttempt)]
pub struct Whole {
    #[serde(flatten)]
    row: View,
    /// Without signatures, the webhook's own as `***`; null when no request was made.
    request_headers: Option<BTreeMap<String, String>>,
}

/// The headers of the request but for the signatures, which would let a reader of the log pass for us. `None` when no
/// request was made.
pub fn headers_of(row: &AttemptRow) -> Option<BTreeMap<String, String>> {
    if matches!(row.error_kind, Some(ErrorKind::Expired | ErrorKind::Overflow)) {
        return None;
    }
    let ours = plain_headers(&row.event_type, &row.event_id, row.attempt, row.at);
    let is_ours = |name: &String| ours.iter().any(|(own, _)| name.eq_ignore_ascii_case(own));
    let custom = row.custom_headers.iter().filter(|name| !is_ours(name));
    let mut headers: BTreeMap<String, String> =
        custom.map(|name| (name.clone(), HIDDEN.to_owned())).collect();
    headers.extend(ours.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Some(headers)
}

/// The answer to sending one again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Queued<'a> {
    queued: u32,
    event_id: &'a EventId,
}

#[cfg(test)]
mod tests;
