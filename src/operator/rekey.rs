//! `rekey`: encrypts the secrets of every webhook with the present key, whatever they are stored with now.
//!
//! It may run while nodes do, as often as one likes, and be broken off: each record is replaced by itself, if it still is
//! the one that was read, and means the same afterwards. A record that keeps changing is written by nodes, with their key. What
//! is encrypted with a key that no node has any more is told, and left as it is.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context as _, ensure};

use super::Data;
use crate::clock;
use crate::config::Config;
use crate::domain::{KeyId, Partition, WebhookId};
use crate::policy::sealing::Keyring;
use crate::store::encryption::{self, Replacement};
use crate::store::private::{self, Private};
use crate::store::record::{self, Stored};
use crate::store::{Error, mailboxes, preflight};

/// Unreadable records that are named.
const NAMED: usize = 100;
/// How often a record is read anew that changes meanwhile.
const MAX_RACES: usize = 5;

/// What is to be done with records that are not stored as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are encrypted with the present key.
    Encrypt,
    /// They are stored as they are, for a version of the program that does not encrypt.
    Decrypt,
    /// They are counted.
    DryRun,
}

/// What was found, and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    mode: Option<Mode>,
    records: u64,
    rewritten: u64,
    fine: u64,
    /// Deleted, or changed by nodes again and again, which write them with their key.
    passed_over: u64,
    unreadable: u64,
    /// The first [`NAMED`] of those.
    named: Vec<String>,
    /// Keys that records are encrypted with now.
    seen: BTreeSet<KeyId>,
    /// Of those, the ones that this command does not have.
    missing: BTreeSet<KeyId>,
    /// Ids that were taken out of the list of keys in use.
    dropped: Vec<KeyId>,
    /// The one that was said to be lost, and whether it was on that list.
    lost: Option<(KeyId, bool)>,
}

impl Report {
    /// Whether every record could be read.
    pub fn is_whole(&self) -> bool {
        self.unreadable == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, rewritten, fine, passed_over, unreadable, .. } = self;
        let done = match self.mode {
            Some(Mode::DryRun) => "to rewrite",
            Some(Mode::Decrypt) => "decrypted",
            Some(Mode::Encrypt) | None => "re-encrypted",
        };
        write!(
            f,
            "records {records}, {done} {rewritten}, already fine {fine}, could not be read {unreadable}"
        )?;
        if *passed_over > 0 {
            write!(f, ", changed or deleted meanwhile {passed_over}")?;
        }
        let list =
            |ids: &mut dyn Iterator<Item = &KeyId>| ids.map(KeyId::as_str).collect::<Vec<_>>().join(", ");
        if !self.seen.is_empty() {
            write!(f, "\nencrypted with the keys: {}", list(&mut self.seen.iter()))?;
        }
        if !self.missing.is_empty() {
            write!(f, "\nnot in the settings of this command: {}", list(&mut self.missing.iter()))?;
        }
        match &self.lost {
            Some((id, true)) => write!(f, "\ngiven up as lost: {id}; nodes start without it")?,
            Some((id, false)) => write!(f, "\nno key in use has the id {id}: nothing was given up")?,
            None => {}
        }
        if !self.dropped.is_empty() {
            write!(f, "\nno longer in use: {}", list(&mut self.dropped.iter()))?;
        }
        if !self.named.is_empty() {
            let more = if *unreadable > NAMED as u64 { " …" } else { "" };
            write!(f, "\ncould not be read: {}{more}", self.named.join(", "))?;
        }
        Ok(())
    }
}

/// Rewrites every record that is not stored as `mode` wants it, and takes keys that are no longer used off the list of those
/// in use; `lost` is taken off it in any case.
///
/// # Errors
/// The settings are not those of the nodes, lack what the mode needs, hold the key that is said to be lost, or Redis does not answer.
pub async fn run(config: &Config, mode: Mode, lost: Option<KeyId>) -> anyhow::Result<Report> {
    let _private = own_redis(config)?;
    let data = Data::of(config)?;
    // With other counts some records would not be found, and their key be taken for unused.
    preflight::compare_layout(&data.redis, &config.redis.prefix, &config.cluster).await?;
    let security = &config.security;
    let configured = encryption::keyring(security);
    if mode != Mode::Decrypt {
        ensure!(
            configured.present().is_some(),
            "security.encryption_key (WEBHOOKS_SECURITY__ENCRYPTION_KEY) is not set: there is nothing to encrypt with"
        );
    }
    let lost = match lost {
        Some(lost) => Some(give_up(&data, &configured, lost).await?),
        None => None,
    };
    let keyring = match mode {
        Mode::Decrypt => {
            let all = security.encryption_key.iter().chain(&security.former_encryption_keys);
            Keyring::new(None, &all.cloned().collect::<Vec<_>>())
        }
        Mode::Encrypt | Mode::DryRun => configured,
    };
    let mut walk = Walk { data: &data, keyring: &keyring, mode, is_noted: false };
    let report = walk.all().await.context("redis did not answer: what was done is done, run it again")?;
    Ok(Report { lost, ..report })
}

/// The private Redis of a node that is not running: a node that lacks a key does not start, and waits for this command.
fn own_redis(config: &Config) -> anyhow::Result<Option<Private>> {
    if !config.redis.is_private() || !private::is_at_rest(&config.redis) {
        return Ok(None);
    }
    Ok(Some(Private::start(&config.redis).context("the private redis-server did not start")?))
}

/// Takes a key off the list of those in use; whether it was on it.
async fn give_up(data: &Data, configured: &Keyring, lost: KeyId) -> anyhow::Result<(KeyId, bool)> {
    ensure!(!configured.holds(&lost), "the key {lost} is in the settings: it is not lost");
    let was_known =
        encryption::in_use(&data.redis, &data.keys).await.context("redis cannot be read")?.contains(&lost);
    encryption::forget(&data.redis, &data.keys, std::slice::from_ref(&lost))
        .await
        .context("redis cannot be written")?;
    Ok((lost, was_known))
}

/// One walk over all records.
struct Walk<'a> {
    data: &'a Data,
    keyring: &'a Keyring,
    mode: Mode,
    /// Whether the key that encrypts is on the list of those in use. It is put there before anything is written with it, and
    /// never for nothing: nodes without it would not start.
    is_noted: bool,
}

impl Walk<'_> {
    async fn all(&mut self) -> Result<Report, Error> {
        let mut report = Report { mode: Some(self.mode), ..Report::default() };
        for partition in (0..self.data.partitions).map(Partition) {
            let data = self.data;
            each_batch(data, partition, async |records| self.rewrite(partition, records, &mut report).await)
                .await?;
        }
        // What nodes have written meanwhile counts too.
        report.seen = self.keys_of_records().await?;
        report.missing = report.seen.iter().filter(|id| !self.keyring.holds(id)).cloned().collect();
        if self.mode != Mode::DryRun {
            report.dropped = self.drop_unused(&mut report.seen).await?;
        }
        Ok(report)
    }

    async fn keys_of_records(&self) -> Result<BTreeSet<KeyId>, Error> {
        let mut seen = BTreeSet::new();
        for partition in (0..self.data.partitions).map(Partition) {
            each_batch(self.data, partition, async |records| {
                seen.extend(records.iter().filter_map(|(_, text)| key_of(text)));
                Ok(())
            })
            .await?;
        }
        Ok(seen)
    }

    async fn rewrite(
        &mut self,
        partition: Partition,
        records: Vec<(String, String)>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut replacements = Vec::new();
        for (id, text) in records {
            report.records += 1;
            match id.parse().ok().and_then(|id| self.judge(id, text)) {
                Some(Verdict::Fine) => report.fine += 1,
                Some(Verdict::Replace(replacement)) => replacements.push(replacement),
                None => {
                    report.unreadable += 1;
                    if report.named.len() < NAMED {
                        report.named.push(id);
                    }
                }
            }
        }
        if self.mode == Mode::DryRun {
            report.rewritten += replacements.len() as u64;
            return Ok(());
        }
        let Data { redis, keys, .. } = self.data;
        if !self.is_noted && !replacements.is_empty() {
            encryption::note(redis, keys, self.keyring, clock::now()).await?;
            self.is_noted = true;
        }
        let done = encryption::replace(redis, keys, partition, &replacements).await?;
        for (Replacement { webhook, .. }, done) in replacements.into_iter().zip(done) {
            if done || self.again(partition, webhook).await? {
                report.rewritten += 1;
            } else {
                report.passed_over += 1;
            }
        }
        Ok(())
    }

    /// A record that was changed after it was read.
    async fn again(&self, partition: Partition, webhook: WebhookId) -> Result<bool, Error> {
        let Data { redis, keys, .. } = self.data;
        for _ in 0..MAX_RACES {
            let text = mailboxes::record(redis, keys, partition, &webhook).await?;
            let Some(Verdict::Replace(replacement)) = text.and_then(|text| self.judge(webhook.clone(), text))
            else {
                return Ok(false);
            };
            if encryption::replace(redis, keys, partition, &[replacement]).await? == [true] {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `None` when it cannot be read.
    fn judge(&self, webhook: WebhookId, stated: String) -> Option<Verdict> {
        let read = record::decode(&webhook, &stated, self.keyring).ok()?;
        if read.locked.is_some() {
            return None;
        }
        let wanted = self.keyring.present().cloned().map_or(Stored::Plain, Stored::With);
        if record::stored(&stated) == wanted {
            return Some(Verdict::Fine);
        }
        let text = record::encode(&read, self.keyring).ok()?;
        Some(Verdict::Replace(Replacement { webhook, stated, text }))
    }

    /// Takes the keys off the list that are not among the `seen` ones; answers which. A node may have begun to write with one of
    /// them behind the walk that looked, so it looks once more: what is found then is noted again, and `seen`. A node notes
    /// its key by itself, but only now and then, and one that lacks it could start meanwhile.
    async fn drop_unused(&self, seen: &mut BTreeSet<KeyId>) -> Result<Vec<KeyId>, Error> {
        let Data { redis, keys, .. } = self.data;
        let is_used = |id: &KeyId| seen.contains(id) || self.keyring.present() == Some(id);
        let unused: Vec<KeyId> =
            encryption::in_use(redis, keys).await?.into_iter().filter(|id| !is_used(id)).collect();
        if unused.is_empty() {
            return Ok(unused);
        }
        encryption::forget(redis, keys, &unused).await?;
        let found = self.keys_of_records().await?;
        let (used, dropped): (Vec<KeyId>, Vec<KeyId>) = unused.into_iter().partition(|id| found.contains(id));
        for id in used {
            encryption::note_id(redis, keys, &id, clock::now()).await?;
            seen.insert(id);
        }
        Ok(dropped)
    }
}

/// Hands the records of a partition on, some at a time. One that is written meanwhile may come twice.
async fn each_batch(
    data: &Data,
    partition: Partition,
    mut take: impl AsyncFnMut(Vec<(String, String)>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut cursor = 0;
    loop {
        let (next, records) = mailboxes::scan_records(&data.redis, &data.keys, partition, cursor).await?;
        take(records).await?;
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

enum Verdict {
    Fine,
    Replace(Replacement),
}

fn key_of(text: &str) -> Option<KeyId> {
    match record::stored(text) {
        Stored::With(key) => Some(key),
        Stored::Plain | Stored::Unknown => None,
    }
}

#[cfg(test)]
mod tests;
