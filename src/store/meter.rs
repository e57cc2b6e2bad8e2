//! How many calls go to Redis, how long they take, and how many fail: measured where they are made, shown by `telemetry`.
//!
//! A call is one command, one pipeline or one script; a pipeline of one script's calls counts as one call of it. Reads
//! that wait for events are left out: their time is the absence of events. What a script answers by design (not our
//! lease, another version) is no failure.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts};

use super::Error;
use crate::clock;

/// Upper bounds of the buckets, in seconds: a call takes well under a millisecond on a healthy network.
pub const BOUNDS: [f64; 13] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// What fails, as a label.
pub const ERROR_KINDS: [&str; 4] = ["unanswered", "refused", "rejected", "malformed"];

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a call does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Called { $($(#[$doc])* $name,)* }

        impl Called {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As a label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

calls! {
    /// Any command that is not a script.
    Command = "command",
    /// Several such commands at once.
    Pipeline = "pipeline",
    /// An event is stored.
    Publish = "publish",
    /// Events are put into mailboxes.
    Dispatch = "dispatch",
    /// Events that have arrived everywhere are recorded, without a script.
    Arrival = "arrival",
    /// What came of attempts is recorded.
    Outcome = "outcome",
    /// An event is queued for one webhook again.
    Resend = "resend",
    /// What has failed for good is to be queued again.
    RecoveryBegin = "recovery_begin",
    /// Some of it is.
    RecoveryStep = "recovery_step",
    /// The rest of it is not.
    RecoveryCancel = "recovery_cancel",
    /// The row of a test is written.
    TestRow = "test_row",
    /// A form of a page is claimed.
    FormClaim = "form_claim",
    /// What a deleted webhook left is removed.
    Purge = "purge",
    /// What cannot be read is put aside.
    SetAside = "set_aside",
    /// A webhook is written into its owner's index.
    WebhookIndex = "webhook_index",
    /// A webhook's record is made.
    WebhookCreate = "webhook_create",
    /// A webhook's record is changed.
    WebhookUpdate = "webhook_update",
    /// A webhook's record is removed.
    WebhookDelete = "webhook_delete",
    /// A webhook's record is encrypted otherwise.
    WebhookRekey = "webhook_rekey",
    /// Leases are taken.
    LeaseTake = "lease_take",
    /// Leases are renewed.
    LeaseRenew = "lease_renew",
    /// Leases are given back.
    LeaseRelease = "lease_release",
    /// What a dead node left is removed.
    NodeForget = "node_forget",
    /// A node's figures of the last minute are told.
    MetricsTell = "metrics_tell",
    /// All nodes' figures of the last minute are read.
    MetricsRead = "metrics_read",
}

struct Meter {
    durations: HistogramVec,
    errors: IntCounterVec,
    waits: Histogram,
    /// By call, so that measuring one looks nothing up.
    by_call: Vec<Histogram>,
}

static METER: LazyLock<Meter> = LazyLock::new(Meter::new);

impl Meter {
    fn new() -> Self {
        const UNIQUE: &str = "the names are well formed";
        let timed = |name, help| HistogramOpts::new(name, help).buckets(BOUNDS.to_vec());
        let durations = timed(
            "redis_call_duration_seconds",
            "Time of a call to Redis, by the script that it runs, or `command`, `pipeline` or `arrival` (events that have \
             arrived, recorded without a script); `publish` is one too where it needs none. Reads that wait for events are left out.",
        );
        let errors = Opts::new(
            "redis_call_errors_total",
            "Calls to Redis that failed: `unanswered` (no answer in time, or a broken connection), `refused` for now \
             (full, read-only, loading), `rejected` (a fault of the set-up), `malformed` (not what was written there).",
        );
        let waits = timed(
            "redis_pool_wait_seconds",
            "Time that a call waited for a connection. Callers share one open connection a thread, so that only those \
             wait that find none open; others are not counted.",
        );
        let durations = HistogramVec::new(durations, &["call"]).expect(UNIQUE);
        let errors = IntCounterVec::new(errors, &["kind"]).expect(UNIQUE);
        for kind in ERROR_KINDS {
            errors.with_label_values(&[kind]);
        }
        let by_call = Called::ALL.iter().map(|call| durations.with_label_values(&[call.as_str()])).collect();
        Self { durations, errors, waits: Histogram::with_opts(waits).expect(UNIQUE), by_call }
    }
}

/// The histogram of calls, by `call`.
pub fn durations() -> HistogramVec {
    METER.durations.clone()
}

/// The counter of failures, by `kind`.
pub fn errors() -> IntCounterVec {
    METER.errors.clone()
}

/// The histogram of waits for a connection.
pub fn waits() -> Histogram {
    METER.waits.clone()
}

/// Measures `work`, a call that does `call`.
pub(super) async fn measured<T>(
    call: Called,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let started = clock::monotonic();
    let answer = work.await;
    METER.by_call[call as usize].observe(started.elapsed().as_secs_f64());
    if let Err(error) = &answer
        && let Some(kind) = kind_of(error)
    {
        METER.errors.with_label_values(&[kind]).inc();
    }
    answer
}

/// Somebody waited since `started` for a connection.
pub(super) fn waited(started: Instant) {
    let waited: Duration = started.elapsed();
    METER.waits.observe(waited.as_secs_f64());
}

/// `None` = it is no failure.
fn kind_of(error: &Error) -> Option<&'static str> {
    match error {
        Error::Unanswered(_) => Some("unanswered"),
        Error::Refused(_) => Some("refused"),
        Error::Rejected(_) => Some("rejected"),
        Error::Malformed(_) | Error::Locked(_) => Some("malformed"),
        Error::Fenced | Error::Changed | Error::NoScript => None,
    }
}
