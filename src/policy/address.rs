//! The address guard: where a webhook may point, so that nobody makes this service reach into a private network.
//!
//! Pure. It is asked when a webhook is saved ([`check_url`]) and again for every connection, with the very address
//! that is then connected to ([`Guard::permits`]); only the second protects, the first only tells early.
//!
//! Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890) and IPv6 Address Space registry (RFC
//! 4291), with the RFC of each entry beside it; RFC 6052, section 2.2, for the places of an IPv4 address in an IPv6 one; the
//! WHATWG URL standard, section 3.5, for the spellings of a host, which the `url` crate implements. docs/security.md has the
//! whole as a table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// The longest URL of a webhook, in characters.
pub const MAX_URL_CHARS: usize = 2048;

/// Ports of services that answer to what an HTTP request happens to hold, or that relay it (contract, section 8).
const FORBIDDEN_PORTS: [u16; 13] = [22, 23, 25, 110, 143, 445, 1433, 1521, 3306, 5432, 6379, 11_211, 27_017];

/// Everything that the IPv4 registry lists, with multicast. The few entries marked "globally reachable" in it are
/// anycast sinks and relays: no receiver lives there.
const SPECIAL_V4: [Ipv4Net; 18] = [
    v4([0, 0, 0, 0], 8),       // this network: RFC 791, 1122
    v4([10, 0, 0, 0], 8),      // private use: RFC 1918
    v4([100, 64, 0, 0], 10),   // shared address space (carrier-grade NAT): RFC 6598
    v4([127, 0, 0, 0], 8),     // loopback: RFC 1122
    v4([169, 254, 0, 0], 16),  // link-local, with the metadata services of clouds: RFC 3927
    v4([172, 16, 0, 0], 12),   // private use: RFC 1918
    v4([192, 0, 0, 0], 24),    // IETF protocol assignments: RFC 6890, 7335, 7600, 7723, 8155, 8880
    v4([192, 0, 2, 0], 24),    // documentation: RFC 5737
    v4([192, 31, 196, 0], 24), // AS112: RFC 7535
    v4([192, 52, 193, 0], 24), // AMT: RFC 7450
    v4([192, 88, 99, 0], 24),  // former 6to4 relay anycast, 6a44: RFC 7526, 6751
    v4([192, 168, 0, 0], 16),  // private use: RFC 1918
    v4([192, 175, 48, 0], 24), // AS112: RFC 7534
    v4([198, 18, 0, 0], 15),   // benchmarking: RFC 2544
    v4([198, 51, 100, 0], 24), // documentation: RFC 5737
    v4([203, 0, 113, 0], 24),  // documentation: RFC 5737
    v4([224, 0, 0, 0], 4),     // multicast: RFC 5771
    v4([240, 0, 0, 0], 4),     // reserved, with the limited broadcast: RFC 1112, 919
];

/// The one block that global unicast addresses are allotted from (RFC 4291). Outside lie, among others: unspecified,
/// loopback and IPv4-compatible (`::/96`, RFC 4291), IPv4-translated (`::ffff:0:0:0/96`, RFC 2765), NAT64 (`64:ff9b::/96`,
/// RFC 6052, and `64:ff9b:1::/48`, RFC 8215), discard (`100::/64`, RFC 6666) and dummy (`100:0:0:1::/64`, RFC 9780), segment
/// routing (`5f00::/16`, RFC 9602), unique local (`fc00::/7`, RFC 4193), link-local (`fe80::/10`, RFC 4291), the former
/// site-local (`fec0::/10`, RFC 3879) and multicast (`ff00::/8`, RFC 4291).
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// What the IPv6 registry lists within [`GLOBAL_V6`].
const SPECIAL_V6: [Ipv6Net; 5] = [
    // IETF protocol assignments (RFC 2928): Teredo (4380), anycast (7723, 8155, 9665), benchmarking (5180), AMT (7450),
    // AS112 (7535), ORCHID (4843, 7343), drones (9374).
    v6([0x2001, 0, 0], 23),
    v6([0x2001, 0x0db8, 0], 32),      // documentation: RFC 3849
    v6([0x2002, 0, 0], 16),           // 6to4, a tunnel to any IPv4 address: RFC 3056
    v6([0x2620, 0x004f, 0x8000], 48), // AS112: RFC 7534
    v6([0x3fff, 0, 0], 20),           // documentation: RFC 9637
];

/// Prefixes whose addresses end with the IPv4 address that is reached in the end: IPv4-compatible (RFC 4291),
/// IPv4-translated (RFC 2765) and the well-known prefix of NAT64 (RFC 6052).
const ENDING_IN_V4: [Ipv6Net; 3] = [
    v6([0, 0, 0], 96),
    Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96),
    v6([0x0064, 0xff9b, 0], 96),
];
/// The local-use prefix of NAT64 (RFC 8215). Where the IPv4 address stands depends on the prefix that a network uses of it.
const LOCAL_NAT64: Ipv6Net = v6([0x0064, 0xff9b, 1], 48);
const TEREDO: Ipv6Net = v6([0x2001, 0, 0], 32);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0], 16);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c]: [u16; 3], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// Whether `address` is a public unicast address. An IPv4-mapped one is what it maps to.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|special| special.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|special| special.contains(&address))
        }
    }
}

/// Which addresses may be connected to: the public ones and those of the allowed networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// `delivery.allowed_networks`
    pub allowed: Vec<IpNet>,
}

impl Guard {
    /// Whether `address` may be connected to.
    ///
    /// An IPv4-mapped address is taken for what it maps to before anything is compared, so a list of IPv4 networks
    /// says all there is to say about IPv4. Allowing IPv6 addresses that lead to IPv4 ones (NAT64 for a network with DNS64,
    /// 6to4, Teredo, or just `::/0`) opens the way to those IPv4 addresses only that are permitted by themselves.
    pub fn permits(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V6(v6) if LOCAL_NAT64.contains(&v6) => self.permits_local_nat64(v6),
            address => {
                let listed = self.allowed.iter().any(|network| network.contains(&address));
                let mut embedded = embedded_v4(address).into_iter().flatten();
                (listed || is_public(address)) && embedded.all(|embedded| self.permits(embedded.into()))
            }
        }
    }

    /// The network that lists the address must be the prefix itself that NAT64 uses there: it says where the IPv4 address
    /// stands. Another one, such as `::/0`, does not.
    fn permits_local_nat64(&self, address: Ipv6Addr) -> bool {
        let leads_to = |network: &IpNet| match network {
            IpNet::V6(prefix) if prefix.contains(&address) => nat64_v4(address, prefix.prefix_len()),
            _ => None,
        };
        self.allowed.iter().filter_map(leads_to).any(|embedded| self.permits(embedded.into()))
    }
}

/// The IPv4 addresses that an IPv6 address leads to, through a translator or a tunnel. Teredo has two: the server that is
/// asked and the client that is reached, inverted (RFC 4380, section 4).
fn embedded_v4(address: IpAddr) -> [Option<Ipv4Addr>; 2] {
    let IpAddr::V6(address) = address else { return [None, None] };
    let octets = address.octets();
    let at =
        |start: usize| Ipv4Addr::new(octets[start], octets[start + 1], octets[start + 2], octets[start + 3]);
    if address.is_unspecified() || address.is_loopback() {
        return [None, None];
    }
    if ENDING_IN_V4.iter().any(|prefix| prefix.contains(&address)) {
        return [Some(at(12)), None];
    }
    if SIX_TO_FOUR.contains(&address) {
        return [Some(at(2)), None];
    }
    if TEREDO.contains(&address) {
        return [Some(at(4)), Some(Ipv4Addr::from_bits(!at(12).to_bits()))];
    }
    [None, None]
}

/// The IPv4 address behind a NAT64 prefix of that length (RFC 6052, section 2.2): it follows the prefix, and leaves out the
/// octet of bits 64 to 71. `None` for lengths that there are not within [`LOCAL_NAT64`].
fn nat64_v4(address: Ipv6Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    const LEFT_OUT: usize = 8;
    let octets = address.octets();
    let start = match prefix_len {
        48 | 56 | 64 | 96 => usize::from(prefix_len / 8),
        _ => return None,
    };
    let mut found = (start..octets.len()).filter(|place| *place != LEFT_OUT).map(|place| octets[place]);
    Some(Ipv4Addr::new(found.next()?, found.next()?, found.next()?, found.next()?))
}

/// Why a URL cannot be a webhook's. `Display` is the API's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not absolute, another scheme, or not a URL at all.
    #[error("url must be an http or https URL")]
    NotHttp,
    /// The port is no number, or none that there is.
    #[error("url must have a port from 1 to 65535")]
    BadPort,
    /// Plain http where `delivery.require_https` is set.
    #[error("url must be an https URL")]
    NotHttps,
    /// Longer than [`MAX_URL_CHARS`].
    #[error("url must be shorter than or equal to {MAX_URL_CHARS} characters")]
    TooLong,
    /// A user name or password before the host: it would be stored and shown in clear.
    #[error("url must not hold credentials")]
    Credentials,
    /// The port of a service that is no receiver.
    #[error("url must not use port {0}")]
    Port(u16),
    /// The host is, or resolves to, an address that the guard refuses.
    #[error("url must not point to a private or reserved address")]
    Address,
}

/// Checks the URL of a webhook as far as that needs no name resolution.
///
/// # Errors
/// The first fault found.
pub fn check_url(text: &str, require_https: bool, guard: &Guard) -> Result<Url, Fault> {
    if text.chars().count() > MAX_URL_CHARS {
        return Err(Fault::TooLong);
    }
    let url = parse_absolute(text)?;
    if require_https && url.scheme() != "https" {
        return Err(Fault::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::Credentials);
    }
    match url.port_or_known_default() {
        Some(0) => return Err(Fault::BadPort),
        Some(port) if FORBIDDEN_PORTS.contains(&port) => return Err(Fault::Port(port)),
        _ => {}
    }
    match literal_address(&url) {
        Some(address) if !guard.permits(address) => Err(Fault::Address),
        _ => Ok(url),
    }
}

/// The address that a URL names without any name: it never passes through a resolver.
pub fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// The parser forgives much (white space within, missing or turned slashes); what it would silently rewrite into some
/// other URL than a person reads is refused here.
fn parse_absolute(text: &str) -> Result<Url, Fault> {
    let rewritten = |c: char| c.is_ascii_control() || c.is_whitespace() || c == '\\';
    let (scheme, rest) = text.split_once("://").ok_or(Fault::NotHttp)?;
    let known = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    if !known || text.contains(rewritten) || rest.starts_with('/') {
        return Err(Fault::NotHttp);
    }
    match Url::parse(text) {
        Ok(url) if url.has_host() => Ok(url),
        Err(url::ParseError::InvalidPort) => Err(Fault::BadPort),
        _ => Err(Fault::NotHttp),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
