//! A webhook as the API shows it (contract, section 5).

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Backoff, Filter, Millis, Pattern, Secret, Status, Webhook, WebhookId};
use crate::store::webhooks::Figures;

/// A webhook as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub struct View<'a> {
    id: &'a WebhookId,
    /// Whose it is; given to administrators who list all webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_id: Option<&'a str>,
    name: &'a str,
    description: Option<&'a str>,
    /// Where events are sent to.
    #[schema(format = "uri")]
    url: &'a str,
    /// What it subscribes to.
    events: &'a [Pattern],
    /// Its own headers, which go with every request.
    headers: &'a BTreeMap<String, String>,
    /// While false nothing is queued for it; what is queued waits.
    is_active: bool,
    /// Retries after the first attempt.
    retry_attempts: u32,
    retry_delay_seconds: u32,
    retry_backoff: Backoff,
    /// Seconds before each retry; overrides the three above.
    retry_schedule: Option<&'a [u32]>,
    /// For the whole attempt.
    timeout_seconds: u32,
    /// Null = the service's default.
    rate_limit_per_second: Option<u32>,
    /// Attempts in flight.
    max_concurrency: u32,
    /// One at a time, in publish order.
    ordered: bool,
    filter: Option<&'a Filter>,
    status: Status,
    /// Why the service switched it off.
    disabled_reason: Option<String>,
    /// Present, and true, when its secret and the values of its headers cannot be decrypted: what is queued waits, and it can be
    /// switched on and off, be deleted, or be given new ones with `regenerate-secret`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secret_unreadable: bool,
    /// Until then nothing is sent: it keeps failing, or the endpoint asked for it with `Retry-After`.
    #[schema(format = DateTime)]
    paused_until: Option<String>,
    /// Attempts made.
    delivery_count: u64,
    /// Attempts that were answered with 2xx.
    success_count: u64,
    /// Attempts that failed.
    failure_count: u64,
    /// Attempts that failed since the last success.
    consecutive_failures: u32,
    /// Deliveries that are queued.
    pending_count: u64,
    #[schema(format = DateTime)]
    last_delivery_at: Option<String>,
    #[schema(format = DateTime)]
    last_success_at: Option<String>,
    #[schema(format = DateTime)]
    last_failure_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// Signs what is sent. Shown here once, in the answer to the creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Secret>)]
    secret: Option<&'a str>,
}

impl<'a> View<'a> {
    /// What its owner sees.
    pub fn of(webhook: &'a Webhook, figures: Figures, now: Millis) -> Self {
        let (settings, standing) = (&webhook.settings, figures.standing);
        let time = |at: Option<Millis>| at.map(|at| at.to_string());
        Self {
            id: &webhook.id,
            owner_id: None,
            name: &settings.name,
            description: settings.description.as_deref(),
            url: &settings.url,
            events: &settings.events,
            headers: &settings.headers,
            is_active: webhook.is_active,
            retry_attempts: settings.retries.attempts,
            retry_delay_seconds: settings.retries.delay_seconds,
            retry_backoff: settings.retries.backoff,
            retry_schedule: settings.retries.schedule.as_deref(),
            timeout_seconds: settings.timeout_seconds,
            rate_limit_per_second: settings.rate_limit_per_second,
            max_concurrency: settings.max_concurrency,
            ordered: settings.ordered,
            filter: settings.filter.as_ref(),
            status: status_of(webhook, figures),
            disabled_reason: webhook.disabled_reason.map(|reason| reason.to_string()),
            secret_unreadable: webhook.locked.is_some(),
            paused_until: time(paused_until(webhook, figures, now)),
            delivery_count: figures.succeeded + figures.failed,
            success_count: figures.succeeded,
            failure_count: figures.failed,
            consecutive_failures: standing.failures,
            pending_count: figures.pending,
            last_delivery_at: time(figures.last_at),
            last_success_at: time(figures.last_success_at),
            last_failure_at: time(figures.last_failure_at),
            created_at: settings.created_at.to_string(),
            updated_at: webhook.updated_at.to_string(),
            secret: None,
        }
    }

    /// With its owner's id, for administrators.
    pub fn with_owner(mut self, webhook: &'a Webhook) -> Self {
        self.owner_id = Some(&webhook.settings.owner.0);
        self
    }

    /// With its secret, which is shown once.
    pub fn with_secret(mut self, secret: &'a Secret) -> Self {
        self.secret = Some(&secret.0);
        self
    }
}

/// The state a person sees: `failing` while the breaker holds an active webhook back, until a probe succeeds.
pub fn status_of(webhook: &Webhook, figures: Figures) -> Status {
    match webhook.status() {
        Status::Active if figures.standing.is_open() => Status::Failing,
        status => status,
    }
}

/// Until when nothing is sent to an active webhook: it keeps failing, or the endpoint asked for it. `None` = now.
pub fn paused_until(webhook: &Webhook, figures: Figures, now: Millis) -> Option<Millis> {
    Some(figures.standing.rests_until()).filter(|until| webhook.is_active && *until > now)
}

/// The answer to `regenerate-secret`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewSecret<'a> {
    /// The webhook.
    pub id: &'a WebhookId,
    /// The secret, shown once.
    #[schema(value_type = Secret)]
    pub secret: &'a str,
    /// Until then what is sent carries the former secret's signature too.
    #[schema(format = DateTime)]
    pub previous_secret_expires_at: String,
    /// For people.
    pub message: &'static str,
}
