//! What the scripts keep, read back: a webhook's figures against its owner's, in a real Redis.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::{EntryId, ErrorKind, Receipt, Shard};
use crate::policy::breaker::Signal;
use crate::store::keys::{event_hash, tenant_hash};
use crate::store::outcomes::{Disposition, Outcome, OutcomeLimits, Recorded, Source, record};
use crate::store::script::Section;
use crate::store::testing::TestRedis;

const PARTITION: Partition = Partition(3);
const HOUR: u64 = 3_600_000;
const START: u64 = 500_000 * HOUR;

struct Fixture {
    server: TestRedis,
    keys: Keys,
    tenant: Tenant,
    user: UserId,
    webhooks: [WebhookId; 2],
    next: u64,
}

impl Fixture {
    async fn new() -> Self {
        let webhooks = ["abcdefghijklmnopqrstuv", "zyxwvutsrqponmlkjihgfe"];
        let fixture = Self {
            server: TestRedis::start().await,
            keys: Keys::new("sw:"),
            tenant: "org:demo".parse().unwrap(),
            user: "ann".parse().unwrap(),
            webhooks: webhooks.map(|name| WebhookId::new(Shard(0), name)),
            next: 1,
        };
        fixture.run(&["HSET", "sw:{p03}:lease", "token", "t"]).await;
        for webhook in &fixture.webhooks {
            fixture.run(&["HSET", "sw:{p03}:webhooks", webhook.as_str(), "1 1 0 -\n{}"]).await;
        }
        fixture
    }

    async fn run(&self, words: &[&str]) -> String {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        let answer: Value = self.server.redis.query(&command).await.unwrap();
        redis::from_redis_value(answer).unwrap_or_default()
    }

    fn key(&self, kind: &str, webhook: usize) -> String {
        self.keys.of_webhook(PARTITION, kind, &self.webhooks[webhook])
    }

    fn stats(&self) -> String {
        self.keys.key(PARTITION, &format!("stats:{}", owner_hash(&self.tenant, &self.user)))
    }

    /// An attempt at a delivery that waits in the mailbox; without a response time no request was made.
    async fn attempt(
        &mut self,
        webhook: usize,
        event_type: &str,
        disposition: Disposition,
        elapsed_ms: Option<u64>,
    ) -> Outcome {
        let entry = EntryId { ms: self.next, seq: 1 };
        let event = format!("evt_{}", self.next);
        self.next += 1;
        self.run(&["XADD", &self.key("mbox", webhook), &entry.to_string(), "e", &event]).await;
        self.run(&["HINCRBY", &self.stats(), "pending", "1"]).await;
        let event = event.parse().unwrap();
        Outcome {
            webhook: self.webhooks[webhook].clone(),
            owner_hash: Arc::from(owner_hash(&self.tenant, &self.user)),
            tenant: self.tenant.clone(),
            tenant_hash: Arc::from(tenant_hash(&self.tenant)),
            entry,
            source: Source::Mailbox,
            event_hash: event_hash(&self.tenant, &event),
            event,
            event_type: Arc::from(event_type),
            event_size: None,
            attempt: 1,
            error_kind: (disposition != Disposition::Delivered).then_some(ErrorKind::HttpStatus),
            disposition,
            row: ("{}".into(), None),
            elapsed: elapsed_ms.map(Duration::from_millis),
            paused_until: None,
            signal: if disposition == Disposition::Delivered { Signal::Succeeded } else { Signal::Failed },
            change: None,
            disable: None,
        }
    }

    async fn record(&self, now: u64, batch: &[Outcome]) -> Recorded {
        let day = Duration::from_secs(86_400);
        let limits = OutcomeLimits { log_max: 100, dead_max: 100, closed: day, dead: day };
        let batch: Vec<&Outcome> = batch.iter().collect();
        let section = Section { partition: PARTITION, token: "t", items: &batch[..] };
        let answer = record(&self.server.redis, &self.keys, Millis(now), &limits, &[section]).await;
        answer.unwrap().remove(0).unwrap()
    }

    async fn of_webhook(&self, webhook: usize, now: u64) -> Figures {
        let (redis, webhook) = (&self.server.redis, &self.webhooks[webhook]);
        read_webhook(redis, &self.keys, PARTITION, webhook, Millis(now)).await.unwrap()
    }

    async fn of_user(&self, now: u64) -> Figures {
        let redis = &self.server.redis;
        read(redis, &self.keys, &[PARTITION], &self.tenant, &self.user, Millis(now)).await.unwrap()
    }

    /// Both webhooks together are their owner. Gives the owner's.
    async fn adds_up(&self, now: u64) -> Figures {
        let (mut sum, user) = (self.of_webhook(0, now).await, self.of_user(now).await);
        sum.merge(&self.of_webhook(1, now).await);
        assert_eq!(sum.response_times(), user.response_times());
        assert!(sum == user, "another hour differs, or a total");
        user
    }
}

#[tokio::test]
async fn the_figures_of_webhooks_add_up_to_their_owner_s_in_every_hour() {
    let mut fixture = Fixture::new().await;
    assert!(fixture.of_webhook(0, START).await == Figures::new(Millis(START)), "nothing is kept yet");
    // The same slots of both rings are begun, gone on with, and written over.
    for (hours, day, week) in [(0, 6, 6), (0, 12, 12), (1, 18, 18), (24, 12, 24), (168, 6, 18), (169, 12, 18)]
    {
        let now = START + hours * HOUR;
        let later = Disposition::Retry(Millis(now + 1000));
        let batch = [
            fixture.attempt(0, "lead.created", Disposition::Delivered, Some(12)).await,
            fixture.attempt(0, "lead.created", Disposition::Delivered, Some(13)).await,
            fixture.attempt(0, "quote.sent", Disposition::Dead, None).await,
            fixture.attempt(0, "quote.sent", later, Some(40_000)).await,
            fixture.attempt(1, "lead.created", Disposition::Dead, Some(0)).await,
            fixture.attempt(1, "lead.created", Disposition::Delivered, Some(700)).await,
        ];
        let expected = Recorded { receipts: vec![Receipt::Recorded; 6], set_aside: 0 };
        assert_eq!(fixture.record(now, &batch).await, expected);
        let user = fixture.adds_up(now).await;
        assert_eq!(fixture.record(now, &batch).await.receipts, [Receipt::Gone; 6]);
        assert!(fixture.adds_up(now).await == user, "a repeat changes nothing");
        let in_week: u64 = user.timeline().map(|(_, attempts)| attempts.ok + attempts.fail).sum();
        assert_eq!((user.attempts_last_24h(), in_week), (day, week), "after {hours} hours");
        assert!((user.success_rate_last_7d() - 50.0).abs() < 0.01);
    }
    let user = fixture.adds_up(START + 169 * HOUR).await;
    assert_eq!((user.pending, user.delivered, user.dead), (6, 18, 12));
    assert_eq!(user.events()["lead.created"], Attempts { ok: 18, fail: 6 });
    assert_eq!(user.events()["quote.sent"], Attempts { ok: 0, fail: 12 });
    assert_eq!(user.response_times().average_ms(), Some((12.0 + 13.0 + 40_000.0 + 700.0) / 5.0));
    assert_eq!(fixture.run(&["HGET", &fixture.key("count", 0), "ok"]).await, "12");
}

#[tokio::test]
async fn two_nodes_whose_clocks_differ_by_an_hour_lose_nothing() {
    let mut fixture = Fixture::new().await;
    for now in [START, START + HOUR, START, START + HOUR] {
        let outcome = fixture.attempt(0, "lead.created", Disposition::Delivered, Some(3)).await;
        fixture.record(now, &[outcome]).await;
    }
    let user = fixture.adds_up(START + HOUR).await;
    assert_eq!(user.attempts_last_24h(), 4);
}

#[tokio::test]
async fn the_hours_of_a_webhook_take_the_same_room_from_the_first_attempt_on() {
    let mut fixture = Fixture::new().await;
    let hours = fixture.key("hours", 0);
    let mut sizes = Vec::new();
    for hour in 0..30 {
        let outcome = fixture.attempt(0, "lead.created", Disposition::Delivered, Some(3)).await;
        fixture.record(START + hour * HOUR, &[outcome]).await;
        sizes.push((fixture.run(&["STRLEN", &hours]).await, fixture.run(&["MEMORY", "USAGE", &hours]).await));
    }
    sizes.dedup();
    assert_eq!(sizes.len(), 1, "{sizes:?}");
    assert_eq!(sizes[0].0, "5088");
    assert!(sizes[0].1.parse::<u64>().unwrap() < 5300, "{sizes:?}");
}

#[tokio::test]
async fn hours_that_are_none_cost_themselves_alone() {
    let mut fixture = Fixture::new().await;
    fixture.run(&["SADD", &fixture.key("hours", 0), "of the wrong type"]).await;
    let batch = [
        fixture.attempt(0, "lead.created", Disposition::Delivered, Some(3)).await,
        fixture.attempt(1, "lead.created", Disposition::Delivered, Some(3)).await,
    ];
    let expected = Recorded { receipts: vec![Receipt::Recorded; 2], set_aside: 1 };
    assert_eq!(fixture.record(START, &batch).await, expected);
    assert_eq!(fixture.of_webhook(1, START).await.attempts_last_24h(), 1);
    assert_eq!(fixture.of_user(START).await.attempts_last_24h(), 2);
    assert_eq!(fixture.run(&["HGET", &fixture.key("count", 0), "delivered"]).await, "1");
}

#[tokio::test]
async fn a_success_between_two_failures_of_one_call_begins_the_failing_anew() {
    let mut fixture = Fixture::new().await;
    let count = fixture.key("count", 0);
    fixture.run(&["HSET", &count, "failing", "5"]).await;
    let batch = [
        fixture.attempt(0, "lead.created", Disposition::Delivered, Some(12)).await,
        fixture.attempt(0, "lead.created", Disposition::Dead, Some(12)).await,
    ];
    fixture.record(START, &batch).await;
    let since: String =
        fixture.server.redis.query(redis::cmd("HGET").arg(&count).arg("failing")).await.unwrap();
    assert_eq!(since, START.to_string());
}
