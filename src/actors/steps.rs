//! The calls of a partition's owner to Redis, each repeated until it is answered.
//!
//! All of them may be repeated: the scripts test for themselves what has been done before, and what is recorded without one is repeated by one
//! ([`super::steady`]). A call ends with an error
//! only when repeating cannot help: the lease is not ours, or Redis rejects us.

use std::rc::Rc;
use std::sync::Arc;

use super::dispatches::{self, Part};
use super::local::{Backoff, Local, RidingBody};
use crate::clock;
use crate::cluster::tenure::Tenure;
use crate::domain::{EntryId, EventId, Millis, Partition, Receipt, Tenant, Webhook, WebhookId};
use crate::policy::breaker::Standing;
use crate::store::events::{self, Chunk, Dispatched, Instruction};
use crate::store::mailboxes::{self, Queue, Queued, Retry};
use crate::store::outcomes::{self, Outcome};
use crate::store::recoveries::{self, Recoveries};
use crate::store::script::Section;
use crate::store::unreadable::{self, Unreadable};
use crate::store::{Error, record as records};
use crate::telemetry::events as facts;

/// As [`until_answered`], with the token of the lease as it is at each call.
async fn as_owner<T>(
    tenure: &Tenure,
    step: &'static str,
    mut call: impl AsyncFnMut(&Arc<str>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut backoff = Backoff::default();
    loop {
        let token = tenure.token();
        match until_answered(tenure.partition, step, async || call(&token).await).await {
            Err(Error::Fenced) if tenure.has_outlived(&token) => backoff.wait().await,
            answer => return answer,
        }
    }
}

async fn until_answered<T>(
    partition: Partition,
    step: &'static str,
    mut call: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut backoff = Backoff::default();
    loop {
        match call().await {
            Err(error) if error.is_transient() => {
                facts::redis_failed(partition, step, &error);
                backoff.wait().await;
            }
            answer => return answer,
        }
    }
}

/// Carries out a batch of instructions. A fan-out larger than one call may have comes in calls of its own, one after
/// another.
///
/// # Errors
/// See the module's page.
pub async fn dispatch(
    local: &Rc<Local>,
    tenure: &Tenure,
    batch: &Rc<Vec<Instruction>>,
) -> Result<Vec<Dispatched>, Error> {
    let is_part =
        |instruction: &Instruction| matches!(instruction, Instruction::Event { chunk: Chunk::Part, .. });
    let mut answers = Vec::with_capacity(batch.len());
    for call in batch.split_inclusive(is_part) {
        let range = answers.len()..answers.len() + call.len();
        let answered = as_owner(tenure, "dispatch", async |token: &Arc<str>| {
            let (batch, range) = (batch.clone(), range.clone());
            let part = Part { partition: tenure.partition, token: token.clone(), batch, range };
            dispatches::carry_out(local, part).await
        });
        let events::Batch { answers: found, set_aside, .. } = answered.await?;
        facts::quarantined(tenure.partition, set_aside);
        answers.extend(found);
    }
    Ok(answers)
}

/// Records a batch of outcomes that nobody waits for; those of attempts go through [`super::recorder`].
///
/// # Errors
/// See the module's page.
pub async fn record(local: &Local, tenure: &Tenure, batch: &[Outcome]) -> Result<Vec<Receipt>, Error> {
    let limits = local.outcome_limits();
    let items: Vec<&Outcome> = batch.iter().collect();
    let disturbed = local.dispatches.steady.disturbed_by(batch.iter());
    let recorded = as_owner(tenure, "record", async |token: &Arc<str>| {
        let section = Section { partition: tenure.partition, token, items: &items[..] };
        outcomes::record(&local.redis, &local.keys, clock::now(), &limits, &[section]).await?.remove(0)
    });
    let recorded = recorded.await;
    drop(disturbed);
    let outcomes::Recorded { receipts, set_aside } = recorded?;
    facts::quarantined(tenure.partition, set_aside);
    Ok(receipts)
}

/// Drops all that is queued for a deleted webhook.
///
/// # Errors
/// See the module's page.
pub async fn purge(
    local: &Local,
    tenure: &Tenure,
    webhook: &WebhookId,
    owner_hash: &str,
    tenant: &Tenant,
) -> Result<(), Error> {
    let queue = queue_of(local, webhook, owner_hash, tenant);
    loop {
        let purged = as_owner(tenure, "purge", async |token: &Arc<str>| {
            let (keys, partition) = (&local.keys, tenure.partition);
            mailboxes::purge(&local.redis, keys, partition, token, clock::now(), &queue).await
        })
        .await?;
        facts::quarantined(tenure.partition, purged.set_aside);
        if !purged.more {
            return Ok(());
        }
    }
}

/// One step of the recovery of a webhook.
///
/// # Errors
/// See the module's page.
pub async fn recover(
    local: &Local,
    tenure: &Tenure,
    webhook: &WebhookId,
    tenant: &Tenant,
) -> Result<recoveries::Step, Error> {
    let (redis, keys, partition) = (&local.redis, &local.keys, tenure.partition);
    let recoveries = Recoveries { redis, keys, partition, tenant, webhook };
    as_owner(tenure, "recover", async |token: &Arc<str>| recoveries.step(token, clock::now()).await).await
}

/// One webhook's queue, with the lifetimes that are set.
pub fn queue_of<'a>(
    local: &Local,
    webhook: &'a WebhookId,
    owner_hash: &'a str,
    tenant: &'a Tenant,
) -> Queue<'a> {
    let limits = local.outcome_limits();
    Queue { webhook, owner_hash, tenant, closed: limits.closed, dead: limits.dead }
}

/// The next entries of a mailbox after `after`: `count` of them if there are as many. What cannot be read among them is
/// set aside first.
///
/// # Errors
/// As the store's: one failed call is the end of it, the lane asks again.
pub async fn read_mailbox(
    local: &Local,
    tenure: &Tenure,
    queue: &Queue<'_>,
    after: EntryId,
    count: usize,
) -> Result<Vec<Queued>, Error> {
    loop {
        let found =
            mailboxes::read(&local.redis, &local.keys, tenure.partition, queue.webhook, after, count).await?;
        // Read again after setting aside: a short answer would pass for the end of the queue.
        if !set_aside(local, tenure, queue, &found.unreadable).await? {
            return Ok(found.readable);
        }
    }
}

/// The bodies of what a mailbox holds, in its order, as many as may ride along with their deliveries: to fetch each when its
/// attempt starts is a round trip for each. Every one that is missing here is fetched then.
pub async fn read_bodies(
    local: &Local,
    partition: Partition,
    tenant: &Tenant,
    queued: &[Queued],
) -> Vec<Option<Arc<RidingBody>>> {
    /// Bodies in one round trip.
    const AT_ONCE: usize = 64;
    let events: Vec<EventId> = queued.iter().map(|queued| queued.event.clone()).collect();
    let mut bodies = Vec::with_capacity(events.len());
    for some in events.chunks(AT_ONCE) {
        let Ok(found) = mailboxes::bodies(&local.redis, &local.keys, partition, tenant, some).await else {
            break;
        };
        bodies.extend(found.into_iter().map(|body| local.bodies.admit_of_backlog(body?)));
        if matches!(bodies.last(), Some(None)) {
            break;
        }
    }
    bodies
}

/// The `count` retries that are due first. What cannot be read among them is set aside first.
///
/// # Errors
/// As [`read_mailbox`].
pub async fn read_retries(
    local: &Local,
    tenure: &Tenure,
    queue: &Queue<'_>,
    count: usize,
) -> Result<Vec<Retry>, Error> {
    loop {
        let found =
            mailboxes::read_retries(&local.redis, &local.keys, tenure.partition, queue.webhook, count)
                .await?;
        if !set_aside(local, tenure, queue, &found.unreadable).await? {
            return Ok(found.readable);
        }
    }
}

/// Whether there was anything to set aside.
async fn set_aside(
    local: &Local,
    tenure: &Tenure,
    queue: &Queue<'_>,
    items: &[Unreadable],
) -> Result<bool, Error> {
    let (redis, keys, partition) = (&local.redis, &local.keys, tenure.partition);
    let token = tenure.token();
    let removed = unreadable::set_aside(redis, keys, partition, &token, clock::now(), queue, items).await?;
    facts::quarantined(partition, removed);
    Ok(!items.is_empty())
}

/// The raw record of a webhook, and what is kept of its failures.
///
/// # Errors
/// See the module's page.
pub async fn read_record(
    local: &Local,
    partition: Partition,
    id: &WebhookId,
) -> Result<(Option<String>, Standing), Error> {
    until_answered(partition, "read a record", async || {
        mailboxes::record_and_standing(&local.redis, &local.keys, partition, id).await
    })
    .await
}

/// As [`read_record`], for what the partition itself needs of it. Where what is kept of the failures cannot be read, that
/// is the webhook's own trouble, which its actor meets and tells; the partition goes on.
///
/// # Errors
/// See the module's page.
pub async fn read_record_at_least(
    local: &Local,
    partition: Partition,
    id: &WebhookId,
) -> Result<(Option<String>, Standing), Error> {
    match read_record(local, partition, id).await {
        Err(Error::Rejected(_)) => {}
        answer => return answer,
    }
    let record = until_answered(partition, "read a record", async || {
        mailboxes::record(&local.redis, &local.keys, partition, id).await
    });
    Ok((record.await?, Standing::default()))
}

/// What a partition holds when it is taken.
#[derive(Debug)]
pub struct Loaded {
    /// All its webhooks.
    pub webhooks: Vec<Webhook>,
    /// Those with something queued, and when they want attention.
    pub wake: Vec<(WebhookId, Millis)>,
    /// Those whose breaker is open, and when its pause ends.
    pub breakers: Vec<(WebhookId, Millis)>,
    /// Those whose recovery is under way.
    pub recoveries: Vec<WebhookId>,
}

/// Reads what a partition holds.
///
/// # Errors
/// See the module's page.
pub async fn load(local: &Local, partition: Partition) -> Result<Loaded, Error> {
    until_answered(partition, "load", async || {
        let webhooks = load_webhooks(local, partition).await?;
        let wake = async |skip| {
            mailboxes::wake(&local.redis, &local.keys, partition, Millis::MAX, skip, CHUNK).await
        };
        let breakers =
            async |skip| mailboxes::breakers(&local.redis, &local.keys, partition, skip, CHUNK).await;
        let recoveries = recoveries::running(&local.redis, &local.keys, partition).await?;
        let (wake, breakers) = (in_chunks(wake).await?, in_chunks(breakers).await?);
        Ok(Loaded { webhooks, wake, breakers, recoveries })
    })
    .await
}

async fn load_webhooks(local: &Local, partition: Partition) -> Result<Vec<Webhook>, Error> {
    let (mut webhooks, mut cursor) = (Vec::new(), 0);
    loop {
        let (next, records) = mailboxes::scan_records(&local.redis, &local.keys, partition, cursor).await?;
        for (id, text) in records {
            match id.parse().ok().and_then(|id| records::decode(&id, &text, &local.keyring).ok()) {
                Some(webhook) => {
                    facts::webhook_read(&webhook);
                    webhooks.push(webhook);
                }
                None => facts::unreadable_record(&id),
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(webhooks);
        }
    }
}

/// Webhooks read in one call.
const CHUNK: usize = 1000;

/// All that `read` finds, of which each call skips what the ones before it have covered.
async fn in_chunks(
    mut read: impl AsyncFnMut(usize) -> Result<Vec<(WebhookId, Millis)>, Error>,
) -> Result<Vec<(WebhookId, Millis)>, Error> {
    let (mut all, mut skip) = (Vec::new(), 0);
    loop {
        let found = read(skip).await?;
        // A short answer is not the end: names that are none of ours are left out of it.
        if found.is_empty() {
            return Ok(all);
        }
        skip += CHUNK;
        all.extend(found);
    }
}
