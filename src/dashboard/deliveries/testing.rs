//! Rows, and a log to look at, for the tests of these pages.

use serde_json::json;

use crate::api::App;
use crate::api::testing::{Client, LAYOUT, config, user};
use crate::dashboard::routes::PAGES;
use crate::dashboard::testing::Browser;
use crate::domain::{AttemptId, AttemptRow, ErrorKind, EventId, Millis, Tenant, WebhookId};
use crate::store::attempts::encode;
use crate::store::keys::event_hash;
use crate::store::testing::TestRedis;

/// What people put where it does harm, if it is not escaped.
pub const SCRIPT: &str = "\"><script>alert(1)</script>";
/// The time of [`row`].
pub const NOW: Millis = Millis(1_768_473_000_000);

/// An id of the right kind.
pub fn webhook_id() -> WebhookId {
    "wh_00aaaaaaaaaaaaaaaaaaaaaa".parse().expect("it is one")
}

/// A success.
pub fn row(event_type: &str) -> AttemptRow {
    AttemptRow {
        id: None,
        event_id: "evt_1".parse().expect("it is one"),
        event_type: event_type.into(),
        url: "https://crm.example.com/hook".into(),
        at: NOW,
        attempt: 1,
        elapsed_ms: 12,
        status: Some(200),
        error_kind: None,
        error_message: None,
        next_retry_at: None,
        response_body: None,
        body_beside: false,
        custom_headers: vec!["X-Key".into()],
        is_test: false,
    }
}

/// A failure for good, without an answer.
pub fn failed(kind: ErrorKind) -> AttemptRow {
    let error_message = Some("no complete answer within 30 s".into());
    AttemptRow { status: None, error_kind: Some(kind), error_message, ..row("lead.created") }
}

/// One webhook of `ann` in `acme`, its log, and ann before a browser.
pub struct Room {
    pub redis: TestRedis,
    pub ann: Browser,
    pub webhook: WebhookId,
    tenant: Tenant,
}

impl Room {
    pub async fn new() -> Self {
        let redis = TestRedis::start().await;
        let mut config = config();
        config.delivery.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
        let api = Client::with_pages(config.clone(), &redis, &PAGES).await;
        let body = json!({"name": SCRIPT, "url": "http://127.0.0.1:9/?%22%3E", "events": ["*"]});
        let made = api.post(&user("ann"), "/api/webhooks", body).await.json();
        let webhook = made["id"].as_str().unwrap().parse().unwrap();
        let ann = Browser::with(config, &user("ann"), &redis).await;
        Self { redis, ann, webhook, tenant: "org:acme".parse().unwrap() }
    }

    /// Somebody else before a browser.
    pub async fn browser(&self, token: &str) -> Browser {
        Browser::of(token, &self.redis).await
    }

    /// The address of a page of the webhook.
    pub fn at(&self, rest: &str) -> String {
        format!("/dashboard/webhooks/{}{rest}", self.webhook)
    }

    pub fn app(&self) -> &App {
        &self.ann.client.app
    }

    pub async fn run(&self, words: &[&str]) -> String {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        let answer: redis::Value = self.app().redis.query(&command).await.unwrap();
        redis::from_redis_value(answer).unwrap_or_default()
    }

    pub fn key(&self, name: &str) -> String {
        self.app().keys.key(LAYOUT.partition_of(&self.tenant, self.webhook.shard()), name)
    }

    /// Keeps a body for an event.
    pub async fn keep(&self, event: &str, body: &str) {
        self.run(&["HSET", &self.record(event), "body", body]).await;
    }

    /// Logs an attempt; gives the address of its page.
    pub async fn log(&self, row: AttemptRow) -> String {
        let answer = row.response_body.clone();
        let (text, beside) = encode(row, answer);
        let id = self.run(&["XADD", &self.key(&format!("log:{}", self.webhook)), "*", "r", &text]).await;
        if let Some(body) = beside {
            self.run(&["XADD", &self.key(&format!("answer:{}", self.webhook)), &id, "b", &body]).await;
        }
        self.at(&format!("/deliveries/{}", AttemptId::new(&self.webhook, id.parse().unwrap())))
    }
}

impl Room {
    /// A delivery that failed for good.
    pub async fn dead(&self, event: &str) {
        let list = self.key(&format!("dead:{}", self.webhook));
        self.run(&["XADD", &list, "*", "e", event, "t", "lead.created", "n", "4"]).await;
        self.keep(event, "{}").await;
        self.stand(event, "dead 17 4").await;
    }

    /// How an event stands at the webhook.
    pub async fn stand(&self, event: &str, status: &str) {
        self.run(&[
            "HSET",
            &self.record(event),
            "type",
            "lead.created",
            &format!("to:{}", self.webhook),
            status,
        ])
        .await;
    }

    fn record(&self, event: &str) -> String {
        let id: EventId = event.parse().unwrap();
        self.key(&format!("event:{}", event_hash(&self.tenant, &id)))
    }

    /// The webhook is switched off.
    pub async fn pause(&self) {
        let path = format!("/api/webhooks/{}/deactivate", self.webhook);
        let answer = self.ann.client.post(&user("ann"), &path, json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
