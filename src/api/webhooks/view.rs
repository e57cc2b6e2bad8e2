//! A webhook as the API shows it (contract, section 5).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::{Backoff, Filter, Millis, Pattern, Secret, Status, Webhook, WebhookId};
use crate::store::webhooks::Figures;

/// The JSON of one webhook.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View<'a> {
    id: &'a WebhookId,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_id: Option<&'a str>,
    name: &'a str,
    description: Option<&'a str>,
    url: &'a str,
    events: &'a [Pattern],
    headers: &'a BTreeMap<String, String>,
    is_active: bool,
    retry_attempts: u32,
    retry_delay_seconds: u32,
    retry_backoff: Backoff,
    retry_schedule: Option<&'a [u32]>,
    timeout_seconds: u32,
    rate_limit_per_second: Option<u32>,
    max_concurrency: u32,
    ordered: bool,
    filter: Option<&'a Filter>,
    status: Status,
    disabled_reason: Option<String>,
    paused_until: Option<String>,
    delivery_count: u64,
    success_count: u64,
    failure_count: u64,
    consecutive_failures: u32,
    pending_count: u64,
    last_delivery_at: Option<String>,
    last_success_at: Option<String>,
    last_failure_at: Option<String>,
    created_at: String,
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl<'a> View<'a> {
    /// What its owner sees.
    pub fn of(webhook: &'a Webhook, figures: Figures, now: Millis) -> Self {
        let (settings, standing) = (&webhook.settings, figures.standing);
        let rests_until = Some(standing.rests_until()).filter(|until| webhook.is_active && *until > now);
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
            paused_until: time(rests_until),
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

/// The answer to `regenerate-secret`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewSecret<'a> {
    /// The webhook.
    pub id: &'a WebhookId,
    /// The secret, shown once.
    pub secret: &'a str,
    /// Until then what is sent carries the former secret's signature too.
    pub previous_secret_expires_at: String,
    /// For people.
    pub message: &'static str,
}
