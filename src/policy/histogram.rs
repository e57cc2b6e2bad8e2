//! Percentiles of what was counted in buckets. Pure.

/// The value that `percent` (0..=100) of the counted did not exceed: exact to its bucket, and in it as if those that it
/// holds lay evenly. Bucket `i` ends at `upper(i)` and begins where the one before it ends, the first at 0. `None` when
/// nothing was counted.
pub fn percentile(buckets: &[u64], upper: impl Fn(usize) -> f64, percent: u8) -> Option<f64> {
    let total: u64 = buckets.iter().sum();
    // Multiplied before it is divided: a whole rank must not come out a little more, in the next bucket.
    let rank = (total * u64::from(percent)) as f64 / 100.0;
    let (mut below, mut lower) = (0_u64, 0.0);
    for (i, count) in buckets.iter().copied().enumerate() {
        let upper = upper(i);
        if count > 0 && rank <= (below + count) as f64 {
            let share = ((rank - below as f64) / count as f64).max(0.0);
            return Some(lower + (upper - lower) * share);
        }
        (below, lower) = (below + count, upper);
    }
    None
}

/// `value` with that many digits after the point: more would be noise in an answer.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_in_its_bucket() {
        let upper = |i: usize| [1.0, 10.0, 100.0][i];
        let cases: [([u64; 3], u8, Option<f64>); 6] = [
            ([0, 0, 0], 50, None),
            ([2, 0, 0], 50, Some(0.5)),
            ([1, 0, 1], 50, Some(1.0)),
            ([1, 0, 1], 100, Some(100.0)),
            ([0, 4, 0], 0, Some(1.0)),
            ([50, 49, 1], 99, Some(10.0)),
        ];
        for (buckets, percent, expected) in cases {
            assert_eq!(percentile(&buckets, upper, percent), expected, "{percent} of {buckets:?}");
        }
    }
}
