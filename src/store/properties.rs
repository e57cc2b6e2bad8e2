//! What nodes read from Redis: whatever lies there, nothing panics; what is ours comes back as it was written, and what is
//! not is told apart.

use std::sync::Arc;

use proptest::prelude::*;
use redis::Value;

use super::delivered_record::{self, DeliveredRecord};
use super::event_status::DeliveryStatus;
use super::events::{EntryKind, Field, entries_of, read_entry};
use super::mailboxes::Retry;
use super::{attempts, nodes, record};
use crate::domain::arbitrary::{config, damaged, damaged_text, texts};
use crate::domain::webhook::Settings;
use crate::domain::{
    AttemptRow, Backoff, DisabledReason, EncryptionKey, EntryId, EventId, Lock, Millis, Retries, Secret,
    Shard, Webhook, WebhookId,
};
use crate::policy::sealing::Keyring;

fn webhook_id() -> WebhookId {
    WebhookId::new(Shard(13), "abcdefghijklmnopqrstuv")
}

fn event_ids() -> impl Strategy<Value = EventId> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|id| id.parse().expect("a legal id"))
}

prop_compose! {
    fn webhooks()(
        (name, description, url) in (texts(), prop::option::of(texts()), texts()),
        headers in prop::collection::btree_map(texts(), texts(), 0..3),
        (attempts, delay_seconds, schedule) in (any::<u32>(), any::<u32>(), prop::option::of(prop::collection::vec(any::<u32>(), 0..3))),
        (version, is_active, updated_at, created_at) in (any::<u64>(), any::<bool>(), any::<u64>(), any::<u64>()),
        disabled_reason in prop::option::of(prop::sample::select(&DisabledReason::ALL[..])),
        (rate, ordered) in (prop::option::of(any::<u32>()), any::<bool>()),
        former in prop::collection::vec((texts(), any::<u64>()), 0..3),
    ) -> Webhook {
        let settings = Settings {
            tenant: "org:demo".parse().expect("a tenant"),
            owner: "ann".parse().expect("a user"),
            name, description, url,
            events: vec!["lead.*".parse().expect("a pattern")],
            headers,
            retries: Retries { attempts, delay_seconds, backoff: Backoff::Linear, schedule },
            timeout_seconds: 30,
            rate_limit_per_second: rate,
            max_concurrency: 16,
            ordered,
            filter: None,
            secret: Secret("whsec_abc".into()),
            former_secrets: former.into_iter().map(|(text, at)| (Secret(text), Millis(at))).collect(),
            created_at: Millis(created_at),
        };
        Webhook { id: webhook_id(), version, is_active, disabled_reason, updated_at: Millis(updated_at), settings, locked: None }
    }
}

/// With a key and without one.
fn keyrings() -> impl Strategy<Value = Arc<Keyring>> {
    let keys = prop::option::of(any::<[u8; 32]>());
    keys.prop_map(|key| Arc::new(Keyring::new(key.map(EncryptionKey::new).as_ref(), &[])))
}

fn rows() -> impl Strategy<Value = AttemptRow> {
    let texts = (texts(), texts(), prop::option::of(texts()));
    (texts, event_ids(), any::<(u64, u32, u32)>(), prop::option::of(any::<u16>())).prop_map(
        |((event_type, url, error_message), event_id, (at, attempt, elapsed_ms), status)| AttemptRow {
            id: None,
            event_id,
            event_type,
            url,
            at: Millis(at),
            attempt,
            elapsed_ms,
            status,
            error_kind: None,
            error_message,
            next_retry_at: None,
            response_body: None,
            body_beside: false,
            custom_headers: Vec::new(),
            is_test: false,
        },
    )
}

fn bulk(bytes: &[u8]) -> Value {
    Value::BulkString(bytes.to_vec())
}

/// Fields of an entry of ours, each perhaps damaged, perhaps missing, perhaps twice.
fn fields() -> impl Strategy<Value = Vec<Field>> {
    let good = [
        ("k", "event"),
        ("k", "changed"),
        ("k", "deleted"),
        ("k", "recover"),
        ("k", "resend"),
        ("e", "evt_1"),
        ("t", "lead.created"),
        ("n", "org:acme"),
        ("b", "{}"),
        ("w", "wh_0dabcdefghijklmnopqrstuv"),
        ("o", "hash"),
        ("h", "hash"),
        ("c", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let field = prop::sample::select(good.to_vec()).prop_flat_map(|(name, value)| {
        let value =
            prop_oneof![4 => Just(value.as_bytes().to_vec()), 1 => damaged(value.as_bytes().to_vec())];
        (Just(name.as_bytes().to_vec()), value)
    });
    prop::collection::vec(field, 0..10)
}

/// Any answer of Redis.
fn answers() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<i64>().prop_map(Value::Int),
        any::<Vec<u8>>().prop_map(Value::BulkString),
        texts().prop_map(|text| bulk(text.as_bytes())),
        Just(bulk(b"17-3")),
        Just(Value::Okay),
        any::<f64>().prop_map(Value::Double),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::Array))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_webhook_survives_its_record(webhook in webhooks(), keyring in keyrings()) {
        let text = record::encode(&webhook, &keyring).expect("not locked");
        prop_assert_eq!(record::decode(&webhook.id, &text, &keyring).expect("ours"), webhook);
    }

    #[test]
    fn secrets_open_beside_the_settings_that_they_were_sealed_with_alone(
        (webhook, key) in (webhooks(), any::<[u8; 32]>()),
        (other, at) in (webhooks(), any::<prop::sample::Index>()),
        space in prop::sample::select(&[" ", "\t", "0", "}", "\"", ","][..]),
    ) {
        let keyring = Keyring::new(Some(&EncryptionKey::new(key)), &[]);
        let text = record::encode(&webhook, &keyring).expect("not locked");
        let lines: Vec<&str> = text.split('\n').collect();
        let encoded = record::encode(&other, &keyring).expect("not locked");
        let another = encoded.split('\n').nth(1).expect("its settings");
        let shown = lines[1];
        let cut = (0..=at.index(shown.len() + 1)).rev().find(|cut| shown.is_char_boundary(*cut)).unwrap_or(0);
        let inserted = [&shown[..cut], space, &shown[cut..]].concat();
        for changed in [another, &inserted] {
            let text = [lines[0], changed, lines[2]].join("\n");
            let read = record::decode(&webhook.id, &text, &keyring);
            let locked = read.map(|read| read.locked);
            prop_assert!(changed == shown || !matches!(locked, Ok(lock) if lock != Some(Lock::Broken)));
        }
    }

    #[test]
    fn a_damaged_record_is_refused_or_is_another_good_one(
        (keyring, text) in (webhooks(), keyrings()).prop_flat_map(|(webhook, keyring)| {
            let text = record::encode(&webhook, &keyring).expect("not locked");
            (Just(keyring), damaged_text(text))
        }),
    ) {
        let Ok(webhook) = record::decode(&webhook_id(), &text, &keyring) else { return Ok(()) };
        match record::encode(&webhook, &keyring) {
            Ok(again) => {
                let again = record::decode(&webhook.id, &again, &keyring);
                prop_assert_eq!(again.expect("ours"), webhook);
            }
            Err(_) => prop_assert!(webhook.locked.is_some() && !webhook.may_send()),
        }
    }

    #[test]
    fn a_row_of_the_log_survives_its_text_and_a_damaged_one_is_left_out(
        (row, text) in rows().prop_flat_map(|row| {
            let (text, _) = attempts::encode(row.clone(), None);
            (Just(row), damaged_text(text))
        }),
    ) {
        let id = EntryId { ms: 17, seq: 3 };
        let (good, _) = attempts::encode(row.clone(), None);
        prop_assert_eq!(attempts::decode(id, &good), Some(AttemptRow { id: Some(id), ..row }));
        if let Some(read) = attempts::decode(id, &text) {
            prop_assert_eq!(read.id, Some(id));
        }
    }

    #[test]
    fn a_delivered_record_is_read_as_it_was_written_and_otherwise_not_at_all(
        at: u64, body: Vec<u8>, edits in damaged(b"lead.created - 17 wh_0dabcdefghijklmnopqrstuv,wh_0dabcdefghijklmnopqrstuv=filtered\n{}".to_vec()),
    ) {
        let webhooks = vec![webhook_id()];
        let value = delivered_record::encode("lead.created", None, Millis(at), webhooks.iter(), &[], &body);
        let expected = DeliveredRecord { at: Millis(at), webhooks, skipped: Vec::new(), body: body.into() };
        prop_assert_eq!(delivered_record::decode(value), Some(expected));
        if let Some(read) = delivered_record::decode(edits.clone()) {
            prop_assert!(edits.ends_with(&read.body));
        }
    }

    #[test]
    fn an_entry_is_what_its_fields_say_or_is_set_aside(fields in fields()) {
        let entry = read_entry((EntryId { ms: 1, seq: 0 }, fields.clone()));
        let first = |name: &str| fields.iter().find(|(field, _)| field == name.as_bytes()).map(|(_, value)| &value[..]);
        match entry.kind {
            EntryKind::Event(event) => {
                prop_assert_eq!(first("k"), Some(&b"event"[..]));
                prop_assert_eq!(first("e"), Some(event.id.as_str().as_bytes()));
                prop_assert_eq!(first("b"), Some(&event.body[..]));
            }
            EntryKind::Changed(id) | EntryKind::Recover(id) | EntryKind::Deleted(id, ..) | EntryKind::Resend(id, ..) => {
                prop_assert_eq!(first("w"), Some(id.as_str().as_bytes()));
            }
            EntryKind::Unreadable(text) => {
                prop_assert!(text.starts_with("fields: ") && text.chars().count() <= 200);
                prop_assert!(!text.contains("evt_1") && !text.contains("acme"), "names, no values: {text}");
            }
        }
    }

    #[test]
    fn any_answer_is_entries_and_nodes_or_an_error(answer in answers()) {
        if let Ok(entries) = entries_of(answer.clone()) {
            prop_assert_eq!(entries.len(), answer.as_sequence().map_or(0, <[Value]>::len));
            entries.into_iter().for_each(|entry| drop(read_entry(entry)));
        }
        if let Ok(listed) = nodes::read_nodes(answer) {
            prop_assert!(listed.iter().all(|node| !node.id.as_str().is_empty()));
        }
    }

    #[test]
    fn a_retry_is_read_only_as_it_would_be_removed(
        (ms, seq, attempt) in any::<(u64, u64, u32)>(), event in event_ids(), score: f64, odd: Vec<u8>, edits in damaged(b"17-3 2 evt_1".to_vec()),
    ) {
        let member = Retry::member(EntryId { ms, seq }, attempt, &event);
        let read = Retry::parse(member.as_bytes(), score);
        prop_assert_eq!(read.is_some(), attempt > 0);
        for bytes in [odd, edits] {
            if let Some(Retry { entry, event, attempt, .. }) = Retry::parse(&bytes, score) {
                prop_assert_eq!(Retry::member(entry, attempt, &event).into_bytes(), bytes);
            }
        }
    }

    #[test]
    fn a_delivery_s_status_is_one_of_ours_or_none(
        text in prop_oneof![
            texts(),
            damaged_text("delivered 1768473000000 3".into()),
            damaged_text("skipped 1768473000000 filtered".into()),
            damaged_text("pending".into()),
        ],
    ) {
        let words = ["pending", "delivered ", "dead ", "dropped ", "skipped "];
        let status = DeliveryStatus::parse(&text);
        prop_assert!(status.is_none() || words.iter().any(|word| text.starts_with(word)), "{text}");
    }
}
