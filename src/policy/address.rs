//! The address guard: where a webhook may point, so that nobody makes this service reach into a private network.
//!
//! Pure. It is asked when a webhook is saved ([`check_url`]) and again for every connection, with the very address
//! that is then connected to ([`Guard::permits`]); only the second protects, the first only tells early.
//!
//! Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890) and IPv6 Address Space registry (RFC
//! 4291), RFC 6052 (NAT64), RFC 8215 (local-use NAT64), RFC 4380 (Teredo), RFC 3056 (6to4), RFC 9637
//! (documentation); the WHATWG URL standard, section 3.5, for the spellings of a host, which the `url` crate implements.

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
    v4([0, 0, 0, 0], 8),       // this network
    v4([10, 0, 0, 0], 8),      // private use
    v4([100, 64, 0, 0], 10),   // shared address space (carrier-grade NAT)
    v4([127, 0, 0, 0], 8),     // loopback
    v4([169, 254, 0, 0], 16),  // link-local, with the metadata services of clouds
    v4([172, 16, 0, 0], 12),   // private use
    v4([192, 0, 0, 0], 24),    // IETF protocol assignments
    v4([192, 0, 2, 0], 24),    // documentation
    v4([192, 31, 196, 0], 24), // AS112
    v4([192, 52, 193, 0], 24), // AMT
    v4([192, 88, 99, 0], 24),  // former 6to4 relay anycast
    v4([192, 168, 0, 0], 16),  // private use
    v4([192, 175, 48, 0], 24), // AS112
    v4([198, 18, 0, 0], 15),   // benchmarking
    v4([198, 51, 100, 0], 24), // documentation
    v4([203, 0, 113, 0], 24),  // documentation
    v4([224, 0, 0, 0], 4),     // multicast
    v4([240, 0, 0, 0], 4),     // reserved, with the limited broadcast
];

/// The one block that global unicast addresses are allotted from. Outside lie, among others: unspecified, loopback and
/// IPv4-compatible (`::/96`), NAT64 (`64:ff9b::/96`, `64:ff9b:1::/48`), discard and dummy (`100::/64`, `100:0:0:1::/64`),
/// segment routing (`5f00::/16`), unique local (`fc00::/7`), link-local (`fe80::/10`), the former site-local
/// (`fec0::/10`) and multicast (`ff00::/8`).
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// What the IPv6 registry lists within [`GLOBAL_V6`].
const SPECIAL_V6: [Ipv6Net; 5] = [
    v6([0x2001, 0, 0], 23), // IETF protocol assignments: Teredo, benchmarking, ORCHID, …
    v6([0x2001, 0x0db8, 0], 32), // documentation
    v6([0x2002, 0, 0], 16), // 6to4: a tunnel to any IPv4 address
    v6([0x2620, 0x004f, 0x8000], 48), // AS112
    v6([0x3fff, 0, 0], 20), // documentation
];

/// The well-known NAT64 prefix: its last 32 bits are the IPv4 address that is reached.
const NAT64: Ipv6Net = v6([0x0064, 0xff9b, 0], 96);

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
    /// says all there is to say about IPv4. Allowing the NAT64 prefix (for a network with DNS64) opens the way to
    /// public IPv4 addresses only: the embedded address must be permitted by itself.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let listed = self.allowed.iter().any(|network| network.contains(&address));
        match embedded_v4(address) {
            Some(embedded) => listed && self.permits(embedded.into()),
            None => listed || is_public(address),
        }
    }
}

/// The IPv4 address that a NAT64 gateway would connect to.
fn embedded_v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn guard(networks: &[&str]) -> Guard {
        Guard { allowed: networks.iter().map(|network| network.parse().expect(network)).collect() }
    }

    #[test]
    fn every_special_range_ends_where_the_registry_says() {
        // First and last address of a range, and its public neighbours where it has any.
        let ranges = [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
            ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
            ("192.31.196.0", "192.31.196.255", Some("192.31.195.255"), Some("192.31.197.0")),
            ("192.52.193.0", "192.52.193.255", Some("192.52.192.255"), Some("192.52.194.0")),
            ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
            ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
            ("192.175.48.0", "192.175.48.255", Some("192.175.47.255"), Some("192.175.49.0")),
            ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
            ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0")),
            ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
            ("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None),
            ("::", "1fff:ffff::ffff", None, Some("2000::")),
            ("2001::", "2001:1ff:ffff:ffff::", Some("2000:ffff::1"), Some("2001:200::")),
            ("2001:db8::", "2001:db8:ffff::1", Some("2001:db7:ffff::1"), Some("2001:db9::")),
            ("2002::", "2002:ffff::1", Some("2001:ffff::1"), Some("2003::")),
            ("2620:4f:8000::", "2620:4f:8000:ffff::", Some("2620:4f:7fff::"), Some("2620:4f:8001::")),
            ("3fff::", "3fff:fff:ffff::", Some("3ffe:ffff::"), Some("3fff:1000::")),
            ("4000::", "ffff:ffff::", Some("3fff:ffff::"), None),
        ];
        for (first, last, below, above) in ranges {
            assert!(!is_public(ip(first)) && !is_public(ip(last)), "{first} to {last}");
            for neighbour in below.into_iter().chain(above) {
                assert!(is_public(ip(neighbour)), "{neighbour}");
            }
        }
    }

    #[test]
    fn every_form_that_leads_elsewhere_is_refused() {
        for address in [
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::a00:1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2002:7f00:1::",
            "100::1",
            "100:0:0:1::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(ip(address)), "{address}");
            assert!(!Guard::default().permits(ip(address)), "{address}");
        }
        assert!(is_public(ip("::ffff:8.8.8.8")) && is_public(ip("2606:4700::1111")));
    }

    #[test]
    fn an_allowed_network_opens_itself_in_every_spelling_and_nothing_else() {
        let loopback = guard(&["127.0.0.0/8", "::1/128"]);
        for (address, permitted) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("::1", true),
            ("::127.0.0.1", false),
            ("64:ff9b::7f00:1", false),
            ("10.0.0.1", false),
            ("8.8.8.8", true),
        ] {
            assert_eq!(loopback.permits(ip(address)), permitted, "{address}");
        }
    }

    #[test]
    fn an_allowed_nat64_prefix_leads_to_public_addresses_only() {
        let nat64 = guard(&["64:ff9b::/96"]);
        assert!(nat64.permits(ip("64:ff9b::808:808")));
        assert!(!nat64.permits(ip("64:ff9b::a00:1")));
        assert!(guard(&["64:ff9b::/96", "10.0.0.0/8"]).permits(ip("64:ff9b::a00:1")));
        assert!(guard(&["::/0", "0.0.0.0/0"]).permits(ip("64:ff9b::7f00:1")));
    }

    /// Ways to write 127.0.0.1 and other inner addresses that a URL parser understands.
    const INNER: [&str; 22] = [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://127.0.0.1:8080/",
        "http://１２７.０.０.１/",
        "http://127。0。0。1/",
        "http://%31%32%37.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[fe80::1]/",
        "http://0/",
        "http://10.1/",
        "http://169.254.169.254/latest/meta-data",
        "https://192.168.1.1/",
    ];

    #[test]
    fn inner_addresses_are_refused_in_every_spelling() {
        for text in INNER {
            assert_eq!(check_url(text, false, &Guard::default()), Err(Fault::Address), "{text}");
        }
    }

    #[test]
    fn urls_are_refused_with_the_words_of_the_api() {
        let long = format!("https://example.com/{}", "x".repeat(MAX_URL_CHARS));
        let not_http = "url must be an http or https URL";
        for (text, message) in [
            ("", not_http),
            ("example.com", not_http),
            ("/path", not_http),
            ("//example.com/", not_http),
            ("ftp://example.com/", not_http),
            ("file:///etc/passwd", not_http),
            ("javascript://example.com/%0aalert(1)", not_http),
            ("http:example.com", not_http),
            ("http:/example.com", not_http),
            ("http:///example.com", not_http),
            ("http://", not_http),
            ("http://?x", not_http),
            (" http://example.com/", not_http),
            ("http://exa\nmple.com/", not_http),
            ("http://example.com\\@127.0.0.1/", not_http),
            ("http://exa mple.com/", not_http),
            ("http://[::1/", not_http),
            ("http://1.2.3.256/", not_http),
            ("http://example.com:99999/", "url must have a port from 1 to 65535"),
            ("https://example.com:https/", "url must have a port from 1 to 65535"),
            ("http://example.com:0/", "url must have a port from 1 to 65535"),
            (&long, "url must be shorter than or equal to 2048 characters"),
            ("https://user@example.com/", "url must not hold credentials"),
            ("https://user:pw@example.com/", "url must not hold credentials"),
            ("https://:pw@example.com/", "url must not hold credentials"),
            ("http://example.com:6379/", "url must not use port 6379"),
            ("http://example.com:22/", "url must not use port 22"),
            ("https://10.0.0.1/", "url must not point to a private or reserved address"),
        ] {
            let fault = check_url(text, false, &Guard::default()).expect_err(text);
            assert_eq!(fault.to_string(), message, "{text}");
        }
        let fault = check_url("http://example.com/", true, &Guard::default()).expect_err("plain http");
        assert_eq!(fault.to_string(), "url must be an https URL");
    }

    #[test]
    fn ordinary_urls_are_taken_and_say_where_they_lead() {
        for (text, canonical) in [
            ("https://example.com", "https://example.com/"),
            ("HTTP://EXAMPLE.com:80/Hook?a=b#part", "http://example.com/Hook?a=b#part"),
            ("https://bücher.example/ö", "https://xn--bcher-kva.example/%C3%B6"),
            ("http://localhost:3000/hook", "http://localhost:3000/hook"),
            ("http://8.8.8.8:8080/", "http://8.8.8.8:8080/"),
            ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
            ("https://example.com/@user:pw", "https://example.com/@user:pw"),
        ] {
            let url = check_url(text, false, &Guard::default()).expect(text);
            assert_eq!(url.as_str(), canonical);
        }
        assert!(check_url(INNER[0], false, &guard(&["127.0.0.0/8"])).is_ok());
    }

    #[test]
    fn every_forbidden_port_is_refused_whatever_the_scheme() {
        for port in FORBIDDEN_PORTS {
            for scheme in ["http", "https"] {
                let text = format!("{scheme}://example.com:{port}/");
                assert_eq!(check_url(&text, false, &Guard::default()), Err(Fault::Port(port)));
            }
        }
    }

    proptest! {
        #[test]
        fn a_mapped_address_is_judged_like_its_plain_form(bits: u32, network: u32, prefix in 0..=32_u8) {
            let plain = Ipv4Addr::from_bits(bits);
            let allowed = Ipv4Net::new(Ipv4Addr::from_bits(network), prefix).expect("a prefix up to 32");
            let guard = Guard { allowed: vec![allowed.into()] };
            prop_assert_eq!(guard.permits(plain.into()), guard.permits(plain.to_ipv6_mapped().into()));
        }

        #[test]
        fn any_text_is_judged_and_none_leads_to_a_refused_address(text in "(https?://)?\\PC{0,40}") {
            if let Ok(url) = check_url(&text, false, &Guard::default()) {
                prop_assert!(literal_address(&url).is_none_or(is_public));
                prop_assert!(url.username().is_empty() && url.password().is_none());
            }
        }
    }
}
