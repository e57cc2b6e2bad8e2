//! Which keys webhooks' records are encrypted with, and putting one text of a record in the place of another.
//!
//! `cluster:keys` lists the ids of the keys in use: a node notes the one that it encrypts with before it writes anything
//! with it, and again now and then; `rekey` takes out those that no record is encrypted with any more. A node that lacks one
//! does not start. That only saves surprises: a record of a key that a running node lacks waits until it has it.

use std::sync::LazyLock;

use super::meter::Called;
use super::preflight::Error as Refused;
use super::script::run_each;
use super::{Error, Keys, Redis, Script};
use crate::config;
use crate::domain::{KeyId, Millis, Partition, WebhookId};
use crate::policy::sealing::Keyring;

static REKEY: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::WebhookRekey, include_str!("scripts/webhook_rekey.lua")));

/// The keys of the settings.
pub fn keyring(security: &config::Security) -> Keyring {
    Keyring::new(security.encryption_key.as_ref(), &security.former_encryption_keys)
}

/// Notes the key that `keyring` encrypts with as one in use, if it has one.
///
/// # Errors
/// As [`Redis::query`]; a repeat is harmless.
pub async fn note(redis: &Redis, keys: &Keys, keyring: &Keyring, now: Millis) -> Result<(), Error> {
    let Some(id) = keyring.present() else { return Ok(()) };
    note_id(redis, keys, id, now).await
}

/// Notes a key as one in use.
///
/// # Errors
/// As [`Redis::query`]; a repeat is harmless.
pub async fn note_id(redis: &Redis, keys: &Keys, id: &KeyId, now: Millis) -> Result<(), Error> {
    redis.query(redis::cmd("HSETNX").arg(keys.cluster("keys")).arg(id.as_str()).arg(now.0)).await
}

/// The ids of the keys in use.
///
/// # Errors
/// As [`Redis::query`].
pub async fn in_use(redis: &Redis, keys: &Keys) -> Result<Vec<KeyId>, Error> {
    let ids: Vec<String> = redis.query(redis::cmd("HKEYS").arg(keys.cluster("keys"))).await?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}

/// Takes ids out of those in use.
///
/// # Errors
/// As [`Redis::query`]; a repeat is harmless.
pub async fn forget(redis: &Redis, keys: &Keys, ids: &[KeyId]) -> Result<(), Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = ids.iter().map(KeyId::as_str).collect();
    redis.query(redis::cmd("HDEL").arg(keys.cluster("keys")).arg(&ids)).await
}

/// Checks at the start that every key in use is on `keyring`, and notes the one that this node encrypts with.
///
/// # Errors
/// [`Refused::Unfit`] names each key that is missing, and what to do.
pub async fn check(redis: &Redis, keys: &Keys, keyring: &Keyring, now: Millis) -> Result<(), Refused> {
    let missing: Vec<String> = in_use(redis, keys)
        .await?
        .into_iter()
        .filter(|id| !keyring.holds(id))
        .map(|id| {
            format!(
                "webhooks in it are encrypted with the key {id}, which is neither security.encryption_key nor one of \
                 security.former_encryption_keys: add it there, or if it is lost for good: rekey --lost-key {id}"
            )
        })
        .collect();
    if !missing.is_empty() {
        return Err(Refused::Unfit(missing));
    }
    Ok(note(redis, keys, keyring, now).await?)
}

/// Another text for a record.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// Whose record.
    pub webhook: WebhookId,
    /// The text that it must still have.
    pub stated: String,
    /// The new one.
    pub text: String,
}

/// Puts the new texts in the place of the stated ones; answers for each whether it is there. Needs no lease: the text that
/// is stated is the test, and what the record says stays the same.
///
/// # Errors
/// As [`Redis::each`]; a repeat is harmless.
pub async fn replace(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    replacements: &[Replacement],
) -> Result<Vec<bool>, Error> {
    let route = keys.key(partition, "webhooks");
    let calls: Vec<_> = replacements
        .iter()
        .map(|Replacement { webhook, stated, text }| {
            let mut call = REKEY.on(&route);
            call.arg(keys.of(partition)).arg(webhook.as_str()).arg(stated).arg(text);
            call
        })
        .collect();
    let answers: Vec<i64> = run_each(redis, &calls).await?;
    Ok(answers.into_iter().map(|answer| answer == 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EncryptionKey;
    use crate::policy::sealing::id_of;
    use crate::store::testing::TestRedis;

    fn ring(present: Option<u8>, former: &[u8]) -> Keyring {
        let key = |byte: u8| EncryptionKey::new([byte; 32]);
        Keyring::new(present.map(key).as_ref(), &former.iter().map(|byte| key(*byte)).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn a_node_that_lacks_a_key_in_use_is_refused_with_its_id() {
        let server = TestRedis::start().await;
        let (redis, keys) = (&server.redis, Keys::new("sw:"));
        let check = async |ring: &Keyring| check(redis, &keys, ring, Millis(1)).await;
        check(&ring(None, &[])).await.unwrap();
        check(&ring(Some(1), &[])).await.unwrap();
        check(&ring(Some(2), &[1])).await.unwrap();
        check(&ring(None, &[1, 2])).await.unwrap();
        let [first, second] = [1, 2].map(|byte| id_of(&EncryptionKey::new([byte; 32])));
        for (lacking, missing) in [(ring(None, &[]), 2), (ring(Some(2), &[]), 1), (ring(Some(3), &[2]), 1)] {
            let Err(Refused::Unfit(faults)) = check(&lacking).await else { panic!("{lacking:?} is refused") };
            assert_eq!(faults.len(), missing, "{faults:?}");
            let named = |fault: &String| fault.contains(first.as_str()) || fault.contains(second.as_str());
            assert!(faults.iter().all(named) && faults[0].contains("former_encryption_keys"), "{faults:?}");
        }
        let mut known = in_use(redis, &keys).await.unwrap();
        known.sort();
        let mut expected = vec![first.clone(), second.clone()];
        expected.sort();
        assert_eq!(known, expected, "one that is refused notes nothing");
        forget(redis, &keys, &[first]).await.unwrap();
        check(&ring(Some(2), &[])).await.unwrap();
        assert_eq!(in_use(redis, &keys).await.unwrap(), [second]);
    }

    #[tokio::test]
    async fn a_record_is_replaced_only_while_it_has_the_stated_text() {
        let server = TestRedis::start().await;
        let (redis, keys, partition) = (&server.redis, Keys::new("sw:"), Partition(3));
        let id = |last: char| -> WebhookId { format!("wh_00abcdefghijklmnopqrstu{last}").parse().unwrap() };
        let route = keys.key(partition, "webhooks");
        for (last, text) in [('a', "old"), ('b', "other")] {
            let set = redis::cmd("HSET").arg(&route).arg(id(last).as_str()).arg(text).to_owned();
            redis.query::<()>(&set).await.unwrap();
        }
        let replacement = |last| Replacement { webhook: id(last), stated: "old".into(), text: "new".into() };
        let all = ['a', 'b', 'c'].map(replacement);
        for _ in 0..2 {
            assert_eq!(replace(redis, &keys, partition, &all).await.unwrap(), [true, false, false]);
        }
        let read = redis::cmd("HVALS").arg(&route).to_owned();
        let mut texts: Vec<String> = redis.query(&read).await.unwrap();
        texts.sort();
        assert_eq!(texts, ["new", "other"]);
        let told: u64 = redis.query(redis::cmd("XLEN").arg(keys.key(partition, "events"))).await.unwrap();
        assert_eq!(told, 0, "nobody has to be told");
    }
}
