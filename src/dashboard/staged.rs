//! Webhooks with a past, made for a test: rows in their logs, counters beside them, hours in their owner's statistics.

use serde_json::{Value, json};

use crate::api::App;
use crate::api::testing::{Client, LAYOUT};
use crate::clock;
use crate::domain::{
    AttemptId, AttemptRow, DisabledReason, EntryId, ErrorKind, Partition, Tenant, UserId, WebhookId,
};
use crate::store::attempts::encode;
use crate::store::keys::owner_hash;
use crate::store::webhooks::{Failures, Webhooks};

/// What tries to become a script, wherever a text can.
pub const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(2)> ' &amp; {{7*7}}";

/// A webhook of whoever has the token, with `fields` besides its name.
pub async fn webhook(client: &Client, token: &str, name: &str, fields: Value) -> WebhookId {
    let mut body = json!({"name": name, "url": "https://hooks.example.com/x", "events": ["*"]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let made = client.post(token, "/api/webhooks", body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json()["id"].as_str().unwrap().parse().unwrap()
}

/// An attempt that was just made and that failed so, or succeeded.
pub fn attempt(failure: Option<(ErrorKind, &str)>) -> AttemptRow {
    AttemptRow {
        id: None,
        event_id: "evt_1".parse().unwrap(),
        event_type: "lead.created".into(),
        url: "https://hooks.example.com/x".into(),
        at: clock::now(),
        attempt: 1,
        elapsed_ms: 40,
        status: failure.is_none().then_some(200),
        error_kind: failure.map(|(kind, _)| kind),
        error_message: failure.map(|(_, message)| message.into()),
        next_retry_at: None,
        response_body: None,
        body_beside: false,
        custom_headers: vec![],
        is_test: false,
    }
}

/// Switches a webhook off as the service does after days of failures.
pub async fn give_up(client: &Client, id: &WebhookId) {
    let App { redis, keys, layout, keyring, .. } = &client.app;
    let webhooks = Webhooks { redis, keys, layout, keyring, tenant: &tenant() };
    let mut webhook = webhooks.get(id).await.unwrap().unwrap();
    webhook.version += 1;
    (webhook.is_active, webhook.disabled_reason) = (false, Some(DisabledReason::Failing));
    webhooks.update(&webhook, Failures::Keep).await.unwrap();
}

/// Puts a row at the end of a webhook's log.
pub async fn log(client: &Client, id: &WebhookId, row: AttemptRow) -> AttemptId {
    let key = client.app.keys.of_webhook(partition(id), "log", id);
    let (text, _) = encode(row, None);
    let place = run(client, &["XADD", &key, "*", "r", &text]).await;
    let (ms, seq) = place.split_once('-').unwrap();
    AttemptId::new(id, EntryId { ms: ms.parse().unwrap(), seq: seq.parse().unwrap() })
}

/// Sets counters of a webhook: `row` failures in a row, `pauses` of its breaker, `ok` and `fail` attempts.
pub async fn counters(client: &Client, id: &WebhookId, fields: &[(&str, u64)]) {
    let key = client.app.keys.of_webhook(partition(id), "count", id);
    set(client, &key, fields).await;
}

/// Counts attempts of this hour in a user's statistics.
pub async fn this_hour(client: &Client, user: &str, ok: u64, fail: u64) {
    let (tenant, hour) = (tenant(), clock::now().as_hours());
    let name = format!("stats:{}", owner_hash(&tenant, &UserId(user.into())));
    let key = client.app.keys.key(LAYOUT.home_of(&tenant), &name);
    let slot = hour % 168;
    let field = |what: &str| format!("{slot}:{what}");
    let (h, o, f) = (field("h"), field("ok"), field("fail"));
    set(client, &key, &[(h.as_str(), hour), (o.as_str(), ok), (f.as_str(), fail), ("pending", 7)]).await;
}

async fn set(client: &Client, key: &str, fields: &[(&str, u64)]) {
    let mut words = vec!["HSET".to_owned(), key.to_owned()];
    words.extend(fields.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]));
    run(client, &words.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

async fn run(client: &Client, words: &[&str]) -> String {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    let answer: redis::Value = client.app.redis.query(&command).await.unwrap();
    redis::from_redis_value(answer).unwrap_or_default()
}

fn partition(id: &WebhookId) -> Partition {
    LAYOUT.partition_of(&tenant(), id.shard())
}

fn tenant() -> Tenant {
    "org:acme".parse().unwrap()
}
