//! Which fields of a webhook a change gives other values, for the audit log: their names in the API, never what is in them.

use crate::domain::webhook::Settings;
use crate::domain::{Retries, Webhook};

/// The names of the fields that a client can set and that differ, in the order of the contract.
pub fn differences(before: &Webhook, after: &Webhook) -> Vec<&'static str> {
    // Taken apart in full, so that a new field cannot be forgotten here.
    let Settings {
        name,
        description,
        url,
        events,
        headers,
        retries: Retries { attempts, delay_seconds, backoff, schedule },
        timeout_seconds,
        rate_limit_per_second,
        max_concurrency,
        ordered,
        filter,
        tenant: _,
        owner: _,
        secret: _,
        former_secrets: _,
        created_at: _,
    } = &before.settings;
    let now = &after.settings;
    let fields = [
        ("name", *name != now.name),
        ("description", *description != now.description),
        ("url", *url != now.url),
        ("events", *events != now.events),
        ("headers", *headers != now.headers),
        ("isActive", before.is_active != after.is_active),
        ("retryAttempts", *attempts != now.retries.attempts),
        ("retryDelaySeconds", *delay_seconds != now.retries.delay_seconds),
        ("retryBackoff", *backoff != now.retries.backoff),
        ("retrySchedule", *schedule != now.retries.schedule),
        ("timeoutSeconds", *timeout_seconds != now.timeout_seconds),
        ("rateLimitPerSecond", *rate_limit_per_second != now.rate_limit_per_second),
        ("maxConcurrency", *max_concurrency != now.max_concurrency),
        ("ordered", *ordered != now.ordered),
        ("filter", *filter != now.filter),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
