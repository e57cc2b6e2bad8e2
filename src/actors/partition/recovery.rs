//! Recoveries of this partition's webhooks: what has failed for good is queued again, a step at a time.
//!
//! A task for each, beside the partition's other work; it ends with the partition's actor, and the next owner goes on where it
//! stood ([`crate::store::recoveries`]). How much may be queued at once is the step's to decide.

use std::time::Duration;

use actix::prelude::*;

use super::PartitionActor;
use crate::actors::local::Local;
use crate::actors::steps;
use crate::cluster::tenure::Tenure;
use crate::domain::{Tenant, WebhookId};
use crate::store::Error;
use crate::store::recoveries::Step;
use crate::telemetry::events as facts;

/// Between two steps: nothing else of the partition is to feel them.
const REST: Duration = Duration::from_millis(20);
/// Before the next look where there was no room; twice as long each time, for an endpoint may be away for days.
const WAIT: Duration = Duration::from_millis(100);
const MOST_WAIT: Duration = Duration::from_secs(5);
/// Before it goes on where Redis refused us.
const REFUSED: Duration = Duration::from_secs(5);

impl PartitionActor {
    /// Carries out the recovery of a webhook that is under way, if one is.
    pub(super) fn recover(&mut self, webhook: WebhookId, ctx: &mut Context<Self>) {
        let Some(tenant) = self.table.tenant_of(&webhook).cloned() else { return };
        if self.draining {
            return;
        }
        if let Some(again) = self.recovering.get_mut(&webhook) {
            // The one that is being carried out may have just ended, and this be another.
            *again = true;
            return;
        }
        self.recovering.insert(webhook.clone(), false);
        let (local, tenure) = (self.local.clone(), self.tenure.clone());
        let work = async move {
            let mut wait = WAIT;
            while let Some(rest) = step(&local, &tenure, &webhook, &tenant, wait).await {
                wait = if rest == wait { MOST_WAIT.min(2 * wait) } else { WAIT };
                tokio::time::sleep(rest).await;
            }
            webhook
        };
        ctx.spawn(work.into_actor(self).map(|webhook, actor, ctx| {
            if actor.recovering.remove(&webhook) == Some(true) {
                actor.recover(webhook, ctx);
            }
        }));
    }
}

/// How long to wait before the next step, `wait` where there is no room; `None` when there is none.
async fn step(
    local: &Local,
    tenure: &Tenure,
    webhook: &WebhookId,
    tenant: &Tenant,
    wait: Duration,
) -> Option<Duration> {
    match steps::recover(local, tenure, webhook, tenant).await {
        Ok(Step::Done) => Some(REST),
        Ok(Step::Wait) => Some(wait),
        // The partition is another's: its owner goes on.
        Ok(Step::Over) | Err(Error::Fenced) => None,
        Err(error) => {
            facts::redis_failed(tenure.partition, "recover", &error);
            Some(REFUSED)
        }
    }
}
