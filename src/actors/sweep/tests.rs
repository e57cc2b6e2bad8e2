//! What waits too long for a webhook that nothing is sent to, in a real Redis.

use std::cell::RefCell;

use super::*;
use crate::actors::dispatches::Dispatches;
use crate::actors::local::BodyMeter;
use crate::actors::permits::Permits;
use crate::config;
use crate::delivery::pool::Pool;
use crate::delivery::{Sender, Sockets};
use crate::domain::{EncryptionKey, EventId, Secret, WebhookId};
use crate::policy::partition::Layout;
use crate::policy::sealing::Keyring;
use crate::policy::shares::Rule;
use crate::store::Keys;
use crate::store::testing::TestRedis;

const PARTITION: Partition = Partition(3);
const IDS: [&str; 2] = ["wh_00abcdefghijklmnopqrstuv", "wh_00abcdefghijklmnopqrstuw"];

fn local(server: &TestRedis) -> Local {
    let secret = ("WEBHOOKS_AUTH__JWT_SECRET".to_owned(), "x".repeat(32));
    let config = Arc::new(config::load(None, [secret].into_iter()).unwrap());
    Local {
        redis: server.redis.clone(),
        keys: Keys::new("sw:"),
        layout: Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 },
        sender: Sender::new(&config.delivery, &Sockets::new(1)).unwrap(),
        permits: Permits::new(Arc::new(Pool::new(1, Rule::Quarter))),
        scarcity: Arc::default(),
        bodies: BodyMeter::new(0),
        keyring: Arc::new(Keyring::new(None, &[])),
        config,
        dispatches: Dispatches::new(server.redis.clone()),
        recorders: RefCell::default(),
    }
}

async fn run(server: &TestRedis, words: &[&str]) -> String {
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| _ = command.arg(*word));
    let answer: redis::Value = server.redis.query(&command).await.unwrap();
    redis::from_redis_value(answer).unwrap_or_default()
}

/// The webhook's settings as they are stored.
fn settings() -> String {
    serde_json::json!({
        "tenant": "org:demo", "owner": "ann", "name": "n", "description": null, "url": "https://example.com/",
        "events": ["*"], "headers": {}, "timeout_seconds": 30, "rate_limit_per_second": null,
        "retries": { "attempts": 3, "delay_seconds": 60, "backoff": "fixed", "schedule": null },
        "max_concurrency": 16, "ordered": false, "secret": "whsec_abc", "previous_secret": null, "created_at": 1,
    })
    .to_string()
}

#[tokio::test]
async fn what_waited_too_long_for_an_inactive_webhook_is_dead_and_gives_its_bytes_back() {
    let off = ["0", "1"].map(|active| format!("1 {active} 5 -\n{}", settings()));
    what_waited_too_long_ends_for_the_first_alone(off).await;
}

#[tokio::test]
async fn what_waited_too_long_for_a_locked_webhook_is_dead_too() {
    let plain = format!("1 1 5 -\n{}", settings());
    let id: WebhookId = IDS[0].parse().unwrap();
    let readable = record::decode(&id, &plain, &Keyring::new(None, &[])).unwrap();
    let sealed = record::encode(&readable, &Keyring::new(Some(&EncryptionKey::new([1; 32])), &[])).unwrap();
    assert!(record::decode(&id, &sealed, &Keyring::new(None, &[])).unwrap().locked.is_some());
    what_waited_too_long_ends_for_the_first_alone([sealed, plain]).await;
}

async fn what_waited_too_long_ends_for_the_first_alone(records: [String; 2]) {
    let server = TestRedis::start().await;
    let local = local(&server);
    run(&server, &["HSET", "sw:{p03}:lease", "token", "t"]).await;
    let ids = IDS;
    let now = clock::now().0;
    let event: EventId = "evt_1".parse().unwrap();
    let tenant = "org:demo".parse().unwrap();
    let record_of_event = format!("sw:{{p03}}:event:{}", keys::event_hash(&tenant, &event));
    let bytes = format!("t:{}", keys::tenant_hash(&tenant));
    run(&server, &["HSET", &record_of_event, "type", "lead.created", "body", "1234", "open", "2"]).await;
    run(&server, &["HSET", "sw:{p03}:usage", &bytes, "4"]).await;
    for (id, record) in ids.iter().zip(records) {
        assert!(record::decode(&id.parse::<WebhookId>().unwrap(), &record, &local.keyring).is_ok());
        run(&server, &["HSET", "sw:{p03}:webhooks", id, &record]).await;
        for (entry, event) in [("7-0".to_owned(), "evt_1"), (format!("{now}-0"), "evt_2")] {
            run(&server, &["XADD", &format!("sw:{{p03}}:mbox:{id}"), &entry, "e", event]).await;
        }
        for (due, member) in [("9", "8-0 2 evt_1"), (&*now.to_string(), "9-0 2 evt_3")] {
            run(&server, &["ZADD", &format!("sw:{{p03}}:retry:{id}"), due, member]).await;
        }
    }
    super::run(&local, &Tenure::new(PARTITION, "t".into(), clock::monotonic())).await;
    for (id, left, dead) in [(ids[0], "1", "2"), (ids[1], "2", "0")] {
        assert_eq!(run(&server, &["XLEN", &format!("sw:{{p03}}:mbox:{id}")]).await, left, "{id}");
        assert_eq!(run(&server, &["ZCARD", &format!("sw:{{p03}}:retry:{id}")]).await, left, "{id}");
        assert_eq!(run(&server, &["XLEN", &format!("sw:{{p03}}:dead:{id}")]).await, dead, "{id}");
    }
    assert_eq!(run(&server, &["HGET", "sw:{p03}:usage", &bytes]).await, "0");
    assert_eq!(run(&server, &["XLEN", &format!("sw:{{p03}}:log:{}", ids[0])]).await, "2");
}

#[tokio::test]
async fn a_former_secret_is_taken_out_of_its_record_when_its_time_is_over() {
    let server = TestRedis::start().await;
    for keyring in [Keyring::new(None, &[]), Keyring::new(Some(&EncryptionKey::new([1; 32])), &[])] {
        let local = Local { keyring: Arc::new(keyring), ..local(&server) };
        let ids: [WebhookId; 2] = IDS.map(|id| id.parse().unwrap());
        for (id, ends) in ids.iter().zip([Millis(1), Millis::MAX]) {
            let text = format!("1 1 5 -\n{}", settings());
            let mut webhook = record::decode(id, &text, &local.keyring).unwrap();
            webhook.settings.former_secrets = vec![(Secret("whsec_old".into()), ends)];
            let text = record::encode(&webhook, &local.keyring).unwrap();
            run(&server, &["HSET", "sw:{p03}:webhooks", id.as_str(), &text]).await;
        }
        super::run(&local, &Tenure::new(PARTITION, "t".into(), clock::monotonic())).await;
        for (id, left) in ids.iter().zip([0, 1]) {
            let text = run(&server, &["HGET", "sw:{p03}:webhooks", id.as_str()]).await;
            let webhook = record::decode(id, &text, &local.keyring).unwrap();
            assert_eq!((webhook.version, webhook.settings.former_secrets.len()), (1, left));
        }
    }
}
