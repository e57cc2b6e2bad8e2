//! The schemas of request bodies, with the limits of the rules that check them.
//!
//! They say all that a schema can: event types are those of the node's catalogue, own headers exclude the reserved names.
//! What else is checked (addresses, lengths over several members) stands in descriptions.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::schemas::reference;
use crate::api::publish::{MAX_BATCH, MAX_ORGANIZATION};
use crate::api::webhooks::rules::{
    CONCURRENCY, DESCRIPTION_LENGTHS, MAX_DELAY_SECONDS, MAX_EVENTS, MAX_HEADER_BYTES, MAX_HEADERS,
    MAX_RETRIES, NAME_LENGTHS, RATES_PER_SECOND, RESERVED_FAMILIES, RESERVED_NAMES, TIMEOUT_SECONDS,
};
use crate::api::webhooks::secrets::{DEFAULT_GRACE, MAX_GRACE};
use crate::domain::Catalogue;
use crate::domain::webhook::{SECRET_KEY_BYTES, SECRET_PREFIX};
use crate::policy::address::MAX_URL_CHARS;

/// The schemas of all bodies, by name.
pub fn schemas(catalogue: &Catalogue) -> Map<String, Value> {
    let all = [
        ("EventType", event_type(catalogue)),
        ("Subscription", subscription(catalogue)),
        ("NewWebhook", object(new_webhook(), &["name", "url", "events"])),
        ("WebhookChanges", object(webhook(), &[])),
        ("SecretRequest", object(json!({"gracePeriodSeconds": grace(), "secret": secret()}), &[])),
        ("TestRequest", object(json!({"event": tested(), "data": tested_data()}), &[])),
        ("FilterTest", filter_test()),
        ("RecoveryRequest", object(recovery(), &["since"])),
        ("NewEvent", object(event(), &["type", "data"])),
        ("NewBatch", object(json!({"events": batch()}), &["events"])),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn object(members: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": members, "required": required, "additionalProperties": false})
}

fn event_type(catalogue: &Catalogue) -> Value {
    let names: Vec<&str> = catalogue.types().iter().map(|known| known.event.as_str()).collect();
    json!({"type": "string", "enum": names, "description": "A type of the catalogue (`GET /api/webhooks/events`)."})
}

/// What may stand in `events`.
fn subscription(catalogue: &Catalogue) -> Value {
    let mut families: Vec<String> = Vec::new();
    for known in catalogue.types() {
        let family = known.event.split('.').next().unwrap_or_default();
        let pattern = format!("{family}.*");
        if !families.contains(&pattern) {
            families.push(pattern);
        }
    }
    let names = catalogue.types().iter().map(|known| known.event.clone());
    let all: Vec<String> = std::iter::once("*".to_owned()).chain(families).chain(names).collect();
    json!({"type": "string", "enum": all, "description": "An event type, a family of them, or `*` for every type."})
}

fn new_webhook() -> Value {
    let mut members = webhook();
    members["secret"] = secret();
    members
}

fn webhook() -> Value {
    json!({
        "name": text(NAME_LENGTHS, "For people."),
        "description": nullable(text(DESCRIPTION_LENGTHS, "For people.")),
        "url": url(),
        "events": {
            "type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": reference("Subscription"),
            "description": "What it subscribes to; duplicates are folded. In a change the list is replaced whole.",
        },
        "headers": headers(),
        "isActive": {"type": "boolean", "default": true, "description": "False: nothing is queued for it, and what is queued waits. True clears `disabledReason`, failures and pauses."},
        "retryAttempts": with_default(integer(0..=MAX_RETRIES, "Retries after the first attempt."), &json!(3)),
        "retryDelaySeconds": with_default(integer(0..=MAX_DELAY_SECONDS, "Before the first retry."), &json!(60)),
        "retryBackoff": {"type": "string", "enum": ["fixed", "linear", "exponential"], "default": "fixed", "description": "How the delay grows, up to 24 h; up to 10 % chance is added."},
        "retrySchedule": nullable(json!({
            "type": "array", "maxItems": MAX_RETRIES, "items": integer(0..=MAX_DELAY_SECONDS, "Seconds."),
            "description": "Seconds before each retry; overrides the three above.",
        })),
        "timeoutSeconds": with_default(integer(TIMEOUT_SECONDS, "For the whole attempt."), &json!(30)),
        "rateLimitPerSecond": nullable(integer(RATES_PER_SECOND, "Attempts started in a second; null = the service's default.")),
        "maxConcurrency": with_default(integer(CONCURRENCY, "Attempts in flight."), &json!(16)),
        "ordered": {"type": "boolean", "default": false, "description": "One at a time, in publish order; a failing head holds the rest until it ends."},
        "filter": nullable_reference("Filter"),
    })
}

fn url() -> Value {
    json!({
        "type": "string", "format": "uri", "minLength": 1, "maxLength": MAX_URL_CHARS,
        "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s\\]+$",
        "description": "Absolute, http or https, without credentials; the host must be public, and ports of other services (22, 25, 6379, …) are refused.",
    })
}

fn headers() -> Value {
    let reserved =
        format!("^(?:(?:{})$|{})", any_case(&RESERVED_NAMES), RESERVED_FAMILIES.map(caseless).join("|"));
    let description = format!(
        "Own headers for every request, at most {MAX_HEADER_BYTES} bytes in all; names differ in more than case. Those of the \
         connection and of the service are refused. In a change the object is replaced whole."
    );
    json!({
        "type": "object", "maxProperties": MAX_HEADERS, "default": {}, "description": description,
        "propertyNames": {"minLength": 1, "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "not": {"pattern": reserved}},
        "additionalProperties": {"type": "string", "maxLength": MAX_HEADER_BYTES, "pattern": r"^(?:[!-~](?:[\t -~]*[!-~])?)?$"},
    })
}

fn any_case(words: &[&str]) -> String {
    words.iter().map(|word| caseless(word)).collect::<Vec<_>>().join("|")
}

/// A pattern for `word` in upper and lower case: those of JSON Schema know no flags.
fn caseless(word: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphabetic() { format!("[{}{c}]", c.to_ascii_uppercase()) } else { c.into() }
    };
    word.chars().map(letter).collect()
}

/// What is taken as a secret: canonical base64 of so many bytes, which in groups of three is 8 to 21 whole ones, and of a
/// further group one byte, or two unless that is too long.
fn secret() -> Value {
    let (least, most) = (SECRET_KEY_BYTES.start() / 3, SECRET_KEY_BYTES.end() / 3);
    let (digit, groups) = ("[A-Za-z0-9+/]", "(?:[A-Za-z0-9+/]{4})");
    let one_more = format!("{groups}{{{least},{most}}}(?:{digit}[AQgw]==)?");
    let two_more = format!("{groups}{{{least},{}}}{digit}{{2}}[AEIMQUYcgkosw048]=", most - 1);
    let (shortest, longest) = (SECRET_KEY_BYTES.start(), SECRET_KEY_BYTES.end());
    json!({
        "type": "string", "pattern": format!("^{SECRET_PREFIX}(?:{one_more}|{two_more})$"),
        "description": format!(
            "A secret of your own, such as one that receivers have already: `{SECRET_PREFIX}` and the base64 of {shortest} to \
             {longest} random bytes. Made here unless given."
        ),
    })
}

fn grace() -> Value {
    let description = "How long the former secret signs beside the new one; 0 ends all former ones at once.";
    with_default(integer(0..=MAX_GRACE, description), &json!(DEFAULT_GRACE))
}

fn tested() -> Value {
    json!({
        "anyOf": [reference("EventType"), {"const": "test"}], "default": "test",
        "description": "The type of the event; its sample is sent unless `data` is given.",
    })
}

fn tested_data() -> Value {
    json!({"type": "object", "description": "Sent in the place of the sample, in the order and with the numbers given."})
}

fn filter_test() -> Value {
    let data = json!({"type": "object", "description": "The `data` to try."});
    let event = json!({"allOf": [reference("EventType")], "description": "Try the sample of this type."});
    let filter = nullable_reference("Filter");
    json!({
        "description": "Either `data` or `event`; with `filter` that one is tried in the place of the webhook's (null = none).",
        "anyOf": [
            object(json!({"data": data, "filter": filter}), &["data"]),
            object(json!({"event": event, "filter": filter}), &["event"]),
        ],
    })
}

fn recovery() -> Value {
    let event = text(1..=255, "Only this type, or this family (`lead.*`); null = all.");
    json!({
        "since": time("What failed for good at this time or later."),
        "until": nullable(time("And before this time, which must be later; null = now.")),
        "event": nullable(event),
        "dryRun": {"type": "boolean", "default": false, "description": "Only say what would be queued."},
    })
}

fn event() -> Value {
    json!({
        "type": reference("EventType"),
        "data": {"type": "object", "description": "What receivers get, in the order and with the numbers given."},
        "id": {"allOf": [reference("EventId")], "description": "Becomes the event's id, and guards against sending it twice."},
        "timestamp": time("When it happened; now, when it is not given. It never schedules."),
        "organizationId": organization(),
    })
}

fn organization() -> Value {
    let mut schema = nullable(text(
        1..=MAX_ORGANIZATION,
        "Another organization than the token's; needs the scope `events:publish:any`.",
    ));
    schema["pattern"] = "^(?!user:)".into();
    schema
}

fn batch() -> Value {
    json!({"type": "array", "minItems": 1, "maxItems": MAX_BATCH, "items": reference("NewEvent"), "description": "Of one organization; all are taken, or none."})
}

/// A time that the API takes.
pub fn time(description: &str) -> Value {
    json!({
        "type": "string", "format": "date-time", "pattern": "^(?:19[7-9][0-9]|[2-9][0-9]{3})-", "description": description,
        "examples": ["2026-01-15T10:30:00.000Z"],
    })
}

fn text(lengths: RangeInclusive<usize>, description: &str) -> Value {
    json!({"type": "string", "minLength": lengths.start(), "maxLength": lengths.end(), "description": description})
}

/// A whole number.
pub fn integer(range: RangeInclusive<u32>, description: &str) -> Value {
    json!({"type": "integer", "minimum": range.start(), "maximum": range.end(), "description": description})
}

fn with_default(mut schema: Value, default: &Value) -> Value {
    schema["default"] = default.clone();
    schema
}

fn nullable(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

fn nullable_reference(name: &str) -> Value {
    json!({"oneOf": [reference(name), {"type": "null"}]})
}
