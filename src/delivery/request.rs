//! The headers of an attempt (contract, section 8). Pure: the same attempt at the same time is the same request.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::webhook::Settings;
use crate::domain::{EventBody, EventId, Millis, TraceContext};
use crate::policy::signing;

/// How the service names itself.
pub const USER_AGENT: &str = concat!("SalesOS-Webhooks/", env!("CARGO_PKG_VERSION"));

/// Names of the two headers that hold signatures; what the log shows leaves them out.
const HEX_SIGNATURE: &str = "x-webhook-signature";
const STANDARD_SIGNATURE: &str = "webhook-signature";
/// Where the receiver's own spans belong.
const TRACEPARENT: &str = "traceparent";

/// The service's own headers but for the signatures: what the log may show, made again from what a log row holds.
pub fn plain_headers(
    event_type: &str,
    event_id: &EventId,
    attempt: u32,
    at: Millis,
) -> [(&'static str, String); 8] {
    [
        ("content-type", "application/json".into()),
        ("user-agent", USER_AGENT.into()),
        ("x-webhook-event", event_type.into()),
        ("x-webhook-id", event_id.to_string()),
        ("x-webhook-attempt", attempt.to_string()),
        ("x-webhook-timestamp", at.0.to_string()),
        ("webhook-id", event_id.to_string()),
        ("webhook-timestamp", at.as_secs().to_string()),
    ]
}

/// Every header of an attempt signed at `at`: the webhook's own first, then ours, which replace any of the same name.
///
/// `trace`, the span of the attempt, goes along as `traceparent` (W3C Trace Context).
///
/// A header whose name or value HTTP forbids is left out; saving a webhook refuses those.
pub fn headers(
    settings: &Settings,
    event_id: &EventId,
    event: &EventBody,
    attempt: u32,
    at: Millis,
    trace: Option<TraceContext>,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(settings.headers.len() + 13);
    for (name, value) in &settings.headers {
        insert(&mut headers, name, value);
    }
    for (name, value) in plain_headers(&event.event_type, event_id, attempt, at) {
        insert(&mut headers, name, &value);
    }
    let former = settings.former_secrets_at(at);
    let (id, secs) = (event_id.as_str(), at.as_secs());
    let standard = signing::standard_header(&settings.secret, former, id, secs, &event.bytes);
    insert(&mut headers, STANDARD_SIGNATURE, &standard);
    insert(&mut headers, HEX_SIGNATURE, &signing::hex_signature(&settings.secret, &event.bytes));
    if let Some(trace) = trace {
        insert(&mut headers, TRACEPARENT, &trace.to_string());
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::send::tests::{event, settings};
    use crate::domain::Secret;

    const AT: Millis = Millis(1_768_473_000_123);

    fn id() -> EventId {
        "evt_1".parse().expect("an id")
    }

    fn value<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[test]
    fn headers_are_the_documented_ones() {
        let headers = headers(&settings("http://example.com/"), &id(), &event(), 3, AT, None);
        for (name, expected) in [
            ("content-type", "application/json"),
            ("user-agent", concat!("SalesOS-Webhooks/", env!("CARGO_PKG_VERSION"))),
            ("x-webhook-event", "lead.created"),
            ("x-webhook-id", "evt_1"),
            ("x-webhook-attempt", "3"),
            ("x-webhook-timestamp", "1768473000123"),
            ("webhook-id", "evt_1"),
            ("webhook-timestamp", "1768473000"),
        ] {
            assert_eq!(value(&headers, name), expected, "{name}");
        }
        assert_eq!(headers.len(), 10, "{headers:?}");
    }

    #[test]
    fn signatures_verify_over_the_body() {
        let settings = settings("http://example.com/");
        let headers = headers(&settings, &id(), &event(), 1, AT, None);
        let (secret, body) = (&settings.secret, event().bytes);
        assert!(signing::verify_hex(secret, &body, value(&headers, HEX_SIGNATURE)));
        let standard = value(&headers, STANDARD_SIGNATURE);
        assert!(signing::verify_standard(secret, "evt_1", AT.as_secs(), &body, standard));
    }

    #[test]
    fn a_former_secret_signs_second_and_only_while_it_lasts() {
        let former = Secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into());
        let mut settings = settings("http://example.com/");
        settings.former_secrets = vec![(former.clone(), AT)];
        let (body, before) = (event().bytes, Millis(AT.0 - 1));
        let both = headers(&settings, &id(), &event(), 1, before, None);
        let sign = |secret| signing::standard_signature(secret, "evt_1", before.as_secs(), &body);
        let expected = format!("{} {}", sign(&settings.secret), sign(&former));
        assert_eq!(value(&both, STANDARD_SIGNATURE), expected);
        assert_eq!(value(&both, HEX_SIGNATURE), signing::hex_signature(&settings.secret, &body));
        let one = headers(&settings, &id(), &event(), 1, AT, None);
        assert!(!value(&one, STANDARD_SIGNATURE).contains(' '), "the grace period is over");
    }

    #[test]
    fn a_traced_attempt_tells_its_span_whatever_the_webhook_says() {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut settings = settings("http://example.com/");
        let traced = headers(&settings, &id(), &event(), 1, AT, context.parse().ok());
        assert_eq!(value(&traced, "traceparent"), context);
        settings.headers.insert("Traceparent".into(), "mine".into());
        let traced = headers(&settings, &id(), &event(), 1, AT, context.parse().ok());
        assert_eq!(value(&traced, "traceparent"), context);
    }

    #[test]
    fn our_headers_win_over_the_webhooks_own() {
        let mut settings = settings("http://example.com/");
        for (name, value) in [
            ("X-Custom", "yes"),
            ("User-Agent", "x"),
            ("X-WEBHOOK-ID", "x"),
            ("bad name", "x"),
            ("x-bad", "a\nb"),
        ] {
            settings.headers.insert(name.into(), value.into());
        }
        let headers = headers(&settings, &id(), &event(), 1, AT, None);
        assert_eq!(value(&headers, "x-custom"), "yes");
        assert_eq!(value(&headers, "user-agent"), USER_AGENT);
        assert_eq!(headers.get_all("x-webhook-id").iter().count(), 1);
        assert_eq!(headers.len(), 11, "{headers:?}");
    }
}
