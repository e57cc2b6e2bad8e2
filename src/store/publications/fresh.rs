//! What was stored from this node, told to the owner of its partition on this node: it need not be read back.
//!
//! To read an event costs Redis as much as to store it, and the node to parse what it had just written. But what is told must not
//! overtake what others stored before it, which is only known from Redis. So every entry of an events stream is counted
//! (`added` in `usage`), in the step that stores it, and the count is told: what follows the entry that the owner had last lies
//! right behind it. Anything else, and all that the owner is not told of, it reads: large events, and what the script stores.
//!
//! Only for speed. What is told twice or not at all does no harm. An entry that was passed by, because another hand put it into the stream
//! and did not count it, or because Redis went back to a moment ago, keeps those behind it from being dispatched, so that the partition
//! is read anew; that may send again what had not been recorded.
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

/// What one call may have stored in a partition, in bytes, for its owner to be told: what is told waits in memory.
const MOST_BYTES: usize = 64 << 10;

impl Fresh {
    /// About how much memory it takes.
    fn size(&self) -> usize {
        self.entries.iter().map(Entry::size).sum()
    }
}

/// Where what is fresh is told.
pub type Listener = Sender<Vec<Fresh>>;

/// The owners on this node.
#[derive(Debug, Default)]
pub struct Listeners {
    listeners: RwLock<HashMap<Partition, Listener>>,
}

impl Listeners {
    /// What is stored in the partition is told there from now on.
    pub fn listen(&self, partition: Partition, listener: Listener) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).insert(partition, listener);
    }

    /// The partition is ours no more.
    pub fn leave(&self, partition: Partition) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }

    /// Tells those who listen for it. Who does not keep up is not told.
    pub(super) fn tell(&self, fresh: Vec<Fresh>) {
        let listeners = self.read();
        let mut told: Vec<(&Listener, Vec<Fresh>)> = Vec::new();
        for fresh in fresh.into_iter().filter(|fresh| fresh.size() <= MOST_BYTES) {
            let Some(listener) = listeners.get(&fresh.partition) else { continue };
            match told.iter_mut().find(|(other, _)| other.same_channel(listener)) {
                Some((_, of_it)) => of_it.push(fresh),
                None => told.push((listener, vec![fresh])),
            }
        }
        for (listener, fresh) in told {
            let _ = listener.try_send(fresh);
        }
    }

    /// Whether somebody listens for the partition.
    pub(super) fn has(&self, partition: Partition) -> bool {
        self.read().contains_key(&partition)
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Partition, Listener>> {
        self.listeners.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::domain::{EntryId, Event, EventId, Millis, Shard, WebhookId};
    use crate::policy::partition::Layout;
    use crate::store::events::{EntryKind, Position, read};
    use crate::store::keys::event_hash;
    use crate::store::publications::{Bounds, Intake, Publication, Published, publish};
    use crate::store::testing::TestRedis;
    use crate::store::{Keys, resend};

    const LAYOUT: Layout = Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 };
    const BOUNDS: Bounds = Bounds { max_undispatched: 1 << 30, max_pending_of_tenant: 1 << 30 };

    fn publication(tenant: &str, n: u64) -> Arc<Publication> {
        let event = Event {
            id: EventId::made(Millis(1000), u128::from(n) << 48),
            event_type: Arc::from("lead.created"),
            tenant: tenant.parse().unwrap(),
            body: Bytes::from(format!("{{\"n\":{n}}}")),
            trace: None,
        };
        Arc::new(Publication { event, timestamp: Millis(1000), own_id: false, key: None, data: "{}".into() })
    }

    /// What was told so far: of each call the partition, the number of its last entry, and the ids of its events.
    fn heard(told: &mut Receiver<Vec<Fresh>>) -> Vec<(Partition, u64, Vec<EventId>)> {
        let calls = std::iter::from_fn(|| told.try_recv().ok()).flatten();
        let ids = |entries: Vec<Entry>| {
            let id = |entry: Entry| match entry.kind {
                EntryKind::Event(event) => event.id,
                other => panic!("{other:?}"),
            };
            entries.into_iter().map(id).collect()
        };
        calls.map(|Fresh { partition, entries, last }| (partition, last, ids(entries))).collect()
    }

    #[tokio::test]
    async fn who_listens_is_told_what_was_stored_and_how_many_entries_there_were_before() {
        let server = TestRedis::start().await;
        let (redis, keys, listeners) = (&server.redis, Keys::new("sw:"), Arc::new(Listeners::default()));
        let intake = Intake::new(redis.clone(), keys.clone(), BOUNDS, listeners.clone());
        let publish = async |n| publish(&intake, &LAYOUT, &publication("org:demo", n)).await.unwrap();
        let home = LAYOUT.home_of(&"org:demo".parse().unwrap());
        let (listener, mut told) = channel(8);
        // Nobody listens yet; the first one is stored by the script, which tells nobody.
        assert_eq!((publish(1).await, publish(2).await), (Published::New, Published::New));
        listeners.listen(home, listener.clone());
        publish(3).await;
        let three = publication("org:demo", 3);
        let first = heard(&mut told);
        assert_eq!(first, [(home, 3, vec![three.event.id.clone()])]);
        // A control entry lies between.
        let webhook = WebhookId::new(Shard(0), "abcdefghijklmnopqrstuv");
        let record = format!("event:{}", event_hash(&three.event.tenant, &three.event.id));
        for (key, field, value) in [("webhooks", webhook.as_str(), "1 1 "), (&*record, "body", "{}")] {
            redis
                .query::<u64>(redis::cmd("HSET").arg(keys.key(home, key)).arg(field).arg(value))
                .await
                .unwrap();
        }
        let again = (&three.event.id, "lead.created");
        let queued = resend::resend(redis, &keys, home, &three.event.tenant, &webhook, again).await.unwrap();
        assert_eq!(queued, resend::Resent::Queued);
        // Two together.
        futures_util::join!(publish(4), publish(5));
        let numbers: Vec<_> = heard(&mut told).into_iter().map(|(_, last, ids)| (last, ids.len())).collect();
        assert_eq!(numbers.iter().map(|(_, count)| count).sum::<usize>(), 2);
        assert_eq!(numbers.last().unwrap().0, 6);
        listeners.leave(home);
        publish(6).await;
        assert_eq!(heard(&mut told), []);
    }

    #[tokio::test]
    async fn what_is_told_is_what_is_read() {
        let server = TestRedis::start().await;
        let (redis, keys, listeners) = (&server.redis, Keys::new("sw:"), Arc::new(Listeners::default()));
        let intake = Intake::new(redis.clone(), keys.clone(), BOUNDS, listeners.clone());
        let home = LAYOUT.home_of(&"org:demo".parse().unwrap());
        let (listener, mut told) = channel(8);
        listeners.listen(home, listener);
        for n in 0..3 {
            publish(&intake, &LAYOUT, &publication("org:demo", n)).await.unwrap();
        }
        let told: Vec<Entry> =
            std::iter::from_fn(|| told.try_recv().ok()).flatten().flat_map(|fresh| fresh.entries).collect();
        let mut connection = redis.open_own("any", Duration::ZERO).await.unwrap();
        let start = [Position { partition: home, after: EntryId::ZERO }];
        let read = read(&mut connection, &keys, &start, 10, None).await.unwrap().remove(0).1;
        assert_eq!(format!("{told:?}"), format!("{:?}", &read[1..]));
        assert_eq!(told.len(), 2, "the first one was stored by the script");
    }

    #[test]
    fn who_does_not_keep_up_is_not_waited_for() {
        let listeners = Listeners::default();
        let (listener, mut told) = channel(1);
        listeners.listen(Partition(1), listener.clone());
        listeners.listen(Partition(2), listener);
        let fresh = |partition| Fresh { partition: Partition(partition), entries: Vec::new(), last: 1 };
        listeners.tell(vec![fresh(1), fresh(2), fresh(3)]);
        listeners.tell(vec![fresh(1)]);
        assert_eq!(told.try_recv().unwrap().len(), 2, "in one message");
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn large_events_are_left_to_be_read() {
        let listeners = Listeners::default();
        let (listener, mut told) = channel(2);
        listeners.listen(Partition(1), listener);
        for (size, is_told) in [(1024, true), (MOST_BYTES, false)] {
            let mut event = publication("org:demo", 1).event.clone();
            event.body = vec![b' '; size].into();
            let entries = vec![Entry { id: EntryId::ZERO, kind: EntryKind::Event(event) }];
            listeners.tell(vec![Fresh { partition: Partition(1), entries, last: 1 }]);
            assert_eq!(told.try_recv().is_ok(), is_told, "{size}");
        }
    }
}
