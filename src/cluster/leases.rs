//! Keeps the leases of an arbiter's partitions: takes them, renews them, notices their loss, gives them back.
//!
//! Has a connection of its own, so that a renewal never waits behind other commands, and renews all leases in one round
//! trip. What may be taken and how long a renewal counts is decided in [`crate::policy::lease`].

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::tenure::Tenure;
use crate::clock;
use crate::domain::{EntryId, NodeId, Partition};
use crate::policy::lease::{self, Holdings, Renewal, Seen};
use crate::store::leases::{self, Bid, Renewed};
use crate::store::{Error, Keys, Redis};
use crate::telemetry::events as facts;

/// See the module's page.
#[derive(Debug)]
pub struct Keeper {
    redis: Redis,
    keys: Keys,
    node: NodeId,
    /// All partitions that this arbiter may come to own.
    partitions: Vec<Partition>,
    holdings: Holdings,
    /// Since when a partition is wanted and not ours.
    wanted_since: HashMap<Partition, Instant>,
    renewed: Option<Instant>,
    told_of_waiting: bool,
}

impl Keeper {
    /// A keeper of `node` for any of `partitions`; it holds nothing.
    pub fn new(redis: Redis, keys: Keys, node: NodeId, partitions: Vec<Partition>) -> Self {
        Self {
            redis,
            keys,
            node,
            partitions,
            holdings: Holdings::default(),
            wanted_since: HashMap::new(),
            renewed: None,
            told_of_waiting: false,
        }
    }

    /// Its connection: another one than the partitions' own, which may meet another server.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The partitions whose leases are held.
    pub fn held(&self) -> Vec<Partition> {
        self.holdings.held().map(|(partition, _)| partition).collect()
    }

    /// Renews all leases if the last renewal is long enough ago. Answers for each that was renewed or lost; a tenure that
    /// is being taken anew is left out, for its token is in between.
    pub async fn renew(&mut self, tenures: &[Rc<Tenure>]) -> Vec<(Rc<Tenure>, Renewed)> {
        let sent = clock::monotonic();
        let due = self.renewed.is_none_or(|last| sent.saturating_duration_since(last) >= lease::RENEW_EVERY);
        let tenures: Vec<&Rc<Tenure>> = tenures.iter().filter(|tenure| !tenure.is_retaking()).collect();
        if !due || tenures.is_empty() {
            return Vec::new();
        }
        let held: Vec<_> = tenures.iter().map(|tenure| (tenure.partition, tenure.token())).collect();
        let answers = match leases::renew(&self.redis, &self.keys, &held).await {
            Ok(answers) => answers,
            Err(error) => {
                failed("renew", &error);
                return Vec::new();
            }
        };
        self.renewed = Some(sent);
        for (tenure, answer) in tenures.iter().zip(&answers) {
            self.holdings.renewed(tenure.partition, answer.renewal, sent);
            if let Some(valid_until) = self.holdings.valid_until(tenure.partition) {
                tenure.renewed(valid_until);
            }
        }
        tenures.into_iter().cloned().zip(answers).collect()
    }

    /// Looks at every lease that is not held, and takes what is wanted and may be taken.
    pub async fn take(&mut self, wanted: impl Fn(Partition) -> bool) -> Vec<Tenure> {
        let watched: Vec<Partition> =
            self.partitions.iter().copied().filter(|partition| !self.holdings.holds(*partition)).collect();
        let seen = match leases::look(&self.redis, &self.keys, &watched).await {
            Ok(seen) => seen,
            Err(error) => {
                failed("look", &error);
                watched.iter().for_each(|partition| self.holdings.missed(*partition));
                return Vec::new();
            }
        };
        let now = clock::monotonic();
        let (mut bids, mut waiting) = (Vec::new(), 0);
        for (partition, seen) in watched.into_iter().zip(seen) {
            let Some(seen) = seen else {
                self.holdings.missed(partition);
                continue;
            };
            let may_take = self.holdings.looked(partition, &seen, now);
            if !wanted(partition) {
                self.wanted_since.remove(&partition);
                continue;
            }
            self.wanted_since.entry(partition).or_insert(now);
            if may_take {
                bids.push(Bid { partition, token: new_token(), seen });
            } else {
                waiting += 1;
            }
        }
        self.tell_of_waiting(waiting);
        self.take_all(bids).await
    }

    async fn take_all(&mut self, bids: Vec<Bid>) -> Vec<Tenure> {
        let sent = clock::monotonic();
        let answers = match leases::take(&self.redis, &self.keys, &self.node, &bids).await {
            Ok(answers) => answers,
            Err(error) => {
                // One that was taken all the same stands still from now on.
                failed("take", &error);
                return Vec::new();
            }
        };
        let taken = bids.into_iter().zip(answers).filter(|(_, answer)| *answer == Some(true));
        let taken: Vec<Bid> = taken.map(|(bid, _)| bid).collect();
        let tenure = |Bid { partition, token, .. }: Bid| {
            let waited =
                self.wanted_since.remove(&partition).map(|since| sent.saturating_duration_since(since));
            facts::partition_taken(partition, waited.unwrap_or_default());
            let valid_until = self.holdings.took(partition, token.clone(), sent);
            Tenure::new(partition, token, valid_until)
        };
        taken.into_iter().map(tenure).collect()
    }

    /// Takes what is ours anew, with other tokens: what was read before may not be what Redis holds. Answers those for
    /// which that is done, and those that are ours no more; where an answer is missing it is to be called again.
    pub async fn retake(&mut self, tenures: &[Rc<Tenure>]) -> Retaken {
        let bid = |tenure: &Rc<Tenure>| Bid {
            partition: tenure.partition,
            token: tenure.retaking(new_token),
            seen: Seen { token: Some(tenure.token().to_string()), beat: None },
        };
        let bids: Vec<Bid> = tenures.iter().map(bid).collect();
        let sent = clock::monotonic();
        let answers = match leases::take(&self.redis, &self.keys, &self.node, &bids).await {
            Ok(answers) => answers,
            Err(error) => {
                failed("take anew", &error);
                vec![None; bids.len()]
            }
        };
        let mut retaken = Retaken::default();
        for ((tenure, bid), answer) in tenures.iter().zip(bids).zip(answers) {
            match answer {
                Some(true) => {
                    tenure.retaken(Some(self.holdings.took(tenure.partition, bid.token, sent)));
                    retaken.done.push(tenure.clone());
                }
                Some(false) => {
                    tenure.retaken(None);
                    self.holdings.drop(tenure.partition);
                    retaken.lost.push(tenure.partition);
                }
                None => retaken.unknown = true,
            }
        }
        retaken
    }

    /// Gives leases back, all in one round trip: at the end of a node there is no time for one each.
    pub async fn give_back(&mut self, partitions: &[Partition]) {
        let held = |partition: &Partition| Some((*partition, self.holdings.drop(*partition)?));
        let held: Vec<(Partition, Arc<str>)> = partitions.iter().filter_map(held).collect();
        if held.is_empty() {
            return;
        }
        if let Err(error) = leases::release(&self.redis, &self.keys, &held).await {
            // They stand still from now on, and are taken when they have done so for the term.
            failed("release", &error);
        }
        held.iter().for_each(|(partition, _)| facts::partition_released(*partition));
    }

    /// Says once why nothing flows yet: whoever looks at a node that starts after a `kill -9` wants to know.
    fn tell_of_waiting(&mut self, partitions: usize) {
        if partitions > 0 && !self.told_of_waiting {
            facts::leases_awaited(partitions, lease::TERM);
        }
        self.told_of_waiting = partitions > 0;
    }
}

/// What became of [`Keeper::retake`].
#[derive(Debug, Default)]
pub struct Retaken {
    /// Taken anew.
    pub done: Vec<Rc<Tenure>>,
    /// Ours no more.
    pub lost: Vec<Partition>,
    /// Some answers are missing.
    pub unknown: bool,
}

/// Whether the answer to a renewal says that the lease is ours no more.
pub fn is_lost(renewed: &Renewed) -> bool {
    renewed.renewal == Renewal::Lost
}

/// Whether an entry awaits dispatch that the reader at `cursor` has passed.
pub fn is_behind(renewed: &Renewed, cursor: EntryId) -> Option<EntryId> {
    renewed.oldest.filter(|oldest| *oldest <= cursor)
}

fn new_token() -> Arc<str> {
    format!("{:032x}", rand::random::<u128>()).into()
}

fn failed(step: &'static str, error: &Error) {
    facts::leases_failed(step, error);
}
