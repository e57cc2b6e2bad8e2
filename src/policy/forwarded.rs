//! Which address a request came from, where proxies stand between a client and the node.
//!
//! Each proxy appends the address that it was connected from to `X-Forwarded-For`, and passes on whatever the client wrote
//! there. So only the part that trusted proxies wrote may be believed: the addresses are walked from the right, and the
//! first one that is no trusted proxy's is the client's. Whatever stands to the left of it may be made up.
//! Source: RFC 7239, sections 5.2 and 7.4, whose `for` this header is the forerunner of.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The longest chain of proxies that is followed; a header may hold thousands of addresses.
const MOST_HOPS: usize = 16;

/// The client's address: `peer`'s, unless that is one of `trusted`; then the right-most in `lines` (the values of
/// `X-Forwarded-For`, in the order of the request) that is not. What is no address ends the walk at the trusted hop
/// before it, and so do the end of the header and [`MOST_HOPS`].
pub fn client<'a>(
    peer: IpAddr,
    lines: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = peer.to_canonical();
    let mut hops = lines.rev().flat_map(|line| line.rsplit(',')).take(MOST_HOPS);
    while is_trusted(client, trusted) {
        match hops.next().and_then(address_of) {
            Some(before) => client = before,
            None => break,
        }
    }
    client
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// An address, in brackets or not, with a port or without: proxies write all of these.
fn address_of(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches([' ', '\t']);
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn networks() -> Vec<IpNet> {
        ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).into()
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_s_is_the_client_s() {
        let cases: [(&str, &[&str], &str); 18] = [
            // A peer that is not trusted may write what it likes.
            ("192.0.2.9", &[], "192.0.2.9"),
            ("192.0.2.9", &["198.51.100.1"], "192.0.2.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.7, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.7,198.51.100.1,10.2.3.4"], "198.51.100.1"),
            // All lines are one list.
            ("10.0.0.1", &["203.0.113.7", "198.51.100.1, 10.2.3.4"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1", "10.2.3.4"], "198.51.100.1"),
            // Only proxies: the farthest of them.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // What is no address ends the walk.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1,"], "10.0.0.1"),
            ("10.0.0.1", &["010.0.0.2"], "10.0.0.1"),
            // The spellings of proxies.
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("fd00::1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["2001:db8::1, fd00::2"], "2001:db8::1"),
            // An IPv4 address in IPv6 form is that IPv4 address.
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
        ];
        for (peer, lines, expected) in cases {
            let found = client(peer.parse().unwrap(), lines.iter().copied(), &networks());
            assert_eq!(found.to_string(), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn nobody_is_trusted_where_no_proxy_is_named() {
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(client(peer, ["198.51.100.1"].into_iter(), &[]), peer);
    }

    #[test]
    fn a_chain_without_end_is_not_followed_to_its_end() {
        let long = format!("198.51.100.1{}", ",10.0.0.2".repeat(MOST_HOPS));
        let found = client("10.0.0.1".parse().unwrap(), [long.as_str()].into_iter(), &networks());
        assert_eq!(found.to_string(), "10.0.0.2");
    }
}
