//! Host names to addresses, guarded: the addresses that were checked are the ones that are connected to.
//!
//! The HTTP client asks here for every connection it opens and takes no other addresses, so a name that changes its
//! answer between the check and the connection (DNS rebinding) gains nothing. Addresses written in the URL itself never
//! come here; `send` checks those.
//!
//! Lookups of the same name that are in flight are one, which only saves work: the guard judges every answer anew, and
//! nothing outlasts its lookup. [`PLACES`] bounds the lookups of the node, and [`LOOKUP_TIMEOUT`] each of them, the wait for
//! a place included.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use super::names::Names;
use super::places::PLACES;
use crate::policy::address::Guard;

/// How long a lookup may take, and how long anyone waits for one.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a name has no address to connect to. Names no address: the text reaches the webhook's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// At least one of its addresses is one that the guard refuses.
    #[error("the host name leads to a private or reserved address")]
    Blocked,
    /// There is no such name, it has no address, or nobody who knows could be asked.
    #[error("the host name could not be resolved")]
    Unresolved,
    /// No answer within [`LOOKUP_TIMEOUT`], or before the lookup had to make room for others.
    #[error("the host name could not be resolved in time")]
    TooSlow,
}

/// What a lookup found, for everybody who waits for it.
type Found = Result<Arc<[IpAddr]>, Refusal>;

/// A resolver behind the address guard. Cheap to clone; clones share the lookups in flight.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` for what the operator named.
    guard: Option<Guard>,
    names: Names,
    /// By name. Bounded by what comes in within [`LOOKUP_TIMEOUT`], after which every lookup has ended.
    in_flight: Mutex<HashMap<Arc<str>, watch::Receiver<Option<Found>>>>,
}

impl Resolver {
    /// A resolver that refuses what `guard` refuses, and asks `servers`, or those of the system if there are none.
    pub fn new(guard: Guard, servers: &[SocketAddr]) -> Self {
        Self::over(Some(guard), servers)
    }

    /// A resolver for what the operator named and nobody else could: it refuses nothing, and asks the system's name
    /// servers, which know the inner names.
    pub fn for_the_operator() -> Self {
        Self::over(None, &[])
    }

    fn over(guard: Option<Guard>, servers: &[SocketAddr]) -> Self {
        Self(Arc::new(Inner { guard, names: Names::new(servers), in_flight: Mutex::default() }))
    }

    /// The addresses of `host`, all of them permitted. Cancel-safe.
    ///
    /// # Errors
    /// The name has no address, or any of its addresses is refused: a name that leads to both sides of the guard is
    /// nobody's honest receiver.
    pub async fn resolve(&self, host: &str) -> Result<Arc<[IpAddr]>, Refusal> {
        let until = Instant::now() + LOOKUP_TIMEOUT;
        let mut lookup = self.join_or_start(host.into(), until);
        let found = match timeout_at(until, lookup.wait_for(Option::is_some)).await {
            Ok(Ok(found)) => found.clone().unwrap_or(Err(Refusal::Unresolved)),
            Ok(Err(_ended_without_answer)) => Err(Refusal::Unresolved),
            Err(_elapsed) => Err(Refusal::TooSlow),
        };
        let addresses = found?;
        if addresses.iter().all(|address| self.permits(*address)) {
            Ok(addresses)
        } else {
            Err(Refusal::Blocked)
        }
    }

    /// Whether the host of `to` has addresses, all of them permitted; for a connection that somebody else makes.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub async fn vet(&self, to: &Uri) -> Result<(), Refusal> {
        let host = to.host().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) if self.permits(address) => Ok(()),
            Ok(_refused) => Err(Refusal::Blocked),
            Err(_a_name) => self.resolve(host).await.map(drop),
        }
    }

    fn permits(&self, address: IpAddr) -> bool {
        self.0.guard.as_ref().is_none_or(|guard| guard.permits(address))
    }

    /// The lookup of `host` that is in flight, or a new one until then. It runs on when nobody waits for it any more.
    fn join_or_start(&self, host: Arc<str>, until: Instant) -> watch::Receiver<Option<Found>> {
        let mut in_flight = self.in_flight();
        if let Some(lookup) = in_flight.get(&host) {
            return lookup.clone();
        }
        let (sender, lookup) = watch::channel(None);
        in_flight.insert(Arc::clone(&host), lookup.clone());
        let this = self.clone();
        tokio::spawn(async move {
            let found = PLACES.run(until, this.0.names.look_up(&host, until)).await;
            // Out of the map first: who comes later gets a fresh answer.
            this.in_flight().remove(&host);
            sender.send_replace(Some(found.unwrap_or(Err(Refusal::TooSlow))));
        });
        lookup
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<Arc<str>, watch::Receiver<Option<Found>>>> {
        // Nothing is ever half done under this lock.
        self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the HTTP client asks. It puts in the URL's port.
impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Refusal>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let addresses = this.resolve(name.as_str()).await?;
            let sockets: Vec<_> = addresses.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(sockets.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(networks: &[&str]) -> Resolver {
        let allowed = networks.iter().map(|network| network.parse().expect(network)).collect();
        Resolver::new(Guard { allowed }, &[])
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_unless_its_network_is_allowed() {
        assert_eq!(resolver(&[]).resolve("localhost").await, Err(Refusal::Blocked));
        let open = resolver(&["127.0.0.0/8", "::1/128"]);
        let found = open.resolve("localhost").await.expect("loopback is allowed");
        assert!(found.iter().all(IpAddr::is_loopback));
        assert!(open.in_flight().is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn one_refused_address_refuses_the_whole_name() {
        let resolver = resolver(&[]);
        let mixed: Arc<[IpAddr]> =
            ["8.8.8.8", "10.0.0.1"].map(|text| text.parse().expect(text)).into_iter().collect();
        let (_sender, lookup) = watch::channel(Some(Ok(mixed)));
        resolver.in_flight().insert("mixed.example".into(), lookup);
        assert_eq!(resolver.resolve("mixed.example").await, Err(Refusal::Blocked));
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_unresolved() {
        assert_eq!(resolver(&[]).resolve("no-such-name.invalid").await, Err(Refusal::Unresolved));
        assert_eq!(resolver(&[]).resolve("").await, Err(Refusal::Unresolved));
    }

    #[tokio::test]
    async fn a_lookup_that_hangs_is_shared_and_left_in_time() {
        let resolver = resolver(&[]);
        let (sender, lookup) = watch::channel(None);
        resolver.in_flight().insert("slow.example".into(), lookup);
        let waits = (0..50).map(|_| resolver.resolve("slow.example"));
        let outcomes = futures_util::future::join_all(waits).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Err(Refusal::TooSlow)));
        assert_eq!(resolver.in_flight().len(), 1);
        assert_eq!(sender.receiver_count(), 1, "nobody waits any more");
    }

    #[tokio::test]
    async fn a_host_is_judged_for_a_connection_that_a_proxy_makes() {
        let strict = resolver(&[]);
        for (url, expected) in [
            ("http://8.8.8.8/", Ok(())),
            ("https://[2606:4700::1111]:8443/", Ok(())),
            ("http://127.0.0.1:1/", Err(Refusal::Blocked)),
            ("https://[::1]/", Err(Refusal::Blocked)),
            ("https://[::ffff:10.0.0.1]/", Err(Refusal::Blocked)),
            ("https://localhost/", Err(Refusal::Blocked)),
            ("https://no-such-name.invalid/", Err(Refusal::Unresolved)),
        ] {
            assert_eq!(strict.vet(&url.parse().expect(url)).await, expected, "{url}");
        }
        assert_eq!(
            Resolver::for_the_operator().vet(&"http://localhost/".parse().expect("a URL")).await,
            Ok(())
        );
    }
}
