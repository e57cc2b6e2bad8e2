//! `GET /api/events/{id}`: an event, and where it stands with each webhook that subscribes to it: why it was not queued for one,
//! what keeps it where it waits, and what its last attempt came to where it waits or has failed.
//!
//! A caller sees the webhooks that they may see elsewhere: their own, an administrator the tenant's. Those who neither own
//! a target nor publish for the tenant do not see the event at all.

use std::collections::{HashMap, HashSet};

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::access::webhooks_of;
use super::auth::{Caller, EventReader};
use super::{App, Error};
use crate::clock;
use crate::domain::{AttemptId, AttemptRow, ErrorKind, EventId, Millis, SkipReason, WebhookId};
use crate::store::attempts::{Look, last_of};
use crate::store::event_status::{self, DeliveryStatus, End, How};
use crate::store::webhooks::{Indexed, Whose};

/// What is said of a delivery that has not ended.
const PENDING: &str = "pending";

const NO_EVENT: Error = Error::NotFound("event");

/// The parts of a stored body, as they were written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts {
    id: EventId,
    #[serde(rename = "type")]
    event_type: String,
    timestamp: String,
    organization_id: Option<String>,
    data: Box<RawValue>,
}

/// An event, and where it stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventStatus)]
pub struct View {
    /// Its id.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When, as its publisher says.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// In which organization; null = the user's own tenant.
    pub organization_id: Option<String>,
    /// What the endpoints get, as it was published.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
    /// Where it stands with each webhook that the caller sees; empty before the dispatch.
    pub webhooks: Vec<Target>,
}

/// Deliveries of one event of which it is told what keeps them, and, as far as the rows of [`last_of`] reach, what their last attempt
/// came to.
const MOST_EXPLAINED: usize = 1000;

/// One webhook that subscribes to it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventAtWebhook)]
pub struct Target {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// `pending`, `delivered`, `failed`, `dropped` or `skipped`.
    pub status: &'static str,
    /// Why it was not queued (`inactive`, `disabled`, `filtered`), or what keeps it while it is pending (`paused`, `inactive`,
    /// `disabled`).
    pub reason: Option<&'static str>,
    /// Until when nothing is sent, where it is paused.
    #[schema(format = DateTime)]
    pub paused_until: Option<String>,
    /// Attempts made, those so far while it is pending. Null where none was made, as far as is known: of a pending or failed
    /// delivery a part of the webhook's log is looked at, which a busy webhook's attempt may lie outside of.
    pub attempts: Option<u32>,
    /// Of a pending delivery that has been tried: when it is tried again. Null else, and where `attempts` is.
    #[schema(format = DateTime)]
    pub next_retry_at: Option<String>,
    /// Of a pending or failed delivery: its last attempt, in the webhook's log; a former delivery's where the event was sent
    /// again and not yet tried. Null where that part of the log has none.
    pub last_attempt_id: Option<AttemptId>,
    /// What went wrong in that attempt; null where nothing did, or there is none.
    pub last_error: Option<LastError>,
    /// When it ended, or was left out; null while it is pending.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

/// What went wrong in an attempt.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptError)]
pub struct LastError {
    /// Which kind of failure.
    pub kind: ErrorKind,
    /// The failure in words; null where the log has none.
    pub message: Option<String>,
    /// The status of the answer, if one came.
    pub status_code: Option<u16>,
    /// When the attempt was made.
    #[schema(format = DateTime)]
    pub at: String,
}

/// The handler.
pub async fn show(app: Data<App>, caller: EventReader, request: HttpRequest) -> Result<Json<View>, Error> {
    let given = request.match_info().get("id").unwrap_or_default();
    let id: EventId = given.parse().map_err(|_| NO_EVENT)?;
    status(&app, &caller, &id).await.map(Json)
}

/// The event `id`, and where it stands with the webhooks that `caller` sees.
///
/// # Errors
/// 404 when there is no such event (any more) for this caller, or the store's.
pub async fn status(app: &App, caller: &Caller, id: &EventId) -> Result<View, Error> {
    let found = event_status::find(&app.redis, &app.keys, &app.layout, &caller.tenant, id).await?;
    let found = found.ok_or(NO_EVENT)?;
    let sees_all = caller.is_admin;
    let own = if sees_all { HashSet::new() } else { own_webhooks(app, caller).await? };
    let visible = found.deliveries.into_iter().filter(|(webhook, _)| sees_all || own.contains(webhook));
    let deliveries: Vec<(WebhookId, DeliveryStatus)> = visible.collect();
    let last = last_attempts(app, caller, id, &deliveries).await?;
    let target = |(webhook, status)| Target::new(webhook, status).with_last(&last);
    let mut webhooks: Vec<Target> = deliveries.into_iter().map(target).collect();
    explain(app, caller, &mut webhooks).await?;
    if webhooks.is_empty() && !sees_all && !caller.may_publish() {
        return Err(NO_EVENT);
    }
    let Parts { id, event_type, timestamp, organization_id, data } = serde_json::from_slice(&found.body)
        .map_err(|_| Error::Internal("the stored body of an event cannot be read".into(), None))?;
    Ok(View { id, event_type, timestamp, organization_id, data, webhooks })
}

async fn own_webhooks(app: &App, caller: &Caller) -> Result<HashSet<WebhookId>, Error> {
    let listed = webhooks_of(app, caller).list(Whose::Of(&caller.user)).await?;
    Ok(listed.into_iter().map(|indexed| indexed.id).collect())
}

/// The last attempt of the event for each webhook where it waits or has failed, as far as it is found.
async fn last_attempts(
    app: &App,
    caller: &Caller,
    id: &EventId,
    deliveries: &[(WebhookId, DeliveryStatus)],
) -> Result<HashMap<WebhookId, AttemptRow>, Error> {
    let look = |(webhook, status): &(WebhookId, DeliveryStatus)| {
        let ended_at = match status {
            DeliveryStatus::Pending => None,
            DeliveryStatus::Ended(End { how: How::Failed, at, .. }) => Some(*at),
            DeliveryStatus::Ended(_) | DeliveryStatus::Skipped { .. } => return None,
        };
        let partition = app.layout.partition_of(&caller.tenant, webhook.shard());
        Some(Look { webhook: webhook.clone(), partition, ended_at })
    };
    let looks: Vec<Look> = deliveries.iter().filter_map(look).take(MOST_EXPLAINED).collect();
    let not_before = clock::now().minus(app.config.log.retention);
    let found = last_of(&app.redis, &app.keys, id, not_before, &looks).await?;
    Ok(looks.into_iter().zip(found).filter_map(|(look, row)| Some((look.webhook, row?))).collect())
}

/// Says of deliveries that wait what keeps them: their webhook's state, as it is now.
async fn explain(app: &App, caller: &Caller, targets: &mut [Target]) -> Result<(), Error> {
    let waiting = |target: &&Target| target.status == PENDING;
    let now = clock::now();
    // Webhooks of which there is no record are not looked for in the index.
    let entry = |target: &Target| Indexed { id: target.webhook_id.clone(), created_at: now };
    let entries: Vec<Indexed> = targets.iter().filter(waiting).take(MOST_EXPLAINED).map(entry).collect();
    let webhooks = webhooks_of(app, caller);
    let found = webhooks.read(&entries, Whose::All, now).await?;
    let figures = webhooks.figures(found.iter().map(|webhook| &webhook.id)).await?;
    let kept: HashMap<&WebhookId, (Option<SkipReason>, Millis)> = found
        .iter()
        .zip(figures)
        .map(|(webhook, figures)| (&webhook.id, (webhook.is_off(), figures.standing.rests_until())))
        .collect();
    for target in targets.iter_mut().filter(|target| target.status == PENDING) {
        match kept.get(&target.webhook_id) {
            Some((Some(reason), _)) => target.reason = Some(reason.as_str()),
            Some((None, until)) if *until > now => {
                (target.reason, target.paused_until) = (Some("paused"), Some(until.to_string()));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Target {
    fn new(webhook_id: WebhookId, status: DeliveryStatus) -> Self {
        let (word, reason, attempts, ended_at) = match status {
            DeliveryStatus::Pending => (PENDING, None, None, None),
            DeliveryStatus::Skipped { at, reason } => ("skipped", Some(reason.as_str()), None, Some(at)),
            DeliveryStatus::Ended(End { how, at, attempts }) => {
                let word = match how {
                    How::Delivered => "delivered",
                    How::Failed => "failed",
                    How::Dropped => "dropped",
                };
                (word, None, Some(attempts), Some(at))
            }
        };
        Self {
            webhook_id,
            status: word,
            reason,
            paused_until: None,
            attempts,
            next_retry_at: None,
            last_attempt_id: None,
            last_error: None,
            ended_at: ended_at.map(|at| at.to_string()),
        }
    }

    fn with_last(mut self, rows: &HashMap<WebhookId, AttemptRow>) -> Self {
        let Some(row) = rows.get(&self.webhook_id) else { return self };
        self.last_attempt_id = row.id.map(|id| AttemptId::new(&self.webhook_id, id));
        self.last_error = row.error_kind.map(|kind| LastError {
            kind,
            message: row.error_message.clone(),
            status_code: row.status,
            at: row.at.to_string(),
        });
        // After a row that nothing was to follow it waits because it was sent again: that row is a former delivery's.
        if self.status == PENDING && row.next_retry_at.is_some() {
            self.attempts = Some(row.attempt);
            self.next_retry_at = row.next_retry_at.map(|at| at.to_string());
        }
        self
    }
}
