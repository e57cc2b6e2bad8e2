//! The request that an endpoint gets, as the `webhooks` section of the document (contract, section 8).

use serde_json::{Value, json};

use super::examples::{EVENT, Examples};
use super::schemas::reference;

/// The section.
pub fn webhooks(examples: Examples<'_>) -> Value {
    let description = "The same bytes on every attempt, written as `JSON.stringify` writes them. Check a signature over the bytes as \
         they came, before reading them, and de-duplicate by `webhook-id`: delivery is at least once. The webhook's own \
         headers come as well.";
    let content =
        json!({"schema": reference("SentEvent"), "examples": {"event": {"value": examples.sent()}}});
    json!({
        "event": {"post": {
            "operationId": "receiveEvent",
            "tags": ["Events"],
            "summary": "What an endpoint gets",
            "description": description,
            "security": [],
            "parameters": headers(examples),
            "requestBody": {"required": true, "content": {"application/json": content}},
            "responses": answers(),
        }}
    })
}

/// The schema of the body.
pub fn sent_event() -> Value {
    json!({
        "type": "object",
        "description": "The body that an endpoint gets.",
        "required": ["data", "id", "organizationId", "timestamp", "type"],
        "properties": {
            "id": reference("EventId"),
            "type": {"type": "string", "description": "The event's type; `test` for a test."},
            "timestamp": {"type": "string", "format": "date-time"},
            "organizationId": {"type": ["string", "null"], "description": "Null in a user's own tenant."},
            "data": {"type": "object"},
        },
    })
}

fn headers(examples: Examples<'_>) -> Vec<Value> {
    let header = |name: &str, example: &str, description: &str| {
        json!({
            "name": name, "in": "header", "required": name != "traceparent", "schema": {"type": "string"}, "example": example,
            "description": description,
        })
    };
    let hex = "5f0c9a1e7d3b48c26a90f1e4d7b25c83a6f0e9d1c4b7a2958e3d6f1c0b9a8472";
    vec![
        header("User-Agent", "SalesOS-Webhooks/0.1.0", "The service and its version."),
        header("X-Webhook-Event", examples.event_type(), "The event's type."),
        header("X-Webhook-Id", EVENT, "The event: the same on every attempt."),
        header("X-Webhook-Attempt", "1", "Counts from 1."),
        header("X-Webhook-Timestamp", "1768473000000", "When the attempt was signed, in milliseconds."),
        header(
            "X-Webhook-Signature",
            hex,
            "Lower-case hex HMAC-SHA256 of the body; the key is the whole secret string.",
        ),
        header("webhook-id", EVENT, "Standard Webhooks: the event."),
        header("webhook-timestamp", "1768473000", "Standard Webhooks: seconds."),
        header(
            "webhook-signature",
            "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
            "Standard Webhooks: base64 HMAC-SHA256 of `id.timestamp.body`; the key is what the base64 behind `whsec_` says. One \
             more for each former secret in its grace period, newest first, with spaces between.",
        ),
        header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "The attempt's span (W3C Trace Context), only where it is traced.",
        ),
    ]
}

fn answers() -> Value {
    let says = |description: &str| json!({"description": description});
    let wait = json!({
        "description": "Leave it alone for a while: nothing is sent for as long as `Retry-After` says, at most a day.",
        "headers": {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds, or a date."}},
    });
    json!({
        "2XX": says("Taken. Must come within the webhook's `timeoutSeconds`."),
        "3XX": says("Failed: redirects are not followed."),
        "410": says("Switches the webhook off, and ends the delivery."),
        "429": wait,
        "503": wait,
        "default": says("Failed: tried again as the webhook says."),
    })
}
