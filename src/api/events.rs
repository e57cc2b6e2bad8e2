//! `GET /api/events/{id}`: an event, and where it stands with each webhook that subscribes to it: why it was not queued for one,
//! and what keeps it where it waits.
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
use crate::domain::{EventId, Millis, SkipReason, WebhookId};
use crate::store::event_status::{self, DeliveryStatus, How};
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

/// Waiting deliveries of one event of which it is told what keeps them.
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
    /// Null while it is pending: the log has the attempts made so far.
    pub attempts: Option<u32>,
    /// When it ended, or was left out; null while it is pending.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
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
    let mut webhooks: Vec<Target> = visible.map(|(webhook, status)| Target::new(webhook, status)).collect();
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
        let (reason, paused_until) = (None, None);
        match status {
            DeliveryStatus::Pending => {
                Self { webhook_id, status: PENDING, reason, paused_until, attempts: None, ended_at: None }
            }
            DeliveryStatus::Skipped { at, reason } => Self {
                webhook_id,
                status: "skipped",
                reason: Some(reason.as_str()),
                paused_until,
                attempts: None,
                ended_at: Some(at.to_string()),
            },
            DeliveryStatus::Ended(end) => Self {
                webhook_id,
                reason,
                paused_until,
                status: match end.how {
                    How::Delivered => "delivered",
                    How::Failed => "failed",
                    How::Dropped => "dropped",
                },
                attempts: Some(end.attempts),
                ended_at: Some(end.at.to_string()),
            },
        }
    }
}
