//! One user's subscription: where to send, what to send, and how patiently.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ids::BadName;
use super::{Filter, Lock, Millis, Tenant, UserId, WebhookId};

/// Former secrets that may sign beside the present one: each adds an entry to a header of every request.
pub const MAX_FORMER_SECRETS: usize = 4;

/// What a secret begins with; not part of the key of `webhook-signature`.
pub const SECRET_PREFIX: &str = "whsec_";
/// Bytes of a secret's key: 192 to 512 bits (Standard Webhooks, "Signature scheme").
pub const SECRET_KEY_BYTES: RangeInclusive<usize> = 24..=64;

/// Why a secret was not put in the place of the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRenewed {
    /// As many former secrets as may be are still in their grace period.
    #[error(
        "{MAX_FORMER_SECRETS} former secrets are still in their grace period, the first of them until {first_ends}: wait \
         for it, or end them all with gracePeriodSeconds 0"
    )]
    TooMany {
        /// When the first of them ends.
        first_ends: Millis,
    },
    /// It is the present one.
    #[error("this secret is the webhook's present one already: nothing was changed")]
    Present,
    /// It is one that was replaced and still signs.
    #[error(
        "this secret is a former one of the webhook, which still signs: give one that was not used before"
    )]
    Former,
}

/// A webhook, complete. The API's camelCase view of it is made in `api::webhooks`.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Names it everywhere; carries its shard.
    pub id: WebhookId,
    /// Counts the changes; the ETag. A writer states the version it read.
    pub version: u64,
    /// While false nothing is queued for it and nothing is sent.
    pub is_active: bool,
    /// Why it was switched off by the service, if it was.
    pub disabled_reason: Option<DisabledReason>,
    /// When its record last changed.
    pub updated_at: Millis,
    /// What its owner chose.
    pub settings: Settings,
    /// Why its secrets and the values of its headers cannot be read, if so: they are empty then, nothing is sent to it, and it
    /// is not written.
    pub locked: Option<Lock>,
}

/// The part of a webhook that only the API writes, stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Whose events it receives.
    pub tenant: Tenant,
    /// Who may see and change it.
    pub owner: UserId,
    /// 1..=255 characters.
    pub name: String,
    /// Up to 1000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Absolute http or https URL, up to 2048 characters, without credentials.
    pub url: String,
    /// What it subscribes to: 1..=100 patterns, no duplicates.
    pub events: Vec<Pattern>,
    /// The owner's own headers, by lower-case or mixed-case name as given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What to do after a failed attempt.
    pub retries: Retries,
    /// 1..=60, bounds the whole attempt.
    pub timeout_seconds: u32,
    /// 1..=10000; `None` = `delivery.default_rate_limit_per_second`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_per_second: Option<u32>,
    /// 1..=256 attempts in flight.
    pub max_concurrency: u32,
    /// One at a time, in publish order.
    #[serde(default)]
    pub ordered: bool,
    /// What it asks of an event's data; `None` = nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Signs what is sent.
    pub secret: Secret,
    /// Former secrets, the newest first, each with the time until which it signs beside the present one; at most
    /// [`MAX_FORMER_SECRETS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_secrets: Vec<(Secret, Millis)>,
    /// When it was created.
    pub created_at: Millis,
}

impl Settings {
    /// Puts `secret` in the place of the present one, which goes on signing beside it for `grace`. Earlier ones keep
    /// the end that was promised for them, except with no grace at all: that is asked for when a secret has leaked, and
    /// ends every former one at once.
    ///
    /// # Errors
    /// It signs already, or so many secrets sign already that one more would break a promise or make the header grow
    /// without end; nothing is changed.
    pub fn renew_secret(&mut self, secret: Secret, grace: Duration, now: Millis) -> Result<(), NotRenewed> {
        if secret == self.secret {
            return Err(NotRenewed::Present);
        }
        let mut kept = self.former_secrets.clone();
        kept.retain(|(_, expires)| now < *expires);
        if kept.iter().any(|(former, _)| *former == secret) {
            return Err(NotRenewed::Former);
        }
        kept.retain(|_| !grace.is_zero());
        if kept.len() >= MAX_FORMER_SECRETS {
            let first_ends = kept.iter().map(|(_, expires)| *expires).min().unwrap_or(now);
            return Err(NotRenewed::TooMany { first_ends });
        }
        let former = std::mem::replace(&mut self.secret, secret);
        if !grace.is_zero() {
            kept.insert(0, (former, now + grace));
        }
        self.former_secrets = kept;
        Ok(())
    }

    /// Whether there are former secrets whose grace period is over.
    pub fn has_expired(&self, now: Millis) -> bool {
        self.former_secrets.iter().any(|(_, expires)| *expires <= now)
    }

    /// Drops the former secrets whose grace period is over.
    pub fn forget_expired(&mut self, now: Millis) {
        self.former_secrets.retain(|(_, expires)| now < *expires);
    }
}

/// What follows a failed attempt (contract, section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// 0..=20 retries after the first attempt; without effect when `schedule` is set.
    pub attempts: u32,
    /// 0..=86400.
    pub delay_seconds: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// Seconds before each retry; overrides the three above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Vec<u32>>,
}

/// How the delay between attempts grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// delay, delay, delay
    #[default]
    Fixed,
    /// delay, 2 × delay, 3 × delay
    Linear,
    /// delay, 2 × delay, 4 × delay
    Exponential,
}

/// What a webhook subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// `*`
    Everything,
    /// `lead.*`
    Family(String),
    /// `lead.created`
    Exact(String),
}

impl Pattern {
    /// Whether an event of that type is subscribed to.
    pub fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Family(family) => event_type.split_once('.').is_some_and(|(head, _)| head == family),
            Self::Exact(name) => name == event_type,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Family(family) => write!(f, "{family}.*"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

impl FromStr for Pattern {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "*" => Ok(Self::Everything),
            _ => match text.strip_suffix(".*") {
                Some(family) if !family.is_empty() && !family.contains(['*', '.']) => {
                    Ok(Self::Family(family.into()))
                }
                None if !text.is_empty() && !text.contains('*') => Ok(Self::Exact(text.into())),
                _ => Err(BadName("event pattern")),
            },
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A signing secret: `whsec_` + base64 of 24..=64 bytes. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

/// A text is no [`Secret`] that a caller may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "secret must be \"{SECRET_PREFIX}\" followed by the base64 of {} to {} bytes",
    SECRET_KEY_BYTES.start(),
    SECRET_KEY_BYTES.end()
)]
pub struct BadSecret;

impl Secret {
    /// A secret that a caller chose: standard base64, padded and canonical, so that every receiver reads the same key.
    ///
    /// # Errors
    /// It is none; the text of the error does not repeat it.
    pub fn chosen(text: &str) -> Result<Self, BadSecret> {
        let key = text.strip_prefix(SECRET_PREFIX).and_then(|key| BASE64.decode(key).ok());
        let fits = key.is_some_and(|key| SECRET_KEY_BYTES.contains(&key.len()));
        if fits { Ok(Self(text.to_owned())) } else { Err(BadSecret) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Why the service itself switched a webhook off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledReason {
    /// The endpoint answered 410 Gone.
    Gone,
    /// Every attempt failed, for `breaker.disable_after_days`.
    Failing,
}

impl DisabledReason {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Gone, Self::Failing];

    /// The word that stands for it in a stored record.
    pub fn code(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }

    /// The reason of that stored word.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for DisabledReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the endpoint answered 410 Gone"),
            Self::Failing => f.write_str("every attempt has failed for days"),
        }
    }
}

/// Why an event that a webhook subscribes to was not queued for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// Its owner had switched it off.
    Inactive,
    /// The service had switched it off.
    Disabled,
    /// Its filter did not let the event pass.
    Filtered,
}

impl SkipReason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inactive, Self::Disabled, Self::Filtered];

    /// The word that stands for it in records, in the API and in labels of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Disabled => "disabled",
            Self::Filtered => "filtered",
        }
    }

    /// The reason of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// The state a person sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WebhookStatus)]
pub enum Status {
    /// Events are queued and sent.
    Active,
    /// As active, but the circuit breaker holds back what is queued.
    Failing,
    /// Switched off by its owner.
    Inactive,
    /// Switched off by the service; see `disabledReason`.
    Disabled,
}

impl Webhook {
    /// The state a person sees (contract, section 5), apart from what its breaker makes of it.
    pub fn status(&self) -> Status {
        match (self.disabled_reason, self.is_active) {
            (Some(_), _) => Status::Disabled,
            (None, true) => Status::Active,
            (None, false) => Status::Inactive,
        }
    }

    /// Why nothing is queued for it, whatever happens; `None` when it is active.
    pub fn is_off(&self) -> Option<SkipReason> {
        match (self.is_active, self.disabled_reason) {
            (true, _) => None,
            (false, None) => Some(SkipReason::Inactive),
            (false, Some(_)) => Some(SkipReason::Disabled),
        }
    }

    /// Whether anything may be sent to it: it is active, and can be signed for.
    pub fn may_send(&self) -> bool {
        self.is_active && self.locked.is_none()
    }

    /// How long one attempt may take, all of it.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.settings.timeout_seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        let cases =
            [("*", true, true, true), ("lead.*", true, true, false), ("lead.created", true, false, false)];
        for (pattern, created, updated, other) in cases {
            let parsed: Pattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches("lead.created"), created, "{pattern}");
            assert_eq!(parsed.matches("lead.updated"), updated, "{pattern}");
            assert_eq!(parsed.matches("leadership.created"), other, "{pattern}");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn half_wildcards_are_no_patterns() {
        for bad in ["", ".*", "le*d.created", "lead.cr*", "**", "lead.x.*", "*.created"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    fn settings() -> Settings {
        serde_json::from_value(serde_json::json!({
            "tenant": "org:demo", "owner": "ann", "name": "x", "url": "https://example.com/", "events": ["*"],
            "retries": { "attempts": 3, "delay_seconds": 60, "backoff": "fixed" },
            "timeout_seconds": 30, "max_concurrency": 16, "secret": "0", "created_at": 1,
        }))
        .expect("settings")
    }

    #[test]
    fn every_former_secret_signs_as_long_as_was_promised() {
        let secret = |name: &str| Secret(name.into());
        let mut settings = settings();
        let at = |settings: &Settings, now| {
            let lasting = settings.former_secrets.iter().filter(|(_, expires)| Millis(now) < *expires);
            lasting.map(|(secret, _)| secret.0.clone()).collect::<Vec<_>>()
        };
        let renew = |settings: &mut Settings, name: &str, seconds, now| {
            settings.renew_secret(secret(name), Duration::from_secs(seconds), Millis(now))
        };
        for (name, seconds) in [("1", 20), ("2", 10), ("3", 40), ("4", 30)] {
            renew(&mut settings, name, seconds, 0).expect("there is room");
        }
        assert_eq!(at(&settings, 9_999), ["3", "2", "1", "0"]);
        assert_eq!(at(&settings, 10_000), ["3", "2", "0"], "each ends at its own time");
        let before = settings.clone();
        let refused = renew(&mut settings, "5", 1, 9_999).expect_err("there is no room");
        assert!(refused.to_string().contains("1970-01-01T00:00:10.000Z"), "{refused}");
        assert_eq!(settings, before);
        renew(&mut settings, "5", 1, 10_000).expect("one has ended");
        assert_eq!(at(&settings, 10_000), ["4", "3", "2", "0"]);
        renew(&mut settings, "6", 0, 10_000).expect("a leaked secret can always be replaced");
        assert_eq!((at(&settings, 10_000), settings.secret), (vec![], secret("6")));
    }

    #[test]
    fn a_secret_that_signs_already_is_not_taken_again() {
        let secret = |name: &str| Secret(name.into());
        let mut settings = settings();
        settings.secret = secret("present");
        settings.former_secrets = vec![(secret("former"), Millis(10)), (secret("expired"), Millis(5))];
        let before = settings.clone();
        for (name, grace) in [("present", 0), ("present", 60), ("former", 0), ("former", 60)] {
            let refused = settings.renew_secret(secret(name), Duration::from_secs(grace), Millis(5));
            let expected = if name == "present" { NotRenewed::Present } else { NotRenewed::Former };
            assert_eq!(refused, Err(expected), "{name} {grace}");
            assert_eq!(settings, before);
        }
        settings.renew_secret(secret("expired"), Duration::ZERO, Millis(5)).expect("its time is over");
        assert_eq!((settings.secret, settings.former_secrets), (secret("expired"), vec![]));
    }

    #[test]
    fn former_secrets_are_dropped_when_their_time_is_over() {
        let mut settings = settings();
        settings.former_secrets = vec![(Secret("a".into()), Millis(10)), (Secret("b".into()), Millis(5))];
        assert!(!settings.has_expired(Millis(4)) && settings.has_expired(Millis(5)));
        settings.forget_expired(Millis(5));
        assert!(!settings.has_expired(Millis(5)));
        assert_eq!(settings.former_secrets, [(Secret("a".into()), Millis(10))]);
    }

    #[test]
    fn a_chosen_secret_is_the_prefix_and_canonical_base64_of_24_to_64_bytes() {
        let text = |bytes: usize| format!("whsec_{}", BASE64.encode(vec![0xff; bytes]));
        for bytes in 0..=70 {
            let taken = Secret::chosen(&text(bytes));
            assert_eq!(taken.is_ok(), (24..=64).contains(&bytes), "{bytes} bytes");
        }
        let good = text(32);
        let url_safe = good.replace('/', "_").replace("whsec_", "");
        for bad in [
            good.replace("whsec_", ""),
            good.replace("whsec_", "WHSEC_"),
            good.trim_end_matches('=').to_owned(),
            format!("{good}="),
            format!(" {good}"),
            format!("{good}\n"),
            good.replace("8=", "9="),
            format!("whsec_{url_safe}"),
            "whsec_".to_owned(),
        ] {
            assert_ne!(bad, good);
            let refused = Secret::chosen(&bad).expect_err(&bad);
            let expected = "secret must be \"whsec_\" followed by the base64 of 24 to 64 bytes";
            assert_eq!(refused.to_string(), expected);
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret("whsec_abc".into())), "Secret(***)");
    }
}
