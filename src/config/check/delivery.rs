//! The checks of `[delivery]`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::Url;

use super::{Check, Delivery, GIBIBYTE, MEBIBYTE, ProxyUrl, raw};

/// The most name servers. Two are asked at once; more than these nobody needs.
const MOST_DNS_SERVERS: usize = 8;
/// Where a name server listens when nothing else is said (RFC 1035, section 4.2).
const DNS_PORT: u16 = 53;

impl Check<'_> {
    pub(super) fn delivery(&mut self, raw: &raw::Delivery) -> Delivery {
        let default_rate = raw.default_rate_limit_per_second;
        let memory = MEBIBYTE..=64 * GIBIBYTE;
        Delivery {
            require_https: raw.require_https,
            allowed_networks: self.networks(&raw.allowed_networks),
            dns_servers: self.dns_servers(&raw.dns_servers),
            proxy_url: self.proxy_url(&raw.proxy_url),
            default_rate_limit_per_second: self.within(
                "delivery.default_rate_limit_per_second",
                default_rate,
                0..=10_000,
            ),
            max_in_flight: self.within("delivery.max_in_flight", raw.max_in_flight, 1..=65_536),
            response_capture_bytes: self.within(
                "delivery.response_capture_bytes",
                raw.response_capture_bytes,
                0..=65_536,
            ),
            max_age: self.days("delivery.max_age_days", raw.max_age_days, 1..=365),
            memory_budget_bytes: self.within("delivery.memory_budget_bytes", raw.memory_budget_bytes, memory),
        }
    }

    fn networks(&mut self, texts: &[String]) -> Vec<IpNet> {
        let networks: Vec<IpNet> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        let all = networks.len() == texts.len();
        self.demand("delivery.allowed_networks", all, "networks as CIDR, such as 10.20.0.0/16 or fd00::/8");
        networks
    }

    fn dns_servers(&mut self, texts: &[String]) -> Vec<SocketAddr> {
        let servers: Vec<SocketAddr> = texts.iter().filter_map(|text| dns_server(text)).collect();
        let all = servers.len() == texts.len() && servers.len() <= MOST_DNS_SERVERS;
        let expected = format!(
            "at most {MOST_DNS_SERVERS} addresses, each with a port or for port {DNS_PORT}, such as 10.0.0.10, \
             10.0.0.10:5353, fd00::10 or [fd00::10]:5353"
        );
        self.demand("delivery.dns_servers", all, &expected);
        servers
    }

    fn proxy_url(&mut self, text: &str) -> Option<ProxyUrl> {
        let url = proxy_url(text);
        let expected = "a proxy as http://host:port or http://user:password@host:port, without path, query or fragment, or \
                        empty";
        self.demand("delivery.proxy_url", text.is_empty() || url.is_some(), expected);
        url
    }
}

/// The proxy itself is spoken to in plain HTTP; what goes to https endpoints is encrypted within.
fn proxy_url(text: &str) -> Option<ProxyUrl> {
    let url = Url::parse(text).ok()?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_there = url.has_host() && url.port() != Some(0);
    (url.scheme() == "http" && is_bare && is_there).then_some(ProxyUrl(url))
}

/// An address with or without a port.
fn dns_server(text: &str) -> Option<SocketAddr> {
    let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, DNS_PORT));
    text.parse().ok().or_else(alone).filter(|server: &SocketAddr| server.port() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_an_address_with_or_without_a_port() {
        for (text, expected) in [
            ("10.0.0.10", Some("10.0.0.10:53")),
            ("10.0.0.10:5353", Some("10.0.0.10:5353")),
            ("::1", Some("[::1]:53")),
            ("[::1]:5353", Some("[::1]:5353")),
            ("[::1]", None),
            ("10.0.0.10:0", None),
            ("10.0.0.10:65536", None),
            ("10.0.0", None),
            ("dns.example:53", None),
            ("udp://10.0.0.10", None),
            ("", None),
        ] {
            assert_eq!(dns_server(text).map(|server| server.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_proxy_is_an_http_url_and_its_credentials_are_never_shown() {
        for text in ["http://proxy.corp:3128", "http://10.0.0.1", "http://ann:pw@[fd00::1]:3128/"] {
            assert!(proxy_url(text).is_some(), "{text}");
        }
        for text in [
            "proxy.corp:3128",
            "https://proxy.corp",
            "socks5://proxy.corp:1080",
            "http://",
            "http://proxy.corp/path",
            "http://proxy.corp?a",
            "http://proxy.corp:0",
        ] {
            assert_eq!(proxy_url(text), None, "{text}");
        }
        let shown = format!("{:?}", proxy_url("http://ann:hunter2@proxy.corp:3128"));
        assert_eq!(shown, "Some(ProxyUrl(http://***@proxy.corp:3128))");
    }
}
