//! The three kinds of spans: their names and attributes.
//!
//! Sources: OpenTelemetry semantic conventions for HTTP spans. Left out on purpose: `url.full`, `url.path`, addresses of
//! clients. A URL may hold a secret, and a span leaves the house.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use url::Url;

use super::{Open, put};
use crate::domain::{AttemptResult, ErrorKind, EventId, Partition};
use crate::telemetry::events::{Answered, AttemptOf};

/// The flag of `traceparent` that says it is recorded.
const SAMPLED: u32 = 1;

/// An API request has been answered.
pub fn ended_request(open: Open, answered: &Answered<'_>) {
    let Answered { method, route, status, request_id, event, .. } = *answered;
    let route = route.pattern;
    let failure = (status >= 500).then(|| status.to_string());
    let mut attributes = vec![
        text("http.request.method", method),
        text("http.route", route),
        text("url.scheme", "http"),
        number("http.response.status_code", i64::from(status)),
        text("salesos_webhooks.request.id", request_id),
    ];
    attributes.extend(event.map(|event| text("salesos_webhooks.event.id", event.as_str())));
    let name = format!("{method} {route}");
    put(span(open, name, SpanKind::Server, attributes, failure.as_deref()));
}

/// An event has been put into the mailboxes of a partition.
pub fn ended_dispatch(open: Open, event: &EventId, partition: Partition, deliveries: usize) {
    let attributes = vec![
        text("salesos_webhooks.event.id", event.as_str()),
        number("salesos_webhooks.partition", i64::from(partition.0)),
        number("salesos_webhooks.deliveries", i64::try_from(deliveries).unwrap_or(i64::MAX)),
    ];
    put(span(open, "dispatch".to_owned(), SpanKind::Internal, attributes, None));
}

/// An attempt has come to a result; `None` = it was given up on the way.
pub fn ended_attempt(open: Open, of: &AttemptOf<'_>, result: Option<&AttemptResult>) {
    let failure = match result {
        None => Some(ErrorKind::Cancelled),
        Some(result) => result.failure.as_ref().map(|failure| failure.kind),
    };
    let outcome = failure.map_or("success", ErrorKind::as_str);
    let mut attributes = vec![
        text("http.request.method", "POST"),
        text("salesos_webhooks.event.id", of.event.as_str()),
        text("salesos_webhooks.webhook.id", of.webhook.id.as_str()),
        number("salesos_webhooks.attempt", i64::from(of.number)),
        text("salesos_webhooks.outcome", outcome),
    ];
    let url = Url::parse(&of.webhook.settings.url).ok();
    attributes.extend(url.as_ref().and_then(Url::host_str).map(|host| text("server.address", host)));
    if of.number > 1 {
        attributes.push(number("http.request.resend_count", i64::from(of.number - 1)));
    }
    let status = result.and_then(|result| result.status);
    attributes.extend(status.map(|status| number("http.response.status_code", i64::from(status))));
    put(span(open, "attempt".to_owned(), SpanKind::Client, attributes, failure.map(ErrorKind::as_str)));
}

/// The span that ends now; `failure` is the `error.type` of one that failed.
fn span(
    open: Open,
    name: String,
    kind: SpanKind,
    mut attributes: Vec<KeyValue>,
    failure: Option<&str>,
) -> Span {
    attributes.extend(failure.map(|kind| text("error.type", kind)));
    let status = failure.map(|_| Status { message: String::new(), code: StatusCode::Error as i32 });
    let elapsed = u64::try_from(open.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Span {
        trace_id: open.context.trace.bytes().to_vec(),
        span_id: open.context.span.bytes().to_vec(),
        parent_span_id: open.parent.map(|parent| parent.bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED,
        name,
        kind: kind as i32,
        start_time_unix_nano: open.begun.unix_nanos,
        end_time_unix_nano: open.begun.unix_nanos.saturating_add(elapsed),
        attributes,
        status,
        ..Span::default()
    }
}

/// An attribute that is a text.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SpanId, TraceContext, TraceId};
    use crate::telemetry::traces::Begun;

    fn open(parent: Option<SpanId>) -> Open {
        let context = TraceContext { trace: TraceId::made([1; 16]), span: SpanId::made([2; 8]) };
        Open { context, parent, begun: Begun::now() }
    }

    #[test]
    fn a_span_says_who_caused_it_when_it_was_and_whether_it_failed() {
        let below = open(Some(SpanId::made([3; 8])));
        let span_of = |open, failure| span(open, "n".into(), SpanKind::Client, Vec::new(), failure);
        let failed = span_of(below, Some("timeout"));
        assert_eq!((failed.trace_id, failed.span_id), (vec![1; 16], vec![2; 8]));
        assert_eq!((failed.parent_span_id, failed.kind), (vec![3; 8], 3));
        assert!(failed.end_time_unix_nano >= failed.start_time_unix_nano);
        assert_eq!(failed.status.map(|status| status.code), Some(2));
        assert_eq!(failed.attributes, [text("error.type", "timeout")]);
        let root = span_of(open(None), None);
        assert!(root.parent_span_id.is_empty() && root.status.is_none() && root.attributes.is_empty());
    }
}
