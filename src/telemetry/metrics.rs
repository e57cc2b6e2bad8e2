//! The Prometheus metrics of this node, `salesos_webhooks_*`.
//!
//! Labels come from enums and from the table of routes, so their number is fixed, and every labelled counter exists from
//! the start with value 0. Names follow the Prometheus naming conventions; the text format is version 0.0.4. What each
//! means is said once, where it is made, and `docs/metrics.md` is written from that ([`reference::markdown`]).
//!
//! Redis calls are measured where they are made ([`crate::store::meter`]) and shown here. Gauges of what waits are added
//! up over the partitions at a scrape ([`super::partitions`]).

pub mod reference;
mod route;
mod set;

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

pub use self::route::Route;
use self::set::{Described, Kind, Set, of, told_later};
use super::events::{Action, Ending};
use super::{key_age, partitions};
use crate::clock;
use crate::domain::{DisabledReason, ErrorKind, KeyReading, Refusal, SkipReason};
use crate::policy::pauses::Counts;
use crate::store::meter::{self, Called};

/// The version of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision of its source, if the build was told (`SALESOS_WEBHOOKS_REVISION`).
const REVISION: &str = match option_env!("SALESOS_WEBHOOKS_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// How a publication ended, as a label.
const PUBLISH_RESULTS: [&str; 7] =
    ["new", "duplicate", "conflict", "full", "tenant_full", "invalid", "unavailable"];
/// What keeps a due delivery from starting, as a label.
const HELD_BY: [&str; 2] = ["node", "webhook"];
/// The states of a webhook's breaker, as a label.
const BREAKER_STATES: [&str; 3] = ["flowing", "paused", "probing"];
/// The status codes that the API answers with, as numbers and as labels; any other is counted as the last.
const STATUSES: [(u16, &str); 22] = [
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (303, "303"),
    (304, "304"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (412, "412"),
    (413, "413"),
    (414, "414"),
    (415, "415"),
    (429, "429"),
    (500, "500"),
    (503, "503"),
    (0, "other"),
];

/// All metrics of the node.
#[allow(missing_docs, reason = "each says what it means where it is made, for /metrics and docs/metrics.md")]
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    pub events_published: IntCounterVec,
    pub events_dispatched: IntCounter,
    pub events_matched: IntCounter,
    pub deliveries_enqueued: IntCounter,
    pub deliveries_skipped: IntCounterVec,
    pub attempts: IntCounterVec,
    pub deliveries_ended: IntCounterVec,
    pub retries_scheduled: IntCounter,
    pub publish_to_first_attempt: Histogram,
    pub attempt_duration: Histogram,
    pub attempts_in_flight: IntGauge,
    backlog_deliveries: IntGauge,
    undispatched_events: IntGauge,
    oldest_due_age: GaugeVec,
    breakers: IntGaugeVec,
    pub webhooks_disabled: IntCounterVec,
    pub webhooks_locked: IntGauge,
    pub secrets_encrypted: IntGauge,
    pub actors_active: IntGauge,
    pub actors_restarted: IntCounter,
    pub partitions: IntGauge,
    pub partitions_owned: IntGauge,
    pub nodes_live: IntGauge,
    pub ready: IntGauge,
    pub takeover_duration: Histogram,
    pub partitions_retaken: IntCounter,
    pub leases_lost: IntCounter,
    pub calls_fenced: IntCounter,
    pub entries_quarantined: IntCounter,
    pub redis_emptied: IntCounter,
    pub redis_unfit: IntGauge,
    pub redis_memory_scarce: IntGauge,
    pub redis_memory_used: IntGauge,
    pub redis_memory_limit: IntGauge,
    pub redis_errors: IntCounter,
    pub trace_spans_exported: IntCounter,
    pub trace_spans_dropped: IntCounter,
    pub log_lines_dropped: IntCounter,
    pub changes: IntCounterVec,
    api_requests: IntCounterVec,
    api_request_duration: HistogramVec,
    pub authentications_failed: IntCounterVec,
    pub jwks_readings: IntCounterVec,
    jwks_age: IntGauge,
    build_info: IntGaugeVec,
}

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

impl Metrics {
    fn new() -> Self {
        let mut set = Set::new();
        let outcomes = ["success"].into_iter().chain(ErrorKind::ALL.map(ErrorKind::as_str));
        let route = || {
            vec![
                told_later("method", "the methods of the routes, `other`"),
                told_later(
                    "route",
                    "the patterns of the routes, such as `/api/webhooks/{id}`, and `unmatched`",
                ),
            ]
        };
        let metrics = Self {
            events_published: set.counters(
                "events_published_total",
                vec![of("result", PUBLISH_RESULTS)],
                "Publications by result: `new` and `duplicate` were answered with 202; `conflict` (409), `full` (503, a \
                 partition's queue), `tenant_full` (429, one organization's), `invalid` (400, a batch counts once) and \
                 `unavailable` (503, Redis did not answer: it may have been stored) were refused.",
            ),
            events_dispatched: set.counter(
                "events_dispatched_total",
                "Events taken from the events stream and matched. An event of an organization whose webhooks lie in \
                 several partitions counts once in each.",
            ),
            events_matched: set.counter("events_matched_total", "Those of them that matched a webhook at all."),
            deliveries_enqueued: set
                .counter("deliveries_enqueued_total", "Deliveries queued: event × webhook, and what was sent again on request."),
            deliveries_skipped: set.counters(
                "deliveries_skipped_total",
                vec![of("reason", SkipReason::ALL.map(SkipReason::as_str))],
                "Event × webhook that subscribes to it and did not get it: the webhook was `inactive`, or `disabled` by the \
                 service, or its filter did not let the event pass (`filtered`). Of one event at most 64 in each partition, 8 of them switched off.",
            ),
            attempts: set.counters(
                "attempts_total",
                vec![of("outcome", outcomes)],
                "Recorded attempts by outcome: `success` or what failed (the `errorKind` of the delivery log).",
            ),
            deliveries_ended: set.counters(
                "deliveries_ended_total",
                vec![of("result", ["delivered", "dead"])],
                "Deliveries that ended: `delivered`, or `dead` = failed for good.",
            ),
            retries_scheduled: set.counter("retries_scheduled_total", "Attempts that failed and will be made again."),
            publish_to_first_attempt: set.histogram(
                "publish_to_first_attempt_seconds",
                "From the moment when an event was stored to the start of a delivery's first attempt. What the webhook's \
                 own limits cost is in it. By the clocks of Redis and of the node.",
            ),
            attempt_duration: set.histogram("attempt_duration_seconds", "Time of an attempt, from connecting to its end."),
            attempts_in_flight: set.gauge("attempts_in_flight", "Attempts on their way."),
            backlog_deliveries: set.gauge(
                "backlog_deliveries",
                "Deliveries that are queued or between two attempts, in the partitions that the node owns; of inactive \
                 webhooks too.",
            ),
            undispatched_events: set
                .gauge("undispatched_events", "Events and changes that await matching, in the partitions that the node owns."),
            oldest_due_age: set.fraction(
                "oldest_due_age_seconds",
                of("held_by", HELD_BY),
                "Age of the oldest delivery that is due and has not been started, 0 when there is none. `node`: nothing of \
                 the webhook's own holds it back. `webhook`: its rate limit, concurrency or order does, or it waits for the probe of its breaker. While a webhook is \
                 inactive, or paused by its failures or by `Retry-After`, nothing of it is due.",
            ),
            breakers: set.gauges(
                "breakers",
                vec![of("state", BREAKER_STATES)],
                "Active webhooks of the partitions that the node owns, by their circuit breaker: `flowing` = nothing holds \
                 them back; `paused` = left alone until their pause is over; `probing` = it is over, and the next \
                 attempt, or the one on its way, decides.",
            ),
            webhooks_disabled: set.counters(
                "webhooks_disabled_total",
                vec![of("reason", DisabledReason::ALL.map(DisabledReason::code))],
                "Webhooks that the service switched off: `gone` = the endpoint answered 410, `failing` = every attempt \
                 had failed for days.",
            ),
            webhooks_locked: set.gauge(
                "webhooks_locked",
                "Webhooks whose deliveries wait on this node because their secrets cannot be decrypted: the node lacks the \
                 key, or they are damaged. The log names the key.",
            ),
            secrets_encrypted: set.gauge(
                "secrets_encrypted",
                "1 while webhooks' secrets and header values are encrypted when they are written \
                 (`security.encryption_key` is set), else 0.",
            ),
            actors_active: set.gauge("actors_active", "Webhook actors alive."),
            actors_restarted: set.counter("actors_restarted_total", "Actors rebuilt from Redis after a panic."),
            partitions: set.gauge("partitions", "Partitions of the cluster (`cluster.partitions`)."),
            partitions_owned: set.gauge("partitions_owned", "Partitions that the node owns."),
            nodes_live: set.gauge("nodes_live", "Nodes that live, as this one sees it."),
            ready: set.gauge("ready", "1 while `/health/ready` says yes, else 0."),
            takeover_duration: set
                .histogram("takeover_duration_seconds", "Time from wanting a partition to owning it."),
            partitions_retaken: set.counter(
                "partitions_retaken_total",
                "Partitions taken anew because Redis may have lost something.",
            ),
            leases_lost: set.counter(
                "leases_lost_total",
                "Leases whose renewal was refused: another node had taken the partition.",
            ),
            calls_fenced: set.counter("calls_fenced_total", "Calls refused for a lease that was not ours any more."),
            entries_quarantined: set.counter("entries_quarantined_total", "Unreadable entries set aside."),
            redis_emptied: set.counter(
                "redis_emptied_total",
                "How often Redis was found without any data of this installation.",
            ),
            redis_unfit: set
                .gauge("redis_unfit", "1 while Redis may forget what it was given, or is otherwise not fit for use, else 0."),
            redis_memory_scarce: set.gauge("redis_memory_scarce", "1 while Redis has hardly any room left, else 0."),
            redis_memory_used: set
                .gauge("redis_memory_used_bytes", "Memory that Redis uses; of a cluster the fullest primary's."),
            redis_memory_limit: set
                .gauge("redis_memory_limit_bytes", "The `maxmemory` of the same server; 0 = it has none."),
            redis_errors: set.counter(
                "redis_errors_total",
                "Redis calls of the delivery path, and of keeping leases, that failed and were repeated.",
            ),
            trace_spans_exported: set.counter("trace_spans_exported_total", "Spans that the collector took."),
            log_lines_dropped: set.counter(
                "log_lines_dropped_total",
                "Log lines that were lost because whoever reads the log did not keep up.",
            ),
            trace_spans_dropped: set.counter(
                "trace_spans_dropped_total",
                "Spans that were lost: their queue was full, or the collector did not take them.",
            ),
            changes: set.counters(
                "changes_total",
                vec![of("action", Action::ALL.map(Action::as_str)), of("result", Ending::ALL.map(Ending::as_str))],
                "Changes that users, operators and the service itself (`disable_webhook`) made, as the audit log names them: \
                 `done`; `unknown` = Redis did not say whether it was done; `denied` = refused for a role or a scope.",
            ),
            api_requests: set.counters(
                "api_requests_total",
                [route(), vec![of("status", STATUSES.map(|(_, label)| label))]].concat(),
                "Requests to the API by route and status.",
            ),
            api_request_duration: set.histograms(
                "api_request_duration_seconds",
                route(),
                "Time of a request to the API, from its head to its answer.",
            ),
            authentications_failed: set.counters(
                "authentications_failed_total",
                vec![of("reason", Refusal::ALL.map(Refusal::as_str))],
                "Requests whose token was not taken. `keys_missing` was answered with 503 (the identity provider's keys have \
                 not been fetched yet, or could not be read), all others with 401, or 429 when their source fails too often.",
            ),
            jwks_readings: set.counters(
                "jwks_readings_total",
                vec![of("result", KeyReading::ALL.map(KeyReading::as_str))],
                "Readings of the identity provider's keys (`auth.jwks_url`, `auth.jwks_file`). After `unreachable`, `status` (an \
                 answer other than 200) and `unusable` the keys in use stay.",
            ),
            jwks_age: set.gauge(
                "jwks_age_seconds",
                "Time since the identity provider's keys were last read, or since the start; 0 where none are configured.",
            ),
            build_info: set.gauges(
                "build_info",
                vec![told_later("version", "of the program"), told_later("revision", "of its source, `unknown` unless the build was told")],
                "Always 1.",
            ),
            registry: Registry::new(),
            described: Vec::new(),
        };
        metrics.build_info.with_label_values(&[VERSION, REVISION]).set(1);
        let calls = of("call", Called::ALL.iter().map(|call| call.as_str()));
        set.adopt(meter::durations(), Kind::Histogram(&meter::BOUNDS), vec![calls]);
        set.adopt(meter::errors(), Kind::Counter, vec![of("kind", meter::ERROR_KINDS)]);
        set.adopt(meter::waits(), Kind::Histogram(&meter::BOUNDS), Vec::new());
        let (registry, described) = set.done();
        Self { registry, described, ..metrics }
    }

    /// The gauges that are added up at a scrape.
    fn add_up(&self) {
        let sum = partitions::sum();
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.backlog_deliveries.set(count(sum.pending));
        self.undispatched_events.set(count(sum.undispatched));
        let now = clock::now();
        for (held_by, since) in HELD_BY.into_iter().zip([sum.waiting.on_node, sum.waiting.on_webhook]) {
            let age = since.map_or(Duration::ZERO, |since| now.since(since));
            self.oldest_due_age.with_label_values(&[held_by]).set(age.as_secs_f64());
        }
        self.jwks_age.set(count(key_age::at(clock::monotonic()).as_secs()));
        let Counts { flowing, paused, probing } = sum.breakers;
        for (state, webhooks) in BREAKER_STATES.into_iter().zip([flowing, paused, probing]) {
            self.breakers.with_label_values(&[state]).set(count(webhooks as u64));
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The text of `GET /metrics`: this service's metrics and the process's own.
pub fn render() -> String {
    METRICS.add_up();
    let mut families = METRICS.registry.gather();
    families.extend(prometheus::gather());
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text).expect("writing to a Vec does not fail");
    String::from_utf8(text).expect("the text format is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_exists_before_anything_has_happened() {
        Route::new("GET", "/api/webhooks/{id}");
        let text = render();
        for line in [
            "salesos_webhooks_events_published_total{result=\"new\"}",
            "salesos_webhooks_events_published_total{result=\"invalid\"}",
            "salesos_webhooks_attempts_total{outcome=\"success\"}",
            "salesos_webhooks_attempts_total{outcome=\"blocked_address\"}",
            "salesos_webhooks_deliveries_ended_total{result=\"dead\"}",
            "salesos_webhooks_partitions_owned",
            "salesos_webhooks_oldest_due_age_seconds{held_by=\"node\"}",
            "salesos_webhooks_redis_call_duration_seconds_count{call=\"publish\"}",
            "salesos_webhooks_redis_call_errors_total{kind=\"unanswered\"}",
            "salesos_webhooks_api_requests_total{method=\"GET\",route=\"/api/webhooks/{id}\",status=\"404\"}",
            "salesos_webhooks_build_info{",
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_request_adds_no_series_of_its_own() {
        let (route, unmatched) = (Route::new("GET", "/api/webhooks/stats"), Route::unmatched());
        let series = || render().lines().filter(|line| line.contains("_api_request")).count();
        let before = series();
        unmatched.count(404, Duration::ZERO);
        route.count(418, Duration::ZERO);
        assert_eq!(series(), before);
    }
}
