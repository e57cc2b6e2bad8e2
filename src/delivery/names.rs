//! A name's addresses, from the hosts file or the name servers. Nothing is remembered: each lookup asks anew.
//!
//! Lookups are futures of this runtime: one that is dropped ends, and holds no thread while it lasts.
//!
//! The hosts file comes first; what it says of a name is all there is to say. Else both families are asked for at once
//! (A and AAAA), of the given name servers or those of the system, for the name and the system's search domains as
//! resolv.conf(5) has them. Once one family is there, the other has [`OTHER_FAMILY`] left: a name server that leaves one
//! kind of question without an answer, as some do with AAAA, delays a delivery by that and does not prevent it. What did
//! not come is not connected to, so nothing goes unjudged.
//!
//! Two name servers are asked at once and the first answer holds; of several, those that answered well go first.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::{Instant, timeout_at};

use super::resolver::Refusal;
use super::system::System;

/// How long the second family may take after the first.
const OTHER_FAMILY: Duration = Duration::from_millis(300);

/// How long one question waits for its answer before other name servers are tried; it is repeated once within that.
const ANSWER: Duration = Duration::from_millis(900);

/// The most addresses of a name that are looked at. A name with more is nobody's receiver, and is refused.
const MOST_ADDRESSES: usize = 64;

/// Where names are looked up. Its connections belong to the runtime that asks.
pub struct Names {
    servers: Vec<SocketAddr>,
    current: Mutex<Option<(Arc<System>, TokioResolver)>>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Names {
    /// Asks `servers`, or those of the system if there are none.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let names = Self { servers: servers.to_vec(), current: Mutex::default() };
        // What is wrong with the system's files is told now and not with the first lookup.
        names.current();
        names
    }

    /// The addresses of `host`: at least one. Ends by `until`.
    ///
    /// # Errors
    /// There is none, or none was told in time.
    pub async fn look_up(&self, host: &str, until: Instant) -> Result<Arc<[IpAddr]>, Refusal> {
        let name = Name::from_ascii(host).map_err(|_| Refusal::Unresolved)?;
        if name.is_root() {
            return Err(Refusal::Unresolved);
        }
        let (system, resolver) = self.current();
        let written = system.hosts(&name);
        if !written.is_empty() {
            return few(written);
        }
        let names = if self.servers.is_empty() { system.candidates(&name) } else { vec![fully(name)] };
        for name in names {
            let found = ask(&resolver, &name, until).await?;
            if !found.is_empty() {
                return few(found);
            }
        }
        Err(Refusal::Unresolved)
    }

    /// What the system says now, and who asks the name servers.
    fn current(&self) -> (Arc<System>, TokioResolver) {
        let system = System::current();
        // Nothing is ever half done under this lock.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((of, resolver)) if Arc::ptr_eq(of, &system) => (system, resolver.clone()),
            _ => {
                let resolver = self.resolver(&system);
                *current = Some((Arc::clone(&system), resolver.clone()));
                (system, resolver)
            }
        }
    }

    fn resolver(&self, system: &System) -> TokioResolver {
        let given: Vec<_> = self.servers.iter().map(|server| name_server(*server)).collect();
        let (servers, mut options) = if given.is_empty() {
            (system.servers.name_servers().to_vec(), system.options.clone())
        } else {
            (given, ResolverOpts::default())
        };
        // A name that changes its answer must be seen to do so.
        options.cache_size = 0;
        // Search domains and the hosts file are looked at here.
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = ANSWER;
        options.attempts = 1;
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.with_options(options).build().expect("only TLS could fail, which is not asked for")
    }
}

fn name_server(at: SocketAddr) -> NameServerConfig {
    let to_its_port = |mut connection: ConnectionConfig| {
        connection.port = at.port();
        connection
    };
    // TCP is for answers that are too long.
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(to_its_port);
    NameServerConfig::new(at.ip(), true, connections.into())
}

fn fully(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}

/// The addresses of both families that were told in time; none where the name is known to have none.
async fn ask(resolver: &TokioResolver, name: &Name, until: Instant) -> Result<Vec<IpAddr>, Refusal> {
    let kinds = [RecordType::A, RecordType::AAAA];
    let mut asked: FuturesUnordered<_> =
        kinds.into_iter().map(|kind| resolver.lookup(name.clone(), kind)).collect();
    let (mut addresses, mut until, mut is_late) = (Vec::new(), until, false);
    loop {
        match timeout_at(until, asked.next()).await {
            Ok(Some(Ok(lookup))) => {
                addresses.extend(lookup.answers().iter().filter_map(|of| of.data.ip_addr()))
            }
            Ok(Some(Err(NetError::Timeout))) => is_late = true,
            // "None" and "refused" alike leave it to the other family and the next name.
            Ok(Some(Err(_))) => {}
            Err(_elapsed) if addresses.is_empty() => return Err(Refusal::TooSlow),
            Ok(None) if addresses.is_empty() && is_late => return Err(Refusal::TooSlow),
            Ok(None) | Err(_) => return Ok(addresses),
        }
        if !addresses.is_empty() {
            until = until.min(Instant::now() + OTHER_FAMILY);
        }
    }
}

fn few(mut addresses: Vec<IpAddr>) -> Result<Arc<[IpAddr]>, Refusal> {
    let mut seen = HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    if addresses.len() > MOST_ADDRESSES { Err(Refusal::Unresolved) } else { Ok(addresses.into()) }
}
