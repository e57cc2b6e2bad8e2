//! Webhooks in a real Redis.

use super::*;
use crate::domain::webhook::Settings;
use crate::domain::{Backoff, Retries, Secret};
use crate::store::testing::TestRedis;

const LAYOUT: Layout = Layout { partitions: 64, webhooks_per_shard: 2, shards_per_tenant: 4 };
const QUOTAS: Quotas = Quotas { per_user: 3, per_tenant: 4 };

struct Bench {
    server: TestRedis,
    keys: Keys,
    keyring: Keyring,
    tenant: Tenant,
}

impl Bench {
    async fn new() -> Self {
        let tenant = "org:acme".parse().unwrap();
        let keyring = Keyring::new(None, &[]);
        Self { server: TestRedis::start().await, keys: Keys::new("sw:"), keyring, tenant }
    }

    fn webhooks(&self) -> Webhooks<'_> {
        Webhooks {
            redis: &self.server.redis,
            keys: &self.keys,
            layout: &LAYOUT,
            keyring: &self.keyring,
            tenant: &self.tenant,
        }
    }

    fn webhook(&self, number: u64, owner: &str, shard: Shard) -> Webhook {
        let settings = Settings {
            tenant: self.tenant.clone(),
            owner: owner.parse().unwrap(),
            name: format!("number {number}"),
            description: None,
            url: "https://example.com/".into(),
            events: vec!["*".parse().unwrap()],
            headers: [].into(),
            retries: Retries { attempts: 3, delay_seconds: 60, backoff: Backoff::Fixed, schedule: None },
            timeout_seconds: 30,
            rate_limit_per_second: None,
            max_concurrency: 16,
            ordered: false,
            filter: None,
            secret: Secret("whsec_x".into()),
            former_secrets: vec![],
            created_at: Millis(1000 + number),
        };
        Webhook {
            id: WebhookId::new(shard, &format!("{number:022}")),
            version: 1,
            is_active: true,
            disabled_reason: None,
            updated_at: Millis(1),
            settings,
            locked: None,
        }
    }

    async fn created(&self, number: u64, owner: &str) -> (Webhook, Created) {
        let shard = self.webhooks().next_shard().await.unwrap();
        let webhook = self.webhook(number, owner, shard);
        let created = self.webhooks().create(&webhook, QUOTAS).await.unwrap();
        (webhook, created)
    }

    /// The kinds of control entries in the partition of a webhook.
    async fn told(&self, id: &WebhookId) -> Vec<String> {
        let partition = LAYOUT.partition_of(&self.tenant, id.shard());
        let mut range = redis::cmd("XRANGE");
        range.arg(self.keys.key(partition, "events")).arg("-").arg("+");
        let entries: Vec<(String, Vec<(String, String)>)> = self.server.redis.query(&range).await.unwrap();
        let of_webhook = |fields: &Vec<(String, String)>| fields.iter().any(|(_, v)| v == id.as_str());
        let told = entries.into_iter().filter(|(_, fields)| of_webhook(fields));
        told.map(|(_, fields)| fields[0].1.clone()).collect()
    }

    async fn listed(&self, whose: Whose<'_>) -> Vec<String> {
        let entries = self.webhooks().list(whose).await.unwrap();
        let webhooks = self.webhooks().read(&entries, whose, Millis(10_000_000)).await.unwrap();
        webhooks.into_iter().map(|webhook| webhook.settings.name).collect()
    }
}

#[actix_web::test]
async fn webhooks_fill_shards_and_are_listed_newest_first() {
    let bench = Bench::new().await;
    let mut shards = Vec::new();
    for (number, owner) in [(0, "ann"), (1, "bob"), (2, "ann")] {
        let (webhook, created) = bench.created(number, owner).await;
        assert_eq!(created, Created::Stored);
        assert_eq!(bench.webhooks().get(&webhook.id).await.unwrap().as_ref(), Some(&webhook));
        assert_eq!(bench.told(&webhook.id).await, ["changed"]);
        shards.push(webhook.id.shard().0);
    }
    assert_eq!(shards, [0, 0, 1]);
    assert_eq!(bench.listed(Whose::Of(&"ann".parse().unwrap())).await, ["number 2", "number 0"]);
    assert_eq!(bench.listed(Whose::All).await, ["number 2", "number 1", "number 0"]);
    let home = bench.keys.key(LAYOUT.home_of(&bench.tenant), "");
    let tenant = format!("{home}tenant:{}", keys::tenant_hash(&bench.tenant));
    let reach: u8 = bench.server.redis.query(redis::cmd("HGET").arg(tenant).arg("shards")).await.unwrap();
    assert_eq!(reach, 2, "a publish must reach both shards");
}

#[actix_web::test]
async fn another_tenant_never_sees_a_webhook() {
    let bench = Bench::new().await;
    let (webhook, _) = bench.created(0, "ann").await;
    // A tenant whose shard shares the partition: found by trying, as a hash decides.
    let partition = LAYOUT.partition_of(&bench.tenant, webhook.id.shard());
    let shares = |tenant: &Tenant| LAYOUT.partition_of(tenant, webhook.id.shard()) == partition;
    let other = (0..).map(|n| format!("org:{n}").parse().unwrap()).find(shares).unwrap();
    let theirs = Webhooks { tenant: &other, ..bench.webhooks() };
    assert_eq!(theirs.get(&webhook.id).await.unwrap(), None);
}

#[actix_web::test]
async fn quotas_hold_and_a_repeat_is_not_counted() {
    let bench = Bench::new().await;
    let (first, _) = bench.created(0, "ann").await;
    for number in 1..3 {
        bench.created(number, "ann").await;
    }
    assert_eq!(bench.webhooks().create(&first, QUOTAS).await.unwrap(), Created::Stored);
    assert_eq!(bench.told(&first.id).await, ["changed"], "a repeat tells nothing");
    assert_eq!(bench.created(3, "ann").await.1, Created::UserFull);
    assert_eq!(bench.created(4, "bob").await.1, Created::Stored);
    assert_eq!(bench.created(5, "bob").await.1, Created::TenantFull);
}

#[actix_web::test]
async fn a_change_states_the_version_that_it_read() {
    let bench = Bench::new().await;
    let (mut webhook, _) = bench.created(0, "ann").await;
    let partition = LAYOUT.partition_of(&bench.tenant, webhook.id.shard());
    let count = bench.keys.of_webhook(partition, "count", &webhook.id);
    let mut set = redis::cmd("HSET");
    set.arg(&count).arg("ok").arg(7).arg("row").arg(3).arg("paused").arg(99).arg("last").arg(5);
    bench.server.redis.query::<()>(&set).await.unwrap();

    webhook.version = 2;
    webhook.is_active = false;
    let webhooks = bench.webhooks();
    webhooks.update(&webhook, Failures::Keep).await.unwrap();
    webhooks.update(&webhook, Failures::Keep).await.expect("a repeat is no conflict");
    assert_eq!(bench.told(&webhook.id).await, ["changed", "changed"]);
    let figures = webhooks.figures([&webhook.id]).await.unwrap();
    assert_eq!((figures[0].standing.failures, figures[0].succeeded), (3, 7));

    let stale = Webhook { updated_at: Millis(77), ..webhook.clone() };
    assert!(matches!(webhooks.update(&stale, Failures::Keep).await, Err(Error::Changed)));
    webhook.version = 3;
    webhooks.update(&webhook, Failures::Forget).await.unwrap();
    let standing = Standing { turn: 1, ..Standing::default() };
    let expected = Figures { succeeded: 7, last_at: Some(Millis(5)), standing, ..Figures::default() };
    assert_eq!(webhooks.figures([&webhook.id]).await.unwrap(), [expected]);
}

#[actix_web::test]
async fn a_switch_rewrites_the_head_of_a_record_alone_and_states_its_version() {
    let bench = Bench::new().await;
    let (mut webhook, _) = bench.created(0, "ann").await;
    let webhooks = bench.webhooks();
    let settings = webhook.settings.clone();
    webhook.settings.name = "not written".into();
    (webhook.version, webhook.is_active, webhook.updated_at) = (2, false, Millis(77));
    for _ in 0..2 {
        webhooks.switch(&webhook, Failures::Keep).await.expect("a repeat is no conflict");
    }
    assert_eq!(bench.told(&webhook.id).await, ["changed", "changed"]);
    let stale = Webhook { updated_at: Millis(78), ..webhook.clone() };
    assert!(matches!(webhooks.switch(&stale, Failures::Keep).await, Err(Error::Changed)));
    let expected = Webhook { settings, ..webhook };
    assert_eq!(webhooks.get(&expected.id).await.unwrap().as_ref(), Some(&expected));
    webhooks.delete(&expected).await.unwrap();
    let gone = webhooks.switch(&Webhook { version: 3, ..expected }, Failures::Keep).await;
    assert!(matches!(gone, Err(Error::Changed)));
}

#[actix_web::test]
async fn a_deleted_webhook_is_gone_from_everywhere() {
    let bench = Bench::new().await;
    let (mut webhook, _) = bench.created(0, "ann").await;
    for _ in 0..2 {
        bench.webhooks().delete(&webhook).await.expect("a repeat is no fault");
    }
    assert_eq!(bench.told(&webhook.id).await, ["changed", "deleted"]);
    assert_eq!(bench.webhooks().get(&webhook.id).await.unwrap(), None);
    assert!(bench.listed(Whose::All).await.is_empty());
    webhook.version = 2;
    assert!(matches!(bench.webhooks().update(&webhook, Failures::Keep).await, Err(Error::Changed)));
}

#[actix_web::test]
async fn index_entries_without_a_record_are_swept_once_they_are_old() {
    let bench = Bench::new().await;
    let (webhook, _) = bench.created(0, "ann").await;
    let mut drop = redis::cmd("HDEL");
    let partition = LAYOUT.partition_of(&bench.tenant, webhook.id.shard());
    drop.arg(bench.keys.key(partition, "webhooks")).arg(webhook.id.as_str());
    bench.server.redis.query::<()>(&drop).await.unwrap();

    let owner = "ann".parse().unwrap();
    let (webhooks, ann) = (bench.webhooks(), Whose::Of(&owner));
    let entries = webhooks.list(ann).await.unwrap();
    assert!(webhooks.read(&entries, ann, Millis(2000)).await.unwrap().is_empty());
    assert_eq!(webhooks.list(ann).await.unwrap().len(), 1, "it may still be about to get its record");
    webhooks.read(&entries, ann, Millis(100_000)).await.unwrap();
    assert!(webhooks.list(ann).await.unwrap().is_empty());
    assert!(webhooks.list(Whose::All).await.unwrap().is_empty());
}

#[actix_web::test]
async fn a_full_redis_still_deletes() {
    let bench = Bench::new().await;
    let (webhook, _) = bench.created(0, "ann").await;
    let mut limit = redis::cmd("CONFIG");
    bench.server.redis.query::<()>(limit.arg("SET").arg("maxmemory").arg(1)).await.unwrap();
    let other = bench.webhook(1, "ann", Shard(0));
    assert!(matches!(bench.webhooks().create(&other, QUOTAS).await, Err(Error::Refused(_))));
    bench.webhooks().delete(&webhook).await.unwrap();
    assert!(bench.listed(Whose::All).await.is_empty());
}
