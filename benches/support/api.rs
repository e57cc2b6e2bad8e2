//! What benchmarks ask of a node: webhooks, events, and the delay until a healthy endpoint has them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::node;

/// The longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// When each event came.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<HashMap<String, Instant>>>);

/// A node's API, as an organization's only user sees it.
pub struct Api {
    http: reqwest::Client,
    address: String,
}

impl Api {
    /// The API of a node that is or soon will be ready: waits for that.
    pub async fn of(node: &node::Node) -> Self {
        let api = Self { http: reqwest::Client::new(), address: node.api.clone() };
        let start = Instant::now();
        let request = || api.request(Method::GET, "/api/webhooks", "acme").send();
        while request().await.map_or(true, |answer| answer.status() != 200) {
            assert!(start.elapsed() < DEADLINE, "the node is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        api
    }

    /// Publishes; the event must be taken.
    pub fn publish(&self, organization: &str, id: &str, data: &Value) -> impl Future<Output = ()> + use<> {
        let body = json!({ "type": "lead.created", "id": id, "data": data });
        self.post("/api/events", organization, &body, 202)
    }

    /// Publishes many at once.
    pub fn publish_batch(&self, organization: &str, events: &[Value]) -> impl Future<Output = ()> + use<> {
        self.post("/api/events/batch", organization, &json!({ "events": events }), 202)
    }

    fn post(
        &self,
        path: &str,
        organization: &str,
        body: &Value,
        status: u16,
    ) -> impl Future<Output = ()> + use<> {
        let request = self.request(Method::POST, path, organization).body(body.to_string());
        async move {
            let answer = request.send().await.expect("the node answers");
            assert_eq!(answer.status(), status);
        }
    }

    /// A webhook for all events, with these settings; gives its id.
    pub async fn create(&self, organization: &str, url: &str, settings: &Value) -> String {
        let mut body = json!({ "name": "x", "url": url, "events": ["*"] });
        for (name, value) in settings.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let request = self.request(Method::POST, "/api/webhooks", organization).body(body.to_string());
        let made = json_of(request).await;
        made["id"].as_str().unwrap_or_else(|| panic!("no webhook: {made}")).to_owned()
    }

    /// Deletes a webhook.
    pub async fn delete(&self, organization: &str, id: &str) {
        let request = self.request(Method::DELETE, &format!("/api/webhooks/{id}"), organization);
        assert_eq!(request.send().await.expect("the node answers").status(), 204);
    }

    /// The log of a webhook, once it has that many rows.
    pub async fn log(&self, organization: &str, id: &str, rows: usize) -> Vec<Value> {
        let path = format!("/api/webhooks/{id}/deliveries?limit=100");
        let start = Instant::now();
        loop {
            let body = json_of(self.request(Method::GET, &path, organization)).await;
            let logs = body["logs"].as_array().cloned().unwrap_or_default();
            if logs.len() >= rows {
                return logs;
            }
            assert!(start.elapsed() < DEADLINE, "{} of {rows} rows", logs.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Publishes at a steady rate for `seconds`, to each of `organizations`, and waits for what arrives; the spans in
    /// milliseconds.
    pub async fn steadily(
        &self,
        arrivals: &Arrivals,
        organizations: &[&str],
        rate: u32,
        seconds: u32,
    ) -> Vec<f64> {
        arrivals.0.lock().expect("no holder panics").clear();
        let round: u64 = rand::random();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        let (mut sent, mut tasks) = (HashMap::new(), Vec::new());
        for number in 0..rate * seconds {
            // From when it should be sent: a publisher that falls behind is part of what is felt.
            let due = ticks.tick().await.into_std();
            let id = format!("e{round:016x}-{number}");
            for organization in organizations {
                tasks.push(tokio::spawn(self.publish(organization, &id, &json!({ "name": "Ada Lovelace" }))));
            }
            sent.insert(id, due);
        }
        for task in tasks {
            task.await.expect("the event is taken");
        }
        let start = Instant::now();
        loop {
            let arrived = arrivals.0.lock().expect("no holder panics").clone();
            if sent.keys().all(|id| arrived.contains_key(id)) {
                return sent.iter().map(|(id, due)| (arrived[id] - *due).as_secs_f64() * 1000.0).collect();
            }
            assert!(start.elapsed() < DEADLINE, "{} of {} arrived", arrived.len(), sent.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn request(&self, method: Method, path: &str, organization: &str) -> reqwest::RequestBuilder {
        let token = node::token("bench", organization);
        let request = self.http.request(method, format!("http://{}{path}", self.address));
        request.bearer_auth(token).header("content-type", "application/json")
    }
}

async fn json_of(request: reqwest::RequestBuilder) -> Value {
    let answer = request.send().await.expect("the node answers");
    serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
}

/// The value that `percent` of them do not exceed.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100).saturating_sub(1)]
}

/// An endpoint that notes when each event arrives and answers at once; gives its URL.
pub async fn serve_healthy(arrivals: Arrivals) -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, arrivals.clone()));
        }
    });
    url
}

async fn answer_all(stream: TcpStream, arrivals: Arrivals) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = tokio::io::BufReader::new(stream);
    let (mut line, mut id, mut length) = (String::new(), String::new(), 0);
    while stream.read_line(&mut line).await? > 0 {
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("webhook-id") => id = value.to_owned(),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap_or_default();
            }
            None if line.trim_end().is_empty() => {
                stream.read_exact(&mut vec![0; length]).await?;
                let at = Instant::now();
                arrivals.0.lock().expect("no holder panics").entry(std::mem::take(&mut id)).or_insert(at);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
            }
            _ => {}
        }
        line.clear();
    }
    Ok(())
}

/// A free port, and the URL of an endpoint there.
pub async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, format!("http://{address}/"))
}
