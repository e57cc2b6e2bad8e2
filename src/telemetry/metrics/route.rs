//! The series of one route of the API, at hand: to look them up by their labels costs more than to count.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::{METRICS, STATUSES};

/// Where requests are counted that no route takes.
static UNMATCHED: LazyLock<Route> = LazyLock::new(|| Route::new("other", "unmatched"));

/// A route, named as in lines and spans, and its figures.
#[derive(Debug)]
pub struct Route {
    /// Its method.
    pub method: &'static str,
    /// Its pattern; never a path, which carries ids.
    pub pattern: &'static str,
    /// In the order of [`STATUSES`].
    answers: [IntCounter; STATUSES.len()],
    durations: Histogram,
}

impl Route {
    /// Makes the series of a route, at 0 if they are new. For routes of a table: their number must be bounded.
    pub fn new(method: &'static str, pattern: &'static str) -> Self {
        let answers =
            STATUSES.map(|(_, status)| METRICS.api_requests.with_label_values(&[method, pattern, status]));
        let durations = METRICS.api_request_duration.with_label_values(&[method, pattern]);
        Self { method, pattern, answers, durations }
    }

    /// What stands for the route of a request that no route takes.
    pub fn unmatched() -> &'static Self {
        &UNMATCHED
    }

    /// Counts a request.
    pub(in crate::telemetry) fn count(&self, status: u16, elapsed: Duration) {
        let other = STATUSES.len() - 1;
        let place = STATUSES.iter().position(|(known, _)| *known == status).unwrap_or(other);
        self.answers[place].inc();
        self.durations.observe(elapsed.as_secs_f64());
    }
}
