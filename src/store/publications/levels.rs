//! How full partitions and tenants were when Redis last told: far from their bounds an event is stored without a look at them. Pure.
//!
//! What is known is only ever used to spare a look: near a bound, and where nothing is known, the script looks. Each thread that publishes
//! may be wrong by what others have stored since it was told, so that a bound is passed at worst by its part [`PART`] times those threads, of all
//! nodes. One thread alone is exact.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Bounds;
use crate::domain::Partition;

/// Below this part of a bound an event is stored without a look at it.
const PART: u64 = 8;
/// How old what is known of a tenant may be before it is asked again, with the next event of it.
const FRESH: Duration = Duration::from_secs(1);
/// Tenants that are remembered; with more of them all begin anew.
const TENANTS: usize = 16_384;

/// What is known of one thread's calls.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// Bytes that await dispatch.
    partitions: HashMap<Partition, u64>,
    /// Pending bytes of tenants, by partition and name, with what was stored since that was told, and when that was.
    tenants: HashMap<(Partition, Arc<str>), (u64, Instant)>,
}

/// How an event is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The script looks whether it may be.
    Look,
    /// Without a look, and how much its tenant has pending is asked.
    Ask,
    /// Without a look.
    Plain,
}

impl Levels {
    /// How `more` bytes of a tenant are stored.
    pub fn way(
        &self,
        bounds: &Bounds,
        partition: Partition,
        tenant: &Arc<str>,
        more: u64,
        now: Instant,
    ) -> Way {
        let is_low = |known: u64, bound: u64| known + more <= bound / PART;
        let of_tenant = self.tenants.get(&(partition, tenant.clone()));
        let (Some(undispatched), Some((pending, told))) = (self.partitions.get(&partition), of_tenant) else {
            return Way::Look;
        };
        if !is_low(*undispatched, bounds.max_undispatched) || !is_low(*pending, bounds.max_pending_of_tenant)
        {
            return Way::Look;
        }
        if now.saturating_duration_since(*told) > FRESH { Way::Ask } else { Way::Plain }
    }

    /// So many bytes await dispatch in a partition.
    pub fn tell(&mut self, partition: Partition, undispatched: u64) {
        self.partitions.insert(partition, undispatched);
    }

    /// So many bytes of a tenant are pending.
    pub fn tell_pending(&mut self, partition: Partition, tenant: &Arc<str>, pending: u64, now: Instant) {
        let of_tenant = (partition, tenant.clone());
        if self.tenants.len() >= TENANTS && !self.tenants.contains_key(&of_tenant) {
            self.tenants.clear();
        }
        self.tenants.insert(of_tenant, (pending, now));
    }

    /// So many bytes of a tenant were stored without a look: they may be pending.
    pub fn stored(&mut self, partition: Partition, tenant: &Arc<str>, bytes: u64) {
        if let Some((pending, _)) = self.tenants.get_mut(&(partition, tenant.clone())) {
            *pending += bytes;
        }
    }

    /// Nothing is known of a partition: the next event in it has the script look.
    pub fn forget(&mut self, partition: Partition) {
        self.partitions.remove(&partition);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { max_undispatched: 800, max_pending_of_tenant: 1600 };
    const HOME: Partition = Partition(3);

    #[test]
    fn only_far_from_both_bounds_nobody_looks() {
        let (mut levels, now, tenant) = (Levels::default(), Instant::now(), Arc::from("t"));
        let way = |levels: &Levels, partition, more| levels.way(&BOUNDS, partition, &tenant, more, now);
        assert_eq!(way(&levels, HOME, 1), Way::Look, "nothing is known");
        levels.tell(HOME, 60);
        assert_eq!(way(&levels, HOME, 1), Way::Look);
        levels.tell_pending(HOME, &tenant, 100, now);
        assert_eq!((way(&levels, HOME, 40), way(&levels, HOME, 41)), (Way::Plain, Way::Look));
        assert_eq!(levels.way(&BOUNDS, HOME, &Arc::from("other"), 1, now), Way::Look);
        assert_eq!(way(&levels, Partition(4), 1), Way::Look);
        levels.tell(HOME, 0);
        levels.tell_pending(HOME, &tenant, 180, now);
        levels.stored(HOME, &tenant, 10);
        assert_eq!((way(&levels, HOME, 10), way(&levels, HOME, 11)), (Way::Plain, Way::Look));
        assert_eq!(levels.way(&BOUNDS, HOME, &tenant, 10, now + 2 * FRESH), Way::Ask);
        levels.forget(HOME);
        assert_eq!(way(&levels, HOME, 1), Way::Look);
    }

    #[test]
    fn what_is_remembered_of_tenants_is_bounded() {
        let (mut levels, now) = (Levels::default(), Instant::now());
        for n in 0..TENANTS {
            levels.tell_pending(HOME, &n.to_string().into(), 0, now);
        }
        levels.tell_pending(HOME, &Arc::from("0"), 7, now);
        assert_eq!(levels.tenants.len(), TENANTS, "one that is known takes no room");
        levels.tell_pending(HOME, &Arc::from("new"), 0, now);
        assert_eq!(levels.tenants.len(), 1);
    }
}
