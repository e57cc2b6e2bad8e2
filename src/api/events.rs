//! `GET /api/events/{id}`: an event, and where it stands with each webhook that it went to.
//!
//! A caller sees the webhooks that they may see elsewhere: their own, an administrator the tenant's. Those who neither own
//! a target nor publish for the tenant do not see the event at all.

use std::collections::HashSet;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::access::webhooks_of;
use super::auth::{Caller, EventReader};
use super::{App, Error};
use crate::domain::{EventId, WebhookId};
use crate::store::event_status::{self, DeliveryStatus, How};
use crate::store::webhooks::Whose;

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

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    id: EventId,
    #[serde(rename = "type")]
    event_type: String,
    timestamp: String,
    organization_id: Option<String>,
    data: Box<RawValue>,
    webhooks: Vec<Target>,
}

/// One webhook that it went to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    webhook_id: WebhookId,
    status: &'static str,
    /// Null while it is pending: the log has the attempts made so far.
    attempts: Option<u32>,
    ended_at: Option<String>,
}

/// The handler.
pub async fn show(app: Data<App>, caller: EventReader, request: HttpRequest) -> Result<Json<View>, Error> {
    let given = request.match_info().get("id").unwrap_or_default();
    let id: EventId = given.parse().map_err(|_| NO_EVENT)?;
    let found = event_status::find(&app.redis, &app.keys, &app.layout, &caller.tenant, &id).await?;
    let found = found.ok_or(NO_EVENT)?;
    let sees_all = caller.is_admin;
    let own = if sees_all { HashSet::new() } else { own_webhooks(&app, &caller).await? };
    let visible = found.deliveries.into_iter().filter(|(webhook, _)| sees_all || own.contains(webhook));
    let webhooks: Vec<Target> = visible.map(|(webhook, status)| Target::new(webhook, status)).collect();
    if webhooks.is_empty() && !sees_all && !caller.may_publish() {
        return Err(NO_EVENT);
    }
    let Parts { id, event_type, timestamp, organization_id, data } = serde_json::from_slice(&found.body)
        .map_err(|_| Error::Internal("the stored body of an event cannot be read".into(), None))?;
    Ok(Json(View { id, event_type, timestamp, organization_id, data, webhooks }))
}

async fn own_webhooks(app: &App, caller: &Caller) -> Result<HashSet<WebhookId>, Error> {
    let listed = webhooks_of(app, caller).list(Whose::Of(&caller.user)).await?;
    Ok(listed.into_iter().map(|indexed| indexed.id).collect())
}

impl Target {
    fn new(webhook_id: WebhookId, status: DeliveryStatus) -> Self {
        match status {
            DeliveryStatus::Pending => Self { webhook_id, status: "pending", attempts: None, ended_at: None },
            DeliveryStatus::Ended(end) => Self {
                webhook_id,
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
