//! A client of the API: one user's token, and answers that say what they were when they are not what was expected.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{Token, eventually};

/// Where the node listens now; changes when it starts again.
#[derive(Clone, Debug, Default)]
pub struct Address(Arc<Mutex<String>>);

impl Address {
    /// The node listens there now.
    pub fn set(&self, address: &str) {
        address.clone_into(&mut self.0.lock().expect("no holder panics"));
    }

    /// `host:port`
    pub fn get(&self) -> String {
        self.0.lock().expect("no holder panics").clone()
    }
}

/// One user's view of the API.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    address: Address,
    token: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The request, for messages.
    pub request: String,
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub body: String,
}

/// A request that is being put together.
#[derive(Debug)]
pub struct Call {
    name: String,
    request: reqwest::RequestBuilder,
}

impl Client {
    /// A client with that token at that address.
    pub fn new(address: &Address, token: String) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client can be built");
        Self { http, address: address.clone(), token }
    }

    /// The same place with another token.
    pub fn with(&self, token: &Token) -> Self {
        Self { token: token.sign(), ..self.clone() }
    }

    /// The same user at another place.
    pub fn at(&self, address: &Address) -> Self {
        Self { address: address.clone(), ..self.clone() }
    }

    /// The same place with a text where the token belongs; empty = no `Authorization` at all.
    pub fn with_text(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Any request.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let name = format!("{method} {path}");
        let mut request = self.http.request(method, format!("http://{}{path}", self.address.get()));
        if !self.token.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.token));
        }
        Call { name, request }
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).send().await
    }

    /// `POST` without a body.
    pub async fn post_empty(&self, path: &str) -> Answer {
        self.call(Method::POST, path).send().await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path).json(body).send().await
    }

    /// `PATCH` with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PATCH, path).json(body).send().await
    }

    /// `DELETE`
    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path).send().await
    }

    /// Creates a webhook to `url` for `events`; `more` are further fields. Gives the answer's body.
    pub async fn create(&self, url: &str, events: &[&str], more: &Value) -> Value {
        let mut body = json!({ "name": "test", "url": url, "events": events });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.post("/api/webhooks", &body).await.expect(201)
    }

    /// One webhook as it is now.
    pub async fn webhook(&self, id: &str) -> Value {
        self.get(&format!("/api/webhooks/{id}")).await.expect(200)
    }

    /// Publishes; gives the event's id.
    pub async fn publish(&self, event_type: &str, data: &Value) -> String {
        let answer = self.post("/api/events", &json!({ "type": event_type, "data": data })).await.expect(202);
        text(&answer["id"])
    }

    /// Publishes many at once; gives their ids.
    pub async fn publish_batch(&self, events: &[Value]) -> Vec<String> {
        let answer = self.post("/api/events/batch", &json!({ "events": events })).await.expect(202);
        answer["events"].as_array().expect("events").iter().map(|event| text(&event["id"])).collect()
    }

    /// Every row of a webhook's log that the query selects, newest first, over all pages.
    pub async fn log(&self, id: &str, query: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        for page in 1.. {
            let path = format!("/api/webhooks/{id}/deliveries?limit=100&page={page}&{query}");
            let mut answer = self.get(&path).await.expect(200);
            let more = answer["logs"].as_array_mut().expect("logs");
            rows.append(more);
            if page >= answer["pagination"]["totalPages"].as_u64().expect("totalPages") {
                break;
            }
        }
        rows
    }

    /// The user's statistics.
    pub async fn stats(&self) -> Value {
        self.get("/api/webhooks/stats").await.expect(200)
    }

    /// Waits until that many deliveries (event × webhook) are counted and none is pending; gives the statistics.
    pub async fn settled(&self, deliveries: u64) -> Value {
        eventually("every delivery has ended", Duration::from_secs(60), async || {
            let stats = self.stats().await;
            let counts = &stats["deliveries"];
            (counts["total"] == deliveries && counts["pending"] == 0).then_some(stats)
        })
        .await
    }
}

impl Call {
    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// With a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.text(&body.to_string())
    }

    /// With a body that is said to be JSON.
    pub fn text(mut self, body: &str) -> Self {
        self.request = self.request.header("Content-Type", "application/json").body(body.to_owned());
        self
    }

    /// With a body that is said to be something else.
    pub fn raw(mut self, content_type: &str, body: &str) -> Self {
        self.request = self.request.header("Content-Type", content_type).body(body.to_owned());
        self
    }

    /// Sends it.
    pub async fn send(self) -> Answer {
        let name = self.name.clone();
        self.try_send().await.unwrap_or_else(|error| panic!("{name}: no answer: {error:?}"))
    }

    /// Sends it to a node that may be dead.
    pub async fn try_send(self) -> reqwest::Result<Answer> {
        let response = self.request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await?;
        Ok(Answer { request: self.name, status, headers, body })
    }
}

impl Answer {
    /// The body as JSON, if the status is the expected one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.request, self.body);
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}: {}", self.request, self.body))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header's value as a number.
    #[track_caller]
    pub fn number(&self, name: &str) -> u64 {
        let value = self.header(name).unwrap_or_else(|| panic!("{}: no header {name}", self.request));
        value.parse().unwrap_or_else(|_| panic!("{}: {name} is {value}", self.request))
    }

    /// Checks that this is an error of that status in the contract's format; gives its messages.
    #[track_caller]
    pub fn error(&self, status: u16) -> Vec<String> {
        let body = self.expect(status);
        let path = self.request.split(' ').nth(1).and_then(|path| path.split('?').next());
        assert_eq!(body["statusCode"], status, "{}", self.body);
        assert_eq!(body["path"].as_str(), path, "{}", self.body);
        assert_eq!(body["requestId"].as_str(), self.header("x-request-id"), "{}", self.body);
        assert!(body["error"].as_str().is_some_and(|phrase| !phrase.is_empty()), "{}", self.body);
        assert!(is_time(&body["timestamp"]), "{}", self.body);
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(6), "{}", self.body);
        match &body["message"] {
            Value::Array(all) => all.iter().map(text).collect(),
            one => vec![text(one)],
        }
    }
}

/// A JSON text.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

/// RFC 3339, UTC, with milliseconds.
pub fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        text.len() == 24 && text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok()
    })
}
