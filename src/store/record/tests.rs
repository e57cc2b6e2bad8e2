//! Stored texts: what they say, what they hide, and what is not taken for one.

use super::*;
use crate::domain::{Backoff, EncryptionKey, Filter, Retries};

fn webhook() -> Webhook {
    let headers = [("X-Team", "a b"), ("Authorization", "Bearer planted-value")];
    let settings = Settings {
        tenant: "org:demo".parse().expect("a tenant"),
        owner: "ann".parse().expect("a user"),
        name: "two\nlines \"and\" quotes".into(),
        description: None,
        url: "https://example.com/hook".into(),
        events: vec!["lead.*".parse().expect("a pattern")],
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        retries: Retries { attempts: 3, delay_seconds: 60, backoff: Backoff::Linear, schedule: None },
        timeout_seconds: 30,
        rate_limit_per_second: Some(5),
        max_concurrency: 16,
        ordered: false,
        filter: None,
        secret: Secret("whsec_planted".into()),
        former_secrets: vec![(Secret("whsec_formerly".into()), Millis(9))],
        created_at: Millis(1),
    };
    Webhook {
        id: "wh_00abcdefghijklmnopqrstuv".parse().expect("an id"),
        version: 7,
        is_active: true,
        disabled_reason: None,
        updated_at: Millis(5),
        settings,
        locked: None,
    }
}

fn ring(present: Option<u8>, former: &[u8]) -> Keyring {
    let key = |byte: u8| EncryptionKey::new([byte; 32]);
    Keyring::new(present.map(key).as_ref(), &former.iter().map(|byte| key(*byte)).collect::<Vec<_>>())
}

fn encoded(webhook: &Webhook, keyring: &Keyring) -> String {
    encode(webhook, keyring).expect("it is not locked")
}

/// Why it cannot be read, of a text that is a record.
fn lock_of(id: &WebhookId, text: &str, keyring: &Keyring) -> Option<Lock> {
    decode(id, text, keyring).expect("a record").locked
}

#[test]
fn a_record_survives_a_round_trip_with_and_without_a_key() {
    for keyring in [ring(None, &[]), ring(Some(1), &[])] {
        let mut webhook = webhook();
        for (former, headers) in [(true, true), (true, false), (false, true), (false, false)] {
            if !former {
                webhook.settings.former_secrets.clear();
            }
            if !headers {
                webhook.settings.headers.clear();
            }
            let text = encoded(&webhook, &keyring);
            assert_eq!(decode(&webhook.id, &text, &keyring).expect("readable"), webhook);
        }
        webhook.is_active = false;
        webhook.disabled_reason = Some(DisabledReason::Gone);
        let text = encoded(&webhook, &keyring);
        assert!(text.starts_with("7 0 5 gone\n{"));
        assert_eq!(decode(&webhook.id, &text, &keyring).expect("readable"), webhook);
    }
}

#[test]
fn a_filter_that_was_stored_over_several_lines_stays_readable() {
    let mut webhook = webhook();
    webhook.settings.filter = Some(Filter::parse("{\n  \"x1\": {\n \"in\": [1,\n2]}\n}").expect("a filter"));
    for keyring in [ring(None, &[]), ring(Some(1), &[])] {
        let text = encoded(&webhook, &keyring);
        assert!(text.lines().count() > 4, "{text}");
        assert_eq!(decode(&webhook.id, &text, &keyring).expect("readable"), webhook);
        assert_eq!(stored(&text) == Stored::Plain, keyring.present().is_none());
    }
}

#[test]
fn what_we_do_not_write_is_malformed() {
    let (webhook, keyring) = (webhook(), ring(None, &[]));
    let good = encoded(&webhook, &keyring);
    for bad in ["", "7", "7 1 5 -", "x 1 5 -\n{}", &good.replace("7 1", "7 2"), &good.replace("5 -", "5 why")]
    {
        assert!(matches!(decode(&webhook.id, bad, &keyring), Err(Error::Malformed(_))), "{bad}");
    }
}

#[test]
fn an_encrypted_record_shows_neither_secret_nor_header_value() {
    let (webhook, keyring) = (webhook(), ring(Some(1), &[]));
    let text = encoded(&webhook, &keyring);
    for hidden in ["planted", "formerly", "a b", "whsec_", "Bearer"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    for readable in ["Authorization", "X-Team", "https://example.com/hook", "org:demo"] {
        assert!(text.contains(readable), "{readable}: {text}");
    }
    assert_eq!(stored(&text), Stored::With(keyring.present().expect("a key").clone()));
    assert_ne!(encoded(&webhook, &keyring), text, "another nonce each time");
}

#[test]
fn a_value_that_looks_encrypted_is_told_from_one_that_is() {
    let mut webhook = webhook();
    let inner = encoded(&webhook, &ring(Some(1), &[]));
    let sealed = inner.lines().last().expect("its third line").to_owned();
    webhook.settings.headers.insert("X-Odd".into(), sealed);
    for keyring in [ring(None, &[1]), ring(Some(1), &[])] {
        let text = encoded(&webhook, &keyring);
        assert_eq!(decode(&webhook.id, &text, &keyring).expect("readable"), webhook);
        assert_eq!(stored(&text) == Stored::Plain, keyring.present().is_none());
    }
}

#[test]
fn a_plain_record_stays_readable_and_a_former_key_too() {
    let webhook = webhook();
    let (plain, old) = (encoded(&webhook, &ring(None, &[])), encoded(&webhook, &ring(Some(1), &[])));
    for text in [plain, old] {
        assert_eq!(decode(&webhook.id, &text, &ring(Some(2), &[1])).expect("readable"), webhook);
    }
}

#[test]
fn a_record_of_an_unknown_key_is_locked_and_otherwise_whole() {
    let (webhook, old) = (webhook(), ring(Some(1), &[]));
    let locked = decode(&webhook.id, &encoded(&webhook, &old), &ring(Some(2), &[3])).expect("readable");
    assert_eq!(locked.locked, Some(Lock::KeyMissing(old.present().expect("a key").clone())));
    assert!(locked.is_active && !locked.may_send());
    let Settings { secret, former_secrets, headers, .. } = &locked.settings;
    assert!(secret.0.is_empty() && former_secrets.is_empty());
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["Authorization", "X-Team"]);
    assert!(headers.values().all(|value| value == HIDDEN));
    assert_eq!(locked.settings.events, webhook.settings.events);
    let refused = encode(&locked, &ring(Some(2), &[]));
    assert!(matches!(refused, Err(Error::Locked(_))), "what was not read is not written over");
}

#[test]
fn what_was_changed_or_moved_does_not_open() {
    let (webhook, keyring) = (webhook(), ring(Some(1), &[2]));
    let text = encoded(&webhook, &keyring);
    let other: WebhookId = "wh_00abcdefghijklmnopqrstuw".parse().expect("an id");
    let (rest, sealed) = text.rsplit_once('\n').expect("three lines");
    let base64 = sealed.rsplit_once(' ').expect("its parts").1;
    let flipped = base64.replacen(&base64[40..41], if &base64[40..41] == "A" { "B" } else { "A" }, 1);
    let former = ring(Some(2), &[]);
    let former = former.present().expect("a key");
    let cases = [
        ("another webhook", &other, text.clone()),
        ("another tenant", &webhook.id, text.replace("org:demo", "org:else")),
        ("another header", &webhook.id, text.replace("X-Team", "X-Tean")),
        ("another URL", &webhook.id, text.replace("https://example.com/hook", "https://attacker.test/")),
        ("another pattern", &webhook.id, text.replace("lead.*", "*")),
        ("a setting more", &webhook.id, text.replace("\"ordered\":false", "\"ordered\":false,\"more\":1")),
        ("the same settings otherwise", &webhook.id, text.replacen("{\"", "{ \"", 1)),
        ("a header less", &webhook.id, text.replace(",\"X-Team\":\"\"", "")),
        ("another key", &webhook.id, format!("{rest}\n{SCHEME} {former} {base64}")),
        ("other bytes", &webhook.id, format!("{rest}\n{}", sealed.replace(base64, &flipped))),
        ("cut off", &webhook.id, text[..text.len() - 4].to_owned()),
        ("not base64", &webhook.id, format!("{text}!")),
        ("another scheme", &webhook.id, text.replace("\nx1 ", "\nx2 ")),
        ("nothing at all", &webhook.id, format!("{rest}\n")),
        ("no third line", &webhook.id, rest.to_owned()),
    ];
    for (what, id, text) in cases {
        assert_eq!(lock_of(id, &text, &keyring), Some(Lock::Broken), "{what}: {text}");
    }
    assert_eq!(lock_of(&webhook.id, &text, &keyring), None);
}

#[test]
fn the_head_can_be_rewritten_alone() {
    let (webhook, keyring) = (webhook(), ring(Some(1), &[]));
    let text = encoded(&webhook, &keyring).replacen("7 1 5 -", "8 0 6 gone", 1);
    let off = decode(&webhook.id, &text, &keyring).expect("readable");
    assert_eq!((off.version, off.is_active, off.settings), (8, false, webhook.settings));
}
