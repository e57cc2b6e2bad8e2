//! Tests of webhooks: one at a time for each, logged, not counted.
//!
//! The lock only keeps a person's clicks apart; it ends by itself, so a node that dies in a test costs its webhook no more
//! than that time. Only who set it removes it.

use std::sync::LazyLock;
use std::time::Duration;

use rand::RngExt;

use super::keys::event_hash;
use super::meter::Called;
use super::resend::{CALL_MEMORY, new_call};
use super::{Error, Keys, Redis, Script};
use crate::domain::{EventBody, EventId, Millis, Partition, Tenant, WebhookId};

static TEST_ROW: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::TestRow, include_str!("scripts/test_row.lua")));

/// One test that is running.
#[derive(Debug)]
pub struct Trial<'a> {
    redis: &'a Redis,
    keys: &'a Keys,
    partition: Partition,
    tenant: &'a Tenant,
    webhook: &'a WebhookId,
    /// Tells this test from others.
    token: String,
    /// Names the call that ends it.
    call: String,
}

/// What is kept of a test.
#[derive(Clone, Debug)]
pub struct Ended<'a> {
    /// The event that was made for it.
    pub event: &'a EventId,
    /// What was sent.
    pub body: &'a EventBody,
    /// When it was sent.
    pub at: Millis,
    /// Whether the endpoint took it.
    pub success: bool,
    /// The log row as stored, and the answer's body where it lies beside the row.
    pub row: (String, Option<String>),
    /// `log.max_attempts`
    pub log_max: u64,
    /// `log.payload_retention`
    pub keep: Duration,
}

impl<'a> Trial<'a> {
    /// Begins a test that may take as long as `limit`. `None` while another one runs.
    ///
    /// # Errors
    /// As [`Redis::query`]; after [`Error::Unanswered`] the webhook may be locked for `limit`.
    pub async fn begin(
        redis: &'a Redis,
        keys: &'a Keys,
        partition: Partition,
        tenant: &'a Tenant,
        webhook: &'a WebhookId,
        limit: Duration,
    ) -> Result<Option<Self>, Error> {
        let token = format!("{:032x}", rand::rng().random::<u128>());
        let mut lock = redis::cmd("SET");
        lock.arg(keys.of_webhook(partition, "testing", webhook)).arg(&token).arg("NX").arg("GET").arg("PX");
        let before: Option<String> =
            redis.query(lock.arg(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))).await?;
        // A client of a Redis Cluster may send the command twice, and finds its own token then.
        let taken = before.is_none_or(|holder| holder == token);
        let call = new_call(tenant, "test");
        Ok(taken.then_some(Self { redis, keys, partition, tenant, webhook, token, call }))
    }

    /// Logs the test and lets the next one begin. False when the webhook is gone. May be repeated.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn end(&self, ended: &Ended<'_>) -> Result<bool, Error> {
        let route = self.keys.key(self.partition, "events");
        let mut call = TEST_ROW.on(&route);
        call.arg(self.keys.of(self.partition)).arg(&self.call).arg(self.webhook.as_str()).arg(&self.token);
        call.arg(&ended.row.0).arg(ended.row.1.as_deref().unwrap_or_default()).arg(ended.log_max);
        call.arg(event_hash(self.tenant, ended.event)).arg(&ended.body.bytes[..]);
        let how = if ended.success { "delivered" } else { "dead" };
        call.arg(&*ended.body.event_type).arg(format!("{how} {} 1", ended.at.0));
        call.arg(ended.keep.as_secs()).arg(CALL_MEMORY.as_secs());
        Ok(call.run::<i64>(self.redis).await? == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Shard;
    use crate::store::testing::TestRedis;

    #[tokio::test]
    async fn a_test_is_alone_and_leaves_one_row() {
        let server = TestRedis::start().await;
        let (redis, keys) = (&server.redis, Keys::new("sw:"));
        let (tenant, partition): (Tenant, _) = ("org:demo".parse().unwrap(), Partition(3));
        let webhook = WebhookId::new(Shard(0), "abcdefghijklmnopqrstuv");
        let begin =
            |limit| Trial::begin(redis, &keys, partition, &tenant, &webhook, Duration::from_secs(limit));
        let first = begin(60).await.unwrap().unwrap();
        assert!(begin(60).await.unwrap().is_none(), "one at a time");
        let event: EventId = "evt_1".parse().unwrap();
        let body = EventBody { event_type: "test".into(), bytes: "{}".into(), trace: None };
        let ended = Ended {
            event: &event,
            body: &body,
            at: Millis(17),
            success: true,
            row: ("{}".into(), Some("long".into())),
            log_max: 10,
            keep: Duration::from_secs(60),
        };
        assert!(!first.end(&ended).await.unwrap(), "there is no such webhook");
        let second = begin(60).await.unwrap().expect("the lock is gone with the test");
        redis
            .query::<()>(redis::cmd("HSET").arg("sw:{p03}:webhooks").arg(webhook.as_str()).arg("x"))
            .await
            .unwrap();
        assert!(second.end(&ended).await.unwrap());
        let third = begin(60).await.unwrap().unwrap();
        assert!(second.end(&ended).await.unwrap(), "a repeat changes nothing");
        assert!(begin(60).await.unwrap().is_none(), "and ends nobody else's test");
        for (kind, rows) in [("log", 1), ("answer", 1), ("mbox", 0), ("dead", 0), ("count", 0)] {
            let key = keys.of_webhook(partition, kind, &webhook);
            assert_eq!(redis.query::<u64>(redis::cmd("XLEN").arg(key)).await.unwrap(), rows, "{kind}");
        }
        drop(third);
    }
}
