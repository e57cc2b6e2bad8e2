//! What tests of parsers are fed with: any JSON, and good texts that were damaged. No part of the program.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value};

/// The usual configuration (`PROPTEST_CASES` says how many cases), with no files left behind.
pub fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// Texts with what is special to parsers in them.
pub fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{0,8}",
        2 => "\\PC{0,12}",
        1 => "[\\x00-\\x1f\"\\\\/.*:{}\u{7f}\u{2028}\u{202e}\u{fffd}é😀-]{0,12}",
        1 => Just("x".repeat(3000)),
    ]
}

fn numbers() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3i64..100_000).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::from(1.0)),
    ]
}

/// Any value of JSON; `names` are met among those of its members.
pub fn values(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        numbers(),
        texts().prop_map(Value::from),
        prop::sample::select(names).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        let name = prop_oneof![3 => prop::sample::select(names).prop_map(str::to_owned), 1 => texts()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..6).prop_map(|pairs| Value::Object(Map::from_iter(pairs))),
        ]
    })
}

/// An object with some of those members, each of any value.
pub fn objects(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let name = prop_oneof![12 => prop::sample::select(names).prop_map(str::to_owned), 1 => texts()];
    prop::collection::vec((name, values(names)), 0..8).prop_map(|pairs| Value::Object(Map::from_iter(pairs)))
}

/// `good` with a few bytes changed, taken out, put in or doubled, or cut short; or as it is.
pub fn damaged(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<Index>(), any::<u8>(), 0..5_u8);
    prop::collection::vec(edit, 0..4).prop_map(move |edits| {
        let mut bytes = good.clone();
        for (place, byte, how) in edits.into_iter() {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                3 => bytes.insert(at, bytes[at]),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

/// As [`damaged`], where the damage leaves a text.
pub fn damaged_text(good: String) -> impl Strategy<Value = String> {
    damaged(good.into_bytes()).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
