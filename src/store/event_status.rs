//! Where an event stands: what its records in the tenant's partitions say of each webhook that it went to.
//!
//! There is no record before the dispatch, ordinarily milliseconds after the publish. Until then the event is looked for
//! among those that await it, however many there are: under a client's own id the publication left a note of the entry, and
//! an id of ours tells when it was made, so that only entries of about that time are read. Another note at each publication
//! would cost more than all such looks together.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use redis::Cmd;

use super::delivered_record;
use super::events::{Field, RawEntry, entries_of};
use super::keys::{event_hash, idempotency_hash, tenant_hash};
use super::{Error, Keys, Redis};
use crate::domain::{EntryId, EventId, Millis, Partition, SkipReason, Tenant, WebhookId};
use crate::policy::partition::Layout;

/// How far apart the clock of the node that made an id and that of Redis when it stored the entry are looked for, the way
/// between them included.
const APART: Duration = Duration::from_secs(5);
/// Bytes of entries that one look reads, about.
const MOST_BYTES: usize = 4 << 20;
/// How many entries are read at a time: each may be as long as an event.
const WAITING_CHUNK: usize = 16;
/// Fields of a record read by one command.
const FIELDS_CHUNK: usize = 1000;
/// Commands that read one record: a tenant has fewer webhooks than that reads.
const MOST_CHUNKS: usize = 1000;

/// An event and its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventStatus {
    /// What every receiver gets.
    pub body: Bytes,
    /// Each webhook that it went to, and those that it did not go to although they subscribe to it; empty before the dispatch.
    pub deliveries: BTreeMap<WebhookId, DeliveryStatus>,
}

/// How far one delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Queued, or between two attempts.
    Pending,
    /// Over.
    Ended(End),
    /// It was never queued.
    Skipped {
        /// When that was decided.
        at: Millis,
        /// Why.
        reason: SkipReason,
    },
}

/// The end of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Which.
    pub how: How,
    /// When.
    pub at: Millis,
    /// How many attempts were made.
    pub attempts: u32,
}

/// How a delivery may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The endpoint took it.
    Delivered,
    /// It failed for good.
    Failed,
    /// Its webhook was deleted.
    Dropped,
}

impl DeliveryStatus {
    /// The status of a record's text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "pending" {
            return Some(Self::Pending);
        }
        let mut parts = text.split(' ');
        if let Some(skipped) = text.strip_prefix("skipped ") {
            let (at, reason) = skipped.split_once(' ')?;
            return Some(Self::Skipped {
                at: Millis(at.parse().ok()?),
                reason: SkipReason::from_word(reason)?,
            });
        }
        let how = match parts.next()? {
            "delivered" => How::Delivered,
            "dead" => How::Failed,
            "dropped" => How::Dropped,
            _ => return None,
        };
        let at = Millis(parts.next()?.parse().ok()?);
        Some(Self::Ended(End { how, at, attempts: parts.next()?.parse().ok()? }))
    }
}

/// The partitions that may hold webhooks of `tenant`, home first.
///
/// # Errors
/// As [`Redis::query`].
pub async fn partitions_of(
    redis: &Redis,
    keys: &Keys,
    layout: &Layout,
    tenant: &Tenant,
) -> Result<Vec<Partition>, Error> {
    let name = format!("tenant:{}", tenant_hash(tenant));
    let mut get = redis::cmd("HGET");
    get.arg(keys.key(layout.home_of(tenant), &name)).arg("shards");
    let shards: Option<u8> = redis.query(&get).await?;
    Ok(layout.partitions_of(tenant, shards.unwrap_or(1)))
}

/// The event `id` of `tenant`; `None` when there is none (any more).
///
/// # Errors
/// As [`Redis::query`].
pub async fn find(
    redis: &Redis,
    keys: &Keys,
    layout: &Layout,
    tenant: &Tenant,
    id: &EventId,
) -> Result<Option<EventStatus>, Error> {
    let search = Search { redis, keys, tenant, id };
    let partitions = partitions_of(redis, keys, layout, tenant).await?;
    if let Some(found) = search.recorded(&partitions).await? {
        return Ok(Some(found));
    }
    if let Some(body) = search.waiting(layout.home_of(tenant)).await? {
        return Ok(Some(EventStatus { body, deliveries: BTreeMap::new() }));
    }
    // It may have been dispatched between the two looks.
    search.recorded(&partitions).await
}

struct Search<'a> {
    redis: &'a Redis,
    keys: &'a Keys,
    tenant: &'a Tenant,
    id: &'a EventId,
}

impl Search<'_> {
    /// What the records say, put together.
    async fn recorded(&self, partitions: &[Partition]) -> Result<Option<EventStatus>, Error> {
        let whole = |at: &Partition| redis::cmd("EXISTS").arg(self.delivered_record(*at)).to_owned();
        let record = |at: &Partition| redis::cmd("EXISTS").arg(self.record(*at)).to_owned();
        let looks: Vec<Cmd> = partitions.iter().flat_map(|at| [whole(at), record(at)]).collect();
        let there: Vec<bool> = self.redis.each(&looks).await?;
        let (mut body, mut deliveries) = (None, BTreeMap::new());
        for (at, there) in partitions.iter().zip(there.chunks(2)).filter(|(_, there)| there.contains(&true)) {
            if there[0]
                && let Some(found) = self.read_delivered_record(*at, &mut deliveries).await?
            {
                body = body.or(Some(found));
                continue;
            }
            // It may have become this since the look: it is being sent again.
            let record = self.record(*at);
            self.read_deliveries(&record, &mut deliveries).await?;
            if body.is_none() {
                body = self.body_in_record(&record).await?;
            }
        }
        Ok(body.map(|body| EventStatus { body, deliveries }))
    }

    /// The body of an event that arrived everywhere at once.
    async fn read_delivered_record(
        &self,
        at: Partition,
        deliveries: &mut BTreeMap<WebhookId, DeliveryStatus>,
    ) -> Result<Option<Bytes>, Error> {
        let value: Option<Vec<u8>> =
            self.redis.query(redis::cmd("GET").arg(self.delivered_record(at))).await?;
        let Some(found) = value.and_then(delivered_record::decode) else { return Ok(None) };
        let end = DeliveryStatus::Ended(End { how: How::Delivered, at: found.at, attempts: 1 });
        deliveries.extend(found.webhooks.into_iter().map(|webhook| (webhook, end)));
        let skipped = |reason| DeliveryStatus::Skipped { at: found.at, reason };
        deliveries.extend(found.skipped.into_iter().map(|(webhook, reason)| (webhook, skipped(reason))));
        Ok(Some(found.body))
    }

    async fn body_in_record(&self, record: &str) -> Result<Option<Bytes>, Error> {
        let body: Option<Vec<u8>> = self.redis.query(redis::cmd("HGET").arg(record).arg("body")).await?;
        Ok(body.map(Bytes::from))
    }

    async fn read_deliveries(
        &self,
        record: &str,
        deliveries: &mut BTreeMap<WebhookId, DeliveryStatus>,
    ) -> Result<(), Error> {
        let mut cursor = 0_u64;
        for _ in 0..MOST_CHUNKS {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(record).arg(cursor).arg("MATCH").arg("to:*").arg("COUNT").arg(FIELDS_CHUNK);
            let (next, fields): (u64, Vec<(String, String)>) = self.redis.query(&scan).await?;
            let read = |(field, text): (String, String)| {
                Some((field.strip_prefix("to:")?.parse().ok()?, DeliveryStatus::parse(&text)?))
            };
            deliveries.extend(fields.into_iter().filter_map(read));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The body of the event, if it awaits dispatch.
    async fn waiting(&self, home: Partition) -> Result<Option<Bytes>, Error> {
        if let Some(entry) = self.noted(home).await? {
            let (found, _) = self.range(home, ["XRANGE", &entry.to_string(), &entry.to_string()]).await?;
            return Ok(self.body_in(found));
        }
        let Some(at) = self.id.made_at() else { return Ok(None) };
        let mut left = MOST_BYTES;
        let (from, to) = (at.minus(APART).0.to_string(), (at + APART).0.to_string());
        // Where the clocks agree it lies right behind that time.
        match self.walk(home, "XRANGE", at.0.to_string(), &to, &mut left).await? {
            Some(body) => Ok(Some(body)),
            None => self.walk(home, "XREVRANGE", format!("({}-0", at.0), &from, &mut left).await,
        }
    }

    /// The entry of an event that was published under an id of its client's.
    async fn noted(&self, home: Partition) -> Result<Option<EntryId>, Error> {
        let name = format!("idem:{}", idempotency_hash(self.tenant, "id", self.id.as_str()));
        let note: Option<String> =
            self.redis.query(redis::cmd("GET").arg(self.keys.key(home, &name))).await?;
        Ok(note.and_then(|note| note.split(' ').nth(4)?.parse().ok()))
    }

    /// The body of the event, if it lies from `from` to `to` and no more than `left` bytes away.
    async fn walk(
        &self,
        home: Partition,
        command: &str,
        mut from: String,
        to: &str,
        left: &mut usize,
    ) -> Result<Option<Bytes>, Error> {
        while *left > 0 {
            let (found, size) = self.range(home, [command, &from, to]).await?;
            let Some((last, _)) = found.last() else { break };
            from = format!("({last}");
            *left = left.saturating_sub(size);
            if let Some(body) = self.body_in(found) {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    /// A chunk of the events that await dispatch, and how long they are.
    async fn range(&self, home: Partition, words: [&str; 3]) -> Result<(Vec<RawEntry>, usize), Error> {
        let mut range = redis::cmd(words[0]);
        range.arg(self.keys.key(home, "events")).arg(&words[1..]).arg("COUNT").arg(WAITING_CHUNK);
        let entries = entries_of(self.redis.query(&range).await?)?;
        let size =
            entries.iter().flat_map(|(_, fields)| fields).map(|(name, value)| name.len() + value.len());
        let size = size.sum();
        Ok((entries, size))
    }

    fn body_in(&self, entries: Vec<RawEntry>) -> Option<Bytes> {
        let tenant = self.tenant.to_string();
        let wanted = [("k", "event"), ("e", self.id.as_str()), ("n", &*tenant)];
        let is_it = |fields: &[Field]| {
            let has = |(name, value): &(&str, &str)| {
                fields.iter().any(|field| field.0 == name.as_bytes() && field.1 == value.as_bytes())
            };
            wanted.iter().all(has)
        };
        let body = |(name, value): Field| (name == b"b").then_some(Bytes::from(value));
        let ours = entries.into_iter().map(|(_, fields)| fields).filter(|fields| is_it(fields));
        ours.flatten().find_map(body)
    }

    fn delivered_record(&self, partition: Partition) -> String {
        delivered_record::key(self.keys, partition, &event_hash(self.tenant, self.id))
    }

    fn record(&self, partition: Partition) -> String {
        self.keys.key(partition, &format!("event:{}", event_hash(self.tenant, self.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Event, Shard};
    use std::sync::Arc;

    use crate::store::publications::{Bounds, Intake, Publication, publish};
    use crate::store::testing::TestRedis;

    const LAYOUT: Layout = Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 };

    async fn run(redis: &Redis, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        redis.query::<redis::Value>(&command).await.unwrap();
    }

    #[test]
    fn a_status_is_read_and_nonsense_is_not() {
        let end = |how| Some(DeliveryStatus::Ended(End { how, at: Millis(17), attempts: 4 }));
        let cases = [
            ("pending", Some(DeliveryStatus::Pending)),
            ("delivered 17 4", end(How::Delivered)),
            ("dead 17 4", end(How::Failed)),
            ("dropped 17 4", end(How::Dropped)),
            (
                "skipped 17 inactive",
                Some(DeliveryStatus::Skipped { at: Millis(17), reason: SkipReason::Inactive }),
            ),
            ("skipped 17 why", None),
            ("skipped", None),
            ("delivered", None),
            ("lost 17 4", None),
            ("", None),
        ];
        for (text, status) in cases {
            assert_eq!(DeliveryStatus::parse(text), status, "{text}");
        }
    }

    #[tokio::test]
    async fn an_event_is_found_before_and_after_its_dispatch() {
        let server = TestRedis::start().await;
        let (redis, keys) = (&server.redis, Keys::new("sw:"));
        let tenant: Tenant = "org:demo".parse().unwrap();
        let id = EventId::made(Millis(1_000_000), 7);
        let find = async |tenant: &Tenant| find(redis, &keys, &LAYOUT, tenant, &id).await.unwrap();
        assert_eq!(find(&tenant).await, None);
        let (home, hash) = (LAYOUT.home_of(&tenant), event_hash(&tenant, &id));
        let events = keys.key(home, "events");
        for n in 0..40 {
            let entry = format!("{}-0", 999_980 + n);
            run(
                redis,
                &[
                    "XADD",
                    &events,
                    &entry,
                    "k",
                    "event",
                    "e",
                    &format!("other{n}"),
                    "n",
                    "org:demo",
                    "b",
                    "{}",
                ],
            )
            .await;
        }
        run(redis, &["XADD", &events, "1000019-1", "k", "resend", "e", id.as_str(), "n", "org:demo"]).await;
        for (entry, tenant, body) in
            [("1000019-2", "org:other", "of another"), ("1000019-3", "org:demo", "waiting")]
        {
            let words = ["XADD", &events, entry, "k", "event", "e", id.as_str(), "n", tenant, "b", body];
            run(redis, &words).await;
        }
        let waiting = find(&tenant).await.unwrap();
        assert_eq!((waiting.body, waiting.deliveries.len()), (Bytes::from("waiting"), 0));

        run(redis, &["HSET", &keys.key(home, &format!("tenant:{}", tenant_hash(&tenant))), "shards", "2"])
            .await;
        let further = LAYOUT.partition_of(&tenant, Shard(1));
        let webhook = |shard| WebhookId::new(Shard(shard), "abcdefghijklmnopqrstuv");
        for (partition, shard, status) in [(home, 0, "pending"), (further, 1, "dead 17 4")] {
            let record = keys.key(partition, &format!("event:{hash}"));
            let field = format!("to:{}", webhook(shard));
            run(redis, &["HSET", &record, "body", "stored", "open", "1", &field, status, "to:x", "pending"])
                .await;
        }
        let found = find(&tenant).await.unwrap();
        assert_eq!(found.body, Bytes::from("stored"));
        let failed = DeliveryStatus::Ended(End { how: How::Failed, at: Millis(17), attempts: 4 });
        let expected = BTreeMap::from([(webhook(0), DeliveryStatus::Pending), (webhook(1), failed)]);
        assert_eq!(found.deliveries, expected);
        assert_eq!(find(&"org:other".parse().unwrap()).await, None, "an event is its tenant's");

        run(redis, &["DEL", &keys.key(home, &format!("event:{hash}"))]).await;
        let value = delivered_record::encode(
            "t",
            None,
            Millis(18),
            [webhook(0)].iter(),
            &[(webhook(3), SkipReason::Filtered)],
            b"arrived",
        );
        let mut set = redis::cmd("SET");
        set.arg(delivered_record::key(&keys, home, &hash)).arg(value);
        redis.query::<redis::Value>(&set).await.unwrap();
        let delivered = DeliveryStatus::Ended(End { how: How::Delivered, at: Millis(18), attempts: 1 });
        let skipped = DeliveryStatus::Skipped { at: Millis(18), reason: SkipReason::Filtered };
        let deliveries =
            BTreeMap::from([(webhook(0), delivered), (webhook(1), failed), (webhook(3), skipped)]);
        assert_eq!(find(&tenant).await, Some(EventStatus { body: Bytes::from("arrived"), deliveries }));
    }

    /// A stream of one event a second, around the moment when that id was made.
    async fn with_entries(
        redis: &Redis,
        events: &str,
        seconds: std::ops::Range<i64>,
        made: i64,
        id: &EventId,
    ) {
        for second in seconds {
            let id = if second == 0 { id.as_str() } else { "other" };
            let entry = format!("{}-1", made + second * 1000);
            run(redis, &["XADD", events, &entry, "k", "event", "e", id, "n", "org:demo", "b", "{}"]).await;
        }
    }

    #[tokio::test]
    async fn an_event_is_found_before_its_dispatch_behind_whatever_waits() {
        let server = TestRedis::start().await;
        let (redis, keys) = (&server.redis, Keys::new("sw:"));
        let tenant: Tenant = "org:demo".parse().unwrap();
        let (home, stored) = (LAYOUT.home_of(&tenant), 5_000_000);
        let events = keys.key(home, "events");
        // By the clock of the node that made it, it was made a moment after Redis stored it.
        let ours = EventId::made(Millis(stored + 1500), 7);
        let made = i64::try_from(stored).unwrap();
        with_entries(redis, &events, -1200..10, made, &ours).await;
        let look = async |id: &EventId| find(redis, &keys, &LAYOUT, &tenant, id).await.unwrap().is_some();
        assert!(look(&ours).await);
        assert!(!look(&EventId::made(Millis(stored + 1500), u128::MAX)).await);
        let own: EventId = "order-17".parse().unwrap();
        assert!(!look(&own).await);
        let event = Event {
            id: own.clone(),
            event_type: "t".into(),
            tenant: tenant.clone(),
            body: Bytes::from("{}"),
            trace: None,
        };
        let (timestamp, data) = (Millis(17), "{}".to_owned());
        let publication = Publication { event, timestamp, own_id: true, key: None, data };
        let bounds = Bounds { max_undispatched: 1000, max_pending_of_tenant: 1000 };
        let intake = Intake::new(redis.clone(), keys.clone(), bounds, Arc::default());
        publish(&intake, &LAYOUT, &Arc::new(publication)).await.unwrap();
        assert!(look(&own).await, "wherever it lies");
    }
}
