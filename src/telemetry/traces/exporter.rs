//! Sends spans to the collector, a batch at a time, on a thread of its own.
//!
//! What the collector does not take is tried again a few times and then dropped and counted; meanwhile the queue fills,
//! and what finds it full is dropped at once. The HTTP client follows no proxy and no redirect. It has no address guard:
//! the collector is the operator's, and usually at a private address.
//! Source: OTLP specification 1.x, "OTLP/HTTP response" (what may be tried again, partial success).

use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, redirect, retry};
use tokio::sync::{mpsc, oneshot, watch};
use url::Url;

use super::span::text;
use crate::clock;
use crate::domain::NodeId;
use crate::telemetry::events as facts;

/// Spans that wait to be sent; about a kilobyte each.
const QUEUE: usize = 8192;
/// Spans in one request.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const COLLECT: Duration = Duration::from_secs(1);
/// The longest wait for the collector's answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// The waits before a batch is sent again.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// The longest answer that is read.
const MOST_ANSWER: usize = 64 << 10;
/// How often it is told that the collector takes nothing.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The exporter cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TLS backend would not start.
    #[error("the HTTP client for traces could not start")]
    Client(#[from] reqwest::Error),
    /// The operating system gives no thread or no runtime.
    #[error("the thread that sends traces could not start")]
    Thread(#[from] io::Error),
}

/// The running exporter.
#[derive(Debug)]
pub struct Exporter {
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

impl Exporter {
    /// Sends what waits, for at most `limit`; what is left then is lost.
    pub async fn stop(self, limit: Duration) {
        self.stop.send_replace(true);
        if tokio::time::timeout(limit, self.ended).await.is_err() {
            tracing::warn!("the last traces were not taken in time");
        }
    }
}

/// Starts the thread; gives the way into its queue.
pub(super) fn start(endpoint: Url, node: &NodeId) -> Result<(mpsc::Sender<Span>, Exporter), Error> {
    let (sender, queue) = mpsc::channel(QUEUE);
    let (stop, stopping) = watch::channel(false);
    let (tell, ended) = oneshot::channel();
    let work = Work { client: client()?, endpoint, resource: resource(node), queue, stopping, trouble: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("traces".to_owned()).spawn(move || {
        runtime.block_on(work.run());
        // Nobody waits for it but at the end.
        let _ = tell.send(());
    })?;
    Ok((sender, Exporter { stop, ended }))
}

fn client() -> reqwest::Result<Client> {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .http1_only()
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .pool_max_idle_per_host(1)
        .build()
}

fn resource(node: &NodeId) -> Resource {
    let attributes = vec![
        text("service.name", "salesos-webhooks"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", node.as_str()),
    ];
    Resource { attributes, ..Resource::default() }
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the collector answered {0}")]
    Status(StatusCode),
    #[error("the collector does not answer")]
    Silent(#[source] reqwest::Error),
}

impl Refusal {
    fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => [429, 502, 503, 504].contains(&status.as_u16()),
            Self::Silent(_) => true,
        }
    }

    /// For the log; names no URL.
    fn cause(&self) -> String {
        let mut next = std::error::Error::source(self);
        let mut words = Vec::new();
        while let Some(cause) = next {
            words.push(cause.to_string());
            next = cause.source();
        }
        words.join(": ")
    }
}

/// The collector takes nothing.
struct Trouble {
    told: Instant,
    dropped: u64,
}

struct Work {
    client: Client,
    endpoint: Url,
    resource: Resource,
    queue: mpsc::Receiver<Span>,
    stopping: watch::Receiver<bool>,
    trouble: Option<Trouble>,
}

impl Work {
    /// Until it is stopped and the queue is empty.
    async fn run(mut self) {
        loop {
            let batch = self.next_batch().await;
            if batch.is_empty() {
                return;
            }
            self.export(batch).await;
        }
    }

    /// Waits for a span and a moment for others; when stopping, what is there. Empty = stopped.
    async fn next_batch(&mut self) -> Vec<Span> {
        let mut batch = Vec::new();
        let Self { queue, stopping, .. } = self;
        let stopped = async || {
            // A handle that is gone stops it as well.
            let _ = stopping.clone().wait_for(|stop| *stop).await;
        };
        tokio::select! {
            biased;
            () = stopped() => queue.close(),
            _ = queue.recv_many(&mut batch, BATCH) => {}
        }
        let collecting = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if queue.recv_many(&mut batch, room).await == 0 {
                    return;
                }
            }
        };
        if *stopping.borrow() {
            // Closed: it ends with what is there.
            collecting.await;
            return batch;
        }
        tokio::select! {
            () = collecting => {}
            () = stopped() => {}
            () = tokio::time::sleep(COLLECT) => {}
        }
        batch
    }

    async fn export(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let body = Bytes::from(self.message(spans).encode_to_vec());
        let mut waits = AGAIN_AFTER.iter();
        loop {
            match (self.send(body.clone()).await, waits.next()) {
                (Ok(rejected), _) => return self.taken(count, rejected),
                (Err(refusal), Some(wait)) if refusal.may_pass() && !*self.stopping.borrow() => {
                    let _ = tokio::time::timeout(*wait, self.stopping.wait_for(|stop| *stop)).await;
                }
                (Err(refusal), _) => return self.refused(count, &refusal),
            }
        }
    }

    fn message(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: "salesos-webhooks".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let resource = Some(self.resource.clone());
        let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
        ExportTraceServiceRequest { resource_spans }
    }

    /// Sends one request; gives how many spans the collector says that it rejected.
    async fn send(&self, body: Bytes) -> Result<u64, Refusal> {
        let request = self.client.post(self.endpoint.clone()).header(CONTENT_TYPE, "application/x-protobuf");
        let silent = |error: reqwest::Error| Refusal::Silent(error.without_url());
        let mut response = request.body(body).send().await.map_err(silent)?;
        if !response.status().is_success() {
            return Err(Refusal::Status(response.status()));
        }
        let mut answer = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(silent)? {
            if answer.len() + chunk.len() > MOST_ANSWER {
                return Ok(0);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(rejected(&answer))
    }

    fn taken(&mut self, count: u64, rejected: u64) {
        let rejected = rejected.min(count);
        facts::spans_exported(count - rejected);
        facts::spans_dropped(rejected);
        if self.trouble.take().is_some() {
            facts::collector_takes_again();
        }
    }

    /// Tells the first time, and then now and then.
    fn refused(&mut self, count: u64, refusal: &Refusal) {
        facts::spans_dropped(count);
        let now = clock::monotonic();
        let dropped = count + self.trouble.as_ref().map_or(0, |trouble| trouble.dropped);
        match &mut self.trouble {
            Some(trouble) if now.saturating_duration_since(trouble.told) < TELL_EVERY => {
                trouble.dropped = dropped;
            }
            _ => {
                facts::collector_refuses(dropped, refusal, &refusal.cause());
                self.trouble = Some(Trouble { told: now, dropped: 0 });
            }
        }
    }
}

/// What an answer says of spans that were not taken. One that cannot be read says nothing.
fn rejected(answer: &[u8]) -> u64 {
    let response = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    let rejected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
    u64::try_from(rejected).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, again) in
            [(429, true), (503, true), (502, true), (504, true), (500, false), (400, false), (302, false)]
        {
            let refusal = Refusal::Status(StatusCode::from_u16(status).unwrap());
            assert_eq!(refusal.may_pass(), again, "{status}");
        }
    }

    #[test]
    fn a_partial_success_tells_what_was_rejected() {
        let answer = |rejected_spans| {
            let partial_success =
                Some(ExportTracePartialSuccess { rejected_spans, error_message: "no".into() });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        };
        for (answer, expected) in [(answer(7), 7), (answer(-7), 0), (Vec::new(), 0), (b"thanks".to_vec(), 0)]
        {
            assert_eq!(rejected(&answer), expected);
        }
    }
}
