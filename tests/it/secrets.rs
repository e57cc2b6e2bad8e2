//! Secrets: chosen by the caller, encrypted in Redis, encrypted anew, and what happens without the key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Client, Receiver, RedisCluster, RedisSentinel, Reply, SOON, TestNode, TestRedis, Token, eventually, text,
};

const HEADER: &str = "Bearer planted-header-value";
const ENCRYPTION_KEY: &str = "SECURITY__ENCRYPTION_KEY";
const FORMER_KEYS: &str = "SECURITY__FORMER_ENCRYPTION_KEYS";

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn secret(bytes: usize) -> String {
    let key: Vec<u8> = (0..bytes).map(|n| u8::try_from(n * 7 % 256).unwrap()).collect();
    format!("whsec_{}", STANDARD.encode(key))
}

/// Runs the program with those settings; answers whether it ended well, and what it printed.
async fn program(settings: &[(&str, String)], words: &[&str]) -> (bool, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
        .args(words)
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (format!("WEBHOOKS_{name}"), value)))
        .current_dir(std::env::temp_dir())
        .output()
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

async fn rekey(settings: &[(&str, String)], words: &[&str]) -> (bool, String) {
    program(settings, &[&["rekey"], words].concat()).await
}

/// Waits until that many webhooks wait on the node for their key.
async fn waits(node: &TestNode, webhooks: f64) {
    eventually("the metric tells", SOON, async || {
        (node.metrics().await.sum("webhooks_locked", &[]) == webhooks).then_some(())
    })
    .await;
}

/// The settings of a node or a command on that Redis.
fn with<'a>(redis: &TestRedis, keys: &[(&'a str, String)]) -> Vec<(&'a str, String)> {
    [&[("REDIS__URL", redis.url())], keys].concat()
}

fn present(byte: u8) -> (&'static str, String) {
    (ENCRYPTION_KEY, key(byte))
}

fn former(byte: u8) -> (&'static str, String) {
    (FORMER_KEYS, key(byte))
}

/// The id of the only key that records are encrypted with.
fn key_in_use(redis: &TestRedis) -> String {
    let ids: Vec<String> = redis.command(&["HKEYS", "sw:{cluster}:keys"]);
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids[0].clone()
}

/// Where the record of a webhook lies, and its text.
fn record(redis: &TestRedis, id: &str) -> (String, String) {
    let places: Vec<String> = redis.command(&["KEYS", "sw:{p*}:webhooks"]);
    let found = |place: &String| {
        let text: Option<String> = redis.command(&["HGET", place, id]);
        text.map(|text| (place.clone(), text))
    };
    places.iter().find_map(found).expect("it is stored")
}

/// Creates, regenerates, delivers, fails, tests and sends again; answers what nobody may find.
async fn live(node: &TestNode) -> Vec<String> {
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(500), Reply::status(200)]);
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let own = json!({ "headers": { "Authorization": HEADER }, "retrySchedule": [0], "secret": secret(40) });
    let made = ann.create(&receiver.url("/"), &["*"], &own).await;
    assert_eq!(made["secret"], secret(40));
    let id = text(&made["id"]);
    crm.publish("lead.created", &json!({})).await;
    let first = receiver.arrived("/", 2).await;
    assert_eq!(first[1].header("authorization"), HEADER);
    first[1].verify(&[&secret(40)]);
    let second =
        text(&ann.post_empty(&format!("/api/webhooks/{id}/regenerate-secret")).await.expect(200)["secret"]);
    ann.patch(&format!("/api/webhooks/{id}"), &json!({ "description": "d" })).await.expect(200);
    ann.post_empty(&format!("/api/webhooks/{id}/test")).await.expect(200);
    receiver.script("/dead", &[Reply::status(410)]);
    let dead = json!({ "headers": { "X-Own": HEADER }, "retryAttempts": 0 });
    let dead = ann.create(&receiver.url("/dead"), &["quote.sent"], &dead).await;
    crm.publish("quote.sent", &json!({})).await;
    receiver.arrived("/", 4).await[3].verify(&[&second, &secret(40)]);
    eventually("the other one is switched off", SOON, async || {
        (ann.webhook(&text(&dead["id"])).await["status"] == "disabled").then_some(())
    })
    .await;
    let row = eventually("the rows are there", SOON, async || {
        let mut rows = ann.log(&id, "event=lead.created").await;
        (rows.len() == 2).then(|| rows.remove(0))
    })
    .await;
    let again = format!("/api/webhooks/{id}/deliveries/{}/retry", text(&row["id"]));
    ann.post_empty(&again).await.expect(202);
    receiver.arrived("/", 5).await;
    let own_part = |secret: &str| secret.trim_start_matches("whsec_").trim_end_matches('=').to_owned();
    let secrets = [secret(40), second, text(&dead["secret"])];
    secrets
        .iter()
        .map(|secret| own_part(secret))
        .chain([HEADER.to_owned(), "planted-header".to_owned()])
        .collect()
}

/// Which of the words are found in Redis, and which in its files.
fn found(redis: &TestRedis, words: &[String]) -> (usize, usize) {
    let (dump, file) = (redis.dump(), redis.append_only_files());
    assert!(dump.contains("Authorization") && dump.contains("lead.created"), "all of it is seen");
    let in_file = |word: &&String| file.windows(word.len()).any(|window| window == word.as_bytes());
    (words.iter().filter(|word| dump.contains(word.as_str())).count(), words.iter().filter(in_file).count())
}

#[tokio::test]
async fn neither_redis_nor_its_files_show_a_secret_or_a_header_value() {
    let (redis, plain) = (TestRedis::start(), TestRedis::start());
    let node = TestNode::start_with(&redis, &[(ENCRYPTION_KEY, &key(1))]).await;
    let words = live(&node).await;
    assert_eq!(found(&redis, &words), (0, 0));
    let metrics = node.metrics().await;
    assert_eq!(metrics.sum("secrets_encrypted", &[]), 1.0);
    assert!(!node.log_text().contains(&key(1)), "the key is not logged");

    // The search finds them where they are.
    let node = TestNode::start(&plain).await;
    let words = live(&node).await;
    assert_eq!(found(&plain, &words), (words.len(), words.len()));
    assert_eq!(node.metrics().await.sum("secrets_encrypted", &[]), 0.0);
    assert!(node.log_text().contains("security.encryption_key"), "it is told: {}", node.log_text());
}

#[tokio::test]
async fn a_node_without_the_key_lets_its_webhooks_wait_until_one_with_it_takes_over() {
    let redis = TestRedis::start();
    let receiver = Receiver::start().await;
    let mut without = TestNode::start(&redis).await;
    let (ann, crm) = (without.user("ann", "acme"), without.publisher("acme"));
    let own = json!({ "headers": { "Authorization": HEADER } });
    let locked = ann.create(&receiver.url("/locked"), &["*"], &own).await;
    let path = format!("/api/webhooks/{}", text(&locked["id"]));
    let settings = with(&redis, &[present(1)]);

    let (good, said) = rekey(&settings, &["--dry-run"]).await;
    assert!(
        good && said.starts_with("records 1, to rewrite 1, already fine 0, could not be read 0"),
        "{said}"
    );
    let before = record(&redis, &text(&locked["id"]));
    assert!(before.1.contains("planted-header"), "nothing was done");
    let (good, said) = rekey(&settings, &[]).await;
    assert!(
        good && said.starts_with("records 1, re-encrypted 1, already fine 0, could not be read 0"),
        "{said}"
    );
    let (_, said) = rekey(&settings, &[]).await;
    assert!(said.starts_with("records 1, re-encrypted 0, already fine 1"), "{said}");
    assert!(!record(&redis, &text(&locked["id"])).1.contains("planted-header"));

    let plain = ann.create(&receiver.url("/plain"), &["*"], &json!({})).await;
    let waiting = crm.publish("lead.created", &json!({})).await;
    receiver.arrived("/plain", 1).await[0].verify(&[&text(&plain["secret"])]);
    let id = key_in_use(&redis);
    eventually("the log names the key", SOON, async || {
        let told = |line: &Value| line["key"] == id.as_str() && line["level"] == "ERROR";
        without.log().iter().any(told).then_some(())
    })
    .await;
    waits(&without, 1.0).await;
    let shown = ann.get(&path).await.expect(200);
    assert_eq!((&shown["headers"]["Authorization"], &shown["pendingCount"]), (&json!("***"), &json!(1)));
    for answer in [
        ann.patch(&path, &json!({ "name": "new" })).await,
        ann.post_empty(&format!("{path}/test")).await,
        ann.patch(&path, &json!({ "headers": {}, "isActive": false })).await,
    ] {
        assert!(answer.error(409)[0].contains("cannot be decrypted"));
    }
    ann.post_empty(&format!("{path}/regenerate-secret")).await.error(503);

    let refused = TestNode::refused(&with(&redis, &[present(2)])).await;
    assert!(refused.contains(&id) && refused.contains("security.former_encryption_keys"), "{refused}");
    let _with = TestNode::start_with(&redis, &[(ENCRYPTION_KEY, &key(1))]).await;
    without.terminate();
    assert!(without.ended(SOON).await.success());
    let got = receiver.arrived("/locked", 1).await;
    assert_eq!((got[0].event_id(), got[0].header("authorization")), (waiting.as_str(), HEADER));
    got[0].verify(&[&text(&locked["secret"])]);
}

#[tokio::test]
async fn a_rekey_that_is_killed_is_taken_up_by_the_next_one() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    for _ in 0..200 {
        ann.create("http://127.0.0.1:9/", &["*"], &json!({ "headers": { "X-Own": HEADER } })).await;
    }
    let settings = with(&redis, &[present(1)]);
    let mut killed = tokio::process::Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
        .arg("rekey")
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (format!("WEBHOOKS_{name}"), value)))
        .current_dir(std::env::temp_dir())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("it has begun, or ended already", SOON, async || {
        let begun = redis.dump().contains("\nx1 ");
        (begun || killed.try_wait().unwrap().is_some()).then_some(())
    })
    .await;
    // One that has ended is not there to be killed.
    let _ = killed.kill().await;
    assert_eq!(key_in_use(&redis).len(), 8, "its key is noted before anything is encrypted with it");
    let (good, said) = rekey(&settings, &[]).await;
    assert!(good && said.starts_with("records 200, ") && said.contains("could not be read 0"), "{said}");
    assert!(!redis.dump().contains(HEADER));
}

#[tokio::test]
async fn a_locked_webhook_goes_on_by_itself_when_its_record_is_stored_otherwise() {
    let redis = TestRedis::start();
    let receiver = Receiver::start().await;
    let node = TestNode::start(&redis).await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let own = json!({ "headers": { "Authorization": HEADER } });
    let made = ann.create(&receiver.url("/"), &["*"], &own).await;
    let settings = with(&redis, &[present(1)]);
    assert!(rekey(&settings, &[]).await.0);
    let event = crm.publish("lead.created", &json!({})).await;
    waits(&node, 1.0).await;
    assert_eq!(receiver.count("/"), 0);
    assert!(rekey(&settings, &["--decrypt"]).await.0);
    let got = receiver.arrived("/", 1).await;
    assert_eq!((got[0].event_id(), got[0].header("authorization")), (event.as_str(), HEADER));
    got[0].verify(&[&text(&made["secret"])]);
    waits(&node, 0.0).await;
}

#[tokio::test]
async fn what_was_known_before_the_record_was_encrypted_is_not_used_any_more() {
    let redis = TestRedis::start();
    let receiver = Receiver::start().await;
    let mut owner = TestNode::start_with(&redis, &[("NODE__ID", "owner")]).await;
    let made = owner.user("ann", "acme").create(&receiver.url("/old"), &["*"], &json!({})).await;
    let settings = with(&redis, &[present(1)]);
    let other = TestNode::start_with(&redis, &[("NODE__ID", "other"), (ENCRYPTION_KEY, &key(1))]).await;
    assert!(program(&settings, &["cluster", "drain", "other"]).await.0);
    // The owner's actor knows the plain record.
    owner.publisher("acme").publish("lead.created", &json!({})).await;
    receiver.arrived("/old", 1).await;
    let path = format!("/api/webhooks/{}", text(&made["id"]));
    let ann = other.user("ann", "acme");
    ann.patch(&path, &json!({ "url": receiver.url("/new") })).await.expect(200);
    let renewed = json!({ "gracePeriodSeconds": 0 });
    let renewed = ann.post(&format!("{path}/regenerate-secret"), &renewed).await.expect(200);
    let event = owner.publisher("acme").publish("lead.created", &json!({})).await;
    waits(&owner, 1.0).await;
    assert!(program(&settings, &["cluster", "drain", "other", "--undo"]).await.0);
    owner.terminate();
    assert!(owner.ended(SOON).await.success());
    let got = receiver.arrived("/new", 1).await;
    assert_eq!(got[0].event_id(), event);
    got[0].verify(&[&text(&renewed["secret"])]);
    assert_eq!(receiver.count("/old"), 1);
}

/// Changes the webhooks one after another until told to stop; answers how often.
async fn change_all(ann: &Client, ids: &[String], mut stop: tokio::sync::oneshot::Receiver<()>) -> usize {
    for change in 0.. {
        if stop.try_recv().is_ok() {
            return change;
        }
        let path = format!("/api/webhooks/{}", ids[change % ids.len()]);
        ann.patch(&path, &json!({ "description": format!("change {change}") })).await.expect(200);
    }
    0
}

#[tokio::test]
async fn a_key_is_replaced_while_nodes_run_and_records_change() {
    let redis = TestRedis::start();
    let receiver = Receiver::start().await;
    let old = TestNode::start_with(&redis, &[(ENCRYPTION_KEY, &key(1))]).await;
    let own = json!({ "headers": { "Authorization": HEADER } });
    let (mut ids, mut secrets) = (Vec::new(), Vec::new());
    for n in 0..30 {
        let url = receiver.url(&format!("/{n}"));
        let made = old.user("ann", "acme").create(&url, &["lead.created"], &own).await;
        ids.push(text(&made["id"]));
        secrets.push(text(&made["secret"]));
    }
    drop(old);
    let settings =
        [(ENCRYPTION_KEY, &*key(2)), (FORMER_KEYS, &*key(1)), ("API__RATE_LIMIT_PER_MINUTE", "1000000")];
    let node = TestNode::start_with(&redis, &settings).await;
    let ann = node.user("ann", "acme");
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let changing = {
        let (ann, ids) = (ann.clone(), ids.clone());
        tokio::spawn(async move { change_all(&ann, &ids, stopped).await })
    };
    let (good, said) = rekey(&with(&redis, &[present(2), former(1)]), &[]).await;
    stop.send(()).expect("it goes on");
    assert!(changing.await.expect("every change is made") > 0);
    assert!(good && said.contains("no longer in use: "), "{said}");
    assert!(said.starts_with("records 30, ") && said.contains("could not be read 0"), "{said}");
    let (_, said) = rekey(&with(&redis, &[present(2)]), &["--dry-run"]).await;
    assert!(said.starts_with("records 30, to rewrite 0, already fine 30, could not be read 0"), "{said}");
    drop(node);

    // Nobody needs the old one any more.
    let node = TestNode::start_with(&redis, &[(ENCRYPTION_KEY, &key(2))]).await;
    node.publisher("acme").publish("lead.created", &json!({})).await;
    for (n, secret) in secrets.iter().enumerate() {
        let got = receiver.arrived(&format!("/{n}"), 1).await;
        got[0].verify(&[secret]);
        assert_eq!(got[0].header("authorization"), HEADER);
    }

    // For a version that does not encrypt.
    let (good, said) = rekey(&with(&redis, &[present(2)]), &["--decrypt"]).await;
    assert!(good && said.starts_with("records 30, decrypted 30"), "{said}");
    assert!(record(&redis, &ids[0]).1.contains(&secrets[0]));
}

#[tokio::test]
async fn rekey_reaches_every_primary_of_a_redis_cluster_and_the_one_behind_sentinels() {
    let (cluster, sentinel) = (RedisCluster::start().await, RedisSentinel::start(1).await);
    for settings in [cluster.settings(), sentinel.settings()] {
        rekey_reaches_all(&settings).await;
    }
}

async fn rekey_reaches_all(redis: &[(&'static str, String)]) {
    let node = TestNode::start_at(redis).await;
    for n in 0..40 {
        node.user("ann", &format!("org{}", n % 8)).create("http://127.0.0.1:9/", &["*"], &json!({})).await;
    }
    let settings = [redis, &[present(1)]].concat();
    let (good, said) = rekey(&settings, &[]).await;
    assert!(
        good && said.starts_with("records 40, re-encrypted 40, already fine 0, could not be read 0"),
        "{said}"
    );
    let (good, said) = rekey(&settings, &[]).await;
    assert!(good && said.starts_with("records 40, re-encrypted 0, already fine 40"), "{said}");
    let (good, said) = rekey(redis, &[]).await;
    assert!(!good && said.contains("security.encryption_key"), "{said}");
    let fewer = [&settings, &[("CLUSTER__PARTITIONS", "32".to_owned())][..]].concat();
    let elsewhere = [&settings, &[("REDIS__PREFIX", "else:".to_owned())][..]].concat();
    for (settings, word) in [(fewer, "cluster.partitions"), (elsewhere, "redis.prefix")] {
        let (good, said) = rekey(&settings, &[]).await;
        assert!(!good && said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn a_lost_key_costs_secrets_and_headers_and_no_event() {
    let redis = TestRedis::start();
    let receiver = Receiver::start().await;
    let node = TestNode::start_with(&redis, &[(ENCRYPTION_KEY, &key(1))]).await;
    let own = json!({ "headers": { "Authorization": HEADER } });
    let made = node.user("ann", "acme").create(&receiver.url("/"), &["*"], &own).await;
    let id = text(&made["id"]);
    drop(node);
    let lost = key_in_use(&redis);
    let settings = with(&redis, &[present(2)]);
    TestNode::refused(&settings).await;
    let (good, said) = rekey(&settings, &[]).await;
    assert!(!good && said.contains("could not be read 1") && said.contains(&id), "{said}");
    TestNode::refused(&settings).await;
    let (good, said) = rekey(&settings, &["--lost-key", &lost]).await;
    assert!(!good && said.contains("could not be read 1") && said.contains(&id), "{said}");

    let node = TestNode::start_with(&redis, &[(ENCRYPTION_KEY, &key(2))]).await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let event = crm.publish("lead.created", &json!({})).await;
    waits(&node, 1.0).await;
    assert_eq!(receiver.count("/"), 0);
    let path = format!("/api/webhooks/{id}/regenerate-secret");
    let refused = ann.post_empty(&path).await.error(409);
    assert!(refused[0].contains("Authorization"), "{refused:?}");
    let answer = ann.post(&path, &json!({ "headers": { "X-New": "new" } })).await.expect(200);
    let got = receiver.arrived("/", 1).await;
    assert_eq!((got[0].event_id(), got[0].header("x-new")), (event.as_str(), "new"));
    got[0].verify(&[&text(&answer["secret"])]);
    ann.post(&path, &json!({ "headers": {} })).await.error(400);
}

#[tokio::test]
async fn damaged_secrets_send_nothing_and_lose_nothing() {
    let redis = TestRedis::start();
    let receiver = Receiver::start().await;
    let node = TestNode::start_with(&redis, &[(ENCRYPTION_KEY, &key(1))]).await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let ids = {
        let mut ids = Vec::new();
        for path in ["/one", "/other"] {
            ids.push(text(&ann.create(&receiver.url(path), &["*"], &json!({})).await["id"]));
        }
        ids
    };
    // The secrets of one in the record of the other.
    let [(place, one), (_, other)] = [record(&redis, &ids[0]), record(&redis, &ids[1])];
    let sealed = other.lines().nth(2).expect("it is encrypted");
    let moved = [&one.lines().take(2).collect::<Vec<_>>()[..], &[sealed]].concat().join("\n");
    let _: i64 = redis.command(&["HSET", &place, &ids[0], &moved]);
    let event = crm.publish("lead.created", &json!({})).await;
    receiver.arrived("/other", 1).await;
    eventually("the log tells", SOON, async || node.log_text().contains("they are damaged").then_some(()))
        .await;
    assert_eq!(receiver.count("/one"), 0);
    let path = format!("/api/webhooks/{}/regenerate-secret", ids[0]);
    let answer = ann.post_empty(&path).await.expect(200);
    let got = receiver.arrived("/one", 1).await;
    assert_eq!(got[0].event_id(), event);
    got[0].verify(&[&text(&answer["secret"])]);
}

#[tokio::test]
async fn a_url_that_is_changed_in_redis_gets_no_header() {
    let redis = TestRedis::start();
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let node = TestNode::start_with(&redis, &[(ENCRYPTION_KEY, &key(1))]).await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let own = json!({ "headers": { "Authorization": HEADER } });
    let made = ann.create(&receiver.url("/"), &["lead.created"], &own).await;
    let id = text(&made["id"]);
    let (place, stored) = record(&redis, &id);
    let led_elsewhere = stored.replace(&receiver.url("/"), &other.url("/"));
    assert_ne!(led_elsewhere, stored);
    let _: i64 = redis.command(&["HSET", &place, &id, &led_elsewhere]);
    crm.publish("lead.created", &json!({})).await;
    eventually("the log tells", SOON, async || node.log_text().contains("they are damaged").then_some(()))
        .await;
    let path = format!("/api/webhooks/{id}");
    let shown = ann.get(&path).await.expect(200);
    assert_eq!((&shown["url"], &shown["pendingCount"]), (&json!(other.url("/")), &json!(1)));
    assert!(ann.post_empty(&format!("{path}/test")).await.error(409)[0].contains("cannot be decrypted"));

    let _: i64 = redis.command(&["HSET", &place, &id, &stored]);
    receiver.arrived("/", 1).await[0].verify(&[&text(&made["secret"])]);
    assert_eq!(other.count("/"), 0);
}

#[tokio::test]
async fn a_locked_webhook_can_be_switched_off_and_on_and_shows_that_it_is_locked() {
    let redis = TestRedis::start();
    let receiver = Receiver::start().await;
    let node = TestNode::start(&redis).await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let own = json!({ "headers": { "Authorization": HEADER } });
    let made = ann.create(&receiver.url("/"), &["*"], &own).await;
    let id = text(&made["id"]);
    let path = format!("/api/webhooks/{id}");
    assert_eq!(ann.get(&path).await.expect(200).get("secretUnreadable"), None, "it is readable");
    let settings = with(&redis, &[present(1)]);
    assert!(rekey(&settings, &[]).await.0);
    let sealed = record(&redis, &id).1.split_once('\n').expect("a head").1.to_owned();
    assert_eq!(ann.get(&path).await.expect(200)["secretUnreadable"], true);

    let admin = node.client(&Token::user("root").org("acme").role("ADMIN"));
    for (client, call, is_active) in [
        (&ann, "deactivate", false),
        (&ann, "activate", true),
        (&admin, "deactivate", false),
        (&ann, "reset-failures", false),
    ] {
        let shown = client.post_empty(&format!("{path}/{call}")).await.expect(200);
        assert_eq!(
            (&shown["isActive"], &shown["secretUnreadable"]),
            (&json!(is_active), &json!(true)),
            "{call}"
        );
        assert_eq!(record(&redis, &id).1.split_once('\n').expect("a head").1, sealed, "{call}");
    }
    let both = json!({ "isActive": true, "name": "new" });
    assert!(ann.patch(&path, &both).await.error(409)[0].contains("cannot be decrypted"));
    assert_eq!(ann.get(&path).await.expect(200)["isActive"], false, "nothing of it was done");
    ann.patch(&path, &json!({ "isActive": true })).await.expect(200);

    let event = crm.publish("lead.created", &json!({})).await;
    waits(&node, 1.0).await;
    assert!(rekey(&settings, &["--decrypt"]).await.0);
    let got = receiver.arrived("/", 1).await;
    assert_eq!((got[0].event_id(), got[0].header("authorization")), (event.as_str(), HEADER));
    got[0].verify(&[&text(&made["secret"])]);
    assert_eq!(ann.get(&path).await.expect(200).get("secretUnreadable"), None);
}

#[tokio::test]
async fn a_printed_key_is_taken_and_never_the_same() {
    let mut keys = Vec::new();
    for _ in 0..2 {
        let (good, printed) = program(&[], &["encryption-key"]).await;
        let settings =
            [("AUTH__JWT_SECRET", "x".repeat(32)), (ENCRYPTION_KEY, printed.clone()), (FORMER_KEYS, key(1))];
        let (sound, said) = program(&settings, &["check-config"]).await;
        assert!(good && sound && said.contains("encrypted with the key"), "{said}");
        assert!(!said.contains(printed.trim()), "{said}");
        keys.push(printed);
    }
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_chosen_secret_of_any_allowed_length_signs_both_ways() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    for bytes in 24..=64 {
        let chosen = json!({ "secret": secret(bytes) });
        let made = ann.create(&receiver.url(&format!("/{bytes}")), &["*"], &chosen).await;
        assert_eq!(made["secret"], secret(bytes));
    }
    crm.publish("lead.created", &json!({})).await;
    for bytes in 24..=64 {
        receiver.arrived(&format!("/{bytes}"), 1).await[0].verify(&[&secret(bytes)]);
    }
}

#[tokio::test]
async fn a_chosen_secret_is_checked_and_never_repeated() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let body = json!({ "name": "x", "url": "http://127.0.0.1:9/", "events": ["*"] });
    let made = ann.create("http://127.0.0.1:9/", &["*"], &json!({ "secret": secret(32) })).await;
    let path = format!("/api/webhooks/{}", text(&made["id"]));
    let regenerate = format!("{path}/regenerate-secret");
    let fault = "secret must be \"whsec_\" followed by the base64 of 24 to 64 bytes";
    let planted = secret(64).replace("whsec_", "planted_");
    for bad in
        [json!(secret(23)), json!(secret(65)), json!(planted), json!(""), Value::Null, json!(7), json!({})]
    {
        let mut creation = body.clone();
        creation["secret"] = bad.clone();
        for answer in [
            ann.post("/api/webhooks", &creation).await,
            ann.post(&regenerate, &json!({ "secret": bad })).await,
        ] {
            assert_eq!(answer.error(400), [fault], "{bad}");
        }
    }
    let refused = ann.patch(&path, &json!({ "secret": secret(48) })).await.error(400);
    assert_eq!(refused, ["property secret should not exist here: regenerate-secret takes one"]);

    let renewed = ann.post(&regenerate, &json!({ "secret": secret(48) })).await.expect(200);
    assert_eq!(renewed["secret"], secret(48));
    for (taken, word) in [(secret(48), "present"), (secret(32), "former")] {
        for grace in [0, 60] {
            let again = json!({ "secret": taken, "gracePeriodSeconds": grace });
            let refused = ann.post(&regenerate, &again).await.error(409);
            assert!(refused[0].contains(word) && !refused[0].contains("whsec_"), "{refused:?}");
        }
    }
    let call =
        ann.call(Method::POST, &regenerate).json(&json!({ "secret": secret(25), "gracePeriodSeconds": 0 }));
    call.send().await.expect(200);
    // One that was given up without a grace period is forgotten.
    ann.post(&regenerate, &json!({ "secret": secret(48), "gracePeriodSeconds": 0 })).await.expect(200);
}

#[tokio::test]
async fn a_former_secret_leaves_the_record_with_the_next_change_after_its_time() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let made = ann.create("http://127.0.0.1:9/", &["*"], &json!({})).await;
    let (id, first) = (text(&made["id"]), text(&made["secret"]));
    let path = format!("/api/webhooks/{id}");
    let second = json!({ "gracePeriodSeconds": 1 });
    let second = ann.post(&format!("{path}/regenerate-secret"), &second).await.expect(200);
    assert!(record(&redis, &id).1.contains(&first), "it signs on");
    let mut change = 0;
    eventually("its time is over", SOON, async || {
        change += 1;
        ann.patch(&path, &json!({ "description": format!("change {change}") })).await.expect(200);
        (!record(&redis, &id).1.contains(&first)).then_some(())
    })
    .await;
    let expires = chrono::DateTime::parse_from_rfc3339(&text(&second["previousSecretExpiresAt"])).unwrap();
    assert!(chrono::DateTime::from(std::time::SystemTime::now()) >= expires, "not before");
    assert!(record(&redis, &id).1.contains(&text(&second["secret"])));
}
