//! The HTTP client below the sender: hyper's, with connections that go only where the guard permits.
//!
//! It is hyper-util's client, which is what reqwest is made of, without reqwest: that took 7 of the 25 us of CPU that an
//! attempt cost with it (`benches/attempt`). Bare HTTP/1.1 connections in a pool of our own, driven by the attempts
//! themselves, measured no better than this.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::timeout;
use tower_service::Service;

use super::dial::{Dial, Fault, Sockets, Stream};
use super::proxy::Proxy;
use super::resolver::Resolver;

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(1);

/// How long a connection may take to be there, TLS included; a webhook's own timeout may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest head of an answer. What hyper allows by default, 400 KiB for every connection, would be 1.6 GB for the attempts
/// that a node may have in flight. Common servers send at most 8 to 16 KiB, and none may send more than hyper's 100 headers.
const MAX_HEAD: usize = 64 << 10;

/// The longest answer of which `captured` bytes are kept: its heads, and so many bytes for each one that is kept, which is
/// more than chunks of one byte take.
fn longest_answer(captured: usize) -> usize {
    const BYTES_EACH: usize = 8;
    MAX_HEAD + BYTES_EACH * captured
}

/// What is sent: the body is there as a whole.
pub type Outgoing = Request<Full<Bytes>>;

/// A client that does what it is told once, and nothing by itself.
pub type Client = legacy::Client<Connector, Full<Bytes>>;

/// A client without connections, which asks `resolver` for every address that a URL does not spell out. Of `most`, the attempts
/// that may be in flight at once, each may leave its connection to the next one: many webhooks may go to one host, and to
/// open a connection costs as much as three attempts. `sockets` bounds those of all hosts and threads together. Of an answer
/// no more than `captured` bytes of the body will be read.
///
/// A request that it could not begin to write, because the connection that was kept for it had ended, goes out on
/// another one; nothing is ever written twice.
///
/// # Errors
/// The system has no CA certificates, or the TLS backend does not work.
pub fn client(
    resolver: Resolver,
    proxy: Option<Arc<Proxy>>,
    sockets: Sockets,
    most: usize,
    captured: usize,
) -> Result<Client, rustls::Error> {
    let dial = Dial::new(resolver, proxy, sockets, CONNECT_TIMEOUT, longest_answer(captured));
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(most)
        // Each request brings its own.
        .set_host(false)
        // Head and body in one piece: 0.8 us less than a list of pieces, and one TLS record instead of two.
        .http1_writev(false)
        .http1_max_buf_size(MAX_HEAD)
        .build(Connector(HttpsConnector::from((dial, tls()?))));
    Ok(client)
}

fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut tls = tls.with_platform_verifier()?.with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// No connection was there within [`CONNECT_TIMEOUT`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no connection could be made in time")]
pub struct Unreached;

/// Opens connections, each within [`CONNECT_TIMEOUT`].
#[derive(Clone, Debug)]
pub struct Connector(HttpsConnector<Dial>);

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Stream>;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Fault>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            match timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(connected) => connected,
                Err(_elapsed) => Err(Unreached.into()),
            }
        })
    }
}
