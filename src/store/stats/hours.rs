//! How the hours of one webhook, `hours:<webhook>`, are laid out. Pure.
//!
//! One string of big-endian numbers, so that a call changes all that it counts by one command, and a webhook takes 5 KB
//! however much it does:
//!
//! | bytes | holds |
//! |---|---|
//! | 168 × 12, slot = hour mod 168 | `u32` the hour that the slot stands for, `u32` attempts that succeeded, `u32` that failed |
//! | 24 × 128, slot = hour mod 24 | `u32` the hour, `i64` sum of response times in ms, 29 × `u32` count in each bucket of `BOUNDS_MS` |
//!
//! `scripts/counting.lua` writes it, and `store::arrivals` where the hour has begun. What is missing at the end, or the whole string, reads as zeros.

use super::BOUNDS_MS;
use super::figures::{Attempts, DAY, WEEK};
use crate::domain::Millis;

const BUCKETS: usize = BOUNDS_MS.len() + 1;
const WEEK_SLOT: usize = 12;
const DAY_SLOT: usize = 12 + 4 * BUCKETS;

/// The string of one webhook.
#[derive(Clone, Copy, Debug)]
pub struct Hours<'a>(pub &'a [u8]);

/// The response times of one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourOfDay {
    /// Which, counted from the epoch.
    pub hour: u64,
    /// All of them added up.
    pub sum_ms: u64,
    /// How many are in each bucket.
    pub buckets: [u64; BUCKETS],
}

impl Hours<'_> {
    /// The slots of the week: the hour that each stands for, and its attempts.
    pub fn week(&self) -> impl Iterator<Item = (u64, Attempts)> {
        (0..WEEK).map(|slot| {
            let at = slot * WEEK_SLOT;
            (self.u32(at), Attempts { ok: self.u32(at + 4), fail: self.u32(at + 8) })
        })
    }

    /// The slots of the day.
    pub fn day(&self) -> impl Iterator<Item = HourOfDay> {
        (0..DAY).map(|slot| {
            let at = WEEK * WEEK_SLOT + slot * DAY_SLOT;
            let sum_ms = self.u32(at + 4) << 32 | self.u32(at + 8);
            let buckets = std::array::from_fn(|bucket| self.u32(at + 12 + 4 * bucket));
            HourOfDay { hour: self.u32(at), sum_ms, buckets }
        })
    }

    fn u32(&self, at: usize) -> u64 {
        let bytes = self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, |bytes| u64::from(u32::from_be_bytes(bytes)))
    }
}

/// Where the numbers of one hour lie: those of a webhook in its string, in bits, and the slots of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The hour, counted from the epoch.
    pub hour: u64,
    /// Its slot in the ring of a week.
    pub week: usize,
    /// Its slot in the ring of a day.
    pub day: usize,
}

impl Slots {
    /// Those of the hour of `now`.
    pub fn of(now: Millis) -> Self {
        const HOUR_MS: u64 = 3_600_000;
        let hour = now.0 / HOUR_MS;
        Self { hour, week: (hour % WEEK as u64) as usize, day: (hour % DAY as u64) as usize }
    }

    /// Of the `u32` attempts that succeeded.
    pub fn ok_bit(&self) -> usize {
        (self.week * WEEK_SLOT + 4) * 8
    }

    /// Of the `i64` sum of response times.
    pub fn sum_bit(&self) -> usize {
        (WEEK * WEEK_SLOT + self.day * DAY_SLOT + 4) * 8
    }

    /// Of the `u32` count in a bucket.
    pub fn bucket_bit(&self, bucket: usize) -> usize {
        (WEEK * WEEK_SLOT + self.day * DAY_SLOT + 12 + 4 * bucket) * 8
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn empty() -> Vec<u8> {
        vec![0; WEEK * WEEK_SLOT + DAY * DAY_SLOT]
    }

    fn put(bytes: &mut [u8], at: usize, n: u32) {
        bytes[at..at + 4].copy_from_slice(&n.to_be_bytes());
    }

    /// An hour with that many attempts, response times and the count of one bucket.
    pub fn fill(bytes: &mut [u8], hour: u32, attempts: (u32, u32), sum: u32, bucket: (usize, u32)) {
        let slot = |hours: usize| hour as usize % hours;
        let (week, day) = (slot(WEEK) * WEEK_SLOT, WEEK * WEEK_SLOT + slot(DAY) * DAY_SLOT);
        for (at, n) in [
            (week, hour),
            (week + 4, attempts.0),
            (week + 8, attempts.1),
            (day, hour),
            (day + 8, sum),
            (day + 12 + 4 * bucket.0, bucket.1),
        ] {
            put(bytes, at, n);
        }
    }

    #[test]
    fn every_number_is_where_it_belongs() {
        let mut bytes = empty();
        fill(&mut bytes, 500_000, (1, 2), 3, (28, 4));
        put(&mut bytes, WEEK * WEEK_SLOT + 500_000 % DAY * DAY_SLOT + 4, 1);
        let hours = Hours(&bytes);
        assert_eq!(
            hours.week().find(|(hour, _)| *hour == 500_000),
            Some((500_000, Attempts { ok: 1, fail: 2 }))
        );
        let found: Vec<HourOfDay> = hours.day().filter(|day| day.hour != 0).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].hour, found[0].sum_ms, found[0].buckets[28]), (500_000, (1 << 32) + 3, 4));
    }

    #[test]
    fn what_is_missing_is_zero() {
        for bytes in [&b""[..], b"\0\0\0", &empty()[..2020]] {
            let hours = Hours(bytes);
            assert!(hours.week().all(|slot| slot == (0, Attempts::default())), "{}", bytes.len());
            assert!(hours.day().all(|day| day.hour == 0 && day.buckets == [0; BUCKETS]), "{}", bytes.len());
        }
    }
}
