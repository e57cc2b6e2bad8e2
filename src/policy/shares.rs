//! Who gets one of the places that tenants share: the attempts that a node makes at once, and of these the ones that a
//! thread has just begun.
//!
//! The rule is a dynamic threshold (A. K. Choudhury, E. L. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet
//! Switches", IEEE/ACM Transactions on Networking 6(2), 1998): a tenant may hold [`FACTOR`] times as many places as are
//! free. One that is alone thus stops at three quarters, and whoever comes next finds room at once, without waiting for what
//! hangs to end. Under [`Rule::Quarter`] a tenant besides gets no more than that while somebody else waits: what the others
//! leave stays free then.
//!
//! What is freed goes to the waiting tenant that holds least, and among equals to the one that was last served, or began to
//! wait, longest ago; within a tenant first come, first served.
//!
//! For correctness of the caller: after [`Shares::ask`], [`Shares::release`] and [`Shares::cancel`] nobody waits whom the
//! rule allows a place, once [`Shares::grant`] has said `None`. Whoever waits then waits for somebody who holds a place.
//!
//! Each step costs the logarithm of how many wait. A tenant that holds nothing and does not wait is forgotten.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use crate::domain::Tenant;

/// How many places a tenant may hold for each that is free.
const FACTOR: usize = 3;

/// Names a tenant cheaply. Two that had the same one would share a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

impl Key {
    /// The tenant's. Costs a hash: to be kept.
    pub fn of(tenant: &Tenant) -> Self {
        let digest = Sha256::digest(tenant.to_string());
        Self(u64::from_be_bytes(digest[..8].try_into().expect("eight of 32 bytes")))
    }
}

/// Names one who waits; a later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// The answer to who asks for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It has one.
    Granted,
    /// It waits until [`Shares::grant`] names its ticket.
    Waits(Ticket),
}

/// What a tenant gets while others wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// As much as when it is alone: for places that are held for a moment.
    Threshold,
    /// A quarter of the places at most: for those that may be held for long.
    Quarter,
}

/// The places, who holds how many, and who waits. Pure.
#[derive(Debug)]
pub struct Shares {
    rule: Rule,
    capacity: usize,
    free: usize,
    tenants: HashMap<Key, Share>,
    /// The tenants that wait, the next one first.
    waiting: BTreeSet<Rank>,
    /// The last number that was given to anything.
    last: u64,
}

/// What is known of a tenant.
#[derive(Debug, Default)]
struct Share {
    held: usize,
    /// When it was last served or began to wait; of no meaning while it does not wait.
    since: u64,
    tickets: BTreeSet<Ticket>,
}

/// The place of a tenant among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    held: usize,
    since: u64,
    tenant: Key,
}

impl Share {
    fn rank(&self, tenant: Key) -> Option<Rank> {
        let waits = !self.tickets.is_empty();
        waits.then_some(Rank { held: self.held, since: self.since, tenant })
    }
}

impl Shares {
    /// That many places, all free; at least one.
    pub fn new(capacity: usize, rule: Rule) -> Self {
        let capacity = capacity.max(1);
        let (tenants, waiting) = Default::default();
        Self { rule, capacity, free: capacity, tenants, waiting, last: 0 }
    }

    /// Somebody of `tenant` wants a place.
    pub fn ask(&mut self, tenant: Key) -> Asked {
        let share = self.tenants.get(&tenant);
        let (held, waits) = share.map_or((0, false), |share| (share.held, !share.tickets.is_empty()));
        // Whoever of its own waits already was refused, and nothing has changed since.
        if !waits && self.allows(held, !self.waiting.is_empty()) {
            self.free -= 1;
            self.tenants.entry(tenant).or_default().held += 1;
            return Asked::Granted;
        }
        let ticket = Ticket(self.number());
        self.change(tenant, |share| {
            if share.tickets.is_empty() {
                share.since = ticket.0;
            }
            share.tickets.insert(ticket);
        });
        Asked::Waits(ticket)
    }

    /// A place of `tenant` is free again. One that it does not hold is none.
    pub fn release(&mut self, tenant: Key) {
        let mut released = 0;
        self.change(tenant, |share| {
            released = share.held.min(1);
            share.held -= released;
        });
        self.free += released;
    }

    /// Who has `ticket` waits no longer. `false` when it did not wait any more: it holds a place then.
    pub fn cancel(&mut self, tenant: Key, ticket: Ticket) -> bool {
        let mut waited = false;
        self.change(tenant, |share| waited = share.tickets.remove(&ticket));
        waited
    }

    /// Gives a place to one who waits, if the rule allows any of them one; to be asked after every change until it says
    /// `None`.
    pub fn grant(&mut self) -> Option<(Key, Ticket)> {
        // Whom the rule allows a place, it allows all that hold no more: if not the first, then nobody.
        let Rank { held, tenant, .. } = *self.waiting.first()?;
        if !self.allows(held, self.waiting.len() > 1) {
            return None;
        }
        let (now, mut ticket) = (self.number(), None);
        self.change(tenant, |share| {
            ticket = share.tickets.pop_first();
            share.held += 1;
            share.since = now;
        });
        self.free -= 1;
        ticket.map(|ticket| (tenant, ticket))
    }

    /// Whether nobody holds a place or waits for one.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.free == self.capacity && self.tenants.is_empty() && self.waiting.is_empty()
    }

    /// The rule, for a tenant that holds `held`.
    fn allows(&self, held: usize, others_wait: bool) -> bool {
        let most = match self.rule {
            Rule::Quarter if others_wait => self.capacity / 4,
            // Of two or three places the factor alone would leave a lone tenant all.
            _ => self.capacity - 1,
        };
        held < most.max(1) && held < FACTOR * self.free
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Changes what is known of a tenant, and its rank with it.
    fn change(&mut self, tenant: Key, change: impl FnOnce(&mut Share)) {
        let share = self.tenants.entry(tenant).or_default();
        let before = share.rank(tenant);
        change(share);
        let after = share.rank(tenant);
        if share.held == 0 && after.is_none() {
            self.tenants.remove(&tenant);
        }
        if before != after {
            before.inspect(|rank| _ = self.waiting.remove(rank));
            self.waiting.extend(after);
        }
    }
}

#[cfg(test)]
mod tests;
