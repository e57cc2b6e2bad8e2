//! What a partition's owner removes now and then because of its age.
//!
//! - Log rows past `log.retention_days`. Reading leaves them out in any case, so this saves memory only.
//! - Deliveries that wait past `delivery.max_age_days` for a webhook that nothing may be sent to, because it is inactive or
//!   locked: they end as dead (contract, section 6). A lane sees to those of any other webhook; of such a one it starts
//!   nothing, and without this the bodies would stay for ever.
//!   Recording tests for itself whether the delivery still waits, so a webhook that may be sent to meanwhile does no harm.
//! - Former secrets whose grace period is over, out of the records of webhooks that nobody has changed since.

use std::sync::Arc;

use super::attempt;
use super::local::Local;
use super::steps;
use crate::clock;
use crate::cluster::tenure::Tenure;
use crate::domain::{EntryId, Millis, Partition, Receipt, Webhook};
use crate::policy::lane::{Next, Verdict};
use crate::store::encryption::{self, Replacement};
use crate::store::outcomes::Outcome;
use crate::store::{Error, attempts, keys, mailboxes, record};
use crate::telemetry::events as facts;

/// Deliveries that end in one call.
const CHUNK: usize = 100;

/// Removes what is past its age now. What fails is left to the next time.
pub async fn run(local: &Local, tenure: &Tenure) {
    let partition = tenure.partition;
    let oldest_row = clock::now().minus(local.config.log.retention);
    // The bodies of those that died earlier are gone.
    let oldest_dead = clock::now().minus(local.outcome_limits().dead);
    if let Err(error) = attempts::sweep(&local.redis, &local.keys, partition, oldest_row, oldest_dead).await {
        facts::redis_failed(partition, "sweep logs", &error);
    }
    if let Err(error) = expire(local, tenure).await {
        facts::redis_failed(partition, "end what waited too long", &error);
    }
}

async fn expire(local: &Local, tenure: &Tenure) -> Result<(), Error> {
    let before = clock::now().minus(local.config.delivery.max_age);
    let mut cursor = 0;
    loop {
        let (next, records) =
            mailboxes::scan_records(&local.redis, &local.keys, tenure.partition, cursor).await?;
        let read = |(id, text): (String, String)| {
            record::decode(&id.parse().ok()?, &text, &local.keyring).ok().map(|webhook| (webhook, text))
        };
        let webhooks: Vec<(Webhook, String)> = records.into_iter().filter_map(read).collect();
        forget_secrets(local, tenure.partition, &webhooks).await?;
        for (webhook, _) in webhooks.iter().filter(|(webhook, _)| !webhook.may_send()) {
            expire_queue(local, tenure, webhook, before).await?;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

/// Takes former secrets whose grace period is over out of the records. They sign nothing any more; what cannot be stolen
/// either is better still. Whoever changes the record meanwhile takes them out himself.
async fn forget_secrets(
    local: &Local,
    partition: Partition,
    webhooks: &[(Webhook, String)],
) -> Result<(), Error> {
    let now = clock::now();
    let without = |(webhook, stated): &(Webhook, String)| {
        let mut webhook = webhook.clone();
        webhook.settings.forget_expired(now);
        let text = record::encode(&webhook, &local.keyring).ok()?;
        Some(Replacement { webhook: webhook.id, stated: stated.clone(), text })
    };
    let over = |(webhook, _): &&(Webhook, String)| webhook.settings.has_expired(now);
    let replacements: Vec<Replacement> = webhooks.iter().filter(over).filter_map(without).collect();
    encryption::replace(&local.redis, &local.keys, partition, &replacements).await.map(drop)
}

async fn expire_queue(
    local: &Local,
    tenure: &Tenure,
    webhook: &Webhook,
    before: Millis,
) -> Result<(), Error> {
    let tenant = &webhook.settings.tenant;
    let owner_hash = keys::owner_hash(tenant, &webhook.settings.owner);
    loop {
        let verdicts = overdue(local, tenure, webhook, &owner_hash, before).await?;
        let mut outcomes = Vec::with_capacity(verdicts.len());
        for verdict in verdicts {
            outcomes.push(outcome(local, tenure.partition, webhook, &owner_hash, verdict).await?);
        }
        if outcomes.is_empty() {
            return Ok(());
        }
        let receipts = steps::record(local, tenure, &outcomes).await?;
        let recorded = |receipt: &Receipt| *receipt == Receipt::Recorded;
        for (outcome, _) in outcomes.iter().zip(&receipts).filter(|(_, receipt)| recorded(receipt)) {
            facts::recorded(outcome);
        }
        // A webhook that is deleted meanwhile: its purge sees to the rest.
        if !receipts.iter().any(recorded) {
            return Ok(());
        }
    }
}

/// Some of the deliveries that waited too long. A retry counts from when it was due, which is no earlier than its event:
/// that is the order in which retries lie.
async fn overdue(
    local: &Local,
    tenure: &Tenure,
    webhook: &Webhook,
    owner_hash: &str,
    before: Millis,
) -> Result<Vec<Verdict>, Error> {
    let queue = steps::queue_of(local, &webhook.id, owner_hash, &webhook.settings.tenant);
    let queued = steps::read_mailbox(local, tenure, &queue, EntryId::ZERO, CHUNK).await?;
    let retries = steps::read_retries(local, tenure, &queue, CHUNK).await?;
    let queued = queued.into_iter().take_while(|queued| queued.entry.ms < before.0);
    let retries = retries.into_iter().take_while(|retry| retry.due < before);
    let first = queued.map(|queued| Verdict::unsent(queued.entry, queued.event, 1, false, Next::Expired));
    let again =
        retries.map(|retry| Verdict::unsent(retry.entry, retry.event, retry.attempt, true, Next::Expired));
    Ok(first.chain(again).collect())
}

async fn outcome(
    local: &Local,
    partition: Partition,
    webhook: &Webhook,
    owner_hash: &str,
    verdict: Verdict,
) -> Result<Outcome, Error> {
    let tenant = &webhook.settings.tenant;
    let event_type =
        mailboxes::event_type(&local.redis, &local.keys, partition, tenant, &verdict.event).await?;
    let event_type = Arc::from(event_type.as_deref().unwrap_or("unknown"));
    let tenant_hash = Arc::from(keys::tenant_hash(tenant));
    Ok(attempt::outcome(webhook, Arc::from(owner_hash), tenant_hash, event_type, verdict, None))
}

#[cfg(test)]
mod tests;
