//! What a node lives through, with planted words in everything that passes through it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::planted::Planted;
use super::{Method, says_nonsense, signatures};
use crate::harness::{
    Client, Collector, NameServer, Receiver, Reply, SECRET, SOON, TestNode, TestRedis, Token, Told, Visitor,
    eventually, hidden, text,
};

/// Where the webhook that lives longest leads to.
const HOOK: &str = "/planted-path?key=planted-query";
const REDIS_PASSWORD: &str = "planted-redis-password";
/// Encrypts what is secret in Redis: 32 bytes.
const ENCRYPTION_KEY: &[u8; 32] = b"planted-encryption-key-012345678";

/// A node with all that it talks to, and what it knows that nobody may read.
pub struct Life {
    pub node: TestNode,
    pub planted: Planted,
    /// The id of a webhook of ann.
    pub webhook: String,
    redis: TestRedis,
    collector: Collector,
    receiver: Receiver,
    names: NameServer,
}

impl Life {
    /// A node, talkative, with a password for its Redis, and a webhook.
    pub async fn begin(format: &str, level: &str) -> Self {
        let (mut redis, collector, receiver, names) = (
            TestRedis::start(),
            Collector::start().await,
            Receiver::start().await,
            NameServer::start().await,
        );
        names.tell("inside.test", Told::addresses(&["10.0.0.1"]));
        names.tell("rebound.test", Told::addresses(&["93.184.215.14"]));
        redis.require_password(REDIS_PASSWORD);
        let settings = [
            ("REDIS__URL", format!("redis://:{REDIS_PASSWORD}@127.0.0.1:{}", redis.listen_on_tcp().await)),
            ("DELIVERY__DNS_SERVERS", names.address()),
            ("TELEMETRY__OTLP_ENDPOINT", collector.url()),
            ("TELEMETRY__LOG_LEVEL", level.to_owned()),
            ("TELEMETRY__LOG_FORMAT", format.to_owned()),
            ("SECURITY__ENCRYPTION_KEY", STANDARD.encode(ENCRYPTION_KEY)),
        ];
        let node = TestNode::start_at(&settings).await;
        let mut planted = Planted::default();
        planted.add("the key of tokens", SECRET);
        planted.add("the password of Redis", REDIS_PASSWORD);
        planted.add("the key of what is stored", std::str::from_utf8(ENCRYPTION_KEY).expect("it is text"));
        let mut life = Self { node, planted, webhook: String::new(), redis, collector, receiver, names };
        let own = json!({
            "description": "planted-description",
            "headers": { "Authorization": "Bearer planted-header", "X-Own": "planted-own" },
            "retrySchedule": [0, 0, 0, 0],
        });
        life.webhook = life.create(&life.receiver.url(HOOK), &own).await;
        life
    }

    fn ann(&self) -> Client {
        self.node.user("ann", "acme")
    }

    fn crm(&self) -> Client {
        self.node.publisher("acme")
    }

    async fn create(&mut self, url: &str, more: &Value) -> String {
        let made = self.ann().create(url, &["lead.*"], more).await;
        self.planted.add_secret("a webhook's secret", &text(&made["secret"]));
        text(&made["id"])
    }

    /// Publishes one event with planted data; gives its id.
    async fn publish(&self) -> String {
        let event =
            json!({ "type": "lead.created", "data": { "planted-key": { "name": "planted-payload" } } });
        let call = self.crm().call(Method::POST, "/api/events?token=planted-parameter");
        let call = call.header("tracestate", "planted=planted-state").header("baggage", "planted-bag=1");
        text(&call.json(&event).send().await.expect(202)["id"])
    }

    /// The rows of an event in a webhook's log, once there are so many.
    async fn rows(&self, webhook: &str, event: &str, count: usize) -> Vec<Value> {
        let ann = self.ann();
        eventually("the attempts are logged", SOON, async || {
            Some(ann.log(webhook, &format!("eventId={event}")).await).filter(|rows| rows.len() >= count)
        })
        .await
    }

    /// Failures and a success of one event, duplicates, batches; the log of deliveries shows none of the headers.
    pub async fn deliver(&mut self) {
        let failure =
            |status: u16| Reply::status(status).body("planted-answer").header("X-Reply", "planted-reply");
        self.receiver.script(
            HOOK,
            &[
                failure(500),
                failure(302).header("Location", "https://planted-location/"),
                failure(400).header("Set-Cookie", "planted-cookie=1"),
                Reply::close(),
                Reply::status(200).body("planted-thanks"),
            ],
        );
        let event = self.publish().await;
        let rows = self.rows(&self.webhook, &event, 5).await;
        let ann = self.ann();
        let attempt = text(&rows[0]["id"]);
        let path = format!("/api/webhooks/{}/deliveries/{attempt}", self.webhook);
        let shown = ann.get(&path).await.expect(200)["requestHeaders"].to_string();
        self.planted.is_marked_nowhere_in("the headers of an attempt", &shown);
        ann.post_empty(&format!("{path}/retry")).await.expect(202);

        let body = |value: &str| json!({ "type": "lead.updated", "data": { "name": value } });
        let crm = self.crm();
        let keyed = |value| {
            crm.call(Method::POST, "/api/events").header("Idempotency-Key", "planted-key").json(&body(value))
        };
        keyed("planted-one").send().await.expect(202);
        keyed("planted-one").send().await.expect(202);
        let conflict = keyed("planted-two").send().await;
        conflict.error(409);
        self.planted.is_marked_nowhere_in("an answer", &conflict.body);
        crm.publish_batch(&[body("planted-three"), body("planted-four")]).await;
    }

    /// Every kind of failure that an endpoint can be the reason of.
    pub async fn fail(&mut self) {
        self.receiver.script("/planted-hang", &[Reply::hang()]);
        self.receiver.script("/planted-gone", &[Reply::status(410).body("planted-gone")]);
        self.receiver.script("/planted-busy", &[Reply::status(429).header("Retry-After", "planted-later")]);
        let plain = self.receiver.url("/planted-path");
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let refusing = format!("http://{}/planted-path", closed.local_addr().expect("it is bound"));
        drop(closed);
        let once = json!({ "retryAttempts": 0, "timeoutSeconds": 1, "headers": { "X-Own": "planted-own" } });
        let mut made = Vec::new();
        for (url, kind) in [
            (self.receiver.url("/planted-hang"), "timeout"),
            (self.receiver.url("/planted-gone"), "http_status"),
            (self.receiver.url("/planted-busy"), "http_status"),
            (plain.replace("http://", "https://"), "tls"),
            (refusing, "connect"),
            ("https://missing.test/planted-path".to_owned(), "dns"),
            (says_nonsense().await, "protocol"),
        ] {
            made.push((self.create(&url, &once).await, kind));
        }
        let rebound = self.create("https://rebound.test/planted-path", &once).await;
        self.names.tell("rebound.test", Told::addresses(&["10.0.0.1"]));
        made.push((rebound, "blocked_address"));
        let event = self.publish().await;
        for (webhook, kind) in &made {
            let row = self.rows(webhook, &event, 1).await.remove(0);
            assert_eq!(row["errorKind"], *kind, "{row}");
            self.planted.is_marked_nowhere_in("a message", &row["errorMessage"].to_string());
            let since = json!({ "since": "2020-01-01T00:00:00Z" });
            let recovered = self.ann().post(&format!("/api/webhooks/{webhook}/recover"), &since).await;
            assert!(recovered.status < 500, "{recovered:?}");
            let tested = self.ann().post_empty(&format!("/api/webhooks/{webhook}/test")).await.expect(200);
            self.planted.is_marked_nowhere_in("the message of a test", &tested["error"].to_string());
            self.ann().delete(&format!("/api/webhooks/{webhook}")).await.expect(204);
        }
    }

    /// Everything that an owner does with a webhook.
    pub async fn manage(&mut self) {
        let ann = self.ann();
        let path = format!("/api/webhooks/{}", self.webhook);
        for grace in [3600, 3600, 0] {
            let body = json!({ "gracePeriodSeconds": grace });
            let renewed = ann.post(&format!("{path}/regenerate-secret"), &body).await.expect(200);
            self.planted.add_secret("a renewed secret", &text(&renewed["secret"]));
            let event = self.publish().await;
            self.rows(&self.webhook, &event, 1).await;
        }
        let filter = json!({ "planted-key.name": "planted-payload" });
        let patch =
            json!({ "headers": { "X-Own": "planted-other" }, "filter": filter, "name": "planted-renamed" });
        ann.patch(&path, &patch).await.expect(200);
        let tried = json!({ "data": { "planted-key": "planted-data" } });
        ann.post(&format!("{path}/filter-test"), &tried).await.expect(200);
        for action in ["deactivate", "activate", "reset-failures", "test"] {
            ann.post_empty(&format!("{path}/{action}")).await.expect(200);
        }
        for page in ["", "/stats", "/deliveries"] {
            ann.get(&format!("{path}{page}?planted-query")).await.expect(200);
        }
        let event = self.publish().await;
        self.rows(&self.webhook, &event, 1).await;
    }

    /// The pages, and what is typed into them.
    pub async fn visit(&mut self) {
        let token = Token::user("ann").org("acme").sign();
        let (visitor, answer) = Visitor::sign_in(self.node.address(), &token).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        self.planted.add_plain("a visitor's token", &token);
        for wrong in ["planted-token", "planted-token.planted-token.planted-token"] {
            let (_, answer) = Visitor::sign_in(self.node.address(), wrong).await;
            assert_eq!(answer.status, 401);
            self.planted.is_marked_nowhere_in("the form for a token", &answer.body);
        }
        let first = visitor.open("/dashboard").await;
        self.planted.add_plain("the mark of a session", hidden(&first.body, "csrf").expect("it is marked"));
        let path = format!("/dashboard/webhooks/{}", self.webhook);
        let log = self.ann().log(&self.webhook, "").await;
        let attempt = format!("/deliveries/{}", text(&log[0]["id"]));
        for page in [
            "",
            "/edit",
            "/deliveries?event=planted-event",
            &attempt,
            "/test",
            "/verify",
            "/secret",
            "/recover",
            "/delete",
        ] {
            let page = visitor.open(&format!("{path}{page}")).await;
            assert_eq!(page.status, 200, "{page:?}");
        }
        assert_eq!(visitor.open("/dashboard/webhooks?q=planted-search").await.status, 200);
        let test = format!("{path}/test");
        let tested =
            visitor.send(&test, &[("event", "lead.created"), ("data", "{\"planted-key\":\"planted-data\"}")]);
        assert_eq!(tested.await.status, 200);
        let broken = visitor
            .send(&format!("{path}/test"), &[("event", "lead.created"), ("data", "planted-data")])
            .await;
        assert_eq!(broken.status, 400);
        let page = visitor.open(&format!("{path}/secret")).await;
        let once = hidden(&page.body, "form").expect("it is sent once");
        let fields = [("form", once), ("gracePeriodSeconds", "0")];
        let renewed = visitor.send(&format!("{path}/secret"), &fields).await;
        let secret = renewed
            .body
            .split(|c: char| !(c.is_ascii_alphanumeric() || "_+/=".contains(c)))
            .find(|word| word.starts_with("whsec_") && word.len() > 40);
        let secret = secret.unwrap_or_else(|| panic!("it is shown once: {renewed:?}"));
        self.planted.add_secret("a secret that a page showed", secret);
        let unmarked = visitor.send_unmarked(&format!("{path}/pause"), &[("csrf", "planted-mark")]).await;
        assert_eq!(unmarked.status, 403);
        self.planted.is_marked_nowhere_in("a refusal", &unmarked.body);
    }

    /// Entries and records in Redis that are none.
    pub async fn meet_garbage(&mut self) {
        let all: Vec<String> = self.redis.command(&["KEYS", "sw:*:webhooks"]);
        let of_it = all.iter().find(|key| self.redis.command::<bool>(&["HEXISTS", key, &self.webhook]));
        let partition = of_it.expect("it is stored").trim_end_matches("webhooks").to_owned();
        let junk = "{\"planted-junk\":\"planted-record";
        for stream in [format!("{partition}mbox:{}", self.webhook), format!("{partition}events")] {
            let _: String = self.redis.command(&["XADD", &stream, "*", "planted-field", junk]);
        }
        let retries = format!("{partition}retry:{}", self.webhook);
        let _: u64 = self.redis.command(&["ZADD", &retries, "0", "planted-retry"]);
        let _: u64 = self.redis.command(&["ZADD", &format!("{partition}wake"), "0", &self.webhook]);
        let broken = self.create(&self.receiver.url("/planted-broken"), &json!({})).await;
        let key = all.iter().find(|key| self.redis.command::<bool>(&["HEXISTS", key, &broken]));
        let _: u64 = self.redis.command(&["HSET", key.expect("it is stored"), &broken, junk]);
        let answer = self.ann().get(&format!("/api/webhooks/{broken}")).await;
        assert!(answer.status >= 400, "{answer:?}");
        self.planted.is_marked_nowhere_in("an answer", &answer.body);
        // From here on everything is read anew.
        self.redis.cut_connections();
        self.flows_again().await;
        let _: u64 = self.redis.command(&["HDEL", key.expect("it is stored"), &broken]);
    }

    /// Redis is cut off, hangs, takes no password, and wants another one.
    pub async fn lose_redis(&mut self) {
        self.redis.cut_connections();
        self.flows_again().await;
        self.redis.freeze();
        self.is_away().await;
        self.redis.thaw();
        self.flows_again().await;
        self.redis.require_password("planted-other-password");
        self.redis.cut_connections();
        self.is_away().await;
        self.redis.require_password(REDIS_PASSWORD);
        self.flows_again().await;
    }

    /// Not ready; and what it answers then holds nothing of the reason.
    async fn is_away(&self) {
        eventually("it is not ready", SOON, async || (!self.node.is_ready().await).then_some(())).await;
        let event = json!({ "type": "lead.created", "data": { "planted-key": "planted-payload" } });
        for call in [
            self.crm().call(Method::POST, "/api/events").json(&event),
            self.ann().call(Method::GET, "/api/webhooks?planted-query"),
        ] {
            let answer = call.send().await;
            assert_eq!(answer.status, 503, "{answer:?}");
            self.planted.is_marked_nowhere_in("an answer", &answer.body);
        }
        let health = self.node.management().call(Method::GET, "/health/ready").send().await;
        self.planted.is_absent_from("the health", &health.body);
    }

    async fn flows_again(&self) {
        eventually("it is ready", SOON, async || self.node.is_ready().await.then_some(())).await;
        let event =
            json!({ "type": "lead.created", "data": { "planted-key": { "name": "planted-payload" } } });
        let event = eventually("it takes events", SOON, async || {
            let answer = self.crm().post("/api/events", &event).await;
            (answer.status == 202).then(|| text(&answer.json()["id"]))
        })
        .await;
        let ann = self.ann();
        eventually("the event is delivered", Duration::from_secs(60), async || {
            let page = format!("/api/webhooks/{}/deliveries?eventId={event}", self.webhook);
            let answer = ann.get(&page).await;
            (answer.status == 200 && answer.json()["pagination"]["total"] != 0).then_some(())
        })
        .await;
    }

    /// Looks at every page, stops the node, and searches all that it ever said; gives that.
    pub async fn end(mut self) -> String {
        for signature in signatures(&self.receiver, HOOK) {
            for entry in signature.split(' ') {
                self.planted.add_plain("a signature", entry.trim_start_matches("v1,").trim_end_matches('='));
            }
        }
        for page in ["/metrics", "/cluster", "/log-level", "/health/live", "/health/ready"] {
            let answer = self.node.management().get(page).await;
            self.planted.is_absent_from(page, &answer.body);
        }
        let last = self.publish().await;
        self.collector.spans_of(&last, 2).await;
        self.node.terminate();
        let status = self.node.ended(SOON).await;
        assert!(status.success(), "{status}");
        eventually("its last word", SOON, async || self.node.all_said().contains("stopped").then_some(()))
            .await;
        let said = self.node.all_said();
        self.planted.is_absent_from("what it said", &said);
        // A span may name the host of an endpoint (`server.address`), a line may not.
        for host in ["rebound.test", "missing.test", "inside.test", "crm.test"] {
            assert!(!said.contains(host), "{host} in what it said");
        }
        self.planted.is_absent_from("a trace", &self.collector.all_sent());
        assert!(said.contains(&last), "the log is whole");
        said
    }
}
