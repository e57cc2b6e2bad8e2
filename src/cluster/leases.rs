//! Keeps the leases of an arbiter's partitions: takes them, renews them, notices their loss, gives them back.
//!
//! Has a connection of its own, so that a renewal never waits behind other commands, and renews all leases in one round
//! trip. What may be taken and how long a renewal counts is decided in [`crate::policy::lease`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::domain::Partition;
use crate::policy::lease::{self, Seen, Watch};
use crate::store::leases;
use crate::store::{Error, Keys, Redis};
use crate::telemetry::events as facts;

/// A partition that is ours, and the token that proves it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Which.
    pub partition: Partition,
    /// Made anew at each taking.
    pub token: Arc<str>,
}

/// What one turn of the keeper brought.
#[derive(Debug)]
pub struct Turn {
    /// Ours from now on.
    pub taken: Vec<Taken>,
    /// Ours no more.
    pub lost: Vec<Partition>,
    /// Until when the leases may be relied on.
    pub valid_until: Instant,
}

/// See the module's page.
#[derive(Debug)]
pub struct Keeper {
    redis: Redis,
    keys: Keys,
    wanted: Vec<Partition>,
    held: Vec<(Partition, String)>,
    watches: HashMap<Partition, (Watch<Seen>, Instant)>,
    renewed: Option<Instant>,
    told_of_waiting: bool,
}

impl Keeper {
    /// A keeper that wants `wanted` and holds nothing.
    pub fn new(redis: Redis, keys: Keys, wanted: Vec<Partition>) -> Self {
        Self {
            redis,
            keys,
            wanted,
            held: Vec::new(),
            watches: HashMap::new(),
            renewed: None,
            told_of_waiting: false,
        }
    }

    /// Renews what is held when it is time, drops what is `gone` or lost, and takes what may be taken.
    pub async fn turn(&mut self, gone: &[Partition], valid_until: Instant) -> Turn {
        self.give_back(gone).await;
        let before: Vec<Partition> = self.held.iter().map(|(partition, _)| *partition).collect();
        let valid_until = self.renew(valid_until).await;
        let still = |partition: &Partition| self.held.iter().any(|(held, _)| held == partition);
        let lost = before.into_iter().filter(|partition| !still(partition)).collect();
        let (taken, sent) = self.take_free().await;
        // Leases taken now count from the sending of the call that took them; the others from their renewal.
        let valid_until = if taken.len() == self.held.len() { lease::valid_until(sent) } else { valid_until };
        Turn { taken, lost, valid_until }
    }

    /// Renews all leases if the last renewal is long enough ago; answers until when they may be relied on.
    pub async fn renew(&mut self, valid_until: Instant) -> Instant {
        let sent = clock::monotonic();
        let due = self.renewed.is_none_or(|last| sent.saturating_duration_since(last) >= lease::RENEW_EVERY);
        if !due || self.held.is_empty() {
            return valid_until;
        }
        match leases::renew(&self.redis, &self.keys, &self.held).await {
            Ok(ours) => {
                self.renewed = Some(sent);
                let mut ours = ours.into_iter();
                self.held.retain(|_| ours.next().unwrap_or(false));
                lease::valid_until(sent)
            }
            Err(error) => {
                self.failed("renew", &error);
                valid_until
            }
        }
    }

    /// Gives every lease back.
    pub async fn release_all(&mut self) {
        let held: Vec<Partition> = self.held.iter().map(|(partition, _)| *partition).collect();
        self.give_back(&held).await;
    }

    /// All in one round trip: at the end of a node there is no time for one each.
    async fn give_back(&mut self, partitions: &[Partition]) {
        let given_back: Vec<(Partition, String)> =
            self.held.extract_if(.., |(held, _)| partitions.contains(held)).collect();
        match leases::release(&self.redis, &self.keys, &given_back).await {
            Ok(_) => given_back.iter().for_each(|(partition, _)| facts::partition_released(*partition)),
            // They stand still from now on, and are taken when they have done so for the term.
            Err(error) => self.failed("release", &error),
        }
    }

    async fn take_free(&mut self) -> (Vec<Taken>, Instant) {
        let sent = clock::monotonic();
        let held = |partition: &Partition| self.held.iter().any(|(held, _)| held == partition);
        let wanted: Vec<Partition> =
            self.wanted.iter().copied().filter(|partition| !held(partition)).collect();
        let seen = match leases::look(&self.redis, &self.keys, &wanted).await {
            Ok(seen) => seen,
            Err(error) => {
                self.failed("look", &error);
                self.watches.values_mut().for_each(|(watch, _)| watch.missed());
                return (Vec::new(), sent);
            }
        };
        self.tell_of_waiting(&seen);
        let mut taken = Vec::new();
        for (partition, seen) in wanted.into_iter().zip(seen) {
            let now = clock::monotonic();
            let (watch, since) = self.watches.entry(partition).or_insert_with(|| (Watch::new(), now));
            let waited = now.saturating_duration_since(*since);
            if seen.token.is_none() || watch.saw(seen.clone(), now) {
                taken.extend(self.take(partition, &seen, waited).await);
            }
        }
        (taken, sent)
    }

    /// Says once why nothing flows yet: whoever looks at a node that starts after a `kill -9` wants to know.
    fn tell_of_waiting(&mut self, seen: &[Seen]) {
        let held_by_others = seen.iter().filter(|seen| seen.token.is_some()).count();
        if held_by_others > 0 && !self.told_of_waiting {
            facts::leases_awaited(held_by_others, lease::TERM);
        }
        self.told_of_waiting = held_by_others > 0;
    }

    async fn take(&mut self, partition: Partition, seen: &Seen, waited: Duration) -> Option<Taken> {
        let token = format!("{:032x}", rand::random::<u128>());
        match leases::take(&self.redis, &self.keys, partition, &token, seen).await {
            Ok(true) => {
                facts::partition_taken(partition, waited);
                self.watches.remove(&partition);
                self.held.push((partition, token.clone()));
                Some(Taken { partition, token: token.into() })
            }
            Ok(false) => None,
            Err(error) => {
                self.failed("take", &error);
                None
            }
        }
    }

    fn failed(&self, step: &'static str, error: &Error) {
        tracing::warn!(step, %error, "keeping leases failed");
    }
}
