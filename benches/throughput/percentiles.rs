//! Times and their percentiles: exact, from all values.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Of a set of times, in ms; all 0 when there are none.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Percentiles {
    pub count: usize,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Percentiles {
    /// Of values in µs.
    pub fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |percent: usize| {
            let place = (micros.len() * percent).div_ceil(100).saturating_sub(1);
            micros.get(place).map_or(0.0, |value| f64::from(*value) / 1000.0)
        };
        Self { count: micros.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

/// A time in µs.
pub fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
