//! Where an event stands: what its records in the tenant's partitions say of each webhook that it went to.
//!
//! There is no record before the dispatch, milliseconds after the publish; until then the event is looked for among those
//! that await it.

use std::collections::BTreeMap;

use bytes::Bytes;
use redis::Cmd;

use super::events::entries_of;
use super::keys::{event_hash, tenant_hash};
use super::{Error, Keys, Redis};
use crate::domain::{EventId, Millis, Partition, Tenant, WebhookId};
use crate::policy::partition::Layout;

/// Entries awaiting dispatch that are looked at, the oldest.
const MOST_WAITING: usize = 1000;
/// How many of them at a time: each may be as long as an event.
const WAITING_CHUNK: usize = 20;
/// Fields of a record read by one command.
const FIELDS_CHUNK: usize = 1000;
/// Commands that read one record: a tenant has fewer webhooks than that reads.
const MOST_CHUNKS: usize = 1000;

/// An event and its deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventStatus {
    /// What every receiver gets.
    pub body: Bytes,
    /// Each webhook that it went to; empty before the dispatch.
    pub deliveries: BTreeMap<WebhookId, DeliveryStatus>,
}

/// How far one delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Queued, or between two attempts.
    Pending,
    /// Over.
    Ended(End),
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
    fn parse(text: &str) -> Option<Self> {
        if text == "pending" {
            return Some(Self::Pending);
        }
        let mut parts = text.split(' ');
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
    let search = Search { redis, keys, hash: event_hash(tenant, id) };
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
    hash: String,
}

impl Search<'_> {
    /// What the records say, put together.
    async fn recorded(&self, partitions: &[Partition]) -> Result<Option<EventStatus>, Error> {
        let look = |at: &Partition| redis::cmd("HEXISTS").arg(self.record(*at)).arg("body").to_owned();
        let looks: Vec<Cmd> = partitions.iter().map(look).collect();
        let there: Vec<bool> = self.redis.each(&looks).await?;
        let mut records =
            partitions.iter().zip(there).filter(|(_, there)| *there).map(|(at, _)| self.record(*at));
        let Some(first) = records.next() else { return Ok(None) };
        let body: Option<Vec<u8>> = self.redis.query(redis::cmd("HGET").arg(&first).arg("body")).await?;
        let Some(body) = body else { return Ok(None) };
        let mut deliveries = BTreeMap::new();
        for record in std::iter::once(first).chain(records) {
            self.read_deliveries(&record, &mut deliveries).await?;
        }
        Ok(Some(EventStatus { body: body.into(), deliveries }))
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

    /// The body of the event, if it is among the oldest that await dispatch.
    async fn waiting(&self, home: Partition) -> Result<Option<Bytes>, Error> {
        let events = self.keys.key(home, "events");
        let mut from = "-".to_owned();
        for _ in 0..MOST_WAITING / WAITING_CHUNK {
            let mut range = redis::cmd("XRANGE");
            range.arg(&events).arg(&from).arg("+").arg("COUNT").arg(WAITING_CHUNK);
            let entries = entries_of(self.redis.query(&range).await?)?;
            let Some((last, _)) = entries.last() else { break };
            from = format!("({last}");
            for (_, fields) in entries {
                let is_it = |(name, value): &(String, Vec<u8>)| name == "h" && value == self.hash.as_bytes();
                let body = |(name, value): (String, Vec<u8>)| (name == "b").then_some(value);
                if fields.iter().any(is_it)
                    && let Some(body) = fields.into_iter().find_map(body)
                {
                    return Ok(Some(body.into()));
                }
            }
        }
        Ok(None)
    }

    fn record(&self, partition: Partition) -> String {
        self.keys.key(partition, &format!("event:{}", self.hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Shard;
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
        let id: EventId = "evt_1".parse().unwrap();
        let find = async |tenant: &Tenant| find(redis, &keys, &LAYOUT, tenant, &id).await.unwrap();
        assert_eq!(find(&tenant).await, None);
        let (home, hash) = (LAYOUT.home_of(&tenant), event_hash(&tenant, &id));
        let events = keys.key(home, "events");
        for n in 0..30 {
            run(redis, &["XADD", &events, "*", "k", "event", "h", &format!("other{n}"), "b", "{}"]).await;
        }
        run(redis, &["XADD", &events, "*", "k", "resend", "h", &hash]).await;
        run(redis, &["XADD", &events, "*", "k", "event", "h", &hash, "b", "waiting"]).await;
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
    }
}
