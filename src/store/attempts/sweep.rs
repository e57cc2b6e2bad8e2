//! Removing log rows, and names of dead deliveries, that are past their age.
//!
//! Source: Redis `XTRIM` with `MINID ~`: whole nodes of a stream go, so a few old rows may stay; readers skip them.

use super::super::{Error, Keys, Redis, mailboxes};
use crate::domain::{Millis, Partition, WebhookId};

/// Removes the rows of every webhook of `partition` that are older than `oldest`, and what it has dead that is older than
/// `oldest_dead`, a page of webhooks at a time.
///
/// # Errors
/// As [`Redis::query`]; what is left is removed by the next sweep.
pub async fn sweep(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    oldest: Millis,
    oldest_dead: Millis,
) -> Result<(), Error> {
    let mut cursor = 0;
    loop {
        let (next, records) = mailboxes::scan_records(redis, keys, partition, cursor).await?;
        let mut trims = redis::pipe();
        for id in records.iter().filter_map(|(id, _)| id.parse::<WebhookId>().ok()) {
            for (kind, oldest) in [("log", oldest), ("answer", oldest), ("dead", oldest_dead)] {
                let key = keys.of_webhook(partition, kind, &id);
                trims.cmd("XTRIM").arg(key).arg("MINID").arg("~").arg(oldest.0).ignore();
            }
        }
        if !trims.is_empty() {
            redis.pipeline::<()>(&trims).await?;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}
