//! Tokens that somebody made who has no key for it.

use super::*;
use crate::config::keys::testing::{Signer, base64url, message, pem, set};
use crate::config::keys::{KeySet, read_pem};

fn claims() -> Value {
    json!({"sub": "u1", "exp": seconds(60)})
}

fn head(alg: &str) -> Value {
    json!({"alg": alg, "typ": "JWT"})
}

/// A token whose header and claims are these very texts.
fn written(signer: &Signer, head: &str, claims: &str) -> String {
    let message = format!("{}.{}", base64url(head.as_bytes()), base64url(claims.as_bytes()));
    format!("{message}.{}", base64url(&signer.sign(message.as_bytes())))
}

fn hmac(alg: &str, claims: &Value, secret: &[u8]) -> String {
    let algorithm = alg.parse().unwrap();
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// A node with that public key alone.
fn with_public_key(signer: &Signer) -> Authenticator {
    let key = read_pem(signer.pem().as_bytes()).unwrap();
    Authenticator::new(&config::Auth { jwt_secret: None, jwt_public_key: Some(key), ..settings() })
}

/// A node with those keys of an identity provider alone.
fn with_set(entries: &[Value]) -> Authenticator {
    let jwks = config::Jwks::File("nowhere.json".into(), KeySet::read(&set(entries)).unwrap());
    Authenticator::new(&config::Auth { jwt_secret: None, jwks: Some(jwks), ..settings() })
}

fn reason(authenticator: &Authenticator, token: &str) -> Option<Refusal> {
    authenticator
        .caller(token)
        .map_or(Some(Refusal::UnknownKey), |found| found.err().map(|denied| denied.reason))
}

#[test]
fn every_key_verifies_its_own_tokens_and_no_others() {
    let signers = Signer::all();
    let strangers = Signer::all();
    for (index, own) in signers.iter().enumerate() {
        for node in [with_public_key(own), with_set(&[own.jwk("a")])] {
            assert_eq!(reason(&node, &own.token(&head(own.alg()), &claims())), None);
            for (other, stranger) in signers.iter().zip(&strangers) {
                let expected = if other.alg() == own.alg() { Refusal::Signature } else { Refusal::Algorithm };
                let by_stranger = stranger.token(&head(stranger.alg()), &claims());
                assert_eq!(reason(&node, &by_stranger), Some(expected), "{} {}", own.alg(), other.alg());
            }
            // Its own signature under each other name.
            for alg in ["HS256", "RS256", "ES256", "EdDSA"].into_iter().filter(|alg| *alg != own.alg()) {
                assert_eq!(reason(&node, &own.token(&head(alg), &claims())), Some(Refusal::Algorithm));
            }
        }
        let node = with_set(&[own.jwk("a"), signers[(index + 1) % 3].jwk("b")]);
        assert_eq!(reason(&node, &own.token(&json!({"alg": own.alg(), "kid": "a"}), &claims())), None);
        let misnamed = own.token(&json!({"alg": own.alg(), "kid": "b"}), &claims());
        assert_eq!(reason(&node, &misnamed), Some(Refusal::Algorithm), "the key of that name alone counts");
    }
}

#[test]
fn an_hmac_made_with_a_public_key_is_refused_whatever_else_is_configured() {
    for signer in Signer::all() {
        let key = read_pem(signer.pem().as_bytes()).unwrap();
        let jwk = signer.jwk("a");
        let set_of_it = KeySet::read(&set(std::slice::from_ref(&jwk))).unwrap();
        let all = config::Auth {
            jwt_public_key: Some(key),
            jwks: Some(config::Jwks::File("nowhere.json".into(), set_of_it)),
            ..settings()
        };
        let secrets = [
            signer.pem().into_bytes(),
            signer.pem().trim_end().as_bytes().to_vec(),
            pem("RSA PUBLIC KEY", &signer.spki()).into_bytes(),
            signer.spki(),
            jwk.to_string().into_bytes(),
            set(std::slice::from_ref(&jwk)),
            jwk["x"].as_str().or(jwk["n"].as_str()).unwrap().as_bytes().to_vec(),
            Vec::new(),
        ];
        let nodes = [with_public_key(&signer), with_set(&[jwk]), Authenticator::new(&all)];
        for secret in secrets {
            for alg in ["HS256", "HS384", "HS512"] {
                let plain = hmac(alg, &claims(), &secret);
                let mut header = Header::new(alg.parse().unwrap());
                header.kid = Some("a".into());
                let named = encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap();
                for (node, token) in nodes.iter().flat_map(|node| [(node, &plain), (node, &named)]) {
                    let found = reason(node, token);
                    assert!(
                        matches!(found, Some(Refusal::Algorithm | Refusal::Signature)),
                        "{alg}: {found:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_algorithm_without_a_key_is_refused_by_its_name_alone() {
    let rsa = Signer::rsa();
    let nodes = [Authenticator::new(&settings()), with_public_key(&rsa), with_set(&[rsa.jwk("a")])];
    for alg in [
        "none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "RS384", "RS512", "PS256", "ES384", "ES512",
        "Ed25519", "dir",
    ] {
        let message = message(&head(alg), &claims());
        let signed = rsa.token(&head(alg), &claims());
        for token in [format!("{message}."), message.clone() + ".AAAA", signed] {
            for node in &nodes {
                assert_eq!(reason(node, &token), Some(Refusal::Algorithm), "{alg:?}");
            }
        }
    }
    for alg in ["HS384", "HS512"] {
        let token = hmac(alg, &claims(), SECRET.as_bytes());
        assert_eq!(reason(&nodes[0], &token), Some(Refusal::Algorithm), "{alg}");
    }
}

#[test]
fn a_signature_in_another_form_is_refused() {
    let ec = Signer::ec();
    let node = with_public_key(&ec);
    let message = message(&head("ES256"), &claims());
    let good = ec.sign(message.as_bytes());
    let with = |signature: &[u8]| format!("{message}.{}", base64url(signature));
    assert_eq!(reason(&node, &with(&good)), None);
    let doubled = [good.as_slice(), &good].concat();
    for bad in [&ec.sign_as_der(message.as_bytes()), &[0; 64][..], &[], &good[..63], &doubled] {
        assert_eq!(reason(&node, &with(bad)), Some(Refusal::Signature));
    }
    for broken in
        [format!("{message}.***"), format!("{}=", with(&good)), format!("{message}.{} ", base64url(&good))]
    {
        assert_eq!(reason(&node, &broken), Some(Refusal::Malformed));
    }
}

#[test]
fn keys_that_a_token_brings_along_are_ignored() {
    let (ours, theirs) = (Signer::rsa(), Signer::rsa());
    let node = with_set(&[ours.jwk("a")]);
    for (name, value) in [
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("x5c", json!([base64url(&theirs.spki())])),
        ("jwk", theirs.jwk("a")),
    ] {
        let mut header = json!({"alg": "RS256", "kid": "a"});
        header[name] = value;
        assert_eq!(reason(&node, &theirs.token(&header, &claims())), Some(Refusal::Signature), "{name}");
        assert_eq!(reason(&node, &ours.token(&header, &claims())), None, "{name}");
    }
}

#[test]
fn what_is_no_token_is_refused_before_any_key_is_tried() {
    let rsa = Signer::rsa();
    let node = with_public_key(&rsa);
    let good = rsa.token(&head("RS256"), &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let crit = rsa.token(&json!({"alg": "RS256", "crit": ["exp"]}), &claims());
    let long_head = rsa.token(&json!({"alg": "RS256", "x": "y".repeat(7000)}), &claims());
    for (token, expected) in [
        (String::new(), Refusal::Malformed),
        (parts[0].into(), Refusal::Malformed),
        (parts[..2].join("."), Refusal::Malformed),
        (format!("{good}.{}", parts[2]), Refusal::Malformed),
        (format!(".{}.{}", parts[1], parts[2]), Refusal::Malformed),
        (format!("{}..{}", parts[0], parts[2]), Refusal::Signature),
        (format!("{}.{}.", parts[0], parts[1]), Refusal::Signature),
        (written(&rsa, "{\"alg\":\"RS256\"", "{}"), Refusal::Malformed),
        (written(&rsa, "[]", "{}"), Refusal::Malformed),
        (written(&rsa, "{\"kid\":\"a\"}", "{}"), Refusal::Malformed),
        (written(&rsa, "{\"alg\":7}", "{}"), Refusal::Malformed),
        (written(&rsa, "{\"alg\":\"RS256\",\"kid\":7}", "{}"), Refusal::Malformed),
        (written(&rsa, "{\"alg\":\"none\",\"alg\":\"RS256\"}", "{}"), Refusal::Malformed),
        (written(&rsa, "{\"alg\":\"RS256\"}", "[]"), Refusal::Claim),
        (written(&rsa, "{\"alg\":\"RS256\"}", "exp"), Refusal::Claim),
        (crit, Refusal::Critical),
        (long_head, Refusal::TooLong),
        ("x".repeat(LONGEST_TOKEN + 1), Refusal::TooLong),
        (format!("{}.{}", parts[0], "x".repeat(1 << 20)), Refusal::TooLong),
    ] {
        assert_eq!(reason(&node, &token), Some(expected), "{}", &token[..token.len().min(80)]);
    }
}

#[test]
fn a_claim_that_stands_twice_or_has_a_wrong_type_is_refused() {
    let rsa = Signer::rsa();
    let node = with_public_key(&rsa);
    let soon = seconds(60);
    for (text, expected) in [
        (format!(r#"{{"sub":"u1","exp":{soon}}}"#), None),
        (format!(r#"{{"sub":"u1","sub":"u2","exp":{soon}}}"#), Some(Refusal::Claim)),
        (format!(r#"{{"sub":"u1","exp":1,"exp":{soon}}}"#), Some(Refusal::Claim)),
        (format!(r#"{{"sub":"u1","exp":{soon},"role":"a","role":"ADMIN"}}"#), Some(Refusal::Claim)),
        (format!(r#"{{"sub":"u1","exp":{soon},"scope":["events:publish"]}}"#), Some(Refusal::Claim)),
        (format!(r#"{{"sub":"u1","exp":"{soon}"}}"#), Some(Refusal::Claim)),
        (format!(r#"{{"sub":"u1","exp":-{soon}}}"#), Some(Refusal::Claim)),
        (r#"{"sub":"u1","exp":1e999}"#.to_owned(), Some(Refusal::Claim)),
        (r#"{"sub":"u1","exp":null}"#.to_owned(), Some(Refusal::Claim)),
        (r#"{"sub":"u1"}"#.to_owned(), Some(Refusal::Claim)),
        (format!(r#"{{"exp":{soon}}}"#), Some(Refusal::Claim)),
        (format!(r#"{{"sub":"","exp":{soon}}}"#), Some(Refusal::Claim)),
        (format!(r#"{{"sub":"u1","exp":{soon},"nbf":"{soon}"}}"#), Some(Refusal::Claim)),
        (format!(r#"{{"sub":"u1","exp":{soon},"nbf":{}}}"#, seconds(50)), Some(Refusal::NotYetValid)),
        (format!(r#"{{"sub":"u1","exp":{}}}"#, seconds(-50)), Some(Refusal::Expired)),
        // When it was made is the issuer's affair; when it is good, exp and nbf say.
        (format!(r#"{{"sub":"u1","exp":{soon},"iat":{}}}"#, seconds(1000)), None),
    ] {
        assert_eq!(reason(&node, &written(&rsa, r#"{"alg":"RS256"}"#, &text)), expected, "{text}");
    }
}

#[test]
fn another_issuer_or_audience_is_told_apart() {
    let rsa = Signer::rsa();
    let strict = config::Auth {
        jwt_public_key: Some(read_pem(rsa.pem().as_bytes()).unwrap()),
        issuer: Some("us".into()),
        audience: Some("api".into()),
        ..settings()
    };
    let node = Authenticator::new(&strict);
    for (iss, aud, expected) in [
        (json!("us"), json!("api"), None),
        (json!("us"), json!(["x", "api"]), None),
        (json!("us"), json!(["x", "y"]), Some(Refusal::Audience)),
        (json!("us"), json!([]), Some(Refusal::Audience)),
        (json!("us"), json!("API"), Some(Refusal::Audience)),
        (json!("us"), json!(7), Some(Refusal::Claim)),
        (json!("us"), Value::Null, Some(Refusal::Claim)),
        (json!("us/"), json!("api"), Some(Refusal::Issuer)),
        (json!(["them"]), json!("api"), Some(Refusal::Issuer)),
        (Value::Null, json!("api"), Some(Refusal::Claim)),
    ] {
        let claims = json!({"sub": "u1", "exp": seconds(60), "iss": iss, "aud": aud});
        assert_eq!(reason(&node, &rsa.token(&head("RS256"), &claims)), expected, "{claims}");
    }
}

#[test]
fn an_unknown_name_is_asked_for_only_when_a_provider_s_key_could_have_it() {
    let (rsa, stranger) = (Signer::rsa(), Signer::rsa());
    let named = |signer: &Signer, kid: &str| signer.token(&json!({"alg": "RS256", "kid": kid}), &claims());
    let node = with_set(&[rsa.jwk("a")]);
    assert!(node.caller(&named(&stranger, "b")).is_none(), "a newer set may have it");
    assert!(node.caller(&named(&rsa, "b")).is_none(), "a key verifies under its own name alone");
    assert_eq!(reason(&node, &named(&stranger, "a")), Some(Refusal::Signature));
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("b".into());
    let token = encode(&header, &claims(), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    assert_eq!(reason(&node, &token), Some(Refusal::Algorithm), "no set holds a secret");
    let alone = with_public_key(&rsa);
    assert_eq!(reason(&alone, &named(&rsa, "b")), None, "a key without a name takes any");
    assert_eq!(found(&alone, &named(&stranger, "b")).unwrap_err().reason, Refusal::Signature);
}
