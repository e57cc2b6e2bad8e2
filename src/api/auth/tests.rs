//! What is a good token, and whose.

mod hostile;
mod remembered;
mod rotation;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::keys::LONGEST_TOKEN;
use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn settings() -> config::Auth {
    config::Auth {
        jwt_secret: Some(SECRET.into()),
        jwt_public_key: None,
        jwks: None,
        jwks_refresh: Duration::from_secs(300),
        issuer: None,
        audience: None,
        read_only_roles: vec!["VIEWER".into()],
        publisher_roles: vec!["service".into()],
        admin_roles: vec!["ADMIN".into(), "admin".into()],
    }
}

fn seconds(ahead: i64) -> i64 {
    i64::try_from(crate::clock::now().as_secs()).unwrap() + ahead
}

fn signed(header: &Header, claims: &Value, secret: &str) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn token(claims: Value) -> String {
    signed(&Header::default(), &claims, SECRET)
}

/// What is found out without newer keys.
fn found(authenticator: &Authenticator, token: &str) -> Result<Caller, Denied> {
    authenticator.caller(token).expect("no newer keys are awaited")
}

fn caller(claims: Value) -> Result<Caller, Denied> {
    let mut all = json!({"sub": "u1", "exp": seconds(60)});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    found(&Authenticator::new(&settings()), &token(all))
}

#[test]
fn the_tenant_is_the_organization_or_the_user_alone() {
    let cases = [
        (json!({"organizationId": "acme"}), Ok("org:acme")),
        (json!({"organizationId": null}), Ok("user:u1")),
        (json!({}), Ok("user:u1")),
        (json!({"organizationId": ""}), Err(())),
        (json!({"organizationId": 7}), Err(())),
        (json!({"organizationId": "user:u2"}), Err(())),
        (json!({"organizationId": "x".repeat(256)}), Err(())),
        (json!({"sub": ""}), Err(())),
        (json!({"sub": null}), Err(())),
        (json!({"sub": 7}), Err(())),
        (json!({"role": ["admin"]}), Err(())),
    ];
    for (claims, expected) in cases {
        let found = caller(claims.clone()).map(|caller| caller.tenant.to_string()).map_err(|_| ());
        assert_eq!(found, expected.map(str::to_owned), "{claims}");
    }
}

#[test]
fn the_times_of_a_token_are_looked_at_whenever_it_is_used() {
    let authenticator = Authenticator::new(&settings());
    let now = clock::now().as_secs();
    for (claims, from, until) in [
        (json!({"sub": "u1", "exp": now + 60}), 0, now + 90),
        (json!({"sub": "u1", "exp": now as f64 + 60.4, "nbf": now - 5}), now - 35, now + 90),
    ] {
        let token = token(claims);
        let caller = found(&authenticator, &token).unwrap();
        assert_eq!(found(&authenticator, &token).as_ref(), Ok(&caller), "again");
        let at = |second| authenticator.verified.get(&TokenName::of(&token), 0, second);
        assert_eq!([from, now, until].map(at), std::array::from_fn(|_| Some(caller.clone())));
        assert_eq!(at(until + 1), None);
        assert!(from == 0 || at(from - 1).is_none());
        assert_eq!(authenticator.verified.get(&TokenName::of(&format!("{token}x")), 0, now), None);
    }
}

#[test]
fn time_bounds_have_a_leeway_and_an_expiry_is_required() {
    let cases = [
        (json!({"exp": seconds(-20)}), true),
        (json!({"exp": seconds(-40)}), false),
        (json!({"exp": null}), false),
        (json!({"exp": "tomorrow"}), false),
        (json!({"nbf": seconds(20)}), true),
        (json!({"nbf": seconds(60)}), false),
    ];
    for (claims, good) in cases {
        assert_eq!(caller(claims.clone()).is_ok(), good, "{claims}");
    }
}

#[test]
fn only_tokens_of_our_key_and_algorithm_are_taken() {
    let authenticator = Authenticator::new(&settings());
    let claims = json!({"sub": "u1", "exp": seconds(60)});
    let good = token(claims.clone());
    let (head, rest) = good.split_once('.').unwrap();
    let body = rest.split_once('.').unwrap().0;
    // {"alg":"none","typ":"JWT"} and the same without a signature.
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
    let critical = Header { crit: Some(vec!["exp".into()]), ..Header::default() };
    let cases = [
        (good.clone(), true),
        (signed(&Header::new(Algorithm::HS384), &claims, SECRET), false),
        (signed(&Header::default(), &claims, "another secret of 32 bytes length"), false),
        (signed(&critical, &claims, SECRET), false),
        (none, false),
        (format!("{head}.{body}."), false),
        (format!("{good}x"), false),
        (String::new(), false),
        ("x".repeat(LONGEST_TOKEN + 1), false),
    ];
    for (number, (token, taken)) in cases.into_iter().enumerate() {
        assert_eq!(found(&authenticator, &token).is_ok(), taken, "case {number}");
    }
}

#[test]
fn issuer_and_audience_count_only_when_configured() {
    let strict = config::Auth { issuer: Some("us".into()), audience: Some("api".into()), ..settings() };
    let cases = [
        (json!({"iss": "us", "aud": "api"}), true, true),
        (json!({"iss": "us", "aud": ["x", "api"]}), true, true),
        (json!({"iss": "them", "aud": "api"}), false, true),
        (json!({"iss": "us", "aud": "x"}), false, true),
        (json!({"iss": "us"}), false, true),
        (json!({"aud": "api"}), false, true),
    ];
    for (claims, with, without) in cases {
        let mut all = json!({"sub": "u1", "exp": seconds(60)});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let token = token(all);
        assert_eq!(found(&Authenticator::new(&strict), &token).is_ok(), with, "{claims}");
        assert_eq!(found(&Authenticator::new(&settings()), &token).is_ok(), without, "{claims}");
    }
}

#[test]
fn roles_and_scopes_decide_what_is_allowed() {
    // role, scope, may read, may write, may publish
    let cases = [
        (json!(null), json!(null), true, true, false),
        (json!("VIEWER"), json!(null), true, false, false),
        (json!("viewer"), json!(null), true, true, false),
        (json!("service"), json!(null), true, true, true),
        (json!("VIEWER"), json!("events:publish"), false, false, false),
        (json!(null), json!(""), false, false, false),
        (json!(null), json!("webhooks:read"), true, false, false),
        (json!(null), json!("webhooks:read webhooks:write"), true, true, false),
        (json!(null), json!("webhooks:readx"), false, false, false),
        (json!(null), json!("events:publish"), false, false, true),
        (json!(null), json!("events:publish:any"), false, false, false),
        (json!("service"), json!("webhooks:read"), true, false, true),
    ];
    for (role, scope, read, write, publish) in cases {
        let caller = caller(json!({"role": role, "scope": scope})).unwrap();
        let found = [caller.check_read(), caller.check_write(), caller.check_publish()]
            .map(|checked| checked.is_ok());
        assert_eq!(found, [read, write, publish], "{role} {scope}");
    }
}
