//! What holds of every token: nothing panics, only what was signed is believed, and who is let in has a name that fits.

use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::claims::{LEEWAY_SECONDS, LONGEST_NAME};
use super::*;
use crate::api::testing;
use crate::domain::arbitrary::{config, damaged_text, texts, values};

const CLAIMS: &[&str] = &["sub", "organizationId", "role", "scope", "exp", "nbf", "iat", "iss", "aud"];

fn authenticator() -> Authenticator {
    Authenticator::new(&testing::config().auth)
}

fn found(authenticator: &Authenticator, token: &str) -> Result<Caller, Denied> {
    authenticator.caller(token).expect("there are no newer keys to wait for")
}

fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(testing::SECRET.as_bytes());
    encode(&Header::default(), claims, &key).expect("claims are JSON")
}

/// Good claims, some of them replaced by anything.
fn claims() -> impl Strategy<Value = Value> {
    let other = (prop::sample::select(CLAIMS), values(CLAIMS));
    prop::collection::vec(other, 0..3).prop_map(|others| {
        let mut claims = Map::new();
        claims.insert("sub".into(), json!("ann"));
        claims.insert("exp".into(), json!(clock::now().as_secs() + 600));
        claims.extend(others.into_iter().map(|(name, value)| (name.to_owned(), value)));
        claims.into()
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn text_that_nobody_signed_lets_nobody_in(text in prop_oneof![texts(), "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,50}"]) {
        prop_assert!(found(&authenticator(), &text).is_err());
    }

    #[test]
    fn a_damaged_token_is_refused_or_is_the_same_one(
        (good, text) in Just(()).prop_flat_map(|()| {
            let good = testing::user("ann");
            (Just(good.clone()), damaged_text(good))
        }),
    ) {
        let authenticator = authenticator();
        let whole = found(&authenticator, &good).expect("a good token");
        if let Ok(caller) = found(&authenticator, &text) {
            prop_assert_eq!(caller, whole);
        }
    }

    #[test]
    fn who_is_let_in_has_a_name_and_a_tenant_that_fit_and_a_token_that_holds(claims in claims()) {
        let now = clock::now().as_secs() as f64;
        let Ok(caller) = found(&authenticator(), &signed(&claims)) else { return Ok(()) };
        prop_assert_eq!(claims["sub"].as_str(), Some(&*caller.user.0));
        prop_assert!((1..=LONGEST_NAME).contains(&caller.user.0.len()));
        match (&caller.tenant, &claims["organizationId"]) {
            (Tenant::User(user), Value::Null) => prop_assert_eq!(user, &caller.user.0),
            (Tenant::Organization(id), Value::String(given)) => {
                prop_assert!(**id == **given && !given.starts_with("user:") && (1..=LONGEST_NAME).contains(&given.len()));
            }
            (tenant, given) => prop_assert!(false, "{tenant:?} of {given}"),
        }
        let leeway = LEEWAY_SECONDS as f64 + 2.0;
        prop_assert!(claims["exp"].as_f64().is_some_and(|exp| exp + leeway >= now), "{claims}");
        prop_assert!(claims["nbf"].as_f64().is_none_or(|nbf| nbf - leeway <= now), "{claims}");
        // Powers come from words that are spelled exactly.
        let role = claims["role"].as_str().unwrap_or_default();
        prop_assert_eq!((caller.is_admin, caller.is_publisher), (role == "ADMIN", role == "service"));
        let scope = claims["scope"].as_str().unwrap_or_default();
        let has = scope.split_ascii_whitespace().any(|word| word == "events:publish:any");
        prop_assert_eq!(caller.may_publish_for_any_tenant(), has);
    }

    #[test]
    fn the_answer_is_the_same_the_second_time(claims in claims()) {
        let (authenticator, token) = (authenticator(), signed(&claims));
        prop_assert_eq!(found(&authenticator, &token), found(&authenticator, &token));
    }
}
