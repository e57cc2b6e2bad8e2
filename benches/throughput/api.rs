//! The service's API as the benchmark uses it.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::token;

const AT_ONCE: usize = 32;
const DEADLINE: Duration = Duration::from_secs(300);

/// A token of the organization with that number that may manage webhooks and publish.
pub fn token(organization: usize) -> String {
    token::token("bench", &format!("org{organization}"))
}

/// A client of one node.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
}

impl Api {
    pub fn new(address: &str) -> Self {
        Self { http: reqwest::Client::new(), base: format!("http://{address}") }
    }

    pub async fn call(&self, method: &str, path: &str, organization: usize, body: Option<&Value>) -> Value {
        let method = method.parse().expect("a method");
        let mut request =
            self.http.request(method, format!("{}{path}", self.base)).bearer_auth(token(organization));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.expect("the node answers");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// A webhook of that organization; its id.
    pub async fn create(&self, organization: usize, url: &str, more: Value) -> String {
        let mut body = json!({ "name": "x", "url": url, "events": ["lead.created"] });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let made = self.call("POST", "/api/webhooks", organization, Some(&body)).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// That many webhooks, each in the organization that `organization_of` says for its number.
    pub async fn create_many(
        &self,
        count: usize,
        organization_of: impl Fn(usize) -> usize,
        url: &str,
        more: &Value,
    ) {
        let create = |number: usize| self.create(organization_of(number), url, more.clone());
        stream::iter(0..count).map(create).buffer_unordered(AT_ONCE).collect::<Vec<String>>().await;
    }

    /// Waits until a metric of the management port at `address` has that value.
    pub async fn until_metric(&self, address: &str, name: &str, holds: impl Fn(f64) -> bool) {
        let start = Instant::now();
        let name = format!("salesos_webhooks_{name}");
        loop {
            if let Ok(answer) = self.http.get(format!("http://{address}/metrics")).send().await {
                let text = answer.text().await.unwrap_or_default();
                let value = text.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok());
                if value.is_some_and(&holds) {
                    return;
                }
            }
            assert!(start.elapsed() < DEADLINE, "{name} does not come to its value");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
