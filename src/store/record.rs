//! The stored text of a webhook: a head line that scripts can read and rewrite, then the settings as JSON.
//!
//! `<version> <1 active | 0> <updated ms> <reason code | ->`, a line feed, [`Settings`] as JSON. The outcome script
//! switches a webhook off by rewriting the head alone, so it never has to parse and write JSON in Lua.

use crate::domain::webhook::Settings;
use crate::domain::{DisabledReason, Millis, Webhook, WebhookId};

use super::Error;

/// What stands for "no reason" in the head line.
const NO_REASON: &str = "-";

/// The text to store.
pub fn encode(webhook: &Webhook) -> String {
    let Webhook { version, updated_at, .. } = webhook;
    let reason = webhook.disabled_reason.map_or(NO_REASON, DisabledReason::code);
    let settings =
        serde_json::to_string(&webhook.settings).expect("settings have text keys and no maps of maps");
    format!("{version} {} {} {reason}\n{settings}", u8::from(webhook.is_active), updated_at.0)
}

/// The webhook of a stored text.
///
/// # Errors
/// [`Error::Malformed`]: the text is not one that [`encode`] writes.
pub fn decode(id: &WebhookId, text: &str) -> Result<Webhook, Error> {
    read(id, text).ok_or_else(|| Error::Malformed(id.clone()))
}

fn read(id: &WebhookId, text: &str) -> Option<Webhook> {
    let (head, settings) = text.split_once('\n')?;
    let mut parts = head.split(' ');
    let version = parts.next()?.parse().ok()?;
    let is_active = match parts.next()? {
        "1" => true,
        "0" => false,
        _ => return None,
    };
    let updated_at = Millis(parts.next()?.parse().ok()?);
    let disabled_reason = match parts.next()? {
        NO_REASON => None,
        code => Some(DisabledReason::from_code(code)?),
    };
    let settings: Settings = serde_json::from_str(settings).ok()?;
    Some(Webhook { id: id.clone(), version, is_active, disabled_reason, updated_at, settings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Backoff, Retries, Secret};

    fn webhook() -> Webhook {
        let settings = Settings {
            tenant: "org:demo".parse().expect("a tenant"),
            owner: "ann".parse().expect("a user"),
            name: "two\nlines \"and\" quotes".into(),
            description: None,
            url: "https://example.com/hook".into(),
            events: vec!["lead.*".parse().expect("a pattern")],
            headers: [("X-Team".to_owned(), "a b".to_owned())].into(),
            retries: Retries { attempts: 3, delay_seconds: 60, backoff: Backoff::Linear, schedule: None },
            timeout_seconds: 30,
            rate_limit_per_second: Some(5),
            max_concurrency: 16,
            ordered: false,
            filter: None,
            secret: Secret("whsec_abc".into()),
            former_secrets: vec![(Secret("whsec_old".into()), Millis(9))],
            created_at: Millis(1),
        };
        let id = "wh_00abcdefghijklmnopqrstuv".parse().expect("an id");
        Webhook { id, version: 7, is_active: true, disabled_reason: None, updated_at: Millis(5), settings }
    }

    #[test]
    fn a_record_survives_a_round_trip() {
        let mut webhook = webhook();
        assert_eq!(decode(&webhook.id, &encode(&webhook)).expect("readable"), webhook);
        webhook.is_active = false;
        webhook.disabled_reason = Some(DisabledReason::Gone);
        assert!(encode(&webhook).starts_with("7 0 5 gone\n{"));
        assert_eq!(decode(&webhook.id, &encode(&webhook)).expect("readable"), webhook);
    }

    #[test]
    fn what_we_do_not_write_is_malformed() {
        let webhook = webhook();
        let good = encode(&webhook);
        for bad in
            ["", "7", "7 1 5 -", "x 1 5 -\n{}", &good.replace("7 1", "7 2"), &good.replace("5 -", "5 why")]
        {
            assert!(matches!(decode(&webhook.id, bad), Err(Error::Malformed(_))), "{bad}");
        }
    }
}
