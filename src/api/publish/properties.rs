//! What holds of every publication: what is taken is sent as it was given, and a batch is taken whole or not at all.

use actix_web::http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::testing::{Client, config as settings, token};
use crate::domain::arbitrary::{config, damaged, objects, texts, values};

const FIELDS: &[&str] = &[
    "type",
    "data",
    "id",
    "timestamp",
    "organizationId",
    "lead.created",
    "acme",
    "evt_1",
    "2026-01-15T10:30:00Z",
];

/// A worker's App, and a publisher of the organization `acme`.
async fn stage() -> (App, Caller) {
    let app = Client::alone(settings()).await.app;
    let token = token(json!({"sub": "crm", "organizationId": "acme", "role": "service"}));
    let caller = app.authenticator.caller(&token).expect("known keys").expect("a good token");
    (app, caller)
}

/// Events that are good or nearly so.
fn events() -> impl Strategy<Value = Value> {
    let good = values(FIELDS).prop_map(|value| json!({"type": "lead.created", "data": {"a": value}}));
    prop_oneof![3 => good, 2 => objects(FIELDS), 1 => values(FIELDS)]
}

fn faults(error: Error) -> Vec<String> {
    match error {
        Error::Invalid(faults) => faults,
        Error::Malformed(fault) => vec![fault.into_owned()],
        other => vec![other.to_string()],
    }
}

#[actix_web::test]
async fn what_is_taken_is_sent_as_it_was_given() {
    let (app, caller) = stage().await;
    proptest!(config(), |(event in events())| {
        let body = event.to_string();
        // The parser reads some doubles a last place off; what matters is that both are read alike.
        let event: Value = serde_json::from_str(&body).expect("JSON");
        match read_one(&app, &caller, &HeaderMap::new(), body.as_bytes()) {
            Ok((new, _)) => {
                let Ok(tenant) = new.tenant(&caller) else { return Ok(()) };
                prop_assert!(app.config.catalogue.get(&new.event_type).is_some());
                let publication = new.publication(tenant, None, None);
                let sent: Value = serde_json::from_slice(&publication.event.body).expect("a body is JSON");
                prop_assert_eq!(&sent["data"], &event["data"]);
                prop_assert_eq!(&sent["type"], &event["type"]);
                prop_assert_eq!(&sent["organizationId"], "acme");
                prop_assert!(event.get("id").is_none_or(|id| *id == sent["id"]));
            }
            Err(error) => {
                let faults = faults(error);
                let is_named = |fault: &String| {
                    ["type", "data", "id", "timestamp", "organizationId", "property ", "the body "].iter().any(|name| fault.starts_with(name))
                };
                prop_assert!(!faults.is_empty() && faults.iter().all(is_named), "{faults:?}");
            }
        }
    });
}

#[actix_web::test]
async fn a_batch_is_good_exactly_where_each_of_its_events_is() {
    let (app, caller) = stage().await;
    proptest!(config(), |(events in prop::collection::vec(events(), 0..5))| {
        let headers = HeaderMap::new();
        let alone = |event: &Value| {
            let body = event.to_string();
            // What a body alone may have is looked at before it is read here.
            let fits = body.len() <= app.config.api.max_event_bytes;
            let (new, _) = read_one(&app, &caller, &headers, body.as_bytes()).ok().filter(|_| fits)?;
            new.tenant(&caller).ok()
        };
        let all_are_good = !events.is_empty() && events.iter().all(|event| alone(event).is_some());
        let batch = json!({"events": &events}).to_string();
        match read_batch(&app, &caller, &headers, batch.as_bytes(), None) {
            Ok(publications) => {
                prop_assert!(all_are_good);
                prop_assert_eq!(publications.len(), events.len());
            }
            Err(error) => {
                prop_assert!(!all_are_good, "{:?}", faults(error));
            }
        }
    });
}

#[actix_web::test]
async fn bytes_that_are_no_event_are_refused_and_numbers_keep_their_spelling() {
    let (app, caller) = stage().await;
    let good = br#"{"type":"lead.created","data":{"n":1.50e3,"t":"\u00e9\ud83d\ude00"},"id":"e-1"}"#.to_vec();
    proptest!(config(), |(body in damaged(good), odd: Vec<u8>)| {
        for bytes in [body, odd] {
            let headers = HeaderMap::new();
            if let Ok((new, _)) = read_one(&app, &caller, &headers, &bytes) {
                let text = std::str::from_utf8(&bytes).expect("JSON is UTF-8");
                let number = new.data.strip_prefix("{\"n\":").and_then(|rest| rest.split([',', '}']).next());
                prop_assert!(number.is_none_or(|number| text.contains(number)), "{}", new.data);
            }
            // A batch is an object with one member.
            let _ = read_batch(&app, &caller, &headers, &bytes, None);
        }
    });
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_key_is_visible_short_and_the_only_one(lines in prop::collection::vec(prop_oneof![texts(), "[!-~]{0,300}"], 0..3)) {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("idempotency-key");
        let legal = lines.iter().filter_map(|line| HeaderValue::from_str(line).ok());
        legal.for_each(|value| headers.append(name.clone(), value));
        let given: Vec<_> = headers.get_all(&name).cloned().collect();
        match idempotency_key(&headers) {
            Ok(None) => prop_assert!(given.is_empty()),
            Ok(Some(key)) => {
                prop_assert!(given.len() == 1 && given[0] == key.as_str());
                prop_assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
            }
            Err(error) => {
                let is_good = given.len() == 1 && (1..=255).contains(&given[0].len())
                    && given[0].as_bytes().iter().all(u8::is_ascii_graphic);
                prop_assert!(!is_good, "{error:?}");
            }
        }
    }
}
