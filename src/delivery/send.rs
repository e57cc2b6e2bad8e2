//! The HTTP client: sends one request to an endpoint and listens to as much of the answer as is kept.
//!
//! Guarantees: one call of [`Turn::attempt`] is at most one request on the wire (no redirects, no retries, no proxy but that
//! of the settings);
//! it ends within the webhook's timeout, all of it counted (name, connection, TLS, request, answer); it connects to no
//! address that the guard refuses; it keeps at most `delivery.response_capture_bytes` of the answer plus one read, reads
//! little more whatever comes ([`super::stream`]), and never unpacks a compressed one.
//!
//! Connections are kept for a second after an answer. A connection goes to the address that was checked when it was
//! opened; a host that moves is noticed by the first connection after that, which for an endpoint without a quiet moment
//! is when either side closes one. The short time also keeps us from writing into a connection that the receiver is just
//! closing: common servers do that after 2 to 5 idle seconds.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::timeout_at;
use url::Url;

use super::classify::{self, Answer, Trouble};
use super::client::{self, Client, Outgoing};
use super::dial::Sockets;
use super::endpoint::Endpoint;
use super::pool::{Place, Pool};
use super::proxy::{self, Proxy};
use super::resolver::{Refusal, Resolver};
use super::stream::Leash;
use crate::clock;
use crate::config::Delivery;
use crate::domain::webhook::Settings;
use crate::domain::{AttemptResult, EventBody, EventId, Millis, TraceContext};
use crate::policy::address::{self, Guard};
use crate::policy::shares::{Key, Rule};

/// No client could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TLS backend would not start; what it needs of the system is a list of certificate authorities.
    #[error(
        "the HTTP client could not start (are CA certificates installed? Debian: package ca-certificates)"
    )]
    Client(#[source] rustls::Error),
}

/// Attempts of one tenant on one thread that may be in their first moments at once. Endpoints that answer at once are thus served over
/// few connections, one attempt after another: with 64 at once an attempt cost 16 us of CPU, with 500 it cost 21 and with 1,600
/// it cost 31 (`benches/attempt -- --in-flight`), for what one attempt has brought into the caches the next one finds there.
const AT_ONCE: usize = 64;

/// Those of all tenants together: of so many one tenant alone gets [`AT_ONCE`], so that another one's attempts begin at
/// once however many of it want to.
const TURNS: usize = AT_ONCE + AT_ONCE / 3;

/// What counts as the first moments of an attempt. Endpoints that take longer hold others up only where more attempts begin on a
/// thread than 64 in that time, some 10,000 a second.
const FIRST_MOMENTS: Duration = Duration::from_millis(5);

/// Sends attempts. One for each thread: connections live on the runtime that opened them.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client,
    turns: Arc<Pool>,
    resolver: Resolver,
    proxy: Option<Arc<Proxy>>,
    guard: Guard,
    require_https: bool,
    capture_bytes: usize,
}

impl Sender {
    /// A sender with no connections yet, which shares the node's `sockets` with all others.
    ///
    /// # Errors
    /// The system has no CA certificates, or the TLS backend does not work.
    pub fn new(config: &Delivery, sockets: &Sockets) -> Result<Self, Error> {
        let guard = Guard { allowed: config.allowed_networks.clone() };
        let resolver = Resolver::new(guard.clone(), &config.dns_servers);
        let proxy = config.proxy_url.as_ref().map(|url| Arc::new(Proxy::new(url)));
        let client = client::client(
            resolver.clone(),
            proxy.clone(),
            sockets.clone(),
            config.max_in_flight,
            config.response_capture_bytes,
        );
        Ok(Self {
            client: client.map_err(Error::Client)?,
            turns: Arc::new(Pool::new(TURNS, Rule::Threshold)),
            resolver,
            proxy,
            guard,
            require_https: config.require_https,
            capture_bytes: config.response_capture_bytes,
        })
    }

    /// What attempts for a webhook with these settings need; to be made anew when they change.
    pub fn endpoint(&self, settings: &Settings) -> Endpoint {
        Endpoint::new(settings, self.require_https, &self.guard, self.proxy.as_deref())
    }

    /// Waits until an attempt of `tenant` may begin, so that few are in their first moments at once. Cancel safe.
    pub async fn turn(&self, tenant: Key) -> Turn<'_> {
        Turn { sender: self, place: self.turns.acquire(tenant).await }
    }

    /// How many attempts have ever had to wait for their turn.
    pub fn waits(&self) -> u64 {
        self.turns.joined()
    }

    /// Waits until as many attempts have begun, or were given up, as have come to wait for their turn since
    /// [`Self::waits`] was `before`. Cancel safe.
    pub async fn keep_pace(&self, before: u64) {
        self.turns.keep_pace(before).await;
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

    /// Sends, and fills `answer` as it comes in, so that what came is known even if the rest never does. The body is
    /// read to its end or until enough is captured; then the connection is given back or closed.
    async fn exchange(&self, mut request: Outgoing, answer: &mut Answer) -> Result<(), Trouble> {
        let is_forwarded = self.proxy.is_some() && proxy::is_forwarded(request.uri());
        let mut ends_with_this = Leash::of(&mut request);
        let response = self.client.request(request).await.map_err(Trouble::Unsent)?;
        ends_with_this.iter_mut().for_each(Leash::answered);
        // An endpoint has no reason to say so: it is not asked to relay anything (RFC 9110, section 15.5.8).
        if is_forwarded && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(Trouble::Proxy(proxy::Fault::Unauthenticated));
        }
        answer.status = Some(response.status());
        answer.retry_after = retry_after(response.headers());
        let mut body = response.into_body();
        while answer.body.len() < self.capture_bytes && !body.is_end_stream() {
            let Some(frame) = body.frame().await else { break };
            // Trailers are of no interest.
            if let Ok(data) = frame.map_err(Trouble::Broken)?.into_data() {
                let room = self.capture_bytes - answer.body.len();
                answer.body.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        Ok(())
    }
}

/// Leave to begin one attempt.
#[derive(Debug)]
pub struct Turn<'a> {
    sender: &'a Sender,
    place: Place<'a>,
}

impl Turn<'_> {
    /// Makes one attempt, number `attempt` (from 1), signed at `at`, and says what came of it. Sends `trace`, the span of
    /// the attempt, along.
    ///
    /// Dropping the future gives the attempt up: the connection is closed, and whether the endpoint got the request
    /// is unknown.
    pub async fn attempt(
        self,
        endpoint: &Endpoint,
        event_id: &EventId,
        event: &EventBody,
        attempt: u32,
        at: Millis,
        trace: Option<TraceContext>,
    ) -> AttemptResult {
        let started = clock::monotonic();
        let mut answer = Answer::default();
        let ended = match endpoint.request(event_id, event, attempt, at, trace) {
            Ok(request) => self.within(started, endpoint.timeout(), request, &mut answer).await,
            Err(trouble) => Err(trouble),
        };
        classify::result(at, started.elapsed(), answer, ended)
    }

    async fn within(
        self,
        started: Instant,
        limit: Duration,
        request: Outgoing,
        answer: &mut Answer,
    ) -> Result<(), Trouble> {
        let mut exchange = pin!(self.sender.exchange(request, answer));
        let first = started + limit.min(FIRST_MOMENTS);
        if let Ok(ended) = timeout_at(first.into(), &mut exchange).await {
            return ended;
        }
        drop(self.place);
        timeout_at((started + limit).into(), exchange).await.unwrap_or(Err(Trouble::TimedOut(limit)))
    }
}

/// The `Retry-After` header as it came.
fn retry_after(headers: &HeaderMap) -> Option<String> {
    headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests;
