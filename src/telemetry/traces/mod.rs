//! Spans of the way of an event: its publication, its dispatch, each attempt; sent to a collector.
//!
//! Off unless a collector is set, and then nothing here does anything. A span is built when it ends, from the times that
//! were noted, and put into a bounded queue; one that finds it full is dropped and counted. So nobody ever waits for a
//! collector. `span` knows names and attributes, `exporter` the wire.
//!
//! The messages are those of OTLP ("OpenTelemetry Protocol specification", OTLP/HTTP, binary protobuf). The OpenTelemetry
//! SDK is not used: it takes settings from the environment that nobody checks, and does not tell how much it dropped.

mod exporter;
mod span;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::mpsc;

use crate::clock;
use crate::config::Telemetry;
use crate::domain::{NodeId, SpanId, TraceContext, TraceId, TraceParent};
use crate::policy::trace::{self, Origin};

use super::metrics::METRICS;

pub use exporter::{Error, Exporter};
pub use span::{ended_attempt, ended_dispatch, ended_request};

/// Set once, when the node starts and a collector is set.
static TRACER: OnceLock<Tracer> = OnceLock::new();

/// Where ended spans go, and how many traces begin here.
#[derive(Debug)]
struct Tracer {
    queue: mpsc::Sender<Span>,
    ratio: f64,
}

/// Begins to record spans for the whole process; `None` when no collector is set.
///
/// # Errors
/// The HTTP client or its thread cannot be started.
pub fn start(telemetry: &Telemetry, node: &NodeId) -> Result<Option<Exporter>, Error> {
    let Some(endpoint) = telemetry.otlp_endpoint.clone() else { return Ok(None) };
    let (queue, exporter) = exporter::start(endpoint, node)?;
    // A second node in this process would go on with the first one's.
    let _ = TRACER.set(Tracer { queue, ratio: telemetry.otlp_sample_ratio });
    Ok(Some(exporter))
}

/// When something began, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    unix_nanos: u64,
    instant: Instant,
}

impl Begun {
    /// Now.
    pub fn now() -> Self {
        Self { unix_nanos: clock::unix_nanos(), instant: clock::monotonic() }
    }

    fn elapsed(self) -> Duration {
        self.instant.elapsed()
    }
}

/// A span that has begun and is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    context: TraceContext,
    parent: Option<SpanId>,
    begun: Begun,
}

impl Open {
    /// The span of a request with that `traceparent`; `None` when it is not recorded.
    pub fn of_request(traceparent: Option<&str>) -> Option<Self> {
        let tracer = TRACER.get()?;
        let caller: Option<TraceParent> = traceparent.and_then(|text| text.parse().ok());
        trace::sample(caller, tracer.ratio, TraceId::made(rand::random())).map(Self::at)
    }

    /// A span below that one, if that one is recorded.
    pub fn below(parent: Option<TraceContext>) -> Option<Self> {
        TRACER.get()?;
        parent.map(|parent| Self::at(Origin::below(parent)))
    }

    /// The span `context` below `parent`, which began before.
    pub fn named(context: TraceContext, parent: TraceContext, begun: Begun) -> Option<Self> {
        TRACER.get()?;
        Some(Self { context, parent: Some(parent.span), begun })
    }

    fn at(origin: Origin) -> Self {
        let context = TraceContext { trace: origin.trace, span: SpanId::made(rand::random()) };
        Self { context, parent: origin.parent, begun: Begun::now() }
    }

    /// What its children need to know.
    pub fn context(&self) -> TraceContext {
        self.context
    }
}

/// Hands a span over to the exporter, or drops it.
fn put(span: Span) {
    let Some(tracer) = TRACER.get() else { return };
    if tracer.queue.try_send(span).is_err() {
        METRICS.trace_spans_dropped.inc();
    }
}
