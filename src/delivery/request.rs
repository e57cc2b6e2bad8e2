//! The headers of an attempt (contract, section 8). Pure: the same attempt at the same time is the same request.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::webhook::Settings;
use crate::domain::{EventBody, EventId, Millis, TraceContext};
use crate::policy::signing::{self, Signer};

/// How the service names itself.
pub const OURSELVES: &str = concat!("SalesOS-Webhooks/", env!("CARGO_PKG_VERSION"));
/// What every body is.
const JSON: &str = "application/json";

static EVENT_TYPE: HeaderName = HeaderName::from_static("x-webhook-event");
static EVENT_ID: HeaderName = HeaderName::from_static("x-webhook-id");
static ATTEMPT: HeaderName = HeaderName::from_static("x-webhook-attempt");
static TIMESTAMP: HeaderName = HeaderName::from_static("x-webhook-timestamp");
static STANDARD_ID: HeaderName = HeaderName::from_static(signing::ID_HEADER);
static STANDARD_TIMESTAMP: HeaderName = HeaderName::from_static(signing::TIMESTAMP_HEADER);
/// Names of the two headers that hold signatures; what the log shows leaves them out.
static HEX_SIGNATURE: HeaderName = HeaderName::from_static(signing::HEX_SIGNATURE_HEADER);
static STANDARD_SIGNATURE: HeaderName = HeaderName::from_static(signing::SIGNATURE_HEADER);
/// Where the receiver's own spans belong.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How many headers differ from attempt to attempt, at most.
const PER_ATTEMPT: usize = 9;

/// How long their values are together, usually: two signatures, two ids and a span.
const USUAL_LENGTH: usize = 320;

/// The service's own headers but for the signatures: what the log may show, made again from what a log row holds.
pub fn plain_headers(
    event_type: &str,
    event_id: &EventId,
    attempt: u32,
    at: Millis,
) -> [(&'static str, String); 8] {
    [
        ("content-type", JSON.into()),
        ("user-agent", OURSELVES.into()),
        (EVENT_TYPE.as_str(), event_type.into()),
        (EVENT_ID.as_str(), event_id.to_string()),
        (ATTEMPT.as_str(), attempt.to_string()),
        (TIMESTAMP.as_str(), at.0.to_string()),
        (STANDARD_ID.as_str(), event_id.to_string()),
        (STANDARD_TIMESTAMP.as_str(), at.as_secs().to_string()),
    ]
}

/// The names of the service's own headers, in the order in which people look for them: those that tell of the event first.
pub const NAMES: [&str; 10] = [
    "content-type",
    "user-agent",
    "x-webhook-event",
    "x-webhook-id",
    "x-webhook-attempt",
    "x-webhook-timestamp",
    signing::HEX_SIGNATURE_HEADER,
    signing::ID_HEADER,
    signing::TIMESTAMP_HEADER,
    signing::SIGNATURE_HEADER,
];

/// What all requests of one webhook have in common, made once.
#[derive(Debug)]
pub struct Template {
    /// The webhook's own headers, with those of ours in their place that are always the same.
    common: HeaderMap,
    signer: Signer,
    /// Former secrets, the newest first, each until when it signs.
    former: Vec<(Signer, Millis)>,
}

impl Template {
    /// The template of a webhook. `connection` are headers that its own may replace.
    ///
    /// A header whose name or value HTTP forbids is left out; saving a webhook refuses those.
    pub fn new(settings: &Settings, connection: HeaderMap) -> Self {
        let mut common = connection;
        for (name, value) in &settings.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                common.insert(name, value);
            }
        }
        common.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        common.insert(USER_AGENT, HeaderValue::from_static(OURSELVES));
        let former = &settings.former_secrets;
        Self {
            common,
            signer: Signer::new(&settings.secret),
            former: former.iter().map(|(secret, expires)| (Signer::new(secret), *expires)).collect(),
        }
    }

    /// Every header of an attempt signed at `at`: the webhook's own first, then ours, which replace any of the same name.
    ///
    /// `trace`, the span of the attempt, goes along as `traceparent` (W3C Trace Context).
    pub fn headers(
        &self,
        event_id: &EventId,
        event: &EventBody,
        attempt: u32,
        at: Millis,
        trace: Option<TraceContext>,
    ) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.common.len() + PER_ATTEMPT);
        headers.extend(self.common.iter().map(|(name, value)| (name.clone(), value.clone())));
        let (id, secs) = (event_id.as_str(), at.as_secs());
        let signers = std::iter::once(&self.signer).chain(self.former_at(at));
        let mut values = Values::new();
        values.add(&EVENT_TYPE, &event.event_type);
        values.add(&EVENT_ID, id);
        values.add(&STANDARD_ID, id);
        values.add(&ATTEMPT, attempt);
        values.add(&TIMESTAMP, at.0);
        values.add(&STANDARD_TIMESTAMP, secs);
        values.add(&STANDARD_SIGNATURE, signing::standard_header(signers, id, secs, &event.bytes));
        values.add(&HEX_SIGNATURE, self.signer.hex(&event.bytes));
        if let Some(trace) = trace {
            values.add(&TRACEPARENT, trace);
        }
        values.insert_into(&mut headers);
        headers
    }

    /// The former secrets whose grace period lasts at `now`.
    fn former_at(&self, now: Millis) -> impl Iterator<Item = &Signer> {
        self.former.iter().filter(move |(_, expires)| now < *expires).map(|(signer, _)| signer)
    }
}

/// The headers that differ from attempt to attempt. Their values are written one after another into one text, which they
/// share: an allocation each, and names looked up by their text, cost 1.3 us more.
struct Values {
    text: String,
    /// Whose each is, and where in the text it ends.
    ends: Vec<(&'static HeaderName, usize)>,
}

impl Values {
    fn new() -> Self {
        Self { text: String::with_capacity(USUAL_LENGTH), ends: Vec::with_capacity(PER_ATTEMPT) }
    }

    fn add(&mut self, name: &'static HeaderName, value: impl fmt::Display) {
        // Writing into a text cannot fail.
        let _ = write!(self.text, "{value}");
        self.ends.push((name, self.text.len()));
    }

    fn insert_into(self, headers: &mut HeaderMap) {
        let (text, mut start) = (Bytes::from(self.text), 0);
        for (name, end) in self.ends {
            // Only an event type could hold what HTTP forbids, and none of the catalogue does.
            if let Ok(value) = HeaderValue::from_maybe_shared(text.slice(start..end)) {
                headers.insert(name, value);
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::send::tests::{event, settings};
    use crate::domain::Secret;

    const AT: Millis = Millis(1_768_473_000_123);

    fn headers(settings: &Settings, attempt: u32, at: Millis, trace: Option<TraceContext>) -> HeaderMap {
        Template::new(settings, HeaderMap::new()).headers(&id(), &event(), attempt, at, trace)
    }

    fn id() -> EventId {
        "evt_1".parse().expect("an id")
    }

    fn value<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[test]
    fn headers_are_the_documented_ones() {
        let headers = headers(&settings("http://example.com/"), 3, AT, None);
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
        assert_eq!(headers.len(), NAMES.len(), "{headers:?}");
        assert!(NAMES.iter().all(|name| headers.contains_key(*name)), "{headers:?}");
        for (name, shown) in plain_headers("lead.created", &id(), 3, AT) {
            assert_eq!(value(&headers, name), shown, "{name}: the log shows what was sent");
        }
    }

    #[test]
    fn signatures_verify_over_the_body() {
        let settings = settings("http://example.com/");
        let headers = headers(&settings, 1, AT, None);
        let (secret, body) = (&settings.secret, event().bytes);
        assert!(signing::verify_hex(secret, &body, value(&headers, HEX_SIGNATURE.as_str())));
        let standard = value(&headers, STANDARD_SIGNATURE.as_str());
        assert!(signing::verify_standard(secret, "evt_1", AT.as_secs(), &body, standard));
    }

    #[test]
    fn a_former_secret_signs_second_and_only_while_it_lasts() {
        let former = Secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into());
        let mut settings = settings("http://example.com/");
        settings.former_secrets = vec![(former.clone(), AT)];
        let (body, before) = (event().bytes, Millis(AT.0 - 1));
        let both = headers(&settings, 1, before, None);
        let sign = |secret| signing::standard_signature(secret, "evt_1", before.as_secs(), &body);
        let expected = format!("{} {}", sign(&settings.secret), sign(&former));
        assert_eq!(value(&both, STANDARD_SIGNATURE.as_str()), expected);
        assert_eq!(value(&both, HEX_SIGNATURE.as_str()), signing::hex_signature(&settings.secret, &body));
        let one = headers(&settings, 1, AT, None);
        assert!(!value(&one, STANDARD_SIGNATURE.as_str()).contains(' '), "the grace period is over");
    }

    #[test]
    fn a_traced_attempt_tells_its_span_whatever_the_webhook_says() {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut settings = settings("http://example.com/");
        let traced = headers(&settings, 1, AT, context.parse().ok());
        assert_eq!(value(&traced, "traceparent"), context);
        settings.headers.insert("Traceparent".into(), "mine".into());
        let traced = headers(&settings, 1, AT, context.parse().ok());
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
        let headers = headers(&settings, 1, AT, None);
        assert_eq!(value(&headers, "x-custom"), "yes");
        assert_eq!(value(&headers, "user-agent"), OURSELVES);
        assert_eq!(headers.get_all("x-webhook-id").iter().count(), 1);
        assert_eq!(headers.len(), 11, "{headers:?}");
    }
}
