//! The HTTP client: sends one request to an endpoint and listens to as much of the answer as is kept.
//!
//! Guarantees: one call of [`Sender::attempt`] is at most one request on the wire (no redirects, no retries, no proxy);
//! it ends within the webhook's timeout, all of it counted (name, connection, TLS, request, answer); it connects to no
//! address that the guard refuses; it keeps at most `delivery.response_capture_bytes` of the answer plus one read, and
//! never unpacks a compressed one.
//!
//! Connections are kept for [`IDLE`] after an answer. A connection goes to the address that was checked when it was
//! opened; a host that moves is noticed by the first connection after that, which for an endpoint without a quiet moment
//! is when either side closes one. The short time also keeps us from writing into a connection that the receiver is
//! just closing: common servers do that after 2 to 5 idle seconds.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, redirect, retry};
use url::Url;

use super::classify::{self, Answer, Trouble};
use super::request;
use super::resolver::{Refusal, Resolver};
use crate::clock;
use crate::config::Delivery;
use crate::domain::webhook::Settings;
use crate::domain::{AttemptResult, EventBody, EventId, Millis, TraceContext};
use crate::policy::address::{self, Guard};

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(1);

/// Unused connections kept to one host: the most attempts that one webhook may have in flight.
const MAX_IDLE_PER_HOST: usize = 256;

/// How long a connection may take to be there, TLS included; a webhook's own timeout may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// No client could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TLS backend would not start; what it needs of the system is a list of certificate authorities.
    #[error(
        "the HTTP client could not start (are CA certificates installed? Debian: package ca-certificates)"
    )]
    Client(#[source] reqwest::Error),
}

/// Sends attempts. One for each thread: connections live on the runtime that opened them.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client,
    resolver: Resolver,
    guard: Guard,
    require_https: bool,
    capture_bytes: usize,
}

impl Sender {
    /// A sender with no connections yet.
    ///
    /// # Errors
    /// The system has no CA certificates, or the TLS backend does not work.
    pub fn new(config: &Delivery) -> Result<Self, Error> {
        let guard = Guard { allowed: config.allowed_networks.clone() };
        let resolver = Resolver::new(guard.clone());
        Ok(Self {
            client: client(resolver.clone()).map_err(Error::Client)?,
            resolver,
            guard,
            require_https: config.require_https,
            capture_bytes: config.response_capture_bytes,
        })
    }

    /// Makes one attempt, number `attempt` (from 1), signed at `at`, and says what came of it. Sends `trace`, the span of
    /// the attempt, along.
    ///
    /// Dropping the future gives the attempt up: the connection is closed, and whether the endpoint got the request
    /// is unknown.
    pub async fn attempt(
        &self,
        settings: &Settings,
        event_id: &EventId,
        event: &EventBody,
        attempt: u32,
        at: Millis,
        trace: Option<TraceContext>,
    ) -> AttemptResult {
        let started = clock::monotonic();
        let mut answer = Answer::default();
        let ended = match address::check_url(&settings.url, self.require_https, &self.guard) {
            Ok(url) => {
                let headers = request::headers(settings, event_id, event, attempt, at, trace);
                let request = self.client.post(url).headers(headers).body(event.bytes.clone());
                let limit = Duration::from_secs(settings.timeout_seconds.into());
                self.exchange_within(limit, request, &mut answer).await
            }
            Err(fault) => Err(Trouble::Blocked(fault)),
        };
        classify::result(at, started.elapsed(), answer, ended)
    }

    /// Asks where a webhook's URL leads, before it is saved. Takes at most [`super::resolver::LOOKUP_TIMEOUT`].
    ///
    /// A name that does not resolve is taken: it is checked again at every connection.
    ///
    /// # Errors
    /// [`address::Fault::Address`] when the host is, or resolves to, an address that the guard refuses.
    pub async fn vet(&self, url: &Url) -> Result<(), address::Fault> {
        let refused = match (address::literal_address(url), url.host_str()) {
            (Some(address), _) => !self.guard.permits(address),
            (None, Some(host)) => self.resolver.resolve(host).await == Err(Refusal::Blocked),
            (None, None) => false,
        };
        if refused { Err(address::Fault::Address) } else { Ok(()) }
    }

    async fn exchange_within(
        &self,
        limit: Duration,
        request: RequestBuilder,
        answer: &mut Answer,
    ) -> Result<(), Trouble> {
        match tokio::time::timeout(limit, self.exchange(request, answer)).await {
            Ok(ended) => ended.map_err(Trouble::Broken),
            Err(_elapsed) => Err(Trouble::TimedOut(limit)),
        }
    }

    /// Sends, and fills `answer` as it comes in, so that what came is known even if the rest never does. The body is
    /// read to its end or until enough is captured; then the connection is given back or closed.
    async fn exchange(&self, request: RequestBuilder, answer: &mut Answer) -> reqwest::Result<()> {
        let mut response = request.send().await?;
        answer.status = Some(response.status());
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        answer.retry_after = retry_after.map(str::to_owned);
        while answer.body.len() < self.capture_bytes {
            let Some(chunk) = response.chunk().await? else { break };
            let room = self.capture_bytes - answer.body.len();
            answer.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(())
    }
}

/// A client that does what it is told once, and nothing by itself.
fn client(resolver: Resolver) -> reqwest::Result<Client> {
    Client::builder()
        .dns_resolver(resolver)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .build()
}

#[cfg(test)]
pub(crate) mod tests;
