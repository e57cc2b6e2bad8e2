//! Facts about keys: those that verify tokens, and those that webhooks' secrets are stored with.

use crate::clock;
use crate::domain::{KeyReading, Lock, Refusal, Webhook};
use crate::policy::sealing::Keyring;
use crate::store;
use crate::telemetry::key_age;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::quiet::QUIET;

/// A request had no token that is taken. Its line is that of the request.
pub fn authentication_failed(reason: Refusal) {
    METRICS.authentications_failed.with_label_values(&[reason.as_str()]).inc();
}

/// The identity provider's keys are looked at from now on.
pub fn keys_awaited() {
    key_age::begin(clock::monotonic());
}

/// The identity provider's keys were read: so many are in use, and so many were of no use here. Told when they changed.
pub fn keys_read(result: KeyReading, keys: usize, left_out: usize) {
    METRICS.jwks_readings.with_label_values(&[result.as_str()]).inc();
    key_age::begin(clock::monotonic());
    if result != KeyReading::Changed {
        return;
    }
    tracing::info!(keys, left_out, "the identity provider's keys were read");
    if left_out > 0 {
        tracing::warn!(left_out, "keys of the identity provider were left out: they cannot be used here");
    }
}

/// The identity provider's keys could not be read or used: those in use stay. Told now and then.
pub fn keys_not_read(result: KeyReading, error: &dyn std::error::Error, cause: &str) {
    METRICS.jwks_readings.with_label_values(&[result.as_str()]).inc();
    if let Some(times) = QUIET.let_through("identity provider's keys", clock::monotonic()) {
        tracing::warn!(error = %error, cause, times, "the identity provider's keys could not be read");
    }
}

/// A webhook's record was read. If it is locked, nothing is sent to it until a node has the key, or its secret is
/// regenerated. Told now and then, with how often it was met since; one of the webhooks is named.
pub fn webhook_read(webhook: &Webhook) {
    let (kind, key) = match &webhook.locked {
        None => return,
        Some(Lock::KeyMissing(key)) => ("their key is missing in the settings", key.as_str()),
        Some(Lock::Broken) => ("they are damaged", ""),
    };
    if let Some(times) = QUIET.let_through(kind, clock::monotonic()) {
        let webhook = webhook.id.as_str();
        tracing::error!(
            webhook,
            key,
            times,
            reason = kind,
            "webhook secrets cannot be decrypted, its deliveries wait"
        );
    }
}

/// Deliveries of a webhook wait because its secrets cannot be decrypted.
pub fn webhook_waits_for_its_key() {
    METRICS.webhooks_locked.inc();
}

/// The end of [`webhook_waits_for_its_key`].
pub fn webhook_waits_no_more() {
    METRICS.webhooks_locked.dec();
}

/// Whether webhooks' secrets are encrypted where they are stored. Told once, at the start.
pub fn secrets_are_stored(keyring: &Keyring) {
    METRICS.secrets_encrypted.set(i64::from(keyring.present().is_some()));
    match keyring.present() {
        Some(key) => tracing::info!(%key, "webhook secrets are encrypted in redis"),
        None => tracing::warn!(
            "webhook secrets and header values are stored unencrypted in redis: set security.encryption_key \
             (WEBHOOKS_SECURITY__ENCRYPTION_KEY) to encrypt them"
        ),
    }
}

/// Whoever has a token of the identity provider for another service can use it here.
pub fn any_audience() {
    tracing::warn!(
        "tokens of the identity provider are taken for whatever audience they are: set auth.audience \
         (WEBHOOKS_AUTH__AUDIENCE)"
    );
}

/// The key in use could not be noted in Redis; it is noted again. Told now and then.
pub fn key_not_noted(error: &store::Error) {
    if let Some(times) = QUIET.let_through("note the key", clock::monotonic()) {
        tracing::warn!(%error, times, "the encryption key in use could not be noted");
    }
}
