//! The Prometheus metrics of this node, `salesos_webhooks_*`.
//!
//! Labels come from enums, so their number is fixed, and every labelled counter exists from the start with value 0.
//! Names follow the Prometheus naming conventions; the text format is version 0.0.4.

use std::sync::LazyLock;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::domain::ErrorKind;

/// Upper bounds of the duration buckets, in seconds.
const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// How a publication ended, as a label.
pub const PUBLISH_RESULTS: [&str; 4] = ["new", "duplicate", "conflict", "full"];

/// The states of a webhook's breaker, as labels.
pub const BREAKER_STATES: [&str; 3] = ["flowing", "paused", "probing"];

/// All metrics of the node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Publications by result.
    pub events_published: IntCounterVec,
    /// Events taken from the events stream and put into mailboxes.
    pub events_dispatched: IntCounter,
    /// Deliveries queued: event × webhook pairs.
    pub deliveries_enqueued: IntCounter,
    /// Recorded attempts by outcome: `success` or the kind of the failure.
    pub attempts: IntCounterVec,
    /// Deliveries that ended, by result: `delivered` or `dead`.
    pub deliveries_ended: IntCounterVec,
    /// Attempts that failed and are tried again.
    pub retries_scheduled: IntCounter,
    /// Time of an attempt.
    pub attempt_duration: Histogram,
    /// Attempts on their way.
    pub attempts_in_flight: IntGauge,
    /// Webhook actors alive.
    pub actors_active: IntGauge,
    /// Actors that had to be rebuilt after a panic.
    pub actors_restarted: IntCounter,
    /// Webhooks of the partitions that this node owns, by the state of their breaker: [`BREAKER_STATES`].
    pub breakers: IntGaugeVec,
    /// Partitions that this node owns.
    pub partitions_owned: IntGauge,
    /// Nodes that live, as this one sees it.
    pub nodes_live: IntGauge,
    /// Time from wanting a partition to owning it.
    pub takeover_duration: Histogram,
    /// Partitions taken anew because Redis may have lost something.
    pub partitions_retaken: IntCounter,
    /// How often Redis was found without any data of this installation.
    pub redis_emptied: IntCounter,
    /// 1 while Redis may forget what it was given, or is otherwise not fit for use; else 0.
    pub redis_unfit: IntGauge,
    /// 1 while Redis has hardly any room left.
    pub redis_memory_scarce: IntGauge,
    /// Leases that were lost instead of given back.
    pub leases_lost: IntCounter,
    /// Calls refused because the lease was not ours.
    pub calls_fenced: IntCounter,
    /// Entries set aside because they could not be read.
    pub entries_quarantined: IntCounter,
    /// Redis calls of the delivery path that failed and were repeated.
    pub redis_errors: IntCounter,
}

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

impl Metrics {
    fn new() -> Self {
        let registry =
            Registry::new_custom(Some("salesos_webhooks".to_owned()), None).expect("the prefix is not empty");
        let metrics = Self {
            events_published: counters(
                &registry,
                "events_published_total",
                "Publications by result.",
                "result",
            ),
            events_dispatched: counter(&registry, "events_dispatched_total", "Events put into mailboxes."),
            deliveries_enqueued: counter(&registry, "deliveries_enqueued_total", "Deliveries queued."),
            attempts: counters(&registry, "attempts_total", "Recorded attempts by outcome.", "outcome"),
            deliveries_ended: counters(
                &registry,
                "deliveries_ended_total",
                "Deliveries ended, by result.",
                "result",
            ),
            retries_scheduled: counter(
                &registry,
                "retries_scheduled_total",
                "Failed attempts to be tried again.",
            ),
            attempt_duration: histogram(&registry, "attempt_duration_seconds", "Time of an attempt."),
            attempts_in_flight: gauge(&registry, "attempts_in_flight", "Attempts on their way."),
            actors_active: gauge(&registry, "actors_active", "Webhook actors alive."),
            actors_restarted: counter(&registry, "actors_restarted_total", "Actors rebuilt after a panic."),
            breakers: gauges(
                &registry,
                "breakers",
                "Active webhooks by the state of their breaker.",
                "state",
            ),
            partitions_owned: gauge(&registry, "partitions_owned", "Partitions that this node owns."),
            nodes_live: gauge(&registry, "nodes_live", "Nodes that live, as this one sees it."),
            takeover_duration: histogram(
                &registry,
                "takeover_duration_seconds",
                "Time from wanting a partition to owning it.",
            ),
            partitions_retaken: counter(
                &registry,
                "partitions_retaken_total",
                "Partitions taken anew because Redis may have lost something.",
            ),
            redis_emptied: counter(
                &registry,
                "redis_emptied_total",
                "How often Redis was found without any data of this installation.",
            ),
            redis_unfit: gauge(&registry, "redis_unfit", "1 while Redis is not fit for use, else 0."),
            redis_memory_scarce: gauge(
                &registry,
                "redis_memory_scarce",
                "1 while Redis has hardly any room left, else 0.",
            ),
            leases_lost: counter(&registry, "leases_lost_total", "Leases lost instead of given back."),
            calls_fenced: counter(
                &registry,
                "calls_fenced_total",
                "Calls refused for a lease that was not ours.",
            ),
            entries_quarantined: counter(
                &registry,
                "entries_quarantined_total",
                "Unreadable entries set aside.",
            ),
            redis_errors: counter(
                &registry,
                "redis_errors_total",
                "Redis calls that failed and were repeated.",
            ),
            registry,
        };
        metrics.start_at_zero();
        metrics
    }

    fn start_at_zero(&self) {
        for result in PUBLISH_RESULTS {
            self.events_published.with_label_values(&[result]);
        }
        for outcome in ErrorKind::ALL.map(ErrorKind::as_str).into_iter().chain(["success"]) {
            self.attempts.with_label_values(&[outcome]);
        }
        for state in BREAKER_STATES {
            self.breakers.with_label_values(&[state]);
        }
        for result in ["delivered", "dead"] {
            self.deliveries_ended.with_label_values(&[result]);
        }
        // Already registered is the only error, and this runs once.
        let _ = prometheus::default_registry();
    }
}

/// The text of `GET /metrics`: this service's metrics and the process's own.
pub fn render() -> String {
    let mut families = METRICS.registry.gather();
    families.extend(prometheus::gather());
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text).expect("writing to a Vec does not fail");
    String::from_utf8(text).expect("the text format is UTF-8")
}

const UNIQUE: &str = "the name is well formed and used once";

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let counter = IntCounter::new(name, help).expect(UNIQUE);
    registry.register(Box::new(counter.clone())).expect(UNIQUE);
    counter
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name, help), &[label]).expect(UNIQUE);
    registry.register(Box::new(counters.clone())).expect(UNIQUE);
    counters
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect(UNIQUE);
    registry.register(Box::new(gauge.clone())).expect(UNIQUE);
    gauge
}

fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> IntGaugeVec {
    let gauges = IntGaugeVec::new(Opts::new(name, help), &[label]).expect(UNIQUE);
    registry.register(Box::new(gauges.clone())).expect(UNIQUE);
    gauges
}

fn histogram(registry: &Registry, name: &str, help: &str) -> Histogram {
    let histogram =
        Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec())).expect(UNIQUE);
    registry.register(Box::new(histogram.clone())).expect(UNIQUE);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_exists_before_anything_has_happened() {
        let text = render();
        for line in [
            "salesos_webhooks_events_published_total{result=\"new\"}",
            "salesos_webhooks_attempts_total{outcome=\"success\"}",
            "salesos_webhooks_attempts_total{outcome=\"blocked_address\"}",
            "salesos_webhooks_deliveries_ended_total{result=\"dead\"}",
            "salesos_webhooks_partitions_owned",
            "salesos_webhooks_breakers{state=\"probing\"}",
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
