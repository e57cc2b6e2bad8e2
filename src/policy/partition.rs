//! Which shard a new webhook joins, and which partition holds a shard: the only place that knows.
//!
//! Both are written into stored data (ids, keys), so they never change between builds; the counts they depend on are
//! fixed in `cluster:meta` at the first start.

use sha2::{Digest, Sha256};

use crate::domain::{Partition, Shard, Tenant};

/// The fixed counts of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `cluster.partitions`
    pub partitions: u16,
    /// `cluster.webhooks_per_shard`
    pub webhooks_per_shard: u32,
    /// `cluster.shards_per_tenant`
    pub shards_per_tenant: u8,
}

impl Layout {
    /// The shard of a webhook created when its tenant has `existing` others: shards fill one after another, then
    /// round again, so a small tenant stays in one partition and a large one spreads.
    pub fn shard_for(&self, existing: u64) -> Shard {
        let filled = existing / u64::from(self.webhooks_per_shard) % u64::from(self.shards_per_tenant);
        Shard(u8::try_from(filled).expect("a remainder of a u8"))
    }

    /// The partition that holds `shard` of `tenant`.
    pub fn partition_of(&self, tenant: &Tenant, shard: Shard) -> Partition {
        let digest = Sha256::new().chain_update(tenant.to_string()).chain_update([0, shard.0]).finalize();
        let number = u64::from_be_bytes(digest[..8].try_into().expect("eight of 32 bytes"));
        let slice = number % u64::from(self.partitions);
        Partition(u16::try_from(slice).expect("a remainder of a u16"))
    }

    /// The tenant's home: its idempotency keys, its count of shards and the indexes of its webhooks.
    pub fn home_of(&self, tenant: &Tenant) -> Partition {
        self.partition_of(tenant, Shard(0))
    }

    /// The distinct partitions of a tenant's first `shards` shards, home first: each gets an event once, however many
    /// of the tenant's shards it holds.
    pub fn partitions_of(&self, tenant: &Tenant, shards: u8) -> Vec<Partition> {
        let mut distinct = vec![self.home_of(tenant)];
        for shard in 1..shards.min(self.shards_per_tenant) {
            let partition = self.partition_of(tenant, Shard(shard));
            if !distinct.contains(&partition) {
                distinct.push(partition);
            }
        }
        distinct
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 };

    #[test]
    fn shards_fill_in_groups_and_wrap() {
        let shards: Vec<u8> = [0, 3, 4, 63, 64, 67, 68].map(|n| LAYOUT.shard_for(n).0).to_vec();
        assert_eq!(shards, [0, 0, 1, 15, 0, 0, 1]);
    }

    #[test]
    fn partitions_never_move_between_builds() {
        let tenant: Tenant = "org:demo".parse().expect("a tenant");
        let found: Vec<u16> = (0..4).map(|shard| LAYOUT.partition_of(&tenant, Shard(shard)).0).collect();
        assert_eq!(found, PINNED, "stored data depends on these");
    }
    const PINNED: [u16; 4] = [5, 21, 32, 11];

    #[test]
    fn tenants_spread_over_all_partitions() {
        let used: std::collections::BTreeSet<u16> =
            (0..2000).map(|n| LAYOUT.home_of(&format!("org:{n}").parse().expect("a tenant")).0).collect();
        assert_eq!(used.len(), 64);
    }

    #[test]
    fn an_event_goes_to_each_partition_once() {
        let tenant: Tenant = "org:large".parse().expect("a tenant");
        let partitions = LAYOUT.partitions_of(&tenant, 16);
        let distinct: std::collections::BTreeSet<_> = partitions.iter().collect();
        assert_eq!(distinct.len(), partitions.len());
        assert_eq!(partitions[0], LAYOUT.home_of(&tenant));
    }
}
