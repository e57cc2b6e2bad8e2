//! Sending a stored event to one webhook again.
//!
//! The event goes through the events stream as a control entry, so it reaches the webhook by the same way as any other
//! and may be asked for by any node, whoever owns the partition.

use std::sync::LazyLock;
use std::time::Duration;

use rand::RngExt;

use super::keys::{event_hash, idempotency_hash};
use super::meter::Called;
use super::{Error, Keys, Redis, Script};
use crate::domain::{EventId, Partition, Tenant, WebhookId};

static RESEND: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::Resend, include_str!("scripts/resend.lua")));

/// How long a call is remembered: longer than a client of Redis goes on sending it again by itself.
pub(super) const CALL_MEMORY: Duration = Duration::from_secs(60);
/// How long the event's body is kept at least, so that it is there when the entry is dispatched.
const HOLD: Duration = Duration::from_secs(24 * 3600);
/// Entries awaiting dispatch in the partition past which no resend is taken: the stream is bounded by the bytes of
/// published events, and these entries have none.
const MOST_WAITING: u64 = 100_000;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resent {
    /// It is queued.
    Queued,
    /// There is no such webhook (any more).
    NoWebhook,
    /// The webhook is switched off.
    Inactive,
    /// The event's body is no longer kept.
    BodyGone,
    /// The event was made for a test.
    Test,
    /// Too much awaits dispatch in the partition.
    PartitionFull,
}

/// Queues `event` for `webhook` again. Each call queues it once, and no two calls are taken for one.
///
/// # Errors
/// As [`Redis::query`]; after [`Error::Unanswered`] it may be queued.
pub async fn resend(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    tenant: &Tenant,
    webhook: &WebhookId,
    event: (&EventId, &str),
) -> Result<Resent, Error> {
    let (id, event_type) = event;
    let route = keys.key(partition, "events");
    let mut call = RESEND.on(&route);
    call.arg(keys.of(partition)).arg(new_call(tenant, "resend")).arg(webhook.as_str());
    call.arg(id.as_str()).arg(event_hash(tenant, id)).arg(event_type);
    call.arg(CALL_MEMORY.as_secs()).arg(HOLD.as_secs()).arg(MOST_WAITING);
    match call.run::<String>(redis).await?.as_str() {
        "queued" => Ok(Resent::Queued),
        "missing" => Ok(Resent::NoWebhook),
        "inactive" => Ok(Resent::Inactive),
        "gone" => Ok(Resent::BodyGone),
        "test" => Ok(Resent::Test),
        "full" => Ok(Resent::PartitionFull),
        _ => Err(super::events::unreadable("resend")),
    }
}

/// Names one call among all.
pub(super) fn new_call(tenant: &Tenant, kind: &str) -> String {
    idempotency_hash(tenant, kind, &format!("{:032x}", rand::rng().random::<u128>()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::{Millis, Shard, SkipReason};
    use crate::store::delivered_record;
    use crate::store::events::{EntryKind, Position, read};
    use crate::store::testing::TestRedis;

    const PARTITION: Partition = Partition(3);

    #[tokio::test]
    async fn each_call_queues_the_event_once_more() {
        let server = TestRedis::start().await;
        let (redis, keys) = (&server.redis, Keys::new("sw:"));
        let tenant: Tenant = "org:demo".parse().unwrap();
        let webhook = WebhookId::new(Shard(0), "abcdefghijklmnopqrstuv");
        let event: EventId = "evt_1".parse().unwrap();
        let call = || resend(redis, &keys, PARTITION, &tenant, &webhook, (&event, "lead.created"));
        let run = async |words: &[&str]| {
            let mut command = redis::cmd(words[0]);
            words[1..].iter().for_each(|word| _ = command.arg(*word));
            redis.query::<redis::Value>(&command).await.unwrap()
        };
        let record = format!("sw:{{p03}}:event:{}", event_hash(&tenant, &event));
        let webhooks = "sw:{p03}:webhooks";
        assert_eq!(call().await.unwrap(), Resent::NoWebhook);
        run(&["HSET", webhooks, webhook.as_str(), "3 0 17 -\n{}"]).await;
        assert_eq!(call().await.unwrap(), Resent::Inactive);
        run(&["HSET", webhooks, webhook.as_str(), "4 1 17 -\n{}"]).await;
        assert_eq!(call().await.unwrap(), Resent::BodyGone);
        run(&["HSET", &record, "body", "{}", "test", "1"]).await;
        assert_eq!(call().await.unwrap(), Resent::Test);
        run(&["HDEL", &record, "test"]).await;
        run(&["EXPIRE", &record, "5"]).await;
        assert_eq!((call().await.unwrap(), call().await.unwrap()), (Resent::Queued, Resent::Queued));
        let lives: u64 = redis.query(redis::cmd("TTL").arg(&record)).await.unwrap();
        assert!(lives > 80_000, "the body stays until the dispatch: {lives}");

        // Of one that arrived everywhere at once, the record becomes such a one.
        run(&["DEL", &record]).await;
        let other = WebhookId::new(Shard(0), "bcdefghijklmnopqrstuvw");
        let third = WebhookId::new(Shard(0), "cdefghijklmnopqrstuvwx");
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok();
        let value = delivered_record::encode(
            "deal.won",
            trace,
            Millis(17),
            [&webhook, &other].into_iter(),
            &[(third.clone(), SkipReason::Filtered)],
            b"{\"\n\":1}",
        );
        let key = delivered_record::key(&keys, PARTITION, &event_hash(&tenant, &event));
        redis.query::<redis::Value>(redis::cmd("SET").arg(&key).arg(value).arg("EX").arg(5)).await.unwrap();
        assert_eq!(call().await.unwrap(), Resent::Queued);
        let mut record_is: BTreeMap<String, String> =
            redis.query(redis::cmd("HGETALL").arg(&record)).await.unwrap();
        let again = record_is.remove(&format!("again:{webhook}")).unwrap();
        assert!(again.starts_with("- "), "the entry that sends it again: {again}");
        let expected = [
            ("body".into(), "{\"\n\":1}".into()),
            ("type".into(), "deal.won".into()),
            ("trace".into(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            (format!("to:{webhook}"), "delivered 17 1".into()),
            (format!("to:{other}"), "delivered 17 1".into()),
            (format!("to:{third}"), "skipped 17 filtered".into()),
        ];
        assert_eq!(record_is, BTreeMap::from(expected));
        let lives: u64 = redis.query(redis::cmd("TTL").arg(&record)).await.unwrap();
        assert!(lives > 80_000, "{lives}");
        assert!(!redis.query::<bool>(redis::cmd("EXISTS").arg(&key)).await.unwrap());
        let mut reader = redis.open_own("any", Duration::from_secs(1)).await.unwrap();
        let from = [Position { partition: PARTITION, after: crate::domain::EntryId::ZERO }];
        let entries =
            read(&mut reader, &keys, &from, 10, Some(Duration::from_secs(1))).await.unwrap().pop().unwrap().1;
        assert_eq!(entries.len(), 3);
        for entry in entries {
            let EntryKind::Resend(to, id, hash) = entry.kind else { panic!("{entry:?}") };
            assert_eq!((to, id, hash), (webhook.clone(), event.clone(), event_hash(&tenant, &event)));
        }
    }
}
