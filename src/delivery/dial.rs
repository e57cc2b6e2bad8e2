//! Connections below TLS: to addresses that the guard permits or through the proxy, and so many at once as the node may
//! have.
//!
//! With a proxy the guard judges the endpoint before every connection all the same, and the connection goes to the proxy,
//! whose address is the operator's and is not judged.
//!
//! hyper's pool keeps what is idle for a second, for each host, and knows no bound over all of them. The bound is here: a
//! connection holds a place of [`Sockets`] from before it is made until it is closed, in use or idle, whichever thread
//! has it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower_service::Service;

use super::proxy::{self, Proxy};
use super::resolver::Resolver;
use super::stream::Metered;

/// Open connections for each attempt that may be in flight: the one that it uses, and one that is idle.
const PER_ATTEMPT: usize = 2;

/// How long a connection waits for a place. Idle ones give theirs back within two seconds.
const PLACE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many connections the node may have open for deliveries. Shared by the senders of all threads.
#[derive(Clone, Debug)]
pub struct Sockets(Arc<Semaphore>);

impl Sockets {
    /// Room for the connections of so many attempts at once.
    pub fn new(max_in_flight: usize) -> Self {
        Self(Arc::new(Semaphore::new(PER_ATTEMPT * max_in_flight)))
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, NoSocket> {
        let place = timeout(PLACE_TIMEOUT, Arc::clone(&self.0).acquire_owned()).await;
        // Nobody closes it.
        place.map_err(|_elapsed| NoSocket)?.map_err(|_closed| NoSocket)
    }

    /// How many more connections may be opened now.
    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.0.available_permits()
    }
}

/// All connections that the node may have are in use.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the service has as many connections open as it may")]
pub struct NoSocket;

/// Why there is no connection.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// How long a connection to the proxy may take. It is near; and the webhook's own timeout, which blames the endpoint, should be
/// longer. Where it is not, a proxy that drops packets is taken for a slow endpoint.
const PROXY_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an endpoint may read nothing of what was sent to it before the kernel ends the connection, whoever waits. No
/// attempt takes longer.
#[cfg(target_os = "linux")]
const UNREAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Opens connections.
#[derive(Clone, Debug)]
pub struct Dial {
    resolver: Resolver,
    /// Connects to endpoints, or to the proxy if there is one.
    tcp: HttpConnector<Resolver>,
    proxy: Option<Arc<Proxy>>,
    sockets: Sockets,
    /// The longest answer, in bytes.
    longest: usize,
}

impl Dial {
    /// Asks `resolver` for every address that a URL does not spell out. One address of a name may take at most
    /// `limit` by itself. An answer may have `longest` bytes, and what one read finds beyond.
    pub fn new(
        resolver: Resolver,
        proxy: Option<Arc<Proxy>>,
        sockets: Sockets,
        limit: Duration,
        longest: usize,
    ) -> Self {
        let tcp = match proxy {
            None => tcp(resolver.clone(), limit),
            Some(_) => tcp(Resolver::for_the_operator(), PROXY_TIMEOUT),
        };
        Self { resolver, tcp, proxy, sockets, longest }
    }

    async fn dial(mut self, to: Uri) -> Result<Stream, Fault> {
        let place = self.sockets.place().await?;
        let Some(proxy) = self.proxy else {
            let io = Metered::new(self.tcp.call(to).await?.into_inner(), self.longest);
            return Ok(Stream { io: TokioIo::new(io), is_forwarded: false, _place: place });
        };
        self.resolver.vet(&to).await?;
        let connected = timeout(PROXY_TIMEOUT, self.tcp.call(proxy.url.clone())).await;
        let Ok(Ok(mut io)) = connected else { return Err(proxy::Fault::Unreached.into()) };
        let is_forwarded = proxy::is_forwarded(&to);
        if !is_forwarded {
            proxy::tunnel(io.inner_mut(), &to, &proxy).await?;
        }
        let io = Metered::new(io.into_inner(), self.longest);
        Ok(Stream { io: TokioIo::new(io), is_forwarded, _place: place })
    }
}

fn tcp(resolver: Resolver, limit: Duration) -> HttpConnector<Resolver> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // Shared out among the addresses of a name, so that the second one gets its turn.
    tcp.set_connect_timeout(Some(limit));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNREAD_TIMEOUT));
    tcp
}

impl Service<Uri> for Dial {
    type Response = Stream;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Fault>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        Box::pin(self.clone().dial(to))
    }
}

/// A connection, which gives its place back when it is closed.
#[derive(Debug)]
pub struct Stream {
    io: TokioIo<Metered>,
    /// Whether requests go to a proxy as a whole: hyper-util then writes the absolute URL.
    is_forwarded: bool,
    _place: OwnedSemaphorePermit,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.inner().connected().proxy(self.is_forwarded)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
