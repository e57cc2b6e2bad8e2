//! Adding up what Redis keeps, of a user's partitions or of one webhook, and what the sums say. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::BOUNDS_MS;
use super::hours::Hours;
use crate::domain::Millis;
use crate::policy::histogram::{percentile, rounded};

/// Hours in the ring of attempts.
pub(super) const WEEK: usize = 168;
/// Hours in the ring of response times.
pub(super) const DAY: usize = 24;
/// Event types told: as many as a catalogue may have. Former catalogues had others.
const MOST_EVENTS: usize = 1000;
/// The upper bound of the last bucket, in ms: no webhook's timeout is longer.
const SLOWEST_MS: f64 = 60_000.0;

/// Attempts by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// That succeeded.
    pub ok: u64,
    /// That did not.
    pub fail: u64,
}

impl Attempts {
    fn add(&mut self, other: Self) {
        self.ok += other.ok;
        self.fail += other.fail;
    }
}

/// The figures of one user, added up over partitions, or of one webhook, as seen at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Deliveries that wait, for their first attempt or the next.
    pub pending: u64,
    /// Deliveries that the endpoint took, all time.
    pub delivered: u64,
    /// Deliveries that failed for good, all time.
    pub dead: u64,
    /// Attempts of each event type, all time.
    by_event: BTreeMap<String, Attempts>,
    /// The hour that the moment lies in, counted from the epoch.
    this_hour: u64,
    /// Attempts of the last 168 hours, oldest first.
    hours: [Attempts; WEEK],
    /// Response times of the last 24 hours.
    times: ResponseTimes,
}

impl Figures {
    /// No figures yet, seen at `now`.
    pub fn new(now: Millis) -> Self {
        Self {
            pending: 0,
            delivered: 0,
            dead: 0,
            by_event: BTreeMap::new(),
            this_hour: now.as_hours(),
            hours: [Attempts::default(); WEEK],
            times: ResponseTimes::default(),
        }
    }

    /// Adds one partition's hash of a user. Fields that are not numbers count as 0.
    pub fn add(&mut self, hash: &BTreeMap<String, String>) {
        let number = |field: &str| hash.get(field).and_then(|text| text.parse().ok()).unwrap_or(0);
        self.pending += number("pending");
        self.delivered += number("delivered");
        self.dead += number("dead");
        self.add_events(hash);
        for slot in 0..WEEK {
            let attempts =
                Attempts { ok: number(&format!("{slot}:ok")), fail: number(&format!("{slot}:fail")) };
            if let Some(age) = self.age(number(&format!("{slot}:h")), WEEK) {
                self.hours[WEEK - 1 - age].add(attempts);
            }
        }
        for slot in 0..DAY {
            if self.age(number(&format!("{slot}:lh")), DAY).is_some() {
                let bucket = |i| number(&format!("{slot}:b{i}"));
                self.times.add(number(&format!("{slot}:sum")), number(&format!("{slot}:n")), bucket);
            }
        }
    }

    /// Adds the hours of one webhook.
    pub fn add_hours(&mut self, hours: Hours<'_>) {
        for (hour, attempts) in hours.week() {
            if let Some(age) = self.age(hour, WEEK) {
                self.hours[WEEK - 1 - age].add(attempts);
            }
        }
        for day in hours.day() {
            if self.age(day.hour, DAY).is_some() {
                // A request lies in one bucket.
                self.times.add(day.sum_ms, day.buckets.iter().sum(), |i| day.buckets[i]);
            }
        }
    }

    /// Adds the attempts of each event type: the fields `e:<type>:ok` and `e:<type>:fail` among others.
    pub fn add_events(&mut self, hash: &BTreeMap<String, String>) {
        let of_events = hash.range("e:".to_owned()..).take_while(|(field, _)| field.starts_with("e:"));
        for (field, value) in of_events {
            let Some((name, word)) = field["e:".len()..].rsplit_once(':') else { continue };
            let count = value.parse().unwrap_or(0);
            let attempts = match word {
                "ok" => Attempts { ok: count, fail: 0 },
                _ => Attempts { ok: 0, fail: count },
            };
            self.by_event.entry(name.to_owned()).or_default().add(attempts);
        }
    }

    /// How many hours ago `hour` was, when that is fewer than `span`. An hour that has not begun here yet has begun on the
    /// node that wrote it: it counts as this one.
    fn age(&self, hour: u64, span: usize) -> Option<usize> {
        let age = usize::try_from(self.this_hour.saturating_sub(hour)).ok()?;
        (age < span).then_some(age)
    }

    /// Adds figures seen at the same moment.
    #[cfg(test)]
    pub fn merge(&mut self, other: &Self) {
        self.pending += other.pending;
        self.delivered += other.delivered;
        self.dead += other.dead;
        for (name, attempts) in &other.by_event {
            self.by_event.entry(name.clone()).or_default().add(*attempts);
        }
        self.hours.iter_mut().zip(other.hours).for_each(|(hour, more)| hour.add(more));
        let times = &other.times;
        self.times.add(times.sum_ms, times.count, |bucket| times.buckets[bucket]);
    }

    /// Attempts of this hour and the 23 before.
    pub fn attempts_last_24h(&self) -> u64 {
        self.hours[WEEK - DAY..].iter().map(|hour| hour.ok + hour.fail).sum()
    }

    /// Percent of the attempts of this hour and the 167 before that succeeded; 100 when there were none.
    pub fn success_rate_last_7d(&self) -> f64 {
        let ok: u64 = self.hours.iter().map(|hour| hour.ok).sum();
        let fail: u64 = self.hours.iter().map(|hour| hour.fail).sum();
        if ok + fail == 0 { 100.0 } else { rounded(ok as f64 / (ok + fail) as f64 * 100.0, 2) }
    }

    /// Each of the last 168 hours, oldest first: when it began and its attempts.
    pub fn timeline(&self) -> impl Iterator<Item = (Millis, Attempts)> + '_ {
        let first = (self.this_hour + 1).saturating_sub(WEEK as u64);
        (first..).map(|hour| Millis(hour * 3_600_000)).zip(self.hours)
    }

    /// Attempts of each event type; of more types than a catalogue may have, those with the most attempts.
    pub fn events(&self) -> BTreeMap<&str, Attempts> {
        let mut events: Vec<(&str, Attempts)> =
            self.by_event.iter().map(|(name, attempts)| (name.as_str(), *attempts)).collect();
        events.sort_by_key(|(_, attempts)| Reverse(attempts.ok + attempts.fail));
        events.truncate(MOST_EVENTS);
        events.into_iter().collect()
    }

    /// Response times of this hour and the 23 before.
    pub fn response_times(&self) -> &ResponseTimes {
        &self.times
    }
}

/// A histogram of response times in the fixed buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseTimes {
    sum_ms: u64,
    count: u64,
    buckets: [u64; BOUNDS_MS.len() + 1],
}

impl ResponseTimes {
    fn add(&mut self, sum_ms: u64, count: u64, bucket: impl Fn(usize) -> u64) {
        self.sum_ms += sum_ms;
        self.count += count;
        for (i, total) in self.buckets.iter_mut().enumerate() {
            *total += bucket(i);
        }
    }

    /// The mean, in ms; exact. `None` when there were no requests.
    pub fn average_ms(&self) -> Option<f64> {
        (self.count > 0).then(|| rounded(self.sum_ms as f64 / self.count as f64, 1))
    }

    /// The time that `percent` (0..=100) of the requests did not exceed, in ms: exact to its bucket, and in it as if its
    /// requests lay evenly. `None` when there were no requests.
    pub fn percentile_ms(&self, percent: u8) -> Option<f64> {
        let upper = |i: usize| BOUNDS_MS.get(i).map_or(SLOWEST_MS, |bound| f64::from(*bound));
        percentile(&self.buckets, upper, percent).map(|ms| rounded(ms, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::stats::bucket_of;

    const NOW: Millis = Millis(500_000 * 3_600_000 + 17);

    fn hash(fields: &[(&str, u64)]) -> BTreeMap<String, String> {
        fields.iter().map(|(field, value)| ((*field).to_owned(), value.to_string())).collect()
    }

    fn in_hour(hour: u64, ok: u64, fail: u64) -> BTreeMap<String, String> {
        let slot = hour % 168;
        hash(&[(&format!("{slot}:h"), hour), (&format!("{slot}:ok"), ok), (&format!("{slot}:fail"), fail)])
    }

    fn times(elapsed: &[u32]) -> ResponseTimes {
        let mut times = ResponseTimes::default();
        for ms in elapsed {
            times.buckets[bucket_of(*ms)] += 1;
            times.sum_ms += u64::from(*ms);
            times.count += 1;
        }
        times
    }

    #[test]
    fn nothing_yet_is_no_failure() {
        let figures = Figures::new(NOW);
        assert_eq!((figures.attempts_last_24h(), figures.success_rate_last_7d()), (0, 100.0));
        assert_eq!(figures.response_times().average_ms(), None);
        assert_eq!(figures.response_times().percentile_ms(99), None);
        assert_eq!(figures.timeline().count(), 168);
    }

    #[test]
    fn an_hour_counts_while_it_is_young_enough() {
        // (hours ago, within 24 hours, within 7 days)
        let cases =
            [(0, true, true), (23, true, true), (24, false, true), (167, false, true), (168, false, false)];
        for (ago, day, week) in cases {
            let mut figures = Figures::new(NOW);
            figures.add(&in_hour(500_000 - ago, 3, 1));
            assert_eq!(figures.attempts_last_24h(), if day { 4 } else { 0 }, "{ago}");
            assert_eq!(figures.success_rate_last_7d(), if week { 75.0 } else { 100.0 }, "{ago}");
        }
    }

    #[test]
    fn an_hour_that_began_elsewhere_counts_as_this_one() {
        let mut figures = Figures::new(NOW);
        figures.add(&in_hour(500_001, 1, 0));
        assert_eq!(
            figures.timeline().last(),
            Some((Millis(500_000 * 3_600_000), Attempts { ok: 1, fail: 0 }))
        );
    }

    #[test]
    fn the_timeline_is_oldest_first() {
        let mut figures = Figures::new(NOW);
        figures.add(&in_hour(500_000, 1, 0));
        figures.add(&in_hour(499_833, 0, 2));
        let timeline: Vec<_> = figures.timeline().collect();
        assert_eq!(timeline[0], (Millis(499_833 * 3_600_000), Attempts { ok: 0, fail: 2 }));
        assert_eq!(timeline[167].1, Attempts { ok: 1, fail: 0 });
    }

    #[test]
    fn partitions_add_up() {
        let mut figures = Figures::new(NOW);
        let fields =
            [("pending", 1), ("delivered", 10), ("dead", 2), ("e:lead.created:ok", 5), ("e:test:x:fail", 3)];
        figures.add(&hash(&fields));
        figures.add(&hash(&[
            ("pending", 4),
            ("e:lead.created:ok", 1),
            ("e:lead.created:fail", 2),
            ("ok", 9),
        ]));
        figures.add(&BTreeMap::from([("pending".to_owned(), "-1".to_owned())]));
        assert_eq!((figures.pending, figures.delivered, figures.dead), (5, 10, 2));
        assert_eq!(figures.events()["lead.created"], Attempts { ok: 6, fail: 2 });
        assert_eq!(figures.events()["test:x"], Attempts { ok: 0, fail: 3 });
        assert_eq!(figures.events().len(), 2);
    }

    #[test]
    fn event_types_without_end_are_cut_to_those_with_most_attempts() {
        let mut figures = Figures::new(NOW);
        let types = (0..MOST_EVENTS as u64 + 5).map(|n| (format!("e:lead.n{n:04}:ok"), (n + 1).to_string()));
        figures.add_events(&types.collect());
        let events = figures.events();
        assert_eq!((events.len(), events.contains_key("lead.n0004")), (MOST_EVENTS, false));
        assert_eq!(events["lead.n0005"], Attempts { ok: 6, fail: 0 });
    }

    #[test]
    fn a_webhook_s_hours_count_as_a_user_s_do() {
        let (week, day) = (500_000 % 168, 500_000 % 24);
        let slot = |name: &str| (format!("{week}:{name}"), format!("{day}:{name}"));
        let mut user = Figures::new(NOW);
        user.add(&hash(&[
            (&slot("h").0, 500_000),
            (&slot("ok").0, 2),
            (&slot("fail").0, 3),
            (&slot("lh").1, 500_000),
            (&slot("sum").1, 40),
            (&slot("n").1, 5),
            (&slot("b6").1, 5),
        ]));
        let mut bytes = crate::store::stats::hours::tests::empty();
        crate::store::stats::hours::tests::fill(&mut bytes, 500_000, (2, 3), 40, (6, 5));
        // Hours that are over in the same rings.
        crate::store::stats::hours::tests::fill(&mut bytes, 499_900, (7, 7), 70, (1, 7));
        let mut webhook = Figures::new(NOW);
        webhook.add_hours(Hours(&bytes));
        assert_eq!(webhook.response_times(), user.response_times());
        assert_eq!(webhook.timeline().last(), user.timeline().last());
        assert_eq!((webhook.attempts_last_24h(), webhook.success_rate_last_7d()), (5, 47.37));
    }

    #[test]
    fn old_response_times_do_not_count() {
        let mut figures = Figures::new(NOW);
        for hour in [500_000_u64, 499_977, 499_976] {
            let slot = hour % 24;
            let field = |name: &str| format!("{slot}:{name}");
            figures.add(&hash(&[
                (&field("lh"), hour),
                (&field("sum"), 80),
                (&field("n"), 2),
                (&field("b12"), 2),
            ]));
        }
        assert_eq!(figures.response_times().count, 4);
        assert_eq!(figures.response_times().average_ms(), Some(40.0));
        assert_eq!(figures.response_times().percentile_ms(100), Some(70.0));
    }

    #[test]
    fn percentiles_are_interpolated_in_their_bucket() {
        let slow = [vec![1; 95], vec![50_000; 5]].concat();
        let cases: [(&[u32], u8, f64); 9] = [
            (&[0], 50, 0.5),
            (&[1], 100, 1.0),
            (&[2], 0, 1.0),
            (&[60, 60, 60, 60], 50, 60.0),
            (&[55, 65, 65, 66], 25, 55.0),
            (&[3, 3, 100, 100], 50, 3.0),
            (&[3, 3, 100, 100], 75, 85.0),
            (&slow, 95, 1.0),
            (&slow, 99, 54_000.0),
        ];
        for (elapsed, percent, expected) in cases {
            assert_eq!(times(elapsed).percentile_ms(percent), Some(expected), "{percent} of {elapsed:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn percentiles_rise_and_stay_in_the_bucket_of_the_true_one(
            mut elapsed in proptest::collection::vec(0_u32..60_000, 1..200),
        ) {
            let histogram = times(&elapsed);
            elapsed.sort_unstable();
            let mut last = 0.0;
            for percent in 1..=100_u8 {
                let found = histogram.percentile_ms(percent).unwrap();
                let true_one = elapsed[(usize::from(percent) * elapsed.len()).div_ceil(100) - 1];
                let upper = BOUNDS_MS.get(bucket_of(true_one)).map_or(SLOWEST_MS, |bound| f64::from(*bound));
                proptest::prop_assert!(found >= last, "{percent}: {found} < {last}");
                proptest::prop_assert!(found <= upper, "{percent}: {found} > {upper}");
                last = found;
            }
        }
    }
}
