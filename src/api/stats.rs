//! `GET /api/webhooks/stats`: the caller's figures (contract, section 7). `GET /api/webhooks/{id}/stats`: one webhook's.
//!
//! They are the caller's alone, in their own tenant, and include what deleted webhooks did. `timeline` has all of the last
//! 168 hours, those without attempts too. `cluster` is what the nodes told of their last minute, for those who run it.
//! Neither costs more the more was delivered.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use futures_util::future::join3;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::{Id, Purpose, find, webhooks_of};
use super::auth::{Caller, Reader};
use super::webhooks::view::status_of;
use super::{App, Error};
use crate::clock;
use crate::domain::{Millis, Status, Webhook, WebhookId};
use crate::policy::last_minute::{self, ClusterFigures};
use crate::store;
use crate::store::event_status::partitions_of;
use crate::store::stats::{self, Attempts, ResponseTimes};
use crate::store::webhooks::{Figures, Whose};
use crate::telemetry::events as facts;

/// Webhooks listed one by one: those with most failures.
const MOST_WEBHOOKS: usize = 100;

/// A user's figures.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    /// How many webhooks there are.
    pub webhooks: WebhookCounts,
    /// What is counted of them, deleted ones included.
    #[serde(flatten)]
    pub counted: Counted,
    /// The webhooks with most failures, at most 100.
    pub by_webhook: Vec<OfWebhook>,
    /// Given to the roles of administrators and publishers.
    pub cluster: Option<OfCluster>,
}

/// One webhook's figures.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookStatistics {
    /// Which.
    pub webhook_id: WebhookId,
    /// What is counted of it.
    #[serde(flatten)]
    pub counted: Counted,
}

/// What is counted of a user and of a webhook alike.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Figures)]
pub struct Counted {
    /// Attempts.
    #[serde(rename = "deliveriesLast24h")]
    pub deliveries_last_24h: u64,
    /// Per cent of the attempts; 100 when there were none.
    #[serde(rename = "last7dSuccessRate")]
    #[schema(minimum = 0, maximum = 100)]
    pub last_7d_success_rate: f64,
    /// Pairs of an event and a webhook.
    pub deliveries: Deliveries,
    /// Of the attempts in the last 24 hours.
    pub response_time_ms: Times,
    /// Attempts by event type.
    pub by_event: BTreeMap<String, Counts>,
    /// The last 168 hours.
    pub timeline: Vec<Hour>,
}

/// All nodes together, in the last minute.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ClusterFigures)]
pub struct OfCluster {
    /// Nodes that live and have told.
    pub nodes: usize,
    /// Deliveries that ended, a second.
    pub deliveries_per_second: f64,
    /// Attempts on their way.
    pub in_flight: u64,
    /// Deliveries that wait.
    pub backlog: u64,
    /// Of the attempts.
    pub response_time_ms: Times,
}

/// How many webhooks there are.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct WebhookCounts {
    /// `active` and `inactive` ones.
    pub total: usize,
    /// Those that events are queued for.
    pub active: usize,
    /// Those that are switched off.
    pub inactive: usize,
    /// Of the active ones those that the breaker holds back.
    pub failing: usize,
}

/// Pairs of an event and a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryCounts)]
pub struct Deliveries {
    /// All of the three below.
    pub total: u64,
    /// Those that the endpoint took.
    pub successful: u64,
    /// Those that failed for good.
    pub failed: u64,
    /// Those that are queued or between two attempts.
    pub pending: u64,
}

/// Milliseconds; null without attempts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResponseTimes)]
pub struct Times {
    /// The mean.
    pub avg: Option<f64>,
    /// What half of the attempts did not exceed.
    pub p50: Option<f64>,
    /// What 95 of 100 attempts did not exceed.
    pub p95: Option<f64>,
    /// What 99 of 100 attempts did not exceed.
    pub p99: Option<f64>,
}

/// Attempts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AttemptCounts)]
pub struct Counts {
    /// Those that were answered with 2xx.
    pub successful: u64,
    /// All others.
    pub failed: u64,
}

/// What was attempted for one webhook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttemptsOfWebhook)]
pub struct OfWebhook {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// What its owner calls it.
    pub name: String,
    /// Its attempts.
    #[serde(flatten)]
    pub attempts: Counts,
    /// Deliveries that are queued for it.
    pub pending: u64,
}

/// One hour.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HourOfAttempts)]
pub struct Hour {
    /// When it begins.
    #[schema(format = DateTime)]
    pub hour: String,
    /// The attempts in it.
    #[serde(flatten)]
    pub attempts: Counts,
}

/// The handler.
pub async fn show(app: Data<App>, caller: Reader) -> Result<Json<Statistics>, Error> {
    of_user(&app, &caller).await.map(Json)
}

/// The caller's figures, and the cluster's if they may know those.
///
/// # Errors
/// The store's.
pub async fn of_user(app: &App, caller: &Caller) -> Result<Statistics, Error> {
    account(app, caller).await.map(|account| account.statistics)
}

/// A user's figures, and their webhooks as they were read for them.
#[derive(Debug)]
pub struct Account {
    /// What the route answers.
    pub statistics: Statistics,
    /// All webhooks, newest first, each with its own figures. Bounded by the quota.
    pub webhooks: Vec<(Webhook, Figures)>,
}

/// As [`of_user`], with the caller's webhooks.
///
/// # Errors
/// The store's.
pub async fn account(app: &App, caller: &Caller) -> Result<Account, Error> {
    let now = clock::now();
    // They read different things: none waits for another.
    let (figures, webhooks, cluster) =
        join3(figures_of(app, caller, now), webhooks_with_figures(app, caller, now), of_cluster(app, caller))
            .await;
    let (figures, webhooks) = (figures?, webhooks?);
    let statistics = Statistics {
        webhooks: WebhookCounts::of(&webhooks),
        counted: (&figures).into(),
        by_webhook: by_webhook(&webhooks),
        cluster,
    };
    Ok(Account { statistics, webhooks })
}

async fn figures_of(app: &App, caller: &Caller, now: Millis) -> Result<stats::Figures, Error> {
    let partitions = partitions_of(&app.redis, &app.keys, &app.layout, &caller.tenant).await?;
    Ok(stats::read(&app.redis, &app.keys, &partitions, &caller.tenant, &caller.user, now).await?)
}

async fn webhooks_with_figures(
    app: &App,
    caller: &Caller,
    now: Millis,
) -> Result<Vec<(Webhook, Figures)>, Error> {
    let (whose, store) = (Whose::Of(&caller.user), webhooks_of(app, caller));
    let webhooks = store.read(&store.list(whose).await?, whose, now).await?;
    let figures = store.figures(webhooks.iter().map(|webhook| &webhook.id)).await?;
    Ok(webhooks.into_iter().zip(figures).collect())
}

/// The handler for one webhook.
pub async fn of_webhook(
    app: Data<App>,
    caller: Reader,
    Id(id): Id,
) -> Result<Json<WebhookStatistics>, Error> {
    of_one(&app, &caller, &id).await.map(Json)
}

/// The figures of the webhook `id`.
///
/// # Errors
/// Those of [`find`].
pub async fn of_one(app: &App, caller: &Caller, id: &WebhookId) -> Result<WebhookStatistics, Error> {
    find(app, caller, id, Purpose::Read).await?;
    let partition = app.layout.partition_of(&caller.tenant, id.shard());
    let figures = stats::read_webhook(&app.redis, &app.keys, partition, id, clock::now()).await?;
    Ok(WebhookStatistics { webhook_id: id.clone(), counted: (&figures).into() })
}

/// What all nodes did in the last minute, if the caller may know.
/// What the nodes tell lies elsewhere in Redis: where it cannot be read the caller's own figures are no less true.
pub async fn of_cluster(app: &App, caller: &Caller) -> Option<OfCluster> {
    if !(caller.is_admin || caller.is_publisher) {
        return None;
    }
    let told = store::last_minute::read(&app.redis, &app.keys).await;
    let told = told.inspect_err(facts::cluster_figures_missing).ok()?;
    let live = app.live.borrow().clone();
    Some(last_minute::merge(&told, &live).into())
}

impl From<&stats::Figures> for Counted {
    fn from(figures: &stats::Figures) -> Self {
        let (successful, failed, pending) = (figures.delivered, figures.dead, figures.pending);
        let count = |(name, attempts): (&str, Attempts)| (name.to_owned(), attempts.into());
        Self {
            deliveries_last_24h: figures.attempts_last_24h(),
            last_7d_success_rate: figures.success_rate_last_7d(),
            deliveries: Deliveries { total: successful + failed + pending, successful, failed, pending },
            response_time_ms: figures.response_times().into(),
            by_event: figures.events().into_iter().map(count).collect(),
            timeline: figures
                .timeline()
                .map(|(hour, attempts)| Hour { hour: hour.to_string(), attempts: attempts.into() })
                .collect(),
        }
    }
}

impl From<ClusterFigures> for OfCluster {
    fn from(figures: ClusterFigures) -> Self {
        Self {
            nodes: figures.nodes,
            deliveries_per_second: figures.deliveries_per_second,
            in_flight: figures.in_flight,
            backlog: figures.backlog,
            response_time_ms: Times {
                avg: figures.times.average_ms(),
                p50: figures.times.percentile_ms(50),
                p95: figures.times.percentile_ms(95),
                p99: figures.times.percentile_ms(99),
            },
        }
    }
}

impl WebhookCounts {
    /// `failing` are the active ones that the breaker holds back.
    fn of(webhooks: &[(Webhook, Figures)]) -> Self {
        let active = webhooks.iter().filter(|(webhook, _)| webhook.is_active).count();
        let fails =
            |(webhook, figures): &&(Webhook, Figures)| status_of(webhook, *figures) == Status::Failing;
        let failing = webhooks.iter().filter(fails).count();
        Self { total: webhooks.len(), active, inactive: webhooks.len() - active, failing }
    }
}

fn by_webhook(webhooks: &[(Webhook, Figures)]) -> Vec<OfWebhook> {
    let mut all: Vec<&(Webhook, Figures)> = webhooks.iter().collect();
    // Stable: among equals the newest comes first.
    all.sort_by_key(|(_, figures)| Reverse(figures.failed));
    all.truncate(MOST_WEBHOOKS);
    let of = |(webhook, figures): &(Webhook, Figures)| OfWebhook {
        webhook_id: webhook.id.clone(),
        name: webhook.settings.name.clone(),
        attempts: Counts { successful: figures.succeeded, failed: figures.failed },
        pending: figures.pending,
    };
    all.into_iter().map(of).collect()
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
