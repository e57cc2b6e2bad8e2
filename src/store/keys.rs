//! The names of all keys.
//!
//! Every key begins with `redis.prefix`. All keys of a partition carry its hash tag, `{p17}`, so they share a Redis
//! Cluster slot and one script may change them together. A script is given the partition's prefix (`sw:{p17}:`) as its
//! first argument and one key of the partition as `KEYS[1]`, which routes the call; it derives the other names from the
//! prefix, all in the same slot. Tenants, users and client keys are hashed into names with their lengths, so no two of
//! them can be made to collide.
//!
//! What belongs to no partition (`cluster:nodes`, `cluster:metrics`, `cluster:meta`, `cluster:keys`, …) carries the tag `{cluster}`: it shares a slot too, so
//! that a heartbeat is one round trip to one server.
//!
//! | after the partition's prefix | type | holds |
//! |---|---|---|
//! | `lease` | hash | `token`, `beat`, `node` (for those who look) |
//! | `events` | stream | what awaits dispatch: events (`k`=`event`, `e` id, `t` type, `n` tenant, `b` body, `c` span of the publication if it is traced) and control entries (`k`=`changed`, `w` webhook; `k`=`deleted`, `w`, `o` owner hash, `n` tenant; `k`=`resend`, `w`, `e`, `h`, `t`; `k`=`recover`, `w`) |
//! | `usage` | hash | `undispatched` bytes; `added` entries of `events` since ever (`store::publications::fresh`); `pending` deliveries; `t:<tenant hash>` pending bytes of a tenant |
//! | `event:<hash of tenant, event id>` | hash | `body`, `type`, `open`, `dead`, `test` (made for a test), `trace` (span of the dispatch, if it is traced), `to:<webhook>` = `pending`, how it ended: `<delivered\|dead\|dropped> <ms> <attempts>`, or why it was not queued: `skipped <ms> <inactive\|disabled\|filtered>`; `again:<webhook>` = the recovery that queued it last (`-` = `retry`) and that entry of `events` |
//! | `delivered:<hash of tenant, event id>` | string | instead of `event:`, of one that had arrived everywhere before its dispatch (`store::delivered_record`) |
//! | `idem:<hash of tenant, key>` | string | `<fingerprint> <event id> <publish ms> <shards>` |
//! | `once:<hash of tenant, event id>` | string | this partition has the event or control entry already; also `once:<hash of tenant, call id>` of a resend or a test |
//! | `tenant:<tenant hash>` | hash | home only: `shards` = how many of the tenant's shards were ever used |
//! | `all:<tenant hash>` | sorted set | home only: the tenant's webhooks by creation ms |
//! | `owned:<hash of tenant, user>` | sorted set | home only: a user's webhooks by creation ms |
//! | `forms:<hash of tenant, user>` | hash | home only: the forms of pages that the user sent in the last hour or so, form id → `<made ms> <call>`; at most `store::forms::MOST` (`store::forms`) |
//! | `webhooks` | hash | webhook id → record (`store::record`) |
//! | `mbox:<webhook>` | stream | `e` = event id; the entry has the id that its events entry had |
//! | `retry:<webhook>` | sorted set | due ms → `<entry id> <attempt> <event id>` |
//! | `wake` | sorted set | webhook → when it wants attention next (ms, 0 = now) |
//! | `breakers` | sorted set | webhook with an open breaker → end of its pause (ms) |
//! | `log:<webhook>` | stream | `r` = `AttemptRow` as JSON |
//! | `answer:<webhook>` | stream | same ids as `log`: `b` = an answer's body too long for the row |
//! | `dead:<webhook>` | stream | `e` event id, `t` type, `n` attempts, `a` when (ms) |
//! | `recovery:<webhook>` | hash | the last recovery: `id`, `status`, `since`, `until`, `event`, `total`, `requeued`, `skipped`, `cursor` and `last` (places in `dead`), `entry` (the last one of `events` that it made), `started`, `ended` (`store::recoveries`) |
//! | `recoveries` | set | webhooks whose recovery is under way |
//! | `count:<webhook>` | hash | `ok`, `fail` (attempts), `delivered`, `dead` (deliveries), `row` (consecutive failures), `last`, `last_ok`, `last_fail` (ms), `paused` (the endpoint asked for it, until, ms); of the breaker: `failing` (the first failure since the last success, ms), `pauses` (since it flowed), `pause_ends` (ms), `turn` (how often it changed); `hour` (what `hours` was last changed for) |
//! | `hours:<webhook>` | string | attempts and response times by hour (`store::stats::hours`) |
//! | `types:<webhook>` | hash | attempts by event type: `e:<type>:ok`, `e:<type>:fail` |
//! | `stats:<hash of tenant, user>` | hash | see `store::stats` |
//! | `testing:<webhook>` | string | a test is running |
//! | `quarantine` | stream, capped | what could not be read: `id` = its place in `events`, or `mbox:<webhook>`, `retry:<webhook>`; `entry` = what is known of it |

use sha2::{Digest, Sha256};

use crate::domain::{EventId, Partition, Tenant, UserId, WebhookId};

/// Makes the names of keys.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Names that begin with `prefix` (`redis.prefix`).
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// `sw:{p17}:`, what every key of `partition` begins with.
    pub fn of(&self, partition: Partition) -> String {
        format!("{}{{{partition}}}:", self.prefix)
    }

    /// One key of `partition`, such as `lease` or `events`.
    pub fn key(&self, partition: Partition, name: &str) -> String {
        format!("{}{{{partition}}}:{name}", self.prefix)
    }

    /// A key of one webhook: `kind` is `mbox`, `retry`, `log`, `answer`, `dead`, `count`, `hours`, `types` or
    /// `testing`.
    pub fn of_webhook(&self, partition: Partition, kind: &str, id: &WebhookId) -> String {
        format!("{}{{{partition}}}:{kind}:{id}", self.prefix)
    }

    /// A key outside of the partitions: `{cluster}:<name>`.
    pub fn cluster(&self, name: &str) -> String {
        format!("{}{{cluster}}:{name}", self.prefix)
    }
}

/// Names a tenant in keys.
pub fn tenant_hash(tenant: &Tenant) -> String {
    hash(&[&tenant.to_string()])
}

/// Names a user of a tenant in keys.
pub fn owner_hash(tenant: &Tenant, user: &UserId) -> String {
    hash(&[&tenant.to_string(), &user.0])
}

/// Names an event of a tenant in keys.
pub fn event_hash(tenant: &Tenant, id: &EventId) -> String {
    hash(&[&tenant.to_string(), id.as_str()])
}

/// Names an idempotency key of a tenant; `kind` keeps header keys and event ids apart.
pub fn idempotency_hash(tenant: &Tenant, kind: &str, key: &str) -> String {
    hash(&[&tenant.to_string(), kind, key])
}

/// 128 bits of SHA-256 over the length-prefixed parts, in hex.
fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part.as_bytes());
    }
    hex::encode(&digest.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_partition_share_its_hash_tag() {
        let keys = Keys::new("sw:");
        assert_eq!(keys.of(Partition(7)), "sw:{p07}:");
        assert_eq!(keys.key(Partition(17), "lease"), "sw:{p17}:lease");
        assert_eq!(keys.cluster("nodes"), "sw:{cluster}:nodes");
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["a"]), hash(&["a", ""]));
        assert_eq!(hash(&["a"]).len(), 32);
    }
}
