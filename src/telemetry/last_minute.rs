//! What the node's own metrics say of the last minute's work.

use prometheus::Histogram;
use prometheus::core::Metric as _;

use super::metrics::METRICS;
use super::partitions;
use crate::policy::last_minute::{Sample, Times};

/// The counters as they are now.
pub fn sample() -> Sample {
    let ended = |result: &str| METRICS.deliveries_ended.with_label_values(&[result]).get();
    Sample { ended: ended("delivered") + ended("dead"), times: times_of(&METRICS.attempt_duration) }
}

/// Attempts on their way.
pub fn in_flight() -> u64 {
    METRICS.attempts_in_flight.get().try_into().unwrap_or_default()
}

/// Deliveries that wait in the node's partitions.
pub fn backlog() -> u64 {
    partitions::sum().pending
}

/// The bounds and the sum in microseconds; what the registry counts up to each bound is taken apart into buckets.
fn times_of(histogram: &Histogram) -> Times {
    let metric = histogram.metric();
    let read = metric.get_histogram();
    let (mut times, mut below) = (Times::default(), 0);
    for bucket in read.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()) {
        times.bounds_us.push(micros(bucket.upper_bound()));
        // Read while others count: never less than before.
        let up_to = bucket.cumulative_count().max(below);
        times.buckets.push(up_to - below);
        below = up_to;
    }
    times.buckets.push(read.get_sample_count().saturating_sub(below));
    times.sum_us = micros(read.get_sample_sum());
    times
}

fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

#[cfg(test)]
mod tests {
    use prometheus::HistogramOpts;

    use super::*;

    #[test]
    fn a_histogram_is_taken_apart_into_its_buckets() {
        let options = HistogramOpts::new("test", "Test.").buckets(vec![0.0025, 0.1]);
        let histogram = Histogram::with_opts(options).unwrap();
        for seconds in [0.001, 0.0025, 0.05, 7.0] {
            histogram.observe(seconds);
        }
        let expected = Times { bounds_us: vec![2500, 100_000], buckets: vec![2, 1, 1], sum_us: 7_053_500 };
        assert_eq!(times_of(&histogram), expected);
    }

    #[test]
    fn the_registry_has_what_a_sample_needs() {
        let before = sample();
        METRICS.deliveries_ended.with_label_values(&["dead"]).inc();
        METRICS.attempt_duration.observe(0.02);
        let after = sample();
        assert!(after.ended > before.ended);
        assert!(after.times.buckets.iter().sum::<u64>() > before.times.buckets.iter().sum());
        assert_eq!(after.times.buckets.len(), after.times.bounds_us.len() + 1);
    }
}
