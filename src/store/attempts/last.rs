//! The last attempt of one event for each of several webhooks, as far as a small part of their logs tells.
//!
//! Bounded whatever the logs hold: all reads together take a fixed number of rows, shared out among the webhooks, and travel in
//! one round trip; publishers ask for it again and again. So a row may lie outside of what is read, and of the last of very many
//! webhooks nothing is read; then nothing is said. Of a delivery that has ended the rows
//! around its end are read, on both sides since clocks differ: its last row was written in the step that ended it. Of one
//! that waits, the newest rows.
//! Sources: Redis `XRANGE`, `XREVRANGE`.

use redis::{Cmd, Value};

use super::read::{APART, stored};
use super::{Filter, decode};
use crate::domain::{AttemptRow, EventId, Millis, Partition, WebhookId};
use crate::store::events::entries_of;
use crate::store::{Error, Keys, Redis};

/// Rows that all reads together may take, at about 600 bytes each.
const ROWS: usize = 1000;
/// Rows that one command may take.
const MOST_ROWS: usize = 50;

/// A webhook in whose log the event's last attempt is looked for.
#[derive(Clone, Debug)]
pub struct Look {
    /// The webhook.
    pub webhook: WebhookId,
    /// Where its log lies.
    pub partition: Partition,
    /// When its delivery ended; `None` = it waits.
    pub ended_at: Option<Millis>,
}

/// What of each look's webhook was last attempted for `event`; `None` = no attempt of it is in what was read. No row is
/// older than `not_before`.
///
/// # Errors
/// As [`Redis::each`].
pub async fn last_of(
    redis: &Redis,
    keys: &Keys,
    event: &EventId,
    not_before: Millis,
    looks: &[Look],
) -> Result<Vec<Option<AttemptRow>>, Error> {
    let oldest = event.made_at().unwrap_or_default().minus(APART).max(not_before);
    let (read, commands) = affordable(looks);
    let count = rows_each(commands);
    let reads: Vec<Cmd> = read.iter().flat_map(|look| look.reads(keys, oldest, count)).collect();
    let mut answers = redis.each::<Value>(&reads).await?.into_iter();
    let filter = Filter { event_id: Some(event.as_str()), ..Filter::default() };
    let mut found = Vec::with_capacity(looks.len());
    for look in read {
        let mut last: Option<AttemptRow> = None;
        for answer in answers.by_ref().take(look.commands()) {
            let rows = entries_of(answer)?.into_iter().filter_map(stored);
            let ours = rows.filter(|(_, text)| filter.matches(text));
            last = ours.filter_map(|(id, text)| decode(id, &text)).chain(last).max_by_key(|row| row.id);
        }
        found.push(last);
    }
    found.resize(looks.len(), None);
    Ok(found)
}

/// The first of the looks, as many as there are rows for, and how many commands they are.
fn affordable(looks: &[Look]) -> (&[Look], usize) {
    let mut commands = 0;
    for (place, look) in looks.iter().enumerate() {
        if commands + look.commands() > ROWS {
            return (&looks[..place], commands);
        }
        commands += look.commands();
    }
    (looks, commands)
}

/// Rows that each of so many commands may take.
fn rows_each(commands: usize) -> usize {
    (ROWS / commands.max(1)).clamp(1, MOST_ROWS)
}

impl Look {
    /// How many commands read its part of the log.
    fn commands(&self) -> usize {
        if self.ended_at.is_some() { 2 } else { 1 }
    }

    /// The commands that read `count` rows each, none from before `oldest`.
    fn reads(&self, keys: &Keys, oldest: Millis, count: usize) -> Vec<Cmd> {
        let log = keys.of_webhook(self.partition, "log", &self.webhook);
        let range = |command: &str, from: String, to: String| {
            let mut range = redis::cmd(command);
            range.arg(&log).arg(from).arg(to).arg("COUNT").arg(count);
            range
        };
        match self.ended_at {
            None => vec![range("XREVRANGE", "+".into(), oldest.0.to_string())],
            Some(at) => vec![
                range("XRANGE", at.max(oldest).0.to_string(), "+".into()),
                range("XREVRANGE", format!("({}-0", at.0), oldest.0.to_string()),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ErrorKind, Shard};
    use crate::store::attempts::encode;
    use crate::store::testing::TestRedis;

    /// Webhooks, their partition, and the Redis with their logs.
    struct Logs {
        server: TestRedis,
        keys: Keys,
    }

    impl Logs {
        const PARTITION: Partition = Partition(3);

        async fn add(&self, webhook: &WebhookId, at: u64, event: &str, attempt: u32) {
            let row = AttemptRow {
                id: None,
                event_id: event.parse().unwrap(),
                event_type: "lead.created".into(),
                url: "https://example.com/".into(),
                at: Millis(at),
                attempt,
                elapsed_ms: 1,
                status: None,
                error_kind: Some(ErrorKind::Dns),
                error_message: None,
                next_retry_at: None,
                response_body: None,
                body_beside: false,
                custom_headers: Vec::new(),
                is_test: false,
            };
            let log = self.keys.of_webhook(Self::PARTITION, "log", webhook);
            let mut add = redis::cmd("XADD");
            add.arg(log).arg(format!("{at}-*")).arg("r").arg(encode(row, None).0);
            self.server.redis.query::<String>(&add).await.unwrap();
        }

        /// The number of the last attempt of each look.
        async fn last(&self, event: &str, not_before: u64, looks: &[Look]) -> Vec<Option<u32>> {
            let event = event.parse().unwrap();
            let found = last_of(&self.server.redis, &self.keys, &event, Millis(not_before), looks).await;
            found.unwrap().into_iter().map(|row| row.map(|row| row.attempt)).collect()
        }
    }

    fn webhook(number: usize) -> WebhookId {
        WebhookId::new(Shard(0), &format!("{number:022}"))
    }

    fn look(number: usize, ended_at: Option<u64>) -> Look {
        Look { webhook: webhook(number), partition: Logs::PARTITION, ended_at: ended_at.map(Millis) }
    }

    #[tokio::test]
    async fn the_last_attempt_is_found_among_the_newest_rows_or_around_the_end() {
        let logs = Logs { server: TestRedis::start().await, keys: Keys::new("sw:") };
        let busy = u64::try_from(MOST_ROWS).unwrap();
        for (at, attempt) in [(1_000, 1), (2_000, 2)] {
            logs.add(&webhook(0), at, "evt_1", attempt).await;
            logs.add(&webhook(0), at + 1, "evt_2", 9).await;
            logs.add(&webhook(1), at, "evt_1", attempt).await;
        }
        for n in 0..busy {
            logs.add(&webhook(1), 3_000 + n, "evt_2", 9).await;
        }
        let cases = [
            // It waits: the newest rows tell, unless the webhook has had more of others since.
            (look(0, None), 0, Some(2)),
            (look(1, None), 0, None),
            (look(2, None), 0, None),
            (look(0, None), 2_001, None),
            (look(0, Some(2_000)), 2_001, None),
            // It has ended: the row is about there, whichever clock is behind.
            (look(1, Some(2_000)), 0, Some(2)),
            (look(1, Some(1_990)), 0, Some(2)),
            (look(1, Some(2_900)), 0, Some(2)),
            (look(1, Some(3_000 + busy)), 0, None),
        ];
        for (look, not_before, expected) in cases {
            assert_eq!(
                logs.last("evt_1", not_before, std::slice::from_ref(&look)).await,
                [expected],
                "{look:?}"
            );
        }
        let all = [look(1, Some(2_000)), look(2, Some(2_000)), look(0, None), look(1, None)];
        assert_eq!(logs.last("evt_1", 0, &all).await, [Some(2), None, Some(2), None]);
        assert_eq!(logs.last("evt_1", 0, &[]).await, []);
    }

    #[test]
    fn all_reads_together_are_bounded() {
        let failed = |number: usize| vec![look(0, Some(2_000)); number];
        let waiting = |number: usize| vec![look(0, None); number];
        let cases = [
            (waiting(0), 0, MOST_ROWS),
            (waiting(1), 1, MOST_ROWS),
            (waiting(20), 20, MOST_ROWS),
            (failed(11), 11, 45),
            (waiting(ROWS), ROWS, 1),
            (waiting(ROWS + 1), ROWS, 1),
            (failed(ROWS), ROWS / 2, 1),
            // There is room for one command more, which is no whole look.
            ([waiting(1), failed(ROWS)].concat(), ROWS / 2, 1),
        ];
        for (looks, expected, rows) in cases {
            let (read, commands) = affordable(&looks);
            assert_eq!((read.len(), rows_each(commands)), (expected, rows), "{} looks", looks.len());
            assert!(commands * rows <= ROWS, "{commands} commands");
        }
    }
}
