//! Repeated trouble is told now and then, with how often it has come.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often one kind of repeated trouble is logged.
const QUIET_FOR: Duration = Duration::from_secs(5);

/// For all kinds.
pub(super) static QUIET: Quiet = Quiet(Mutex::new(BTreeMap::new()));

/// Lets one line of a kind through in [`QUIET_FOR`]. Bounded: kinds are constants of the program.
pub(super) struct Quiet(Mutex<BTreeMap<&'static str, (Instant, u64)>>);

impl Quiet {
    /// How often it was tried since the last one that was let through, this one included; `None` = not now.
    pub(super) fn let_through(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kinds.get_mut(kind) {
            Some((last, times)) if now.saturating_duration_since(*last) < QUIET_FOR => {
                *times += 1;
                None
            }
            known => {
                let times = known.map_or(0, |(_, times)| *times);
                kinds.insert(kind, (now, 0));
                Some(times + 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn repeated_trouble_is_told_now_and_then_with_its_count() {
        let quiet = Quiet(Mutex::new(BTreeMap::new()));
        let start = clock::monotonic();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(quiet.let_through("read", at(0)), Some(1));
        assert_eq!(quiet.let_through("write", at(0)), Some(1), "each kind for itself");
        assert_eq!((1..5).filter_map(|n| quiet.let_through("read", at(n))).count(), 0);
        assert_eq!(quiet.let_through("read", at(5)), Some(5));
    }
}
