//! Realistic requests and answers. All names, addresses and numbers are made up.
//!
//! Event types and their data are those of the catalogue, so that the examples hold on a node with another one.

use serde_json::{Value, json};

use super::filters;
use super::rules::NOW;
use crate::domain::{Catalogue, EventType};

/// A webhook.
pub const WEBHOOK: &str = "wh_0aQ7dLm2Xw9Zr4Tk8Pc1Vb6N";
/// An event.
pub const EVENT: &str = "evt_019bc1452c28f3a9d04b7e61c25a8d90";
/// An attempt to deliver it there.
pub const ATTEMPT: &str = "att_1768473000123_0_Pc1Vb6";
const URL: &str = "https://hooks.example.com/leads";
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD5xJc0hnpyuA=";

/// Makes examples around the first type of a catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Examples<'a> {
    first: &'a EventType,
    last: &'a EventType,
}

impl<'a> Examples<'a> {
    /// `None` without any type.
    pub fn of(catalogue: &'a Catalogue) -> Option<Self> {
        let types = catalogue.types();
        Some(Self { first: types.first()?, last: types.last()? })
    }

    /// The name of the type.
    pub fn event_type(self) -> &'a str {
        &self.first.event
    }

    fn family(self) -> String {
        format!("{}.*", self.first.event.split('.').next().unwrap_or_default())
    }

    /// The least that makes a webhook.
    pub fn small_webhook(self) -> Value {
        json!({"name": "Everything", "url": URL, "events": ["*"]})
    }

    /// A webhook with every field.
    pub fn new_webhook(self) -> Value {
        json!({
            "name": "Leads to the data warehouse",
            "description": "Owned by the analytics team",
            "url": URL,
            "events": [self.family(), self.last.event],
            "headers": {"Authorization": "Bearer 8f14e45f", "X-Environment": "production"},
            "isActive": true,
            "retryAttempts": 5, "retryDelaySeconds": 30, "retryBackoff": "exponential", "retrySchedule": null,
            "timeoutSeconds": 10, "rateLimitPerSecond": 50, "maxConcurrency": 8, "ordered": false,
            "filter": filters::example(),
        })
    }

    /// That webhook as it is shown.
    pub fn webhook(self) -> Value {
        let mut shown = self.new_webhook();
        let rest = json!({
            "id": WEBHOOK, "status": "active", "disabledReason": null, "pausedUntil": null,
            "deliveryCount": 1204, "successCount": 1200, "failureCount": 4, "consecutiveFailures": 0, "pendingCount": 0,
            "lastDeliveryAt": NOW, "lastSuccessAt": NOW, "lastFailureAt": "2026-01-12T08:04:11.250Z",
            "createdAt": "2026-01-02T09:00:00.000Z", "updatedAt": "2026-01-10T16:20:05.125Z",
        });
        merge(&mut shown, rest);
        shown
    }

    /// As its creation answers.
    pub fn created_webhook(self) -> Value {
        let mut created = self.webhook();
        let fresh = json!({
            "secret": SECRET, "deliveryCount": 0, "successCount": 0, "failureCount": 0, "lastDeliveryAt": null,
            "lastSuccessAt": null, "lastFailureAt": null, "createdAt": NOW, "updatedAt": NOW,
        });
        merge(&mut created, fresh);
        created
    }

    /// A secret.
    pub fn secret(self) -> &'static str {
        SECRET
    }

    /// The answer to a new secret.
    pub fn new_secret(self) -> Value {
        json!({
            "id": WEBHOOK, "secret": SECRET, "previousSecretExpiresAt": "2026-01-16T10:30:00.000Z",
            "message": "Store the new secret now, it is not shown again.",
        })
    }

    /// The catalogue.
    pub fn catalogue(self) -> Value {
        json!([self.first])
    }

    /// An event as a publisher sends it.
    pub fn new_event(self) -> Value {
        json!({"type": self.event_type(), "data": self.first.sample, "id": "lead-7Hq2mXw9-created", "timestamp": NOW})
    }

    /// The least that makes an event.
    pub fn small_event(self) -> Value {
        json!({"type": self.event_type(), "data": self.first.sample})
    }

    /// Two of them.
    pub fn batch(self) -> Value {
        json!({"events": [self.new_event(), {"type": self.last.event, "data": self.last.sample}]})
    }

    /// The answer to a publication.
    pub fn taken(self) -> Value {
        json!({"id": EVENT, "type": self.event_type(), "timestamp": NOW, "duplicate": false})
    }

    /// The body that an endpoint gets.
    pub fn sent(self) -> Value {
        json!({
            "id": EVENT, "type": self.event_type(), "timestamp": NOW, "organizationId": "acme", "data": self.first.sample,
        })
    }

    /// An event and where it stands.
    pub fn event_status(self) -> Value {
        let mut status = self.sent();
        let target = json!({
            "webhookId": WEBHOOK, "status": "pending", "reason": null, "pausedUntil": null, "attempts": 1,
            "nextRetryAt": "2026-01-15T10:31:00.181Z", "lastAttemptId": ATTEMPT,
            "lastError": {
                "kind": "http_status", "message": "the endpoint answered 500 Internal Server Error", "statusCode": 500,
                "at": "2026-01-15T10:30:00.096Z",
            },
            "endedAt": null,
        });
        merge(&mut status, json!({"webhooks": [target]}));
        status
    }

    /// An attempt that succeeded.
    pub fn attempt(self) -> Value {
        json!({
            "id": ATTEMPT, "webhookId": WEBHOOK, "event": self.event_type(), "eventId": EVENT, "url": URL,
            "requestPayload": self.sent(), "statusCode": 200, "responseBody": "ok", "responseTimeMs": 84,
            "attemptNumber": 1, "success": true, "errorMessage": null, "errorKind": null, "nextRetryAt": null,
            "createdAt": "2026-01-15T10:30:00.096Z",
        })
    }

    /// One that did not.
    fn failed_attempt(self) -> Value {
        let mut failed = self.attempt();
        let failure = json!({
            "id": "att_1768472940007_0_Pc1Vb6", "statusCode": 502, "responseBody": "bad gateway", "success": false,
            "errorMessage": "the endpoint answered 502", "errorKind": "http_status",
            "nextRetryAt": "2026-01-15T10:29:30.007Z", "createdAt": "2026-01-15T10:29:00.007Z",
        });
        merge(&mut failed, failure);
        failed
    }

    /// A page of the log.
    pub fn log(self) -> Value {
        json!({
            "logs": [self.attempt(), self.failed_attempt()],
            "pagination": {"page": 1, "limit": 20, "total": 2, "totalPages": 1},
        })
    }

    /// An attempt with what was sent.
    pub fn whole_attempt(self) -> Value {
        let mut whole = self.attempt();
        let headers = json!({
            "Authorization": "***", "Content-Type": "application/json", "User-Agent": "SalesOS-Webhooks/0.1.0",
            "X-Webhook-Event": self.event_type(), "X-Webhook-Id": EVENT, "X-Webhook-Attempt": "1",
            "X-Webhook-Timestamp": "1768473000096", "webhook-id": EVENT, "webhook-timestamp": "1768473000",
        });
        merge(&mut whole, json!({"requestHeaders": headers}));
        whole
    }

    /// The answer to a test.
    pub fn test_report(self) -> Value {
        json!({
            "success": true, "message": "the endpoint took the test", "event": self.event_type(), "eventId": EVENT,
            "statusCode": 200, "responseTimeMs": 84, "responseBody": "ok", "error": null,
        })
    }

    /// The answer to a filter that does not hold.
    pub fn verdict(self) -> Value {
        json!({
            "matches": false, "subscribed": null, "filter": {"amount": {"gte": 1000}},
            "failed": [{"field": "amount", "found": [5]}],
        })
    }

    fn recovery(self) -> Value {
        json!({
            "id": "rec_4Fh8sKq1Zt6Ym3Wd9Xb2Vc", "status": "running", "since": "2026-01-14T00:00:00.000Z", "until": null,
            "event": self.family(), "total": 312, "requeued": 40, "skipped": 0, "startedAt": NOW, "endedAt": null,
        })
    }

    /// How a recovery stands.
    pub fn running_recovery(self) -> Value {
        self.recovery()
    }

    /// One that was ended.
    pub fn ended_recovery(self) -> Value {
        let mut ended = self.recovery();
        merge(&mut ended, json!({"status": "cancelled", "endedAt": "2026-01-15T10:31:00.000Z"}));
        ended
    }

    /// What asks for one.
    pub fn recovery_request(self) -> Value {
        json!({"since": "2026-01-14T00:00:00.000Z", "event": self.family()})
    }

    /// The answer that begins one.
    pub fn begun_recovery(self) -> Value {
        let mut begun = self.recovery();
        merge(&mut begun, json!({"requeued": 0}));
        json!({
            "queued": 312, "bodyGone": 0, "byEvent": {self.event_type(): 312}, "dryRun": false, "recovery": begun,
        })
    }

    /// The answer to a dry run.
    pub fn dry_recovery(self) -> Value {
        json!({"queued": 312, "bodyGone": 2, "byEvent": {self.event_type(): 312}, "dryRun": true, "recovery": null})
    }

    fn figures(self) -> Value {
        json!({
            "deliveriesLast24h": 180, "last7dSuccessRate": 99.7,
            "deliveries": {"total": 1204, "successful": 1200, "failed": 1, "pending": 3},
            "responseTimeMs": {"avg": 91.5, "p50": 80.0, "p95": 240.0, "p99": 480.0},
            "byEvent": {self.event_type(): {"successful": 1200, "failed": 4}},
            "timeline": [{"hour": "2026-01-15T10:00:00.000Z", "successful": 12, "failed": 0}],
        })
    }

    /// The figures of a user.
    pub fn statistics(self) -> Value {
        let mut all = self.figures();
        let rest = json!({
            "webhooks": {"total": 1, "active": 1, "inactive": 0, "failing": 0},
            "byWebhook": [{
                "webhookId": WEBHOOK, "name": "Leads to the data warehouse", "successful": 1200, "failed": 4, "pending": 3,
            }],
            "cluster": {
                "nodes": 3, "deliveriesPerSecond": 412.5, "inFlight": 37, "backlog": 3,
                "responseTimeMs": {"avg": 91.5, "p50": 80.0, "p95": 240.0, "p99": 480.0},
            },
        });
        merge(&mut all, rest);
        all
    }

    /// Those of a webhook.
    pub fn webhook_statistics(self) -> Value {
        let mut all = self.figures();
        merge(&mut all, json!({"webhookId": WEBHOOK}));
        all
    }
}

/// Puts the members of `more` into `object`.
fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}
