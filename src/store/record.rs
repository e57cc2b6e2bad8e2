//! The stored text of a webhook: a head line that scripts can read and rewrite, the settings as JSON, and what is secret
//! of them encrypted, if it is.
//!
//! `<version> <1 active | 0> <updated ms> <reason code | ->`, a line feed, [`Settings`] as JSON. The outcome script
//! switches a webhook off by rewriting the head alone, so it never has to parse and write JSON in Lua.
//!
//! With a key ([`Keyring`]) a third line follows, `x1 <key id> <base64 of nonce and ciphertext>`, and the JSON has the
//! secret, the former ones and the values of headers left empty. That line alone says that the record is encrypted, never
//! the look of a value; a build that does not know it cannot take the record for a plain one. All of it is sealed in one
//! piece, so that no value, no end of a grace period and no header can be exchanged, taken out or put in by itself; it is
//! bound to the tenant, the webhook and the second line as it is written, so that it opens in no other record and beside
//! no other setting: who changes the URL alone gets no header sent there. [`encode`] alone writes that line.
//!
//! Whoever can write to Redis can still put a whole plain record in its place, or an older one of the same webhook.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::webhook::Settings;
use crate::domain::{DisabledReason, KeyId, Lock, Millis, Secret, Webhook, WebhookId};
use crate::policy::sealing::{self, Keyring, NONCE_BYTES};

use super::Error;

/// What stands for "no reason" in the head line.
const NO_REASON: &str = "-";
/// What an encrypted part begins with: the scheme.
const SCHEME: &str = "x1";
/// The first part of what an encrypted part is bound to.
const LABEL: &str = "salesos-webhooks: secrets of a webhook, x1";
/// What stands for the value of a header that cannot be read.
const HIDDEN: &str = "***";

/// What is encrypted, in the order in which it is written.
#[derive(Serialize, Deserialize)]
struct Secrets {
    secret: Secret,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former: Vec<(Secret, Millis)>,
    /// In the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<String>,
}

/// How what is secret of a record is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As it is.
    Plain,
    /// Encrypted with that key.
    With(KeyId),
    /// In a form that is not ours.
    Unknown,
}

/// The text to store: encrypted if `keyring` has a present key.
///
/// # Errors
/// [`Error::Locked`]: there is nothing to write in the place of what could not be read.
pub fn encode(webhook: &Webhook, keyring: &Keyring) -> Result<String, Error> {
    if webhook.locked.is_some() {
        return Err(Error::Locked(webhook.id.clone()));
    }
    let (head, settings) = (head(webhook), &webhook.settings);
    let json = |settings: &Settings| {
        serde_json::to_string(settings).expect("settings have text keys and no maps of maps")
    };
    if keyring.present().is_none() {
        return Ok(format!("{head}\n{}", json(settings)));
    }
    let shown = json(&without_secrets(settings.clone(), ""));
    let (key, sealed) = seal(webhook, &shown, keyring).expect("there is a key to seal with");
    Ok(format!("{head}\n{shown}\n{SCHEME} {key} {}", BASE64.encode(sealed)))
}

/// The head line alone, for a record whose other lines stay as they are.
pub fn head(webhook: &Webhook) -> String {
    let Webhook { version, updated_at, .. } = webhook;
    let reason = webhook.disabled_reason.map_or(NO_REASON, DisabledReason::code);
    format!("{version} {} {} {reason}", u8::from(webhook.is_active), updated_at.0)
}

/// The webhook of a stored text. One whose secrets cannot be read is [`Webhook::locked`], and otherwise whole: its events
/// are matched and queued as ever.
///
/// # Errors
/// [`Error::Malformed`]: the text is not one that [`encode`] writes.
pub fn decode(id: &WebhookId, text: &str, keyring: &Keyring) -> Result<Webhook, Error> {
    let Lines { mut webhook, shown, sealed } = read(id, text).ok_or_else(|| Error::Malformed(id.clone()))?;
    let opened = match sealed {
        Some(sealed) => {
            open(&webhook, shown, sealed, keyring).map(|secrets| put(&mut webhook.settings, secrets))
        }
        // Nothing can be signed with that: somebody took the third line away.
        None if webhook.settings.secret.0.is_empty() => Err(Lock::Broken),
        None => Ok(()),
    };
    if let Err(lock) = opened {
        webhook.settings = without_secrets(webhook.settings, HIDDEN);
        webhook.locked = Some(lock);
    }
    Ok(webhook)
}

/// How what is secret of a stored text is stored.
pub fn stored(text: &str) -> Stored {
    let Some((_, rest)) = text.split_once('\n') else { return Stored::Unknown };
    match parted(rest) {
        (_, None) => Stored::Plain,
        (_, Some(sealed)) => sealed_parts(sealed).map_or(Stored::Unknown, |(key, _)| Stored::With(key)),
    }
}

fn seal<'a>(webhook: &Webhook, shown: &str, keyring: &'a Keyring) -> Option<(&'a KeyId, Vec<u8>)> {
    keyring.present()?;
    let Settings { secret, former_secrets, headers, .. } = &webhook.settings;
    let secrets = Secrets {
        secret: secret.clone(),
        former: former_secrets.clone(),
        headers: headers.values().cloned().collect(),
    };
    let text = Zeroizing::new(serde_json::to_vec(&secrets).expect("texts and numbers are JSON"));
    let nonce: [u8; NONCE_BYTES] = rand::random();
    keyring.seal(nonce, &context(webhook, shown), &text)
}

fn open(webhook: &Webhook, shown: &str, sealed: &str, keyring: &Keyring) -> Result<Secrets, Lock> {
    let (key, base64) = sealed_parts(sealed).ok_or(Lock::Broken)?;
    let sealed = BASE64.decode(base64).map_err(|_| Lock::Broken)?;
    let text = keyring.open(&key, &context(webhook, shown), &sealed)?;
    let secrets: Secrets = serde_json::from_slice(&text).map_err(|_| Lock::Broken)?;
    let fits = secrets.headers.len() == webhook.settings.headers.len();
    if fits { Ok(secrets) } else { Err(Lock::Broken) }
}

/// The key's id and the rest.
fn sealed_parts(sealed: &str) -> Option<(KeyId, &str)> {
    let (key, base64) = sealed.strip_prefix(SCHEME)?.strip_prefix(' ')?.split_once(' ')?;
    Some((key.parse().ok()?, base64))
}

/// What the secrets of a webhook are bound to; `shown` is the line of its settings.
fn context(webhook: &Webhook, shown: &str) -> Vec<u8> {
    let tenant = webhook.settings.tenant.to_string();
    sealing::context(&[LABEL, &tenant, webhook.id.as_str(), shown])
}

fn without_secrets(mut settings: Settings, value: &str) -> Settings {
    settings.secret = Secret(String::new());
    settings.former_secrets = Vec::new();
    settings.headers.values_mut().for_each(|header| value.clone_into(header));
    settings
}

fn put(settings: &mut Settings, Secrets { secret, former, headers }: Secrets) {
    (settings.secret, settings.former_secrets) = (secret, former);
    settings.headers.values_mut().zip(headers).for_each(|(header, value)| *header = value);
}

/// The settings, and the encrypted part if there is one: the last line, if it does not end the JSON. Filters that were stored
/// before they were kept on one line may hold line feeds.
fn parted(rest: &str) -> (&str, Option<&str>) {
    match rest.rsplit_once('\n') {
        Some((shown, last)) if !last.ends_with('}') => (shown, Some(last)),
        _ => (rest, None),
    }
}

/// A stored text, taken apart.
struct Lines<'a> {
    webhook: Webhook,
    /// The settings as they are written.
    shown: &'a str,
    sealed: Option<&'a str>,
}

fn read<'a>(id: &WebhookId, text: &'a str) -> Option<Lines<'a>> {
    let (head, rest) = text.split_once('\n')?;
    let (shown, sealed) = parted(rest);
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
    let settings: Settings = serde_json::from_str(shown).ok()?;
    let webhook =
        Webhook { id: id.clone(), version, is_active, disabled_reason, updated_at, settings, locked: None };
    Some(Lines { webhook, shown, sealed })
}

#[cfg(test)]
mod tests;
