//! Publications: an event stored in every partition that holds webhooks of its tenant, once for each key.
//!
//! The tenant's home decides by idempotency key and id whether it is new. From the first call on it may be stored, in
//! part; a repeat with the same key completes it.
//! Sources: Redis `XADD`, `SET`.

pub mod fresh;
mod intake;
mod levels;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Value;
use sha2::{Digest, Sha256};

pub use self::intake::Intake;
use super::events::text;
use super::meter::Called;
use super::resend::CALL_MEMORY;
use super::script::{Call, Script};
use super::{Error, Keys, Redis, keys};
use crate::domain::{Event, EventId, Millis, Partition};
use crate::policy::json;
use crate::policy::partition::Layout;

static PUBLISH: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::Publish, include_str!("scripts/publish.lua")));

/// How long a key or an id of the publisher's own makes a repeat a duplicate.
const IDEMPOTENCY: Duration = Duration::from_secs(24 * 3600);

/// An event to store, with what tells a repeat of it.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The event; its body is complete.
    pub event: Event,
    /// The event's time, as its body says; a repeat is answered with it.
    pub timestamp: Millis,
    /// Whether the publisher chose the id, so that it may have been used before.
    pub own_id: bool,
    /// The `Idempotency-Key`, which wins over the id.
    pub key: Option<String>,
    /// The event's `data` as its body has it: with the type it tells a repeat from another event.
    pub data: String,
}

impl Publication {
    /// Whether the publisher can ask for the same event again.
    fn is_repeatable(&self) -> bool {
        self.own_id || self.key.is_some()
    }

    /// For how long a mark tells the event from its repeats, if anybody may repeat it: the publisher, or the client of
    /// a Redis Cluster, which may send a command twice by itself.
    fn marked(&self, redis: &Redis) -> Option<Duration> {
        let once = redis.is_cluster().then_some(CALL_MEMORY);
        if self.is_repeatable() { Some(IDEMPOTENCY) } else { once }
    }

    /// The same publication as an earlier call stored it.
    fn as_first(&self, id: &EventId, at: Millis) -> Self {
        let organization = self.event.tenant.organization_id();
        let body = json::event_body(id, &self.event.event_type, at, organization, &self.data).into();
        Self { event: Event { id: id.clone(), body, ..self.event.clone() }, ..self.clone() }
    }
}

/// What tells a publication from its repeats; made only where somebody may repeat it.
#[derive(Debug)]
struct Marks {
    /// For how long a repeat is known.
    known_for: Duration,
    /// What it is known by first, and what else; either may be empty.
    idem: String,
    also: String,
    fingerprint: String,
}

impl Marks {
    fn of(publication: &Publication, redis: &Redis) -> Option<Self> {
        let known_for = publication.marked(redis)?;
        let Publication { event, own_id, key, data, .. } = publication;
        let by_key = key.as_ref().map(|key| keys::idempotency_hash(&event.tenant, "key", key));
        let by_id = || keys::idempotency_hash(&event.tenant, "id", event.id.as_str());
        let (idem, also) = match by_key {
            Some(by_key) => (by_key, own_id.then(by_id).unwrap_or_default()),
            None => (by_id(), String::new()),
        };
        Some(Self { known_for, idem, also, fingerprint: fingerprint(&event.event_type, data) })
    }
}

/// Tells equal type and data from other ones: both are hashed with the length of the first.
fn fingerprint(event_type: &str, data: &str) -> String {
    let digest = Sha256::new()
        .chain_update(event_type.len().to_be_bytes())
        .chain_update(event_type)
        .chain_update(data);
    hex::encode(&digest.finalize()[..16])
}

/// What became of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Stored now.
    New,
    /// Stored by an earlier call with the same key or id: that event's id and time.
    Duplicate(EventId, Millis),
    /// The key or id was used for an event of another type or with other data.
    Conflict,
    /// Too much awaits dispatch in the partition: nothing was stored.
    PartitionFull,
    /// The tenant has too much waiting for its endpoints: nothing was stored.
    TenantFull,
    /// A bound was reached in a further partition: home has stored it, and a repeat with the same key completes it.
    PartlyStored,
}

/// Bounds that a publication must respect.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `queue.max_undispatched_bytes`
    pub max_undispatched: u64,
    /// `queue.max_pending_bytes_per_tenant`
    pub max_pending_of_tenant: u64,
}

/// What an earlier call left under the idempotency key.
#[derive(Debug)]
struct Known {
    fingerprint: String,
    id: EventId,
    timestamp: Millis,
    shards: u8,
}

impl Known {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (fingerprint, id) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        let (timestamp, shards) = (Millis(parts.next()?.parse().ok()?), parts.next()?.parse().ok()?);
        Some(Self { fingerprint, id, timestamp, shards })
    }
}

/// Stores an event in every partition that holds webhooks of its tenant, home first.
///
/// Only when all have it is it answered; after an error a repeat with the same key completes what is missing and sends
/// nothing twice.
///
/// # Errors
/// [`Error::Unanswered`]: it may have been stored, in part or whole.
pub async fn publish(
    intake: &Intake,
    layout: &Layout,
    publication: &Arc<Publication>,
) -> Result<Published, Error> {
    let home = layout.home_of(&publication.event.tenant);
    let marks = Marks::of(publication, &intake.redis).map(Arc::new);
    let tenant: Arc<str> = keys::tenant_hash(&publication.event.tenant).into();
    let store = async |partition, publication: &Arc<Publication>, role| {
        let (publication, marks, tenant) = (publication.clone(), marks.clone(), tenant.clone());
        intake.store(Item { partition, publication, marks, role, tenant }).await
    };
    let (first, shards, result) = match store(home, publication, Role::Home).await? {
        Stored::Yes(shards) => (None, shards, Published::New),
        // Made by this very call, which the client sent twice.
        Stored::Known(known) if !publication.is_repeatable() => (None, known.shards, Published::New),
        Stored::Known(known) if marks.as_ref().is_none_or(|marks| marks.fingerprint != known.fingerprint) => {
            return Ok(Published::Conflict);
        }
        Stored::Known(known) => {
            let first = Arc::new(publication.as_first(&known.id, known.timestamp));
            (Some(first), known.shards, Published::Duplicate(known.id, known.timestamp))
        }
        Stored::Taken => return Ok(Published::Conflict),
        Stored::PartitionFull => return Ok(Published::PartitionFull),
        Stored::TenantFull => return Ok(Published::TenantFull),
    };
    if shards > 1 {
        let stored = first.as_ref().unwrap_or(publication);
        for partition in layout.partitions_of(&stored.event.tenant, shards).into_iter().skip(1) {
            match store(partition, stored, Role::Further).await? {
                Stored::PartitionFull | Stored::TenantFull => return Ok(Published::PartlyStored),
                _ => {}
            }
        }
    }
    Ok(result)
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Home,
    Further,
}

/// What became of an event in one partition.
#[derive(Debug)]
enum Stored {
    Yes(u8),
    Known(Known),
    Taken,
    PartitionFull,
    TenantFull,
}

/// A publication to be stored in one partition.
#[derive(Debug)]
struct Item {
    partition: Partition,
    publication: Arc<Publication>,
    marks: Option<Arc<Marks>>,
    role: Role,
    /// The hash of its tenant.
    tenant: Arc<str>,
}

impl Item {
    /// What every event has, and what those have besides that somebody may repeat.
    const ARGUMENTS: [usize; 2] = [7, 7 + 7];

    fn add_to(&self, call: &mut Call<'_>, keys: &Keys) {
        let Self { partition, publication, marks, role, tenant } = self;
        let event = &publication.event;
        call.arg(keys.of(*partition))
            .arg(Self::ARGUMENTS[usize::from(marks.is_some())])
            .arg(if matches!(role, Role::Home) { "home" } else { "further" })
            .arg(event.id.as_str())
            .arg(&*event.event_type)
            .arg(event.tenant.to_string())
            .arg(&**tenant)
            .arg(&event.body[..])
            .arg(event.trace.map(|trace| trace.to_string()).unwrap_or_default());
        if let Some(marks) = marks {
            let Marks { known_for, idem, also, fingerprint } = &**marks;
            call.arg(known_for.as_secs()).arg(keys::event_hash(&event.tenant, &event.id));
            call.arg(idem).arg(also);
            call.arg(u8::from(publication.own_id)).arg(fingerprint).arg(publication.timestamp.0);
        }
    }
}

fn read_stored(answer: &Value) -> Option<Stored> {
    let Value::Array(parts) = answer else { return None };
    match (text(parts.first()?)?, parts.get(1)) {
        ("stored", Some(Value::Int(shards))) => Some(Stored::Yes(u8::try_from(*shards).ok()?)),
        ("duplicate", Some(known)) => Some(Stored::Known(Known::parse(text(known)?)?)),
        ("taken", None) => Some(Stored::Taken),
        ("partition_full", None) => Some(Stored::PartitionFull),
        ("tenant_full", None) => Some(Stored::TenantFull),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::Tenant;
    use crate::store::testing::TestRedis;

    async fn run(redis: &Redis, words: &[&str]) -> String {
        let answer: Value = redis.query(redis::cmd(words[0]).arg(&words[1..])).await.unwrap();
        redis::from_redis_value(answer).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_further_partition_that_is_full_does_not_pass_for_nothing_stored() {
        let server = TestRedis::start().await;
        let (redis, keys, tenant) = (&server.redis, Keys::new("sw:"), "org:demo".parse::<Tenant>().unwrap());
        let layout = Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 };
        let partitions = layout.partitions_of(&tenant, 2);
        let [home, further] = [0, 1].map(|n| keys.of(partitions[n]));
        let shards = format!("{home}tenant:{}", keys::tenant_hash(&tenant));
        run(redis, &["HSET", &shards, "shards", "2"]).await;
        run(redis, &["HSET", &format!("{further}usage"), "undispatched", "1000"]).await;
        let event = Event {
            id: EventId::made(Millis(1000), 7),
            event_type: Arc::from("lead.created"),
            tenant: tenant.clone(),
            body: Bytes::from("0123456789"),
            trace: None,
        };
        let (timestamp, data) = (Millis(1000), "{}".to_owned());
        let publication = Publication { event, timestamp, own_id: false, key: Some("k".into()), data };
        let bounds = Bounds { max_undispatched: 1000, max_pending_of_tenant: 1000 };
        let (intake, publication) =
            (Intake::new(redis.clone(), keys.clone(), bounds, Arc::default()), Arc::new(publication));
        let published = async || publish(&intake, &layout, &publication).await.unwrap();
        assert_eq!(published().await, Published::PartlyStored);
        assert_eq!(run(redis, &["XLEN", &format!("{home}events")]).await, "1");
        run(redis, &["DEL", &format!("{further}usage")]).await;
        assert!(matches!(published().await, Published::Duplicate(..)), "a repeat completes it");
        assert_eq!(run(redis, &["XLEN", &format!("{further}events")]).await, "1");
    }

    #[tokio::test]
    async fn while_redis_hangs_all_that_wait_are_refused_with_the_first() {
        const PUBLICATIONS: u64 = 1000;
        // Takes connections and never answers.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let opened = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = opened.clone();
        let hangs = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                held.push(socket);
            }
        });
        let limit = Duration::from_millis(200);
        let redis = Redis::new(crate::store::connection::Address::new(&url, limit, limit).unwrap()).unwrap();
        let bounds = Bounds { max_undispatched: 1 << 30, max_pending_of_tenant: 1 << 30 };
        let (intake, layout) = (
            Intake::new(redis, Keys::new("sw:"), bounds, Arc::default()),
            Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 },
        );
        let publication = |n: u64| {
            let event = Event {
                id: EventId::made(Millis(1000), u128::from(n)),
                event_type: Arc::from("lead.created"),
                tenant: "org:demo".parse().unwrap(),
                body: Bytes::from("0123456789"),
                trace: None,
            };
            let data = "{}".to_owned();
            Arc::new(Publication { event, timestamp: Millis(1000), own_id: false, key: None, data })
        };
        let publications: Vec<_> = (0..PUBLICATIONS).map(publication).collect();
        let published = publications.iter().map(|publication| publish(&intake, &layout, publication));
        for answer in futures_util::future::join_all(published).await {
            assert!(matches!(answer, Err(Error::Unanswered(_))), "{answer:?}");
        }
        assert_eq!(opened.load(std::sync::atomic::Ordering::Relaxed), 1, "one call failed for all of them");
        hangs.abort();
    }
}
