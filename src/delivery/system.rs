//! What this machine says about names: its hosts file, and where and how it asks for the others (`resolv.conf`).
//!
//! One for the process, read at the start and again when a file has changed, as the C library does it. A file that is
//! missing or cannot be read is told and stands for an empty one: the node starts, and names do not resolve.
//!
//! Sources: hosts(5), resolv.conf(5).

use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::Hosts;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;

use crate::clock;
use crate::telemetry::events as facts;

/// Where the system keeps them.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// How often it is looked whether a file has changed, at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files as they were last read.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

struct Kept {
    looked: Instant,
    stamps: [Option<Stamp>; 2],
    system: Arc<System>,
}

/// Tells one state of a file from another; `None` where there is no file.
type Stamp = (SystemTime, u64);

/// What the files say.
#[derive(Debug, Default)]
pub struct System {
    hosts: Hosts,
    /// The name servers and search domains.
    pub servers: ResolverConfig,
    /// How they are asked: `ndots`, `edns0`.
    pub options: ResolverOpts,
}

impl System {
    /// What the files say now. Reads them if they have changed, which takes microseconds.
    pub fn current() -> Arc<Self> {
        let now = clock::monotonic();
        // A panic leaves the former state or none.
        let mut slot = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &mut *slot {
            if now.saturating_duration_since(kept.looked) < LOOK_EVERY {
                return Arc::clone(&kept.system);
            }
            kept.looked = now;
            if kept.stamps == stamps() {
                return Arc::clone(&kept.system);
            }
        }
        let stamps = stamps();
        let system = Arc::new(Self::of(fs::read(RESOLV_CONF), fs::read(HOSTS)));
        *slot = Some(Kept { looked: now, stamps, system: Arc::clone(&system) });
        system
    }

    fn of(resolv_conf: io::Result<Vec<u8>>, hosts: io::Result<Vec<u8>>) -> Self {
        let mut system = Self::default();
        let parsed = resolv_conf.map_err(Into::into).and_then(parse_resolv_conf);
        match parsed {
            Ok((servers, options)) => (system.servers, system.options) = (servers, options),
            Err(error) => facts::names_do_not_resolve(RESOLV_CONF, &error),
        }
        match hosts.and_then(|text| system.hosts.read_hosts_conf(text.as_slice())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                facts::names_do_not_resolve(HOSTS, &error);
            }
            _ => {}
        }
        system
    }

    /// The addresses that the hosts file gives to `name`; none where it says nothing.
    pub fn hosts(&self, name: &Name) -> Vec<IpAddr> {
        let of_kind = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of_kind);
        found
            .flat_map(|lookup| {
                lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
            })
            .collect()
    }

    /// What is asked for `name`, one after another until there is an answer: with fewer dots than `ndots` the search
    /// domains come first; a name with a dot at its end is asked as it is.
    pub fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut plain = name.clone();
        plain.set_fqdn(true);
        if name.is_fqdn() || name.is_localhost() {
            return vec![plain];
        }
        let search = match self.servers.search() {
            // What the host's own name ends with, where the file names no domain.
            [] => self.servers.domain().map(std::slice::from_ref).unwrap_or_default(),
            domains => domains,
        };
        // A name that would be too long is none.
        let mut names: Vec<Name> =
            search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let at = if dots >= self.options.ndots { 0 } else { names.len() };
        names.insert(at, plain);
        names
    }
}

fn stamps() -> [Option<Stamp>; 2] {
    [RESOLV_CONF, HOSTS].map(|path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(resolv_conf: &str, hosts: &str) -> System {
        System::of(Ok(resolv_conf.into()), Ok(hosts.into()))
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect(text)
    }

    fn asked(system: &System, text: &str) -> String {
        let names: Vec<String> = system.candidates(&name(text)).iter().map(ToString::to_string).collect();
        names.join(" ")
    }

    #[test]
    fn search_domains_come_first_for_a_name_with_few_dots() {
        let pod = system("nameserver 10.0.0.10\nsearch ns.svc.local svc.local\noptions ndots:2", "");
        assert_eq!(asked(&pod, "crm"), "crm.ns.svc.local. crm.svc.local. crm.");
        assert_eq!(asked(&pod, "a.b"), "a.b.ns.svc.local. a.b.svc.local. a.b.");
        assert_eq!(asked(&pod, "a.b.c"), "a.b.c. a.b.c.ns.svc.local. a.b.c.svc.local.");
        assert_eq!(asked(&pod, "crm."), "crm.");
        assert_eq!(asked(&pod, "localhost"), "localhost.");
        let domain = system("nameserver 10.0.0.10\ndomain corp.example", "");
        assert_eq!(asked(&domain, "crm"), "crm.corp.example. crm.");
    }

    #[test]
    fn the_hosts_file_is_read_in_any_case_with_all_addresses_of_a_name() {
        let system =
            system("", "# ours\n10.0.0.1 crm CRM2 # note\n10.0.0.2 crm\nfd00::1 crm\nnonsense crm\n");
        let found: Vec<String> = system.hosts(&name("CRM")).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1", "10.0.0.2", "fd00::1"]);
        assert_eq!(system.hosts(&name("crm.")).len(), 3);
        assert_eq!(system.hosts(&name("crm2")).len(), 1);
        assert!(system.hosts(&name("other")).is_empty());
    }

    #[test]
    fn files_that_are_missing_or_say_nothing_stand_for_empty_ones() {
        let missing = || Err(io::Error::from(io::ErrorKind::NotFound));
        let none = System::of(missing(), missing());
        assert!(none.servers.name_servers().is_empty() && none.hosts(&name("crm")).is_empty());
        assert_eq!(asked(&none, "crm.example"), "crm.example.");
        assert!(system("# nothing\n", "").servers.name_servers().is_empty());
    }
}
