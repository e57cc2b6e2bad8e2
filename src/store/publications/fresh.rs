//! What was stored from this node, told to the owner of its partition on this node: it need not be read back.
//!
//! To read an event costs Redis as much as to store it, and the node to parse what it had just written. But what is told must not
//! overtake what others stored before it, which is only known from Redis. So every entry of an events stream is counted
//! (`added` in `usage`), in the step that stores it, and the count is told: what follows the entry that the owner had last lies
//! right behind it. Anything else, and all that the owner is not told of, it reads. Only for speed: what is told twice or not at
//! all does no harm, and what is passed by is noticed ([`crate::actors::reader`]).
//!
//! Not on a Redis Cluster, where the owner has a connection for each partition and no call stores more than one event.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::mpsc::Sender;

use crate::domain::Partition;
use crate::store::events::Entry;

/// What one call stored in one partition.
#[derive(Debug)]
pub struct Fresh {
    /// Which.
    pub partition: Partition,
    /// In the order of the stream; nothing lies between them.
    pub entries: Vec<Entry>,
    /// The number of the last one, counted from the first that was ever added to the stream.
    pub last: u64,
}

/// Where what is fresh is told.
pub type Ear = Sender<Vec<Fresh>>;

/// The owners on this node.
#[derive(Debug, Default)]
pub struct Listeners {
    ears: RwLock<HashMap<Partition, Ear>>,
}

impl Listeners {
    /// What is stored in the partition is told there from now on.
    pub fn listen(&self, partition: Partition, ear: Ear) {
        self.ears.write().unwrap_or_else(PoisonError::into_inner).insert(partition, ear);
    }

    /// The partition is ours no more.
    pub fn leave(&self, partition: Partition) {
        self.ears.write().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// Tells what `fresh` makes of the partitions that somebody listens for. Who does not keep up is not told.
    pub(super) fn tell(&self, fresh: impl Iterator<Item = Fresh>) {
        let ears = self.ears();
        let mut told: Vec<(&Ear, Vec<Fresh>)> = Vec::new();
        for fresh in fresh {
            let Some(ear) = ears.get(&fresh.partition) else { continue };
            match told.iter_mut().find(|(other, _)| other.same_channel(ear)) {
                Some((_, of_it)) => of_it.push(fresh),
                None => told.push((ear, vec![fresh])),
            }
        }
        for (ear, fresh) in told {
            let _ = ear.try_send(fresh);
        }
    }

    /// Whether somebody listens for the partition.
    pub(super) fn has(&self, partition: Partition) -> bool {
        self.ears().contains_key(&partition)
    }

    fn ears(&self) -> RwLockReadGuard<'_, HashMap<Partition, Ear>> {
        self.ears.read().unwrap_or_else(PoisonError::into_inner)
    }
}
