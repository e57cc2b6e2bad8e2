//! Which keys are taken from PEM files and JWK sets, and what is said of the others.

use serde_json::{Value, json};

use super::set::NamedKey;
use super::testing::{Signer, base64url, pem, set};
use super::*;

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

#[test]
fn a_key_is_the_same_from_pem_and_from_a_set_and_bound_to_its_algorithm() {
    for signer in Signer::all() {
        let from_pem = read_pem(signer.pem().as_bytes()).unwrap();
        let from_set = KeySet::read(&set(&[signer.jwk("a")])).unwrap();
        assert_eq!(from_pem.algorithm().as_str(), signer.alg());
        assert_eq!(from_set.keys, [NamedKey { kid: Some("a".into()), key: from_pem.clone() }]);
        assert_eq!(from_pem.spki(), signer.spki());
        assert_eq!(format!("{from_pem:?}"), format!("PublicKey({})", signer.alg()));
    }
}

#[test]
fn what_is_no_public_key_in_pem_is_named() {
    let key = Signer::ed();
    let two = format!("{}{}", key.pem(), Signer::ec().pem());
    let small = PublicKeyComponents { n: odd(128), e: vec![1, 0, 1] }.as_der().unwrap();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let certificate = rcgen::generate_simple_self_signed(vec!["a.test".into()]).unwrap().cert.pem();
    for (text, words) in [
        (String::new(), "no PEM"),
        ("a key, honestly".into(), "no PEM"),
        ("x".repeat(70_000), "larger than 65536 bytes"),
        ("-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n".into(), "malformed PEM"),
        (key.pem().lines().next().unwrap().into(), "malformed PEM"),
        (two, "more than one"),
        (p384.serialize_pem(), "private key"),
        (pem("RSA PRIVATE KEY", b"x"), "private key"),
        (pem("EC PRIVATE KEY", b"x"), "private key"),
        (certificate, "certificate"),
        (pem("CERTIFICATE REQUEST", b"x"), "no PUBLIC KEY"),
        (pem("PUBLIC KEY", small.as_ref()), "2048 to 8192 bits"),
        (p384.public_key_pem(), "no RSA, P-256 or Ed25519 key"),
        (pem("PUBLIC KEY", b"not DER"), "no RSA, P-256 or Ed25519 key"),
        (pem("PUBLIC KEY", &key.spki()[..40]), "no RSA, P-256 or Ed25519 key"),
    ] {
        let found = read_pem(text.as_bytes()).expect_err(words).to_string();
        assert!(found.contains(words), "{found:?} should say {words:?}");
    }
}

/// A number of so many bytes that is neither even nor short.
fn odd(bytes: usize) -> Vec<u8> {
    vec![0xff; bytes]
}

#[test]
fn an_entry_that_is_of_no_use_is_left_out_and_counted_and_the_others_hold() {
    let (rsa, ec, ed) = (Signer::rsa(), Signer::ec(), Signer::ed());
    let p384 = json!({"kty": "EC", "crv": "P-384", "x": base64url(&odd(48)), "y": base64url(&odd(48))});
    let useless = [
        json!({"kty": "oct", "k": base64url(&[7; 32]), "kid": "x", "alg": "HS256"}),
        with(rsa.jwk("x"), "use", json!("enc")),
        with(rsa.jwk("x"), "use", json!(7)),
        with(rsa.jwk("x"), "key_ops", json!(["sign"])),
        with(rsa.jwk("x"), "key_ops", json!([])),
        with(rsa.jwk("x"), "alg", json!("RS512")),
        with(rsa.jwk("x"), "alg", json!("PS256")),
        with(rsa.jwk("x"), "alg", json!("HS256")),
        with(rsa.jwk("x"), "alg", json!("none")),
        with(ec.jwk("x"), "alg", json!("RS256")),
        with(rsa.jwk("x"), "n", json!(base64url(&odd(128)))),
        with(rsa.jwk("x"), "n", json!(base64url(&odd(1025)))),
        with(rsa.jwk("x"), "n", json!("***")),
        with(rsa.jwk("x"), "n", Value::Null),
        with(rsa.jwk("x"), "e", json!(base64url(&[1]))),
        with(rsa.jwk("x"), "e", json!(base64url(&[2]))),
        with(rsa.jwk("x"), "e", json!(base64url(&odd(8)))),
        with(rsa.jwk("x"), "e", json!("")),
        with(rsa.jwk("x"), "d", json!("AQ")),
        with(rsa.jwk("x"), "kty", json!("XYZ")),
        with(rsa.jwk("x"), "kid", json!("k".repeat(256))),
        with(ec.jwk("x"), "x", json!(base64url(&[1; 32]))),
        with(ec.jwk("x"), "x", json!(base64url(&odd(33)))),
        with(ec.jwk("x"), "y", Value::Null),
        with(ec.jwk("x"), "crv", json!("secp256k1")),
        with(ed.jwk("x"), "crv", json!("X25519")),
        with(ed.jwk("x"), "x", json!(base64url(&[1; 31]))),
        p384,
        json!({}),
        json!("a key"),
    ];
    for entry in &useless {
        let found = KeySet::read(&set(&[entry.clone(), ec.jwk("good")])).unwrap();
        let kids: Vec<_> = found.keys.iter().map(|named| named.kid.as_deref()).collect();
        assert_eq!((kids, found.left_out), (vec![Some("good")], 1), "{entry}");
        assert_eq!(KeySet::read(&set(std::slice::from_ref(entry))), Err(set::Error::NoneUsable(1)));
    }
}

#[test]
fn the_first_key_of_a_name_counts_and_keys_without_a_name_do_not_meet() {
    let (first, second) = (Signer::ed(), Signer::ec());
    let nameless = |signer: &Signer| with(signer.jwk(""), "kid", Value::Null);
    let entries = [first.jwk("a"), second.jwk("a"), nameless(&first), nameless(&second)];
    let found = KeySet::read(&set(&entries)).unwrap();
    let kids: Vec<_> = found.keys.iter().map(|named| named.kid.as_deref()).collect();
    assert_eq!((kids, found.left_out), (vec![Some("a"), None, None], 1));
    assert_eq!(found.keys[0].key.algorithm(), KeyAlgorithm::EdDsa);
}

#[test]
fn what_is_no_set_is_refused_whole() {
    let key = Signer::ed();
    let many = |count: usize| -> Vec<Value> { (0..count).map(|n| key.jwk(&n.to_string())).collect() };
    let mut large = set(&[key.jwk("a")]);
    large.resize(set::MOST_BYTES + 1, b' ');
    for (text, expected) in [
        (b"".to_vec(), set::Error::Malformed),
        (b"<html>".to_vec(), set::Error::Malformed),
        (b"[]".to_vec(), set::Error::Malformed),
        (br#"{"keys": {}}"#.to_vec(), set::Error::Malformed),
        (key.jwk("a").to_string().into_bytes(), set::Error::Malformed),
        (br#"{"keys": []}"#.to_vec(), set::Error::NoneUsable(0)),
        (set(&many(65)), set::Error::TooMany(65)),
        (large.clone(), set::Error::TooLarge),
        (b"[".repeat(200_000), set::Error::Malformed),
    ] {
        assert_eq!(KeySet::read(&text), Err(expected));
    }
    assert_eq!(KeySet::read(&set(&many(64))).unwrap().keys.len(), 64);
    large.truncate(set::MOST_BYTES);
    assert!(KeySet::read(&large).is_ok());
}
