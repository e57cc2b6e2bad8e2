//! `GET /api/webhooks/stats`: the caller's figures (contract, section 7).
//!
//! They are the caller's alone, in their own tenant, and include what deleted webhooks did. `timeline` has all of the last
//! 168 hours, those without attempts too. `cluster` is null for everybody until nodes publish what it is made of.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use serde::Serialize;

use super::access::webhooks_of;
use super::auth::Reader;
use super::{App, Error};
use crate::clock;
use crate::domain::{Webhook, WebhookId};
use crate::store::event_status::partitions_of;
use crate::store::stats::{self, Attempts, ResponseTimes};
use crate::store::webhooks::{Figures, Whose};

/// Webhooks listed one by one: those with most failures.
const MOST_WEBHOOKS: usize = 100;

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    webhooks: WebhookCounts,
    #[serde(rename = "deliveriesLast24h")]
    deliveries_last_24h: u64,
    #[serde(rename = "last7dSuccessRate")]
    last_7d_success_rate: f64,
    deliveries: Deliveries,
    response_time_ms: Times,
    by_event: BTreeMap<String, Counts>,
    by_webhook: Vec<OfWebhook>,
    timeline: Vec<Hour>,
    cluster: Option<()>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct WebhookCounts {
    total: usize,
    active: usize,
    inactive: usize,
    failing: usize,
}

#[derive(Debug, Serialize)]
struct Deliveries {
    total: u64,
    successful: u64,
    failed: u64,
    pending: u64,
}

#[derive(Debug, Serialize)]
struct Times {
    avg: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Counts {
    successful: u64,
    failed: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfWebhook {
    webhook_id: WebhookId,
    name: String,
    #[serde(flatten)]
    attempts: Counts,
    pending: u64,
}

#[derive(Debug, Serialize)]
struct Hour {
    hour: String,
    #[serde(flatten)]
    attempts: Counts,
}

/// The handler.
pub async fn show(app: Data<App>, caller: Reader) -> Result<Json<Statistics>, Error> {
    let now = clock::now();
    let partitions = partitions_of(&app.redis, &app.keys, &app.layout, &caller.tenant).await?;
    let figures = stats::read(&app.redis, &app.keys, &partitions, &caller.tenant, &caller.user, now).await?;
    let (whose, store) = (Whose::Of(&caller.user), webhooks_of(&app, &caller));
    let webhooks = store.read(&store.list(whose).await?, whose, now).await?;
    let of_webhooks = store.figures(webhooks.iter().map(|webhook| &webhook.id)).await?;
    Ok(Json(Statistics::new(&figures, webhooks, of_webhooks)))
}

impl Statistics {
    fn new(figures: &stats::Figures, webhooks: Vec<Webhook>, of_webhooks: Vec<Figures>) -> Self {
        let (successful, failed, pending) = (figures.delivered, figures.dead, figures.pending);
        Self {
            webhooks: WebhookCounts::of(&webhooks),
            deliveries_last_24h: figures.attempts_last_24h(),
            last_7d_success_rate: figures.success_rate_last_7d(),
            deliveries: Deliveries { total: successful + failed + pending, successful, failed, pending },
            response_time_ms: figures.response_times().into(),
            by_event: figures
                .events()
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count.into()))
                .collect(),
            by_webhook: by_webhook(webhooks, of_webhooks),
            timeline: figures
                .timeline()
                .map(|(hour, attempts)| Hour { hour: hour.to_string(), attempts: attempts.into() })
                .collect(),
            cluster: None,
        }
    }
}

impl WebhookCounts {
    /// `failing` are the active ones that the breaker pauses: none, while there is no breaker.
    fn of(webhooks: &[Webhook]) -> Self {
        let active = webhooks.iter().filter(|webhook| webhook.is_active).count();
        Self { total: webhooks.len(), active, inactive: webhooks.len() - active, failing: 0 }
    }
}

fn by_webhook(webhooks: Vec<Webhook>, figures: Vec<Figures>) -> Vec<OfWebhook> {
    let of = |(webhook, figures): (Webhook, Figures)| OfWebhook {
        webhook_id: webhook.id,
        name: webhook.settings.name,
        attempts: Counts { successful: figures.succeeded, failed: figures.failed },
        pending: figures.pending,
    };
    let mut all: Vec<OfWebhook> = webhooks.into_iter().zip(figures).map(of).collect();
    // Stable: among equals the newest comes first.
    all.sort_by_key(|webhook| Reverse(webhook.attempts.failed));
    all.truncate(MOST_WEBHOOKS);
    all
}

impl From<Attempts> for Counts {
    fn from(Attempts { ok, fail }: Attempts) -> Self {
        Self { successful: ok, failed: fail }
    }
}

impl From<&ResponseTimes> for Times {
    fn from(times: &ResponseTimes) -> Self {
        Self {
            avg: times.average_ms(),
            p50: times.percentile_ms(50),
            p95: times.percentile_ms(95),
            p99: times.percentile_ms(99),
        }
    }
}
