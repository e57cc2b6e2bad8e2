//! What holds of every body of a webhook: what is taken is within the contract's bounds and can be stored, and every fault
//! names its field.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::error::Error;
use crate::api::testing;
use crate::domain::arbitrary::{config, damaged, objects};
use crate::domain::webhook::Settings;
use crate::domain::{Millis, Retries, Secret};
use crate::policy::sealing::Keyring;
use crate::store::record;

const FIELDS: &[&str] = &[
    "name",
    "description",
    "url",
    "events",
    "headers",
    "isActive",
    "retryAttempts",
    "retryDelaySeconds",
    "retryBackoff",
    "retrySchedule",
    "timeoutSeconds",
    "rateLimitPerSecond",
    "maxConcurrency",
    "ordered",
    "filter",
    // Values that are good for some of them.
    "*",
    "lead.*",
    "lead.created",
    "fixed",
    "exponential",
    "https://hooks.example.com/x",
    "http://10.0.0.1",
    "gte",
    "X-Team",
];

pub(in crate::api::webhooks) fn webhook() -> Webhook {
    let settings = Settings {
        tenant: "org:demo".parse().expect("a tenant"),
        owner: "ann".parse().expect("a user"),
        name: "n".into(),
        description: None,
        url: "https://example.com/".into(),
        events: vec![Pattern::Everything],
        headers: BTreeMap::new(),
        retries: Retries { attempts: 3, delay_seconds: 60, backoff: Backoff::Fixed, schedule: None },
        timeout_seconds: 30,
        rate_limit_per_second: None,
        max_concurrency: 16,
        ordered: false,
        filter: None,
        secret: Secret("whsec_abc".into()),
        former_secrets: Vec::new(),
        created_at: Millis(1),
    };
    let id = "wh_00abcdefghijklmnopqrstuv".parse().expect("an id");
    Webhook {
        id,
        version: 7,
        is_active: true,
        disabled_reason: None,
        updated_at: Millis(5),
        settings,
        locked: None,
    }
}

/// The changed webhook, or the faults.
fn changed(body: &[u8]) -> Result<Webhook, Vec<String>> {
    let config = testing::config();
    let guard = Guard::default();
    let rules = Rules { catalogue: &config.catalogue, guard: &guard, require_https: false };
    let faults = |error| match error {
        Error::Invalid(faults) => faults,
        other => vec![other.to_string()],
    };
    let mut fields = Fields::parse(body).map_err(faults)?;
    let changes = Changes::read(&mut fields, rules);
    fields.finish().map_err(faults)?;
    let mut webhook = webhook();
    changes.apply(&mut webhook);
    Ok(webhook)
}

/// The table of the contract, section 5.
fn is_within_the_contract(settings: &Settings) -> bool {
    let Retries { attempts, delay_seconds, schedule, .. } = &settings.retries;
    let length = |text: &str| text.chars().count();
    let header_bytes: usize = settings.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    (1..=255).contains(&length(&settings.name))
        && settings.description.as_deref().is_none_or(|text| length(text) <= 1000)
        && length(&settings.url) <= 2048
        && (1..=100).contains(&settings.events.len())
        && (settings.headers.len() <= 50 && header_bytes <= 8192)
        && settings.headers.iter().all(|(name, value)| !name.contains(['\r', '\n', ':']) && value.is_ascii())
        && (*attempts <= 20 && *delay_seconds <= 86_400)
        && schedule
            .as_ref()
            .is_none_or(|delays| delays.len() <= 20 && delays.iter().all(|delay| *delay <= 86_400))
        && (1..=60).contains(&settings.timeout_seconds)
        && settings.rate_limit_per_second.is_none_or(|rate| (1..=10_000).contains(&rate))
        && (1..=256).contains(&settings.max_concurrency)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_taken_is_within_the_contract_and_can_be_stored(body in objects(FIELDS), is_pretty: bool) {
        let text = if is_pretty { format!("{body:#}") } else { body.to_string() };
        match changed(text.as_bytes()) {
            Ok(webhook) => {
                prop_assert!(is_within_the_contract(&webhook.settings), "{body}");
                let plain = Keyring::new(None, &[]);
                let stored = record::encode(&webhook, &plain).expect("not locked");
                let read = record::decode(&webhook.id, &stored, &plain);
                prop_assert_eq!(read.expect("it can be read again"), webhook);
            }
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                let names = |fault: &String| fault.starts_with("property ") || FIELDS.iter().any(|field| fault.starts_with(field));
                prop_assert!(faults.iter().all(names), "{faults:?}");
            }
        }
    }

    #[test]
    fn a_fault_of_one_field_is_told_whatever_the_others_are(body in objects(FIELDS), unknown in "[A-Z]{3,9}") {
        let mut body = body;
        body[&unknown] = json!(1);
        body["timeoutSeconds"] = json!(61);
        let faults = changed(body.to_string().as_bytes()).expect_err("two faults");
        for expected in [format!("property {unknown} should not exist"), "timeoutSeconds must be an integer from 1 to 60".into()] {
            prop_assert!(faults.contains(&expected), "{faults:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_body_are_refused_in_words(
        body in damaged(br#"{"name":"n","events":["lead.*"],"headers":{"X-Team":"a"},"retrySchedule":[1,2],"filter":{"a":1}}"#.to_vec()),
    ) {
        if let Ok(webhook) = changed(&body) {
            prop_assert!(is_within_the_contract(&webhook.settings));
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        }
    }
}
