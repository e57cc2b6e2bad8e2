//! A collector of traces: takes `POST /v1/traces` as OTLP over HTTP sends it, and reads what it got.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;

use super::{Received, Receiver, Reply, SOON, eventually};

const PATH: &str = "/v1/traces";

/// A collector, gone with its value.
#[derive(Debug)]
pub struct Collector(Receiver);

/// One span; ids in hex.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The span above; empty = none.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// 1 internal, 2 server, 3 client.
    pub kind: i32,
    /// By name; numbers as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether its status is an error.
    pub failed: bool,
    /// From beginning to end, in nanoseconds since 1970.
    pub time: std::ops::Range<u64>,
    /// What the sender says of itself.
    pub resource: BTreeMap<String, String>,
}

impl Span {
    /// An attribute, which must be there.
    #[track_caller]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).unwrap_or_else(|| panic!("no attribute {name}: {self:?}"))
    }

    /// What a `traceparent` that names this span says.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }
}

impl Collector {
    /// One that takes everything.
    pub async fn start() -> Self {
        let collector = Self(Receiver::start().await);
        collector.answers(&[Reply::status(200).body("")]);
        collector
    }

    /// It answers like that from now on.
    pub fn answers(&self, replies: &[Reply]) {
        self.0.script(PATH, replies);
    }

    /// Where it is, as `telemetry.otlp_endpoint` names it.
    pub fn url(&self) -> String {
        self.0.url("")
    }

    /// All that it was ever sent, as text where it is text.
    pub fn all_sent(&self) -> String {
        let text = |request: &Received| String::from_utf8_lossy(&request.body).into_owned();
        self.0.look(PATH, |requests| requests.iter().map(text).collect())
    }

    /// How often it was asked.
    pub fn requests(&self) -> usize {
        self.0.count(PATH)
    }

    /// Every span that came so far, each once.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = BTreeMap::new();
        for request in self.0.received(PATH) {
            assert_eq!(request.header("content-type"), "application/x-protobuf");
            let message = ExportTraceServiceRequest::decode(&request.body[..]).expect("it is OTLP");
            for batch in message.resource_spans {
                let resource = attributes(batch.resource.expect("a resource").attributes);
                for span in batch.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    let span = read(span, resource.clone());
                    spans.insert((span.time.start, span.id.clone()), span);
                }
            }
        }
        spans.into_values().collect()
    }

    /// Waits until that many spans of an event have come, and gives them in the order of their beginning.
    pub async fn spans_of(&self, event: &str, count: usize) -> Vec<Span> {
        let is_of =
            |span: &Span| span.attributes.get("salesos_webhooks.event.id").is_some_and(|id| id == event);
        eventually(&format!("{count} spans of {event}"), SOON, async || {
            let spans: Vec<Span> = self.spans().into_iter().filter(is_of).collect();
            (spans.len() >= count).then_some(spans)
        })
        .await
    }
}

fn read(span: otlp::Span, resource: BTreeMap<String, String>) -> Span {
    let failed = span.status.is_some_and(|status| status.code == otlp::status::StatusCode::Error as i32);
    Span {
        trace: hex::encode(span.trace_id),
        id: hex::encode(span.span_id),
        parent: hex::encode(span.parent_span_id),
        name: span.name,
        kind: span.kind,
        attributes: attributes(span.attributes),
        failed,
        time: span.start_time_unix_nano..span.end_time_unix_nano,
        resource,
    }
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("an attribute that is neither text nor number: {other:?}"),
    };
    let read = |pair: KeyValue| (pair.key, text(pair.value.and_then(|value| value.value).expect("a value")));
    attributes.into_iter().map(read).collect()
}
