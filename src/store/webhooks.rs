//! Webhooks: their records, the indexes by tenant and user, and the figures beside them.
//!
//! A record lies in its shard's partition, in the hash `webhooks`; the indexes lie in the tenant's home. A webhook is
//! indexed first and written second, and removed the other way round, so whatever breaks in between leaves an index
//! entry without a record at worst: reading skips it, and sweeps it once it is older than [`SWEEP_AFTER`]. Every change of a
//! record goes with a control entry in the same partition's events stream, so it holds for every event published after
//! it. All scripts may be repeated after an unknown result.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Pipeline, Value};

use super::meter::Called;
use super::{Error, Keys, Redis, Script, keys, mailboxes, record};
use crate::domain::{Millis, Shard, Tenant, UserId, Webhook, WebhookId};
use crate::policy::breaker::Standing;
use crate::policy::partition::Layout;
use crate::policy::sealing::Keyring;

/// Webhooks read in one round trip.
const CHUNK: usize = 200;
/// The fields of `count:<webhook>` that are figures; those of its standing follow them.
const COUNTS: [&str; 5] = ["ok", "fail", "last", "last_ok", "last_fail"];
/// Older index entries without a record are left-overs; younger ones may still be about to get it.
const SWEEP_AFTER: Duration = Duration::from_secs(60);

static INDEX: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::WebhookIndex, include_str!("scripts/webhook_index.lua")));
static CREATE: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::WebhookCreate, include_str!("scripts/webhook_create.lua")));
static UPDATE: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::WebhookUpdate, include_str!("scripts/webhook_update.lua")));
static DELETE: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::WebhookDelete, include_str!("scripts/webhook_delete.lua")));

/// The webhooks of one tenant.
#[derive(Clone, Copy, Debug)]
pub struct Webhooks<'a> {
    /// Commands.
    pub redis: &'a Redis,
    /// Names.
    pub keys: &'a Keys,
    /// Says where things lie.
    pub layout: &'a Layout,
    /// Encrypts and decrypts what is secret of them.
    pub keyring: &'a Keyring,
    /// Whose.
    pub tenant: &'a Tenant,
}

/// Which of a tenant's webhooks.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// One user's.
    Of(&'a UserId),
    /// Everybody's.
    All,
}

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    /// `limits.webhooks_per_user`
    pub per_user: u64,
    /// `limits.webhooks_per_tenant`
    pub per_tenant: u64,
}

/// What came of a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there.
    Stored,
    /// The user has as many as allowed.
    UserFull,
    /// The tenant has as many as allowed.
    TenantFull,
}

/// What a change of the record does to the failures in a row and the pauses that they led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failures {
    /// They stay.
    Keep,
    /// They are forgotten.
    Forget,
}

/// An entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Names the webhook, if it is there.
    pub id: WebhookId,
    /// When it was created.
    pub created_at: Millis,
}

/// The counters beside a record (`count:<webhook>`), and what is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Attempts that succeeded.
    pub succeeded: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// What is kept of its failures.
    pub standing: Standing,
    /// When the last attempt ended.
    pub last_at: Option<Millis>,
    /// When the last success ended.
    pub last_success_at: Option<Millis>,
    /// When the last failure ended.
    pub last_failure_at: Option<Millis>,
    /// Deliveries that wait for an attempt, or are in one.
    pub pending: u64,
}

impl Webhooks<'_> {
    /// One webhook.
    ///
    /// # Errors
    /// As [`Redis::query`], and [`Error::Malformed`]. One whose secrets cannot be decrypted is none: see [`Webhook::locked`].
    pub async fn get(&self, id: &WebhookId) -> Result<Option<Webhook>, Error> {
        let mut command = redis::cmd("HGET");
        let text: Option<String> = self.redis.query(command.arg(self.records(id)).arg(id.as_str())).await?;
        let webhook = text.map(|text| record::decode(id, &text, self.keyring)).transpose()?;
        // Ids are random, but what a tenant may see must not hang on that.
        Ok(webhook.filter(|webhook| webhook.settings.tenant == *self.tenant))
    }

    /// The shard that the tenant's next webhook joins.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn next_shard(&self) -> Result<Shard, Error> {
        let existing = self.redis.query(redis::cmd("ZCARD").arg(self.index(Whose::All))).await?;
        Ok(self.layout.shard_for(existing))
    }

    /// Stores a new webhook.
    ///
    /// # Errors
    /// As [`Redis::query`]; after [`Error::Unanswered`] it may be there.
    pub async fn create(&self, webhook: &Webhook, quotas: Quotas) -> Result<Created, Error> {
        let record = record::encode(webhook, self.keyring)?;
        let owner = keys::owner_hash(self.tenant, &webhook.settings.owner);
        let home = self.keys.of(self.layout.home_of(self.tenant));
        let mut index = INDEX.on(&self.index(Whose::All));
        index.arg(home).arg(owner).arg(keys::tenant_hash(self.tenant)).arg(webhook.id.as_str());
        index.arg(webhook.settings.created_at.0).arg(quotas.per_user).arg(quotas.per_tenant);
        index.arg(u16::from(webhook.id.shard().0) + 1);
        match index.run::<String>(self.redis).await?.as_str() {
            "user_full" => return Ok(Created::UserFull),
            "tenant_full" => return Ok(Created::TenantFull),
            _ => {}
        }
        let mut create = CREATE.on(&self.records(&webhook.id));
        create.arg(self.prefix(&webhook.id)).arg(webhook.id.as_str()).arg(record);
        create.run::<i64>(self.redis).await?;
        Ok(Created::Stored)
    }

    /// Writes `webhook`, whose version is one more than the one that was read.
    ///
    /// # Errors
    /// [`Error::Changed`]: the stored version is another, or there is no record any more. [`Error::Locked`]: not all of it was
    /// read. Else as [`Redis::query`].
    pub async fn update(&self, webhook: &Webhook, failures: Failures) -> Result<(), Error> {
        self.write(webhook, record::encode(webhook, self.keyring)?, failures).await
    }

    /// As [`Self::update`], of what a locked webhook has besides its settings: whether it is active, and why not. Those are
    /// left as they are stored.
    ///
    /// # Errors
    /// [`Error::Changed`]: the stored version is another, or there is no record any more. Else as [`Redis::query`].
    pub async fn switch(&self, webhook: &Webhook, failures: Failures) -> Result<(), Error> {
        self.write(webhook, record::head(webhook), failures).await
    }

    async fn write(&self, webhook: &Webhook, record: String, failures: Failures) -> Result<(), Error> {
        let forget = u8::from(failures == Failures::Forget);
        let mut update = UPDATE.on(&self.records(&webhook.id));
        update.arg(self.prefix(&webhook.id)).arg(webhook.id.as_str());
        update.arg(webhook.version - 1).arg(record).arg(forget);
        update.run::<i64>(self.redis).await?;
        Ok(())
    }

    /// Removes `webhook`, whatever its version; removing what is gone is no fault. Its entries in the indexes go with it, or
    /// are swept later.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn delete(&self, webhook: &Webhook) -> Result<(), Error> {
        let owner = keys::owner_hash(self.tenant, &webhook.settings.owner);
        let mut delete = DELETE.on(&self.records(&webhook.id));
        delete.arg(self.prefix(&webhook.id)).arg(webhook.id.as_str()).arg(owner);
        delete.arg(self.tenant.to_string()).run::<i64>(self.redis).await?;
        // It is gone, whatever becomes of this; who repeats the deletion would be told that there is none.
        let _ = self.unlist(&[&webhook.id], Whose::Of(&webhook.settings.owner)).await;
        Ok(())
    }

    /// What the index lists, newest first.
    ///
    /// # Errors
    /// As [`Redis::query`]. Bounded by the quotas.
    pub async fn list(&self, whose: Whose<'_>) -> Result<Vec<Indexed>, Error> {
        let mut command = redis::cmd("ZRANGE");
        command.arg(self.index(whose)).arg(0).arg(-1).arg("REV").arg("WITHSCORES");
        let entries: Vec<(String, f64)> = self.redis.query(&command).await?;
        let indexed = |(id, created): (String, f64)| {
            // A score is a whole number of milliseconds, far below the 2^53 that a double holds exactly.
            Some(Indexed { id: id.parse().ok()?, created_at: Millis(created.max(0.0) as u64) })
        };
        Ok(entries.into_iter().filter_map(indexed).collect())
    }

    /// The webhooks of index entries, in their order; entries without a record are left out, and swept when they are
    /// old. A record that cannot be read is left out and logged.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn read(
        &self,
        entries: &[Indexed],
        whose: Whose<'_>,
        now: Millis,
    ) -> Result<Vec<Webhook>, Error> {
        let mut webhooks = Vec::with_capacity(entries.len());
        for chunk in entries.chunks(CHUNK) {
            let mut dangling = Vec::new();
            for (entry, text) in chunk.iter().zip(self.texts(chunk).await?) {
                match text {
                    Some(text) => webhooks.extend(self.decoded(&entry.id, &text)),
                    None if now.since(entry.created_at) > SWEEP_AFTER => dangling.push(&entry.id),
                    None => {}
                }
            }
            self.unlist(&dangling, whose).await?;
        }
        Ok(webhooks)
    }

    /// The stored records of index entries, in their order; those that lie in one hash are read by one command.
    async fn texts(&self, entries: &[Indexed]) -> Result<Vec<Option<String>>, Error> {
        let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, entry) in entries.iter().enumerate() {
            places.entry(self.records(&entry.id)).or_default().push(place);
        }
        let get = |(key, places): (&String, &Vec<usize>)| {
            let ids: Vec<&str> = places.iter().map(|place| entries[*place].id.as_str()).collect();
            redis::cmd("HMGET").arg(key).arg(ids).to_owned()
        };
        let reads: Vec<Cmd> = places.iter().map(get).collect();
        let answers: Vec<Vec<Option<String>>> = self.redis.each(&reads).await?;
        let mut texts = vec![None; entries.len()];
        for (place, text) in places.into_values().flatten().zip(answers.into_iter().flatten()) {
            texts[place] = text;
        }
        Ok(texts)
    }

    fn decoded(&self, id: &WebhookId, text: &str) -> Option<Webhook> {
        let decoded = record::decode(id, text, self.keyring);
        if decoded.is_err() {
            tracing::error!(webhook = %id, "the record of a webhook cannot be read");
        }
        decoded.ok().filter(|webhook| webhook.settings.tenant == *self.tenant)
    }

    /// The figures of webhooks, in their order.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn figures(&self, ids: impl IntoIterator<Item = &WebhookId>) -> Result<Vec<Figures>, Error> {
        let ids: Vec<&WebhookId> = ids.into_iter().collect();
        let mut figures = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let reads: Vec<Cmd> = chunk.iter().flat_map(|id| self.figure_reads(id)).collect();
            let answers: Vec<Value> = self.redis.each(&reads).await?;
            let mut answers = answers.into_iter();
            while let (Some(counts), Some(queued), Some(retried)) =
                (answers.next(), answers.next(), answers.next())
            {
                figures.push(read_figures(counts, queued, retried)?);
            }
        }
        Ok(figures)
    }

    fn figure_reads(&self, id: &WebhookId) -> [Cmd; 3] {
        let partition = self.layout.partition_of(self.tenant, id.shard());
        let read =
            |command, kind| redis::cmd(command).arg(self.keys.of_webhook(partition, kind, id)).to_owned();
        let mut counts = read("HMGET", "count");
        counts.arg(&COUNTS).arg(&mailboxes::STANDING);
        [counts, read("XLEN", "mbox"), read("ZCARD", "retry")]
    }

    /// Takes ids out of the tenant's index and, when the user is known, out of theirs.
    async fn unlist(&self, ids: &[&WebhookId], whose: Whose<'_>) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ZREM").arg(self.index(Whose::All)).arg(&names).ignore();
        if let Whose::Of(_) = whose {
            pipeline.cmd("ZREM").arg(self.index(whose)).arg(&names).ignore();
        }
        self.redis.pipeline(&pipeline).await
    }

    fn index(&self, whose: Whose<'_>) -> String {
        let name = match whose {
            Whose::Of(user) => format!("owned:{}", keys::owner_hash(self.tenant, user)),
            Whose::All => format!("all:{}", keys::tenant_hash(self.tenant)),
        };
        self.keys.key(self.layout.home_of(self.tenant), &name)
    }

    fn records(&self, id: &WebhookId) -> String {
        self.keys.key(self.layout.partition_of(self.tenant, id.shard()), "webhooks")
    }

    fn prefix(&self, id: &WebhookId) -> String {
        self.keys.of(self.layout.partition_of(self.tenant, id.shard()))
    }
}

fn read_figures(counts: Value, queued: Value, retried: Value) -> Result<Figures, Error> {
    let parsed = |error: redis::ParsingError| Error::from(redis::RedisError::from(error));
    let counts: Vec<Option<u64>> = FromRedisValue::from_redis_value(counts).map_err(parsed)?;
    let queued: u64 = FromRedisValue::from_redis_value(queued).map_err(parsed)?;
    let retried: u64 = FromRedisValue::from_redis_value(retried).map_err(parsed)?;
    let count = |index: usize| counts.get(index).copied().flatten();
    Ok(Figures {
        succeeded: count(0).unwrap_or(0),
        failed: count(1).unwrap_or(0),
        last_at: count(2).map(Millis),
        last_success_at: count(3).map(Millis),
        last_failure_at: count(4).map(Millis),
        standing: mailboxes::standing_of(counts.get(COUNTS.len()..).unwrap_or_default()),
        pending: queued + retried,
    })
}

#[cfg(test)]
mod tests;
