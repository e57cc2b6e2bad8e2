//! `/api/webhooks/{id}/recover`: what has failed for good is queued again (contract, section 3).
//!
//! A recovery of many events takes its time, for the webhook's new events go on beside it: POST begins it, GET tells how far it is,
//! DELETE ends it. A webhook has one at a time.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::access::{Id, NO_WEBHOOK, Purpose, find};
use super::audit::Trail;
use super::auth::{Reader, Writer};
use super::body::Body;
use super::deliveries::pattern_of;
use super::fields::Fields;
use super::request::random_text;
use super::{App, Error};
use crate::clock;
use crate::domain::{Tenant, Webhook};
use crate::store::recoveries::{Begun, Recoveries, Recovery, Span, Status, Survey};

/// Characters of a recovery's id behind `rec_`.
const ID_LENGTH: usize = 22;
const NO_RECOVERY: Error = Error::NotFound("recovery");
const RUNNING: &str = "a recovery of this webhook is under way: wait for its end, or end it with DELETE";

/// What a client is told to wait while another recovery is looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// The tenants whose dead deliveries this node looks through: one look at a time for each, for it may read 100,000.
#[derive(Debug, Default)]
pub struct Surveys(Mutex<HashSet<Tenant>>);

/// A look that ends with this value.
#[derive(Debug)]
pub struct Looking<'a>(&'a Surveys, Tenant);

impl Surveys {
    /// Begins a look; `None` while another one of the tenant is under way.
    pub fn begin(&self, tenant: &Tenant) -> Option<Looking<'_>> {
        self.tenants().insert(tenant.clone()).then(|| Looking(self, tenant.clone()))
    }

    fn tenants(&self) -> MutexGuard<'_, HashSet<Tenant>> {
        // Nothing is ever half done under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.tenants().remove(&self.1);
    }
}

/// `POST`: begins one, or with `dryRun` only says what it would queue.
pub async fn begin(
    app: Data<App>,
    caller: Writer,
    trail: Trail,
    id: Id,
    body: Body,
) -> Result<HttpResponse, Error> {
    let webhook = find(&app, &caller, &id.0, Purpose::Change).await?;
    let (span, is_dry) = read(Fields::parse(&body.0)?)?;
    if is_dry {
        return Ok(HttpResponse::Ok().json(surveyed(&app, &webhook, span).await?));
    }
    Ok(HttpResponse::Accepted().json(begun(&app, &trail, &webhook, span).await?))
}

/// What a recovery of `span` would queue; changes nothing. The caller has found `webhook` for a change.
///
/// # Errors
/// 429 while another one of the organization is looked at, or the store's.
pub async fn surveyed(app: &App, webhook: &Webhook, span: Span) -> Result<Answer, Error> {
    let survey = look(app, webhook, &span).await?;
    Ok(Answer { dry_run: true, ..Answer::from(&survey) })
}

/// Begins a recovery of `span`, unless nothing is to be queued. The caller has found `webhook` for a change.
///
/// # Errors
/// 409 while the webhook is switched off or has a recovery under way, and those of [`surveyed`].
pub async fn begun(app: &App, trail: &Trail, webhook: &Webhook, span: Span) -> Result<Answer, Error> {
    if !webhook.is_active {
        return Err(inactive());
    }
    if last(app, webhook).await?.is_some_and(|last| last.status == Status::Running) {
        return Err(Error::Conflict(RUNNING.into()));
    }
    let survey = look(app, webhook, &span).await?;
    let mut answer = Answer::from(&survey);
    if survey.total() > 0 {
        let id = format!("rec_{}", random_text(ID_LENGTH));
        let begun = trail.follow(of(app, webhook).begin(&id, &span, &survey, clock::now())).await?;
        if !matches!(begun, Begun::Begun) {
            trail.nothing_was_done();
        }
        match begun {
            Begun::Begun => answer.recovery = last(app, webhook).await?.map(View::from),
            Begun::NoWebhook => return Err(NO_WEBHOOK),
            Begun::Inactive => return Err(inactive()),
            Begun::Running => return Err(Error::Conflict(RUNNING.into())),
        }
    }
    Ok(answer)
}

async fn look(app: &App, webhook: &Webhook, span: &Span) -> Result<Survey, Error> {
    let busy =
        || Error::TooManyRequests("another recovery of the organization is being looked at".into(), PAUSE);
    let _looking = app.surveys.begin(&webhook.settings.tenant).ok_or_else(busy)?;
    Ok(of(app, webhook).survey(span).await?)
}

/// `GET`: the last one.
pub async fn show(app: Data<App>, caller: Reader, id: Id) -> Result<Json<View>, Error> {
    let webhook = find(&app, &caller, &id.0, Purpose::Read).await?;
    let recovery = last(&app, &webhook).await?.ok_or(NO_RECOVERY)?;
    Ok(Json(View::from(recovery)))
}

/// The last recovery of a webhook, whether it is under way or has ended; `None` = it had none. The caller has found
/// `webhook` for themselves.
///
/// # Errors
/// The store's.
pub async fn last(app: &App, webhook: &Webhook) -> Result<Option<Recovery>, Error> {
    Ok(of(app, webhook).last().await?)
}

/// `DELETE`: ends the one that is under way. What it has queued stays queued.
pub async fn cancel(app: Data<App>, caller: Writer, trail: Trail, id: Id) -> Result<Json<View>, Error> {
    let webhook = find(&app, &caller, &id.0, Purpose::Change).await?;
    Ok(Json(View::from(cancelled(&app, &trail, &webhook).await?)))
}

/// Ends the recovery that is under way; what it has queued stays queued. The caller has found `webhook` for a change.
///
/// # Errors
/// 404 when none is under way, or the store's.
pub async fn cancelled(app: &App, trail: &Trail, webhook: &Webhook) -> Result<Recovery, Error> {
    if !trail.follow(of(app, webhook).cancel(clock::now())).await? {
        trail.nothing_was_done();
        return Err(NO_RECOVERY);
    }
    last(app, webhook).await?.ok_or(NO_RECOVERY)
}

fn inactive() -> Error {
    Error::Conflict("the webhook is not active".into())
}

fn read(mut fields: Fields<'_>) -> Result<(Span, bool), Error> {
    fields.require(&["since"]);
    let (since, until) = (fields.time("since"), fields.nullable("until", Fields::time).flatten());
    let event = fields.nullable("event", |fields, name| fields.string(name, 1..=255)).flatten();
    let event = event.map(|text| pattern_of(&text));
    let is_dry = fields.boolean("dryRun").unwrap_or(false);
    if since.zip(until).is_some_and(|(since, until)| until <= since) {
        fields.fault("until must be later than since".into());
    }
    fields.finish()?;
    Ok((Span { since: since.unwrap_or_default(), until, event }, is_dry))
}

fn of<'a>(app: &'a App, webhook: &'a Webhook) -> Recoveries<'a> {
    let tenant = &webhook.settings.tenant;
    let partition = app.layout.partition_of(tenant, webhook.id.shard());
    Recoveries { redis: &app.redis, keys: &app.keys, partition, tenant, webhook: &webhook.id }
}

/// What a recovery would queue, or begins to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecoveryAnswer)]
pub struct Answer {
    /// Events that are queued again, or with `dryRun` would be.
    pub queued: u64,
    /// Events that cannot be: their bodies are no longer kept.
    pub body_gone: u64,
    /// `queued` by event type.
    pub by_event: BTreeMap<String, u64>,
    /// Whether nothing was begun.
    pub dry_run: bool,
    /// Null where nothing is to be queued.
    pub recovery: Option<View>,
}

impl From<&Survey> for Answer {
    fn from(survey: &Survey) -> Self {
        Self {
            queued: survey.total(),
            body_gone: survey.body_gone,
            by_event: survey.by_event.clone(),
            dry_run: false,
            recovery: None,
        }
    }
}

/// How a recovery stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Recovery)]
pub struct View {
    /// Its own id, `rec_…`.
    pub id: String,
    /// `running`, `completed`, `cancelled`, or `stopped` when the webhook was switched off.
    pub status: &'static str,
    /// Deliveries that failed for good at that time or later.
    #[schema(format = DateTime)]
    pub since: String,
    /// Those that did before that time; null = before it began.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Events of those types alone.
    pub event: Option<String>,
    /// Events that it found when it began.
    pub total: u64,
    /// Events that it has queued so far.
    pub requeued: u64,
    /// Dead deliveries that it passed by: delivered or queued since, named twice, or without a body.
    pub skipped: u64,
    /// When it began.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// When it ended; null while it is under way.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

impl From<Recovery> for View {
    fn from(recovery: Recovery) -> Self {
        let Recovery { id, status, span, total, requeued, skipped, started_at, ended_at } = recovery;
        Self {
            id,
            status: status.as_str(),
            since: span.since.to_string(),
            until: span.until.map(|until| until.to_string()),
            event: span.event.map(|event| event.to_string()),
            total,
            requeued,
            skipped,
            started_at: started_at.to_string(),
            ended_at: ended_at.map(|at| at.to_string()),
        }
    }
}
