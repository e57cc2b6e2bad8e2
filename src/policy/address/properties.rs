//! What holds of every URL, against the `url` crate and against a judgement of addresses made another way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::domain::arbitrary::{config, damaged_text};

/// Whether an address is public, from the first numbers of each special block as the registry prints them, by plain
/// arithmetic, and from what the standard library knows.
fn is_public_by_numbers(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_public_v4(v4),
            None => is_public_v6(v6),
        },
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let by_the_library = v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_broadcast()
        || v4.is_documentation()
        || v4.is_unspecified();
    let [a, b, c, _] = v4.octets();
    let by_numbers = a == 0
        || a >= 240
        || (a == 100 && b / 64 == 1)
        || (a == 198 && b / 2 == 9)
        || [[192, 0, 0], [192, 31, 196], [192, 52, 193], [192, 88, 99], [192, 175, 48]].contains(&[a, b, c]);
    !by_the_library && !by_numbers
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, c, ..] = v6.segments();
    let is_global = (0x2000..=0x3fff).contains(&a);
    let is_special = (a == 0x2001 && (b < 0x200 || b == 0xdb8))
        || a == 0x2002
        || (a == 0x2620 && b == 0x4f && c == 0x8000)
        || (a == 0x3fff && b < 0x1000);
    is_global && !is_special
}

/// Addresses near the edges of the blocks, and any other.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let v4_edges: &[u32] = &[
        0x0a00_0000,
        0x6440_0000,
        0x6480_0000,
        0x7f00_0000,
        0xa9fe_0000,
        0xac10_0000,
        0xac20_0000,
        0xc000_0000,
        0xc000_0200,
        0xc01f_c400,
        0xc034_c100,
        0xc058_6300,
        0xc0a8_0000,
        0xc0af_3000,
        0xc612_0000,
        0xc633_6400,
        0xcb00_7100,
        0xe000_0000,
        0xf000_0000,
    ];
    let v6_edges: &[u128] = &[
        0x2000 << 112,
        0x4000 << 112,
        0x2001 << 112,
        0x2001_0200 << 96,
        0x2001_0db8 << 96,
        0x2001_0db9 << 96,
        0x2002 << 112,
        0x2003 << 112,
        0x2620_004f_8000 << 80,
        0x2620_004f_8001 << 80,
        0x3fff << 112,
        0x3fff_1000 << 96,
        0xfc00 << 112,
        0xffff_0000_0000,
        0x64_ff9b << 96,
    ];
    let near = -2..=2_i64;
    prop_oneof![
        (prop::sample::select(v4_edges), near.clone())
            .prop_map(|(edge, off)| Ipv4Addr::from_bits(edge.wrapping_add_signed(off as i32)).into()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        (prop::sample::select(v6_edges), near)
            .prop_map(|(edge, off)| Ipv6Addr::from_bits(edge.wrapping_add_signed(off.into())).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits >> 3 | 1 << 125).into()),
    ]
}

fn urls() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[a-z0-9.-]{1,20}",
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).to_string()),
        any::<u32>().prop_map(|bits| bits.to_string()),
        any::<u32>().prop_map(|bits| format!("{bits:#x}")),
        any::<u32>().prop_map(|bits| format!("0{bits:o}")),
        addresses().prop_map(|address| if address.is_ipv6() {
            format!("[{address}]")
        } else {
            address.to_string()
        }),
        "\\PC{0,12}",
    ];
    let parts = (
        prop::sample::select(
            &["http://", "https://", "HTTP://", "ftp://", "http:", "//", "http:/\\", "https:///"][..],
        ),
        prop_oneof![8 => Just(String::new()), 1 => Just("u:p@".to_owned()), 1 => "\\PC{0,4}@"],
        host,
        prop_oneof![4 => Just(String::new()), 2 => any::<u16>().prop_map(|port| format!(":{port}")), 1 => "\\PC{0,5}"],
        "(/\\PC{0,12})?(\\?\\PC{0,6})?(#[a-z]{0,3})?",
    );
    prop_oneof![
        6 => parts.prop_map(|(scheme, user, host, port, rest)| format!("{scheme}{user}{host}{port}{rest}")),
        1 => damaged_text("https://hooks.example.com:8443/a/b?c=d#e".into()),
        1 => (2000..2100_usize).prop_map(|length| format!("https://example.com/{}", "x".repeat(length))),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn addresses_are_judged_alike_by_two_ways(address in addresses()) {
        prop_assert_eq!(is_public(address), is_public_by_numbers(address), "{}", address);
    }

    #[test]
    fn what_is_taken_is_what_the_contract_allows(text in urls(), https: bool) {
        let Ok(url) = check_url(&text, https, &Guard::default()) else { return Ok(()) };
        prop_assert_eq!(Url::parse(&text), Ok(url.clone()), "as the standard reads it");
        prop_assert!(text.chars().count() <= MAX_URL_CHARS);
        prop_assert!(url.scheme() == "https" || (url.scheme() == "http" && !https));
        prop_assert!(url.username().is_empty() && url.password().is_none());
        let port = url.port_or_known_default().expect("http has one");
        prop_assert!(port != 0 && !FORBIDDEN_PORTS.contains(&port));
        // A host that any reader would take for an address is judged as one.
        let host = url.host_str().expect("there is one").trim_matches(['[', ']']);
        if let Ok(address) = host.parse::<IpAddr>() {
            prop_assert!(is_public_by_numbers(address), "{address}");
        }
    }

    #[test]
    fn what_is_taken_is_taken_again_as_it_is_requested(text in urls()) {
        if let Ok(url) = check_url(&text, false, &Guard::default()) {
            match check_url(url.as_str(), false, &Guard::default()) {
                Ok(again) => prop_assert_eq!(again, url),
                // Escapes may make it longer; nothing else may come of it.
                Err(fault) => prop_assert_eq!(fault, Fault::TooLong),
            }
        }
    }

    #[test]
    fn every_spelling_of_a_refused_address_is_refused(address in addresses()) {
        let IpAddr::V4(v4) = address else { return Ok(()) };
        let ([a, b, c, d], bits) = (v4.octets(), v4.to_bits());
        let mapped = v4.to_ipv6_mapped();
        for host in [
            format!("{a}.{b}.{c}.{d}"), format!("{a}.{b}.{c}.{d}."), format!("{bits}"), format!("{bits:#x}"), format!("0{bits:o}"),
            format!("{a}.{}", bits & 0xff_ffff), format!("{a:#x}.{b}.{}", bits & 0xffff), format!("[{mapped}]"),
            format!("%3{}", &format!("{a}.{b}.{c}.{d}")),
        ] {
            let taken = check_url(&format!("http://{host}/"), false, &Guard::default());
            let is_address = taken.as_ref().is_ok_and(|url| literal_address(url).is_some());
            prop_assert!(taken.is_err() || !is_address || is_public_by_numbers(address), "{host}");
            if !host.starts_with('%') {
                prop_assert_eq!(taken.is_ok(), is_public_by_numbers(address), "{}", host);
            }
        }
    }
}
