//! What holds of every header and every list of proxies.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::domain::arbitrary::config;

/// Addresses of a small world, so that proxies are met often.
fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..4).prop_map(|last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last))),
        any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits))),
        any::<u128>().prop_map(|bits| IpAddr::from(bits.to_be_bytes()).to_canonical()),
    ]
}

fn hops() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => addresses().prop_map(|address| address.to_string()),
        1 => addresses().prop_map(|address| SocketAddr::new(address, 80).to_string()),
        1 => "[ -~]{0,12}",
    ]
}

fn proxies() -> Vec<IpNet> {
    vec!["10.0.0.0/30".parse().expect("a network")]
}

proptest! {
    #![proptest_config(config())]

    /// The client is the peer or stands in the header, and nobody who is not trusted changes it.
    #[test]
    fn an_address_is_never_made_up(peer in addresses(), hops in prop::collection::vec(hops(), 0..20)) {
        let line = hops.join(",");
        let found = client(peer, [line.as_str()].into_iter(), &proxies());
        let named = line.split(',').filter_map(address_of).any(|address| address == found);
        prop_assert!(found == peer || named, "{found}");
        if !is_trusted(peer, &proxies()) {
            prop_assert_eq!(found, peer);
        }
    }

    /// What a client writes before its request reaches the first proxy does not matter.
    #[test]
    fn what_the_client_wrote_itself_is_not_believed(forged in "[ -~]{0,40}", real in addresses(), depth in 0usize..4) {
        if is_trusted(real, &proxies()) {
            return Ok(());
        }
        let written = format!("{forged},{real}{}", ",10.0.0.2".repeat(depth));
        let found = client(IpAddr::from([10, 0, 0, 1]), [written.as_str()].into_iter(), &proxies());
        prop_assert_eq!(found, real);
    }

    /// However the list is spread over header lines.
    #[test]
    fn lines_are_one_list(peer in addresses(), hops in prop::collection::vec(hops(), 1..12), cut in 0usize..12) {
        let (one, two) = hops.split_at(cut.min(hops.len() - 1));
        let whole = hops.join(",");
        let parts = [one.join(","), two.join(",")];
        let lines = parts.iter().map(String::as_str).skip(usize::from(one.is_empty()));
        prop_assert_eq!(client(peer, lines, &proxies()), client(peer, [whole.as_str()].into_iter(), &proxies()));
    }
}
