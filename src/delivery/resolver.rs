//! Host names to addresses, guarded: the addresses that were checked are the ones that are connected to.
//!
//! The HTTP client asks here for every connection it opens and takes no other addresses, so a name that changes its
//! answer between the check and the connection (DNS rebinding) gains nothing. Addresses written in the URL itself never
//! come here; `send` checks those.
//!
//! Lookups go to the system's resolver on blocking threads, and one that hangs holds its thread until the system gives
//! up, which may be long after nobody waits any more. So that one dead name server cannot use up the threads of all:
//! lookups of the same name share one thread, and [`MAX_LOOKUPS`] bounds the node. Sharing only saves work; the guard
//! judges every answer anew.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tower_service::Service;

use crate::policy::address::Guard;

/// Lookups of this node at once.
const MAX_LOOKUPS: usize = 256;

/// How long anyone waits for a lookup.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// One for the node: a permit is held for as long as the lookup's thread is, not only while somebody waits.
static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// Why a name has no address to connect to. Names no address: the text reaches the webhook's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// At least one of its addresses is one that the guard refuses.
    #[error("the host name leads to a private or reserved address")]
    Blocked,
    /// There is no such name, or it has no address.
    #[error("the host name could not be resolved")]
    Unresolved,
    /// No answer within [`LOOKUP_TIMEOUT`].
    #[error("the host name could not be resolved within {} s", LOOKUP_TIMEOUT.as_secs())]
    TooSlow,
}

/// What a lookup found, for everybody who waits for it.
type Found = Result<Arc<[IpAddr]>, Refusal>;

/// A resolver behind the address guard. Cheap to clone; clones share the lookups in flight.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    guard: Guard,
    /// By name. Bounded by [`MAX_LOOKUPS`] and what came in within [`LOOKUP_TIMEOUT`]: a lookup that gets no thread
    /// by then ends.
    in_flight: Mutex<HashMap<Arc<str>, watch::Receiver<Option<Found>>>>,
}

impl Resolver {
    /// A resolver that refuses what `guard` refuses.
    pub fn new(guard: Guard) -> Self {
        Self(Arc::new(Inner { guard, in_flight: Mutex::default() }))
    }

    /// The addresses of `host`, all of them permitted. Cancel-safe.
    ///
    /// # Errors
    /// The name has no address, or any of its addresses is refused: a name that leads to both sides of the guard is
    /// nobody's honest receiver.
    pub async fn resolve(&self, host: &str) -> Result<Arc<[IpAddr]>, Refusal> {
        let mut lookup = self.join_or_start(host.into());
        let found = match timeout(LOOKUP_TIMEOUT, lookup.wait_for(Option::is_some)).await {
            Ok(Ok(found)) => found.clone().unwrap_or(Err(Refusal::Unresolved)),
            Ok(Err(_ended_without_answer)) => Err(Refusal::Unresolved),
            Err(_elapsed) => Err(Refusal::TooSlow),
        };
        let addresses = found?;
        let permitted = addresses.iter().all(|address| self.0.guard.permits(*address));
        if permitted { Ok(addresses) } else { Err(Refusal::Blocked) }
    }

    /// The lookup of `host` that is in flight, or a new one. It runs on when nobody waits for it any more.
    fn join_or_start(&self, host: Arc<str>) -> watch::Receiver<Option<Found>> {
        let mut in_flight = self.in_flight();
        if let Some(lookup) = in_flight.get(&host) {
            return lookup.clone();
        }
        let (sender, lookup) = watch::channel(None);
        in_flight.insert(Arc::clone(&host), lookup.clone());
        let this = self.clone();
        tokio::spawn(async move {
            let found = look_up(Arc::clone(&host)).await;
            // Out of the map first: who comes later gets a fresh answer.
            this.in_flight().remove(&host);
            sender.send_replace(Some(found));
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

/// Asks the system. Its errors are not told apart: there is no type in them that would say why.
async fn look_up(host: Arc<str>) -> Found {
    let permit = match timeout(LOOKUP_TIMEOUT, LOOKUPS.acquire()).await {
        Ok(Ok(permit)) => permit,
        Ok(Err(_never_closed)) => return Err(Refusal::Unresolved),
        Err(_elapsed) => return Err(Refusal::TooSlow),
    };
    let blocking = tokio::task::spawn_blocking(move || {
        let found = (&*host, 0).to_socket_addrs();
        drop(permit);
        found.map(|sockets| sockets.map(|socket| socket.ip()).collect::<Arc<[IpAddr]>>())
    });
    match blocking.await {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        _ => Err(Refusal::Unresolved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver(networks: &[&str]) -> Resolver {
        let allowed = networks.iter().map(|network| network.parse().expect(network)).collect();
        Resolver::new(Guard { allowed })
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
}
