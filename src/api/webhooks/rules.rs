//! What a client may say of a webhook, field by field (contract, section 5).
//!
//! [`Changes`] holds the fields that were given and passed; a creation and a PATCH differ only in what they are applied
//! to.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use reqwest::header::{HeaderName, HeaderValue};
use serde_json::value::RawValue;

use crate::api::fields::{Fields, integer_of, quoted, string_of};
use crate::domain::{Backoff, Catalogue, Filter, Pattern, Webhook, json};
use crate::policy::address::{Guard, check_url};
use crate::policy::json::compact;
use crate::store::webhooks::Failures;

/// Characters of a name.
pub const NAME_LENGTHS: RangeInclusive<usize> = 1..=255;
/// Characters of a description.
pub const DESCRIPTION_LENGTHS: RangeInclusive<usize> = 0..=1000;
/// The most entries of `events`.
pub const MAX_EVENTS: usize = 100;
/// The most entries of `headers`.
pub const MAX_HEADERS: usize = 50;
/// Names and values together, in bytes.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;
/// Of `retryAttempts`, and of the entries of `retrySchedule`.
pub const MAX_RETRIES: u32 = 20;
/// The longest delay before a retry, in seconds.
pub const MAX_DELAY_SECONDS: u32 = 86_400;
/// `timeoutSeconds`
pub const TIMEOUT_SECONDS: RangeInclusive<u32> = 1..=60;
/// `rateLimitPerSecond`
pub const RATES_PER_SECOND: RangeInclusive<u32> = 1..=10_000;
/// `maxConcurrency`
pub const CONCURRENCY: RangeInclusive<u32> = 1..=256;

/// What the rules depend on.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The event types that there are.
    pub catalogue: &'a Catalogue,
    /// The addresses that may be sent to.
    pub guard: &'a Guard,
    /// `delivery.require_https`
    pub require_https: bool,
}

/// The fields that were given. `Some(None)` clears a nullable one.
#[derive(Debug, Default)]
pub struct Changes {
    name: Option<String>,
    description: Option<Option<String>>,
    /// The URL as given; it has passed all but the look at what its name resolves to.
    pub url: Option<String>,
    events: Option<Vec<Pattern>>,
    headers: Option<BTreeMap<String, String>>,
    is_active: Option<bool>,
    retry_attempts: Option<u32>,
    retry_delay_seconds: Option<u32>,
    retry_backoff: Option<Backoff>,
    retry_schedule: Option<Option<Vec<u32>>>,
    timeout_seconds: Option<u32>,
    rate_limit_per_second: Option<Option<u32>>,
    max_concurrency: Option<u32>,
    ordered: Option<bool>,
    filter: Option<Option<Filter>>,
}

impl Changes {
    /// Takes every known field out of `fields` and notes the faults there.
    pub fn read(fields: &mut Fields<'_>, rules: Rules<'_>) -> Self {
        Self {
            name: fields.string("name", NAME_LENGTHS),
            description: fields
                .nullable("description", |fields, name| fields.string(name, DESCRIPTION_LENGTHS)),
            url: url(fields, rules),
            events: events(fields, rules.catalogue),
            headers: headers(fields),
            is_active: fields.boolean("isActive"),
            retry_attempts: fields.integer("retryAttempts", 0..=MAX_RETRIES),
            retry_delay_seconds: fields.integer("retryDelaySeconds", 0..=MAX_DELAY_SECONDS),
            retry_backoff: backoff(fields),
            retry_schedule: fields.nullable("retrySchedule", schedule),
            timeout_seconds: fields.integer("timeoutSeconds", TIMEOUT_SECONDS),
            rate_limit_per_second: fields
                .nullable("rateLimitPerSecond", |fields, name| fields.integer(name, RATES_PER_SECOND)),
            max_concurrency: fields.integer("maxConcurrency", CONCURRENCY),
            ordered: fields.boolean("ordered"),
            filter: fields.nullable("filter", filter),
        }
    }

    /// Makes the changes. Switching a webhook on forgets why it was off; switching it off keeps a reason that it has.
    pub fn apply(&self, webhook: &mut Webhook) -> Failures {
        let settings = &mut webhook.settings;
        set(&mut settings.name, &self.name);
        set(&mut settings.description, &self.description);
        set(&mut settings.url, &self.url);
        set(&mut settings.events, &self.events);
        set(&mut settings.headers, &self.headers);
        set(&mut settings.retries.attempts, &self.retry_attempts);
        set(&mut settings.retries.delay_seconds, &self.retry_delay_seconds);
        set(&mut settings.retries.backoff, &self.retry_backoff);
        set(&mut settings.retries.schedule, &self.retry_schedule);
        set(&mut settings.timeout_seconds, &self.timeout_seconds);
        set(&mut settings.rate_limit_per_second, &self.rate_limit_per_second);
        set(&mut settings.max_concurrency, &self.max_concurrency);
        set(&mut settings.ordered, &self.ordered);
        set(&mut settings.filter, &self.filter);
        match self.is_active {
            Some(true) => activate(webhook),
            Some(false) => deactivate(webhook),
            None => Failures::Keep,
        }
    }
}

/// Switches a webhook on: with a clean record, whatever it was off for.
pub fn activate(webhook: &mut Webhook) -> Failures {
    webhook.is_active = true;
    webhook.disabled_reason = None;
    Failures::Forget
}

/// Switches a webhook off.
pub fn deactivate(webhook: &mut Webhook) -> Failures {
    webhook.is_active = false;
    Failures::Keep
}

fn set<T: Clone>(target: &mut T, given: &Option<T>) {
    if let Some(value) = given {
        target.clone_from(value);
    }
}

fn url(fields: &mut Fields<'_>, rules: Rules<'_>) -> Option<String> {
    let text = fields.string("url", 1..=usize::MAX)?;
    match check_url(&text, rules.require_https, rules.guard) {
        Ok(_) => Some(text),
        Err(fault) => {
            fields.fault(fault.to_string());
            None
        }
    }
}

/// A filter, with its faults noted.
pub fn filter(fields: &mut Fields<'_>, name: &str) -> Option<Filter> {
    let given = fields.take(name)?.get();
    // As it is stored and shown: without the line breaks of whoever wrote it. Too deep for that is too deep for a filter.
    let text = compact(given).unwrap_or_else(|_| given.to_owned());
    let faults = match Filter::parse(&text) {
        Ok(filter) => return Some(filter),
        Err(faults) => faults,
    };
    faults.into_iter().for_each(|fault| fields.fault(fault));
    None
}

fn backoff(fields: &mut Fields<'_>) -> Option<Backoff> {
    let text = fields.take("retryBackoff")?;
    let known = serde_json::from_str(text.get()).ok();
    if known.is_none() {
        fields.fault("retryBackoff must be one of fixed, linear, exponential".into());
    }
    known
}

fn schedule(fields: &mut Fields<'_>, name: &str) -> Option<Vec<u32>> {
    let delays = json::elements(fields.take(name)?).and_then(|elements| {
        let delay = |element: &&RawValue| integer_of(element).filter(|seconds| *seconds <= MAX_DELAY_SECONDS);
        let few = elements.len() <= MAX_RETRIES as usize;
        few.then(|| elements.iter().map(delay).collect()).flatten()
    });
    if delays.is_none() {
        fields.fault(format!(
            "{name} must be an array of at most {MAX_RETRIES} integers from 0 to {MAX_DELAY_SECONDS}"
        ));
    }
    delays
}

fn events(fields: &mut Fields<'_>, catalogue: &Catalogue) -> Option<Vec<Pattern>> {
    let elements = fields.array("events")?;
    if elements.is_empty() {
        fields.fault("events should not be empty".into());
    }
    if elements.len() > MAX_EVENTS {
        fields.fault(format!("events must hold at most {MAX_EVENTS} elements"));
        return None;
    }
    let mut patterns = Vec::with_capacity(elements.len());
    for (index, element) in elements.into_iter().enumerate() {
        match pattern(element, catalogue) {
            Ok(pattern) if patterns.contains(&pattern) => {}
            Ok(pattern) => patterns.push(pattern),
            Err(fault) => fields.fault(format!("events.{index}: {fault}")),
        }
    }
    Some(patterns)
}

fn pattern(element: &RawValue, catalogue: &Catalogue) -> Result<Pattern, String> {
    let text = string_of(element).ok_or("must be a string")?;
    let known = match text.parse() {
        Ok(Pattern::Everything) => Some(Pattern::Everything),
        Ok(Pattern::Family(family)) if catalogue.has_family(&family) => Some(Pattern::Family(family)),
        Ok(Pattern::Exact(name)) if catalogue.get(&name).is_some() => Some(Pattern::Exact(name)),
        _ => None,
    };
    known.ok_or_else(|| unknown(&text, catalogue))
}

fn unknown(text: &str, catalogue: &Catalogue) -> String {
    let meant = match text.strip_suffix(".*") {
        Some(family) => catalogue.closest_family(family).map(|family| format!("{family}.*")),
        // A family's name alone.
        None if catalogue.has_family(text) => Some(format!("{text}.*")),
        None => catalogue.closest(text).map(str::to_owned),
    };
    let hint = meant.map(|meant| format!(", did you mean \"{meant}\"?")).unwrap_or_default();
    format!("unknown event type \"{}\"{hint}", quoted(text))
}

pub(super) fn headers(fields: &mut Fields<'_>) -> Option<BTreeMap<String, String>> {
    let pairs = fields.object("headers")?;
    if pairs.len() > MAX_HEADERS {
        fields.fault(format!("headers must hold at most {MAX_HEADERS} entries"));
        return None;
    }
    let mut seen: Vec<HeaderName> = Vec::new();
    let mut headers = BTreeMap::new();
    for (name, value) in pairs {
        match header(&name, value, &seen) {
            Ok((parsed, text)) => {
                seen.push(parsed);
                headers.insert(name, text);
            }
            Err(fault) => fields.fault(format!("headers.{}: {fault}", quoted(&name))),
        }
    }
    let size: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_HEADER_BYTES {
        fields.fault(format!("headers must be at most {MAX_HEADER_BYTES} bytes long in all"));
    }
    Some(headers)
}

fn header(name: &str, value: &RawValue, seen: &[HeaderName]) -> Result<(HeaderName, String), &'static str> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "not a legal header name")?;
    if is_reserved(parsed.as_str()) {
        return Err("this header is set by the service");
    }
    if seen.contains(&parsed) {
        return Err("given twice (names are compared without case)");
    }
    let text = string_of(value).ok_or("must be a string")?;
    // Space around a value is not part of it (RFC 9110 section 5.5), so it would not arrive; nor would what is not
    // ASCII arrive as what it was, as receivers disagree on its encoding.
    let legal =
        text.trim_matches([' ', '\t']) == text && text.is_ascii() && HeaderValue::from_str(&text).is_ok();
    if legal { Ok((parsed, text)) } else { Err("not a legal header value") }
}

/// Headers, in lower case, that belong to the connection or to us.
/// Sources: RFC 9110 section 7.6.1 (hop-by-hop), contract section 8 (ours), W3C Trace Context (the attempt's span).
pub const RESERVED_NAMES: [&str; 14] = [
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// How the names of others begin.
pub const RESERVED_FAMILIES: [&str; 3] = ["content-", "webhook-", "x-webhook-"];

/// Whether a header, by its lower-case name, is reserved.
fn is_reserved(name: &str) -> bool {
    RESERVED_NAMES.contains(&name) || RESERVED_FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
pub(super) mod properties;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::error::Error;
    use crate::api::testing;

    fn faults(body: &Value) -> Vec<String> {
        let config = testing::config();
        let guard = Guard::default();
        let rules = Rules { catalogue: &config.catalogue, guard: &guard, require_https: false };
        let text = body.to_string();
        let mut fields = Fields::parse(text.as_bytes()).unwrap();
        Changes::read(&mut fields, rules);
        match fields.finish() {
            Err(Error::Invalid(faults)) => faults,
            other => {
                other.unwrap();
                Vec::new()
            }
        }
    }

    #[test]
    fn every_rule_has_its_words() {
        let list = "retrySchedule must be an array of at most 20 integers from 0 to 86400";
        let cases = [
            (json!({"name": ""}), "name should not be empty"),
            (json!({"name": "x".repeat(256)}), "name must be at most 255 characters long"),
            (json!({"name": null}), "name must be a string"),
            (json!({"description": "x".repeat(1001)}), "description must be at most 1000 characters long"),
            (json!({"url": "ftp://example.com"}), "url must be an http or https URL"),
            (json!({"url": ""}), "url should not be empty"),
            (json!({"url": "http://10.0.0.1"}), "url must not point to a private or reserved address"),
            (json!({"events": []}), "events should not be empty"),
            (json!({"events": "lead.created"}), "events must be an array"),
            (json!({"events": vec!["*"; 101]}), "events must hold at most 100 elements"),
            (
                json!({"events": ["*", "lead.updated", "lead.craeted"]}),
                "events.2: unknown event type \"lead.craeted\", did you mean \"lead.created\"?",
            ),
            (
                json!({"events": ["leed.*"]}),
                "events.0: unknown event type \"leed.*\", did you mean \"lead.*\"?",
            ),
            (json!({"events": ["lead"]}), "events.0: unknown event type \"lead\", did you mean \"lead.*\"?"),
            (json!({"events": ["string"]}), "events.0: unknown event type \"string\""),
            (json!({"events": ["test"]}), "events.0: unknown event type \"test\""),
            (
                json!({"events": ["lead.cr*"]}),
                "events.0: unknown event type \"lead.cr*\", did you mean \"lead.created\"?",
            ),
            (json!({"events": [7]}), "events.0: must be a string"),
            (json!({"headers": []}), "headers must be an object"),
            (json!({"headers": null}), "headers must be an object"),
            (json!({"headers": {"a b": "x"}}), "headers.a b: not a legal header name"),
            (json!({"headers": {"X-A": "x\r\nX-B: y"}}), "headers.X-A: not a legal header value"),
            (json!({"headers": {"X-A": "ümlaut"}}), "headers.X-A: not a legal header value"),
            (json!({"headers": {"X-A": " x"}}), "headers.X-A: not a legal header value"),
            (json!({"headers": {"X-A": 1}}), "headers.X-A: must be a string"),
            (
                json!({"headers": {"X-A": "1", "x-a": "2"}}),
                "headers.x-a: given twice (names are compared without case)",
            ),
            (json!({"headers": {"X-A": "x".repeat(8190)}}), "headers must be at most 8192 bytes long in all"),
            (json!({"isActive": "true"}), "isActive must be a boolean"),
            (json!({"retryAttempts": 21}), "retryAttempts must be an integer from 0 to 20"),
            (json!({"retryDelaySeconds": 86401}), "retryDelaySeconds must be an integer from 0 to 86400"),
            (json!({"retryBackoff": "Fixed"}), "retryBackoff must be one of fixed, linear, exponential"),
            (json!({"retrySchedule": [1, 86401]}), list),
            (json!({"retrySchedule": vec![1; 21]}), list),
            (json!({"retrySchedule": "1"}), list),
            (json!({"timeoutSeconds": 0}), "timeoutSeconds must be an integer from 1 to 60"),
            (json!({"rateLimitPerSecond": 0}), "rateLimitPerSecond must be an integer from 1 to 10000"),
            (json!({"maxConcurrency": 257}), "maxConcurrency must be an integer from 1 to 256"),
            (json!({"ordered": null}), "ordered must be a boolean"),
            (json!({"filter": {}}), "filter should not be empty"),
            (json!({"filter": {"amount": {"gt": null}}}), "filter.amount.gt must be a number or a string"),
            (json!({"secret": "whsec_x"}), "property secret should not exist"),
        ];
        for (body, fault) in cases {
            assert_eq!(faults(&body), [fault], "{body}");
        }
    }

    #[test]
    fn everything_within_its_bounds_is_taken() {
        let many: serde_json::Map<String, Value> = (0..50).map(|n| (format!("X-{n}"), json!("v"))).collect();
        for body in [
            json!({"name": "ü".repeat(255), "description": "", "url": "https://example.com"}),
            json!({"events": ["lead.created", "lead.*", "*"], "headers": many, "isActive": false}),
            json!({"retryAttempts": 0, "retryDelaySeconds": 86400, "retryBackoff": "linear", "retrySchedule": []}),
            json!({"timeoutSeconds": 60, "rateLimitPerSecond": 10000, "maxConcurrency": 256, "ordered": true}),
            json!({"description": null, "retrySchedule": null, "rateLimitPerSecond": null, "filter": null}),
            json!({"filter": {"amount": {"gte": 1000}, "stage": "won"}}),
            json!({"headers": {"Authorization": "Bearer x", "X-Empty": ""}}),
        ] {
            assert_eq!(faults(&body), Vec::<String>::new(), "{body}");
        }
    }

    #[test]
    fn headers_of_the_connection_and_of_the_service_are_reserved() {
        for name in [
            "Host",
            "CONTENT-TYPE",
            "content-length",
            "Transfer-Encoding",
            "User-Agent",
            "webhook-id",
            "X-Webhook-Signature",
            "Connection",
            "TE",
            "upgrade",
            "Traceparent",
            "tracestate",
        ] {
            let expected = format!("headers.{name}: this header is set by the service");
            assert_eq!(faults(&json!({"headers": {name: "x"}})), [expected]);
        }
    }

    #[test]
    fn a_filter_is_kept_on_one_line_whoever_wrote_it() {
        let body = b"{\"filter\": {\n  \"amount\": {\r\n\t\"gte\": 1000 },\n  \"stage\": \"two words\"\n}}";
        let kept = filter(&mut Fields::parse(body).unwrap(), "filter").unwrap();
        let expected = r#"{"amount":{"gte":1000},"stage":"two words"}"#;
        assert_eq!(serde_json::to_string(&kept).unwrap(), expected);
    }

    #[test]
    fn repeated_events_are_folded() {
        let config = testing::config();
        let body = br#"{"events": ["lead.created", "*", "lead.created"]}"#;
        let folded = events(&mut Fields::parse(body).unwrap(), &config.catalogue).unwrap();
        assert_eq!(folded.iter().map(Pattern::to_string).collect::<Vec<_>>(), ["lead.created", "*"]);
    }
}
