//! Every range at both of its ends, every spelling, and what a list of allowed networks opens.

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
        ("2002:7f00:1::", false),
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

#[test]
fn an_ipv6_network_opens_no_way_around_the_ipv4_ranges() {
    let all_v6 = guard(&["::/0"]);
    let all_but_loopback = guard(&["::/0", "10.0.0.0/8"]);
    // Where it leads, to 127.0.0.1, to 10.0.0.1, to 8.8.8.8.
    for (form, loopback, private, public) in [
        ("mapped", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8"),
        ("compatible", "::127.0.0.1", "::10.0.0.1", "::8.8.8.8"),
        ("translated", "::ffff:0:127.0.0.1", "::ffff:0:10.0.0.1", "::ffff:0:8.8.8.8"),
        ("NAT64", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::8.8.8.8"),
        ("6to4", "2002:7f00:1::1", "2002:a00:1::1", "2002:808:808::1"),
        (
            "Teredo client",
            "2001:0:808:808::80ff:fffe",
            "2001:0:808:808::f5ff:fffe",
            "2001:0:808:808::f7f7:f7f7",
        ),
        ("Teredo server", "2001:0:7f00:1::f7f7:f7f7", "2001:0:a00:1::f7f7:f7f7", "2001:0:808:808::f7f7:f7f7"),
    ] {
        assert!(!all_v6.permits(ip(loopback)) && !all_v6.permits(ip(private)), "{form}");
        assert!(all_v6.permits(ip(public)), "{form}");
        assert!(!all_but_loopback.permits(ip(loopback)) && all_but_loopback.permits(ip(private)), "{form}");
    }
    for plain in ["::1", "fd00::1", "fe80::1", "2606:4700::1111"] {
        assert!(all_v6.permits(ip(plain)), "{plain}");
    }
    assert!(guard(&["::1/128"]).permits(ip("::1")));
}

#[test]
fn the_local_prefix_of_nat64_is_open_only_where_it_is_known_how_it_is_used() {
    // The prefix that NAT64 uses, and where 8.8.8.8 and 127.0.0.1 stand then (RFC 6052, section 2.4).
    for (prefix, public, loopback) in [
        ("64:ff9b:1::/48", "64:ff9b:1:808:8:800::", "64:ff9b:1:7f00:0:100::"),
        ("64:ff9b:1:2200::/56", "64:ff9b:1:2208:8:808::", "64:ff9b:1:227f:0:1::"),
        ("64:ff9b:1:2233::/64", "64:ff9b:1:2233:8:808:800:0", "64:ff9b:1:2233:7f:0:100:0"),
        ("64:ff9b:1:2233:44::/96", "64:ff9b:1:2233:44::808:808", "64:ff9b:1:2233:44::7f00:1"),
    ] {
        let allowed = guard(&[prefix]);
        assert!(allowed.permits(ip(public)), "{prefix}");
        assert!(!allowed.permits(ip(loopback)), "{prefix}");
        for unknown in [&["::/0"][..], &["64:ff9b::/32"], &["64:ff9b:1::/52"], &[]] {
            assert!(!guard(unknown).permits(ip(public)), "{public} {unknown:?}");
        }
    }
    // What a translator leaves out says nothing.
    assert!(!guard(&["64:ff9b:1::/48"]).permits(ip("64:ff9b:1:7f00:0:100:808:808")));
}

#[test]
fn a_zone_and_what_is_no_host_are_refused() {
    for host in [
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[::1",
        "::1",
        "[127.0.0.1]",
        "1.2.3.256",
        "1.2.3.4.5",
        "0x100000000",
    ] {
        let text = format!("http://{host}/");
        assert_eq!(check_url(&text, false, &guard(&["::/0", "0.0.0.0/0"])), Err(Fault::NotHttp), "{host}");
    }
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
