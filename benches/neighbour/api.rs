//! The node's API, as far as the benchmark needs it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::node::{self, Node};

/// What an endpoint is given.
const TIMEOUT_SECONDS: u32 = 30;
/// The longest wait for anything.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A client of the node.
pub struct Api {
    http: reqwest::Client,
    api: String,
    management: String,
}

impl Api {
    /// The client, when the node is ready.
    pub async fn of(node: &Node) -> Self {
        let http = reqwest::Client::new();
        let this = Self { http, api: node.api.clone(), management: node.management.clone() };
        let start = Instant::now();
        let asked = || this.request(reqwest::Method::GET, "/api/webhooks", "acme").send();
        while asked().await.map_or(true, |answer| answer.status() != 200) {
            assert!(start.elapsed() < DEADLINE, "the node is not ready");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        this
    }

    /// Publishes one event; the call begins when the future is first polled.
    pub fn publish(&self, organization: &str, id: &str) -> impl Future<Output = ()> + use<> {
        let body = json!({ "type": "lead.created", "id": id, "data": { "name": "Ada Lovelace" } });
        let request = self.request(reqwest::Method::POST, "/api/events", organization).body(body.to_string());
        async move {
            let answer = request.send().await.expect("the node answers");
            assert_eq!(answer.status(), 202, "the event is taken");
        }
    }

    /// Publishes many in one call.
    pub async fn publish_at_once(&self, organization: &str, event_type: &str, count: usize) {
        let event = json!({ "type": event_type, "data": { "name": "Ada Lovelace" } });
        let body = json!({ "events": vec![event; count] });
        let request = self.request(reqwest::Method::POST, "/api/events/batch", organization);
        let answer = request.body(body.to_string()).send().await.expect("the node answers");
        assert_eq!(answer.status(), 202, "the events are taken");
    }

    /// Creates a webhook; its id.
    pub async fn create(&self, organization: &str, url: &str, events: &str) -> String {
        let body = json!({ "name": "x", "url": url, "events": [events], "timeoutSeconds": TIMEOUT_SECONDS });
        let request = self.request(reqwest::Method::POST, "/api/webhooks", organization);
        let answer = request.body(body.to_string()).send().await.expect("the node answers");
        let body: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        body["id"].as_str().unwrap_or_else(|| panic!("no webhook: {body}")).to_owned()
    }

    /// Deletes a webhook, and with it what waits for it.
    pub async fn delete(&self, organization: &str, id: &str) {
        let path = format!("/api/webhooks/{id}");
        let answer = self.request(reqwest::Method::DELETE, &path, organization).send().await;
        assert_eq!(answer.expect("the node answers").status(), 204);
    }

    /// Waits until so many attempts are on their way.
    pub async fn await_in_flight(&self, is_enough: impl Fn(f64) -> bool) {
        let start = Instant::now();
        loop {
            let count = self.in_flight().await;
            if is_enough(count) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{count} attempts are on their way");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn in_flight(&self) -> f64 {
        let answer = self.http.get(format!("http://{}/metrics", self.management)).send().await;
        let text = answer.expect("the node answers").bytes().await.expect("a body");
        let text = String::from_utf8_lossy(&text).into_owned();
        let gauge = |line: &str| line.strip_prefix("salesos_webhooks_attempts_in_flight ")?.parse().ok();
        text.lines().find_map(gauge).expect("it is measured")
    }

    fn request(&self, method: reqwest::Method, path: &str, organization: &str) -> reqwest::RequestBuilder {
        let token = node::token("bench", organization);
        let request = self.http.request(method, format!("http://{}{path}", self.api));
        request.bearer_auth(token).header("content-type", "application/json")
    }
}
