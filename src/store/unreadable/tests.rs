//! Garbage in a queue, in a real Redis.

use std::time::Duration;

use redis::ToRedisArgs;

use super::*;
use crate::domain::{Shard, Tenant, WebhookId};
use crate::store::mailboxes::{Purged, purge, read, read_retries};
use crate::store::testing::TestRedis;

const PARTITION: Partition = Partition(3);
const MAILBOX: &str = "sw:{p03}:mbox:wh_00abcdefghijklmnopqrstuv";
const RETRIES: &str = "sw:{p03}:retry:wh_00abcdefghijklmnopqrstuv";
const STATS: &str = "sw:{p03}:stats:owner";

struct Fixture {
    server: TestRedis,
    keys: Keys,
    tenant: Tenant,
    webhook: WebhookId,
}

impl Fixture {
    /// Two good deliveries in the mailbox and one in the retry set, with garbage around them; six items look like ours.
    async fn new() -> Self {
        let fixture = Self {
            server: TestRedis::start().await,
            keys: Keys::new("sw:"),
            tenant: "org:demo".parse().unwrap(),
            webhook: WebhookId::new(Shard(0), "abcdefghijklmnopqrstuv"),
        };
        fixture.run(&["HSET", "sw:{p03}:lease", "token", "t"]).await;
        fixture.run(&["HSET", STATS, "pending", "6"]).await;
        for (id, name, event) in
            [("1-0", "junk", "x"), ("2-0", "e", "evt_2"), ("3-0", "e", "no id"), ("4-0", "e", "evt_4")]
        {
            fixture.run(&["XADD", MAILBOX, id, name, event]).await;
        }
        let members: [&[u8]; 5] =
            [b"\xff\xfe", b"5-0 2 evt_5", b"6-0 x evt_6", b"7-0 02 evt_7", b"nothing of ours"];
        for (score, member) in members.into_iter().enumerate() {
            fixture.run(&[&b"ZADD"[..], RETRIES.as_bytes(), score.to_string().as_bytes(), member]).await;
        }
        fixture
    }

    async fn run(&self, words: &[impl ToRedisArgs]) -> String {
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| _ = command.arg(word));
        let answer: redis::Value = self.server.redis.query(&command).await.unwrap();
        redis::from_redis_value(answer).unwrap_or_default()
    }

    fn queue(&self) -> Queue<'_> {
        let day = Duration::from_secs(86_400);
        Queue { webhook: &self.webhook, owner_hash: "owner", tenant: &self.tenant, closed: day, dead: day }
    }

    async fn found(&self) -> (Vec<u64>, Vec<Unreadable>) {
        let (redis, keys, webhook) = (&self.server.redis, &self.keys, &self.webhook);
        let queued = read(redis, keys, PARTITION, webhook, EntryId::ZERO, 10).await.unwrap();
        let retries = read_retries(redis, keys, PARTITION, webhook, 10).await.unwrap();
        let good = queued.readable.iter().map(|queued| queued.entry.ms);
        let good = good.chain(retries.readable.iter().map(|retry| retry.entry.ms)).collect();
        (good, [queued.unreadable, retries.unreadable].concat())
    }

    async fn set_aside(&self, token: &str, items: &[Unreadable]) -> Result<u64, Error> {
        let redis = &self.server.redis;
        set_aside(redis, &self.keys, PARTITION, token, Millis(9), &self.queue(), items).await
    }

    fn record_of(&self, event: &str) -> String {
        format!("sw:{{p03}}:event:{}", keys::event_hash(&self.tenant, &event.parse().unwrap()))
    }
}

#[tokio::test]
async fn garbage_is_told_apart_and_set_aside_once() {
    let fixture = Fixture::new().await;
    let (good, garbage) = fixture.found().await;
    assert_eq!((good, garbage.len()), (vec![2, 4, 5], 6));
    assert!(matches!(fixture.set_aside("another", &garbage).await, Err(Error::Fenced)));
    assert_eq!(fixture.set_aside("t", &garbage).await.unwrap(), 6);
    assert_eq!(fixture.set_aside("t", &garbage).await.unwrap(), 0, "a repeat finds nothing");
    let (good, garbage) = fixture.found().await;
    assert_eq!((good, garbage.len()), (vec![2, 4, 5], 0));
    assert_eq!(fixture.run(&["XLEN", "sw:{p03}:quarantine"]).await, "6");
    assert_eq!(fixture.run(&["HGET", STATS, "pending"]).await, "3", "three of the six looked like ours");
}

#[tokio::test]
async fn the_event_of_a_retry_that_cannot_be_read_is_closed_if_it_was_open() {
    let fixture = Fixture::new().await;
    let field = format!("to:{}", fixture.webhook);
    let bytes = format!("t:{}", keys::tenant_hash(&fixture.tenant));
    fixture.run(&["HSET", "sw:{p03}:usage", &bytes, "4"]).await;
    for (event, status) in [("evt_6", "pending"), ("evt_7", "delivered 5 1")] {
        let record = fixture.record_of(event);
        fixture.run(&["HSET", &record, "body", "1234", "open", "1", &field, status]).await;
    }
    let garbage = fixture.found().await.1;
    fixture.set_aside("t", &garbage).await.unwrap();
    assert_eq!(fixture.run(&["HGET", "sw:{p03}:usage", &bytes]).await, "0");
    assert_eq!(fixture.run(&["HGET", &fixture.record_of("evt_6"), &field]).await, "dropped 9 0");
    assert_eq!(fixture.run(&["HGET", &fixture.record_of("evt_7"), &field]).await, "delivered 5 1");
}

#[tokio::test]
async fn a_purge_goes_through_garbage() {
    let fixture = Fixture::new().await;
    let redis = &fixture.server.redis;
    let mut calls = Vec::new();
    while calls.last().is_none_or(|purged: &Purged| purged.more) {
        calls.push(purge(redis, &fixture.keys, PARTITION, "t", Millis(9), &fixture.queue()).await.unwrap());
    }
    let expected = [Purged { more: true, set_aside: 6 }, Purged { more: false, set_aside: 0 }];
    assert_eq!(calls, expected);
    for key in [MAILBOX, RETRIES] {
        let kind = if key == MAILBOX { "XLEN" } else { "ZCARD" };
        assert_eq!(fixture.run(&[kind, key]).await, "0");
    }
    assert_eq!(fixture.run(&["XLEN", "sw:{p03}:quarantine"]).await, "6");
    assert_eq!(fixture.run(&["HGET", STATS, "pending"]).await, "0");
}
