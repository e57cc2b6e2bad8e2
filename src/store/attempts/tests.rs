//! The log as it is read back from a real Redis.

use redis::Pipeline;

use super::*;
use crate::domain::{
    AttemptId, AttemptRow, EntryId, ErrorKind, Millis, Partition, Pattern, Shard, Tenant, WebhookId,
};
use crate::store::keys::event_hash;
use crate::store::testing::TestRedis;
use crate::store::{Keys, Redis, delivered_record};

const PARTITION: Partition = Partition(3);

/// One webhook's log in a Redis of its own.
struct Fixture {
    server: TestRedis,
    keys: Keys,
    tenant: Tenant,
    webhook: WebhookId,
}

impl Fixture {
    async fn new() -> Self {
        Self {
            server: TestRedis::start().await,
            keys: Keys::new("sw:"),
            tenant: "org:demo".parse().unwrap(),
            webhook: webhook("abcdefghijklmnopqrstuv"),
        }
    }

    fn redis(&self) -> &Redis {
        &self.server.redis
    }

    fn log(&self, max_attempts: u64, not_before: u64) -> AttemptLog<'_> {
        AttemptLog {
            redis: self.redis(),
            keys: &self.keys,
            partition: PARTITION,
            tenant: &self.tenant,
            webhook: &self.webhook,
            shown: Shown { max_attempts, not_before: Millis(not_before) },
        }
    }

    /// Adds rows 1..=`count`, row n with stream id `n-0`: every third is a failure with a long answer, every fifth is of
    /// another type.
    async fn fill(&self, count: u64) {
        let log = self.keys.of_webhook(PARTITION, "log", &self.webhook);
        let answer = self.keys.of_webhook(PARTITION, "answer", &self.webhook);
        let mut adds = Pipeline::new();
        for n in 1..=count {
            let body = if n % 3 == 0 { format!("{n} ").repeat(300) } else { format!("ok {n}") };
            let (text, beside) = encode(row(n), Some(body));
            let id = format!("{n}-0");
            adds.cmd("XADD").arg(&log).arg(&id).arg("r").arg(text).ignore();
            if let Some(body) = beside {
                adds.cmd("XADD").arg(&answer).arg(&id).arg("b").arg(body).ignore();
            }
        }
        self.redis().pipeline::<()>(&adds).await.unwrap();
    }

    async fn store_body(&self, n: u64, body: &str) {
        let hash = event_hash(&self.tenant, &row(n).event_id);
        let key = self.keys.key(PARTITION, &format!("event:{hash}"));
        self.redis().query::<()>(redis::cmd("HSET").arg(key).arg("body").arg(body)).await.unwrap();
    }

    /// As [`Self::store_body`], of an event that arrived everywhere at once.
    async fn store_delivered(&self, n: u64, body: &str) {
        let key = delivered_record::key(&self.keys, PARTITION, &event_hash(&self.tenant, &row(n).event_id));
        let webhooks = vec![self.webhook.clone(); crate::policy::early::MOST_TARGETS];
        let value =
            delivered_record::encode("lead.created", None, Millis(n), webhooks.iter(), &[], body.as_bytes());
        self.redis().query::<()>(redis::cmd("SET").arg(key).arg(value)).await.unwrap();
    }
}

fn row(n: u64) -> AttemptRow {
    let failed = n.is_multiple_of(3).then_some(ErrorKind::HttpStatus);
    AttemptRow {
        id: None,
        event_id: format!("evt_{n}").parse().unwrap(),
        event_type: if n.is_multiple_of(5) { "lead.updated" } else { "lead.created" }.into(),
        url: "https://example.com/hook".into(),
        at: Millis(n),
        attempt: 1,
        elapsed_ms: 12,
        status: Some(if failed.is_some() { 500 } else { 200 }),
        error_kind: failed,
        error_message: failed.map(|_| "HTTP 500".into()),
        next_retry_at: None,
        response_body: None,
        body_beside: false,
        custom_headers: vec![],
        is_test: false,
    }
}

fn webhook(random: &str) -> WebhookId {
    WebhookId::new(Shard(0), random)
}

fn id(n: u64) -> AttemptId {
    AttemptId::new(&webhook("abcdefghijklmnopqrstuv"), EntryId { ms: n, seq: 0 })
}

fn window(skip: usize, take: usize) -> Window {
    Window { skip, take }
}

fn numbers(page: &Page) -> Vec<u64> {
    page.rows.iter().map(|logged| logged.row.id.unwrap().ms).collect()
}

#[tokio::test]
async fn pages_are_newest_first_and_stop_at_the_end() {
    let fixture = Fixture::new().await;
    let empty = fixture.log(10, 0).list(Filter::default(), window(0, 20)).await.unwrap();
    assert_eq!((numbers(&empty), empty.total), (vec![], 0));
    fixture.fill(1203).await;
    // (rows kept, skip, take) -> (first and last row of the page, total)
    let cases = [
        (10_000, 0, 2, vec![1203, 1202], 1203),
        (10_000, 700, 3, vec![503, 502, 501], 1203),
        (10_000, 1201, 20, vec![2, 1], 1203),
        (10_000, 1203, 20, vec![], 1203),
        (10_000, usize::MAX, 20, vec![], 1203),
        (1000, 999, 5, vec![204], 1000),
        (1000, 1000, 5, vec![], 1000),
        (1, 0, 5, vec![1203], 1),
    ];
    for (kept, skip, take, rows, total) in cases {
        let page = fixture.log(kept, 0).list(Filter::default(), window(skip, take)).await.unwrap();
        assert_eq!((numbers(&page), page.total), (rows, total), "{kept} {skip} {take}");
    }
}

#[tokio::test]
async fn filters_count_and_page_over_all_rows_that_are_kept() {
    let fixture = Fixture::new().await;
    fixture.fill(1203).await;
    let failed = Filter { success: Some(false), event: None, ..Filter::default() };
    let updated =
        Filter { success: None, event: Some(&Pattern::Exact("lead.updated".into())), ..Filter::default() };
    let both = Filter {
        success: Some(true),
        event: Some(&Pattern::Exact("lead.updated".into())),
        ..Filter::default()
    };
    let unknown =
        Filter { success: None, event: Some(&Pattern::Exact("lead.craeted".into())), ..Filter::default() };
    let cases = [
        (failed, 10_000, 0, vec![1203, 1200], 401),
        (failed, 10_000, 399, vec![6, 3], 401),
        (failed, 10_000, 401, vec![], 401),
        (failed, 3, 0, vec![1203], 1),
        (updated, 10_000, 0, vec![1200, 1195], 240),
        (both, 10_000, 0, vec![1195, 1190], 160),
        (unknown, 10_000, 0, vec![], 0),
    ];
    for (filter, kept, skip, rows, total) in cases {
        let page = fixture.log(kept, 0).list(filter, window(skip, 2)).await.unwrap();
        assert_eq!((numbers(&page), page.total), (rows, total), "{filter:?} {kept} {skip}");
    }
}

#[tokio::test]
async fn the_newest_tell_whether_there_are_more_without_counting_them() {
    let fixture = Fixture::new().await;
    fixture.fill(1203).await;
    let failed = Filter { success: Some(false), ..Filter::default() };
    for (filter, kept, skip, rows, has_more) in [
        (Filter::default(), 10_000, 0, vec![1203, 1202], true),
        (Filter::default(), 10_000, 1201, vec![2, 1], false),
        (Filter::default(), 10_000, usize::MAX, vec![], false),
        (Filter::default(), 2, 0, vec![1203, 1202], false),
        (failed, 10_000, 0, vec![1203, 1200], true),
        (failed, 10_000, 398, vec![9, 6], true),
        (failed, 10_000, 399, vec![6, 3], false),
        (failed, 10_000, 401, vec![], false),
    ] {
        let found = fixture.log(kept, 0).newest(filter, window(skip, 2)).await.unwrap();
        let numbers: Vec<u64> = found.rows.iter().map(|logged| logged.row.id.unwrap().ms).collect();
        assert_eq!((numbers, found.has_more), (rows, has_more), "{filter:?} {kept} {skip}");
    }
}

#[tokio::test]
async fn rows_past_their_time_are_not_shown_even_before_the_sweep() {
    // Rows, and the oldest that is young enough: few that are not, and more than are counted from that end.
    for (count, oldest) in [(30, 11), (800, 771)] {
        let fixture = Fixture::new().await;
        fixture.fill(count).await;
        let log = fixture.log(10_000, oldest);
        for swept in [false, true] {
            let all = log.list(Filter::default(), window(18, 20)).await.unwrap();
            let expected = (oldest..=count).rev().skip(18).collect();
            assert_eq!((numbers(&all), all.total), (expected, count - oldest + 1), "swept: {swept}");
            let failed = log
                .list(Filter { success: Some(false), event: None, ..Filter::default() }, window(0, 20))
                .await
                .unwrap();
            let expected: Vec<u64> = (oldest..=count).rev().filter(|n| n.is_multiple_of(3)).collect();
            assert_eq!((failed.total, numbers(&failed)), (expected.len() as u64, expected));
            assert!(log.get(id(oldest - 1)).await.unwrap().is_none());
            assert!(log.get(id(oldest)).await.unwrap().is_some());
            let mut trim = redis::cmd("XTRIM");
            trim.arg(fixture.keys.of_webhook(PARTITION, "log", &fixture.webhook)).arg("MINID").arg(oldest);
            fixture.redis().query::<u64>(&trim).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_row_comes_with_its_answer_and_its_payload() {
    let fixture = Fixture::new().await;
    fixture.fill(6).await;
    let (short, long) = ("x".repeat(4096), "x".repeat(4097));
    fixture.store_body(5, &short).await;
    fixture.store_body(4, &long).await;
    fixture.store_delivered(3, &short).await;
    fixture.store_delivered(2, &long).await;
    fixture.store_delivered(1, "{}").await;
    let page = fixture.log(10, 0).list(Filter::default(), window(0, 3)).await.unwrap();
    let payloads: Vec<&Payload> = page.rows.iter().map(|logged| &logged.payload).collect();
    assert_eq!(payloads, [&Payload::Gone, &Payload::Whole(short.clone().into()), &Payload::TooLong]);
    let answers: Vec<_> = page.rows.iter().map(|logged| logged.row.response_body.as_deref()).collect();
    assert_eq!(answers, [Some("6 ".repeat(300).as_str()), Some("ok 5"), Some("ok 4")]);
    let whole = fixture.log(10, 0).get(id(4)).await.unwrap().unwrap();
    assert_eq!(whole.payload, Payload::Whole(long.clone().into()));
    let arrived = fixture.log(10, 0).list(Filter::default(), window(3, 3)).await.unwrap();
    let payloads: Vec<&Payload> = arrived.rows.iter().map(|logged| &logged.payload).collect();
    let small = Payload::Whole("{}".into());
    assert_eq!(payloads, [&Payload::Whole(short.into()), &Payload::TooLong, &small]);
    let whole = fixture.log(10, 0).get(id(2)).await.unwrap().unwrap();
    assert_eq!(whole.payload, Payload::Whole(long.into()));
    let gone = fixture.log(10, 0).get(id(6)).await.unwrap().unwrap();
    assert_eq!((gone.payload, gone.row.response_body), (Payload::Gone, Some("6 ".repeat(300))));
    assert!(fixture.log(10, 0).get(id(7)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_row_is_not_found_under_the_id_of_another_webhook_s_attempt() {
    let fixture = Fixture::new().await;
    fixture.fill(1).await;
    let other = AttemptId::new(&webhook("abcdefghijklmnopqrstuw"), id(1).row);
    assert!(fixture.log(10, 0).get(other).await.unwrap().is_none());
    assert!(fixture.log(10, 0).get(id(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn an_unreadable_row_does_not_hide_the_others() {
    let fixture = Fixture::new().await;
    fixture.fill(2).await;
    let log = fixture.keys.of_webhook(PARTITION, "log", &fixture.webhook);
    for (name, value) in [("r", "{}"), ("other", "x")] {
        let mut add = redis::cmd("XADD");
        fixture.redis().query::<String>(add.arg(&log).arg("*").arg(name).arg(value)).await.unwrap();
    }
    let page = fixture.log(10, 0).list(Filter::default(), window(0, 4)).await.unwrap();
    assert_eq!(numbers(&page), [2, 1]);
}

#[tokio::test]
async fn the_last_failure_is_found_among_the_newest_rows_and_no_further() {
    let fixture = Fixture::new().await;
    let found = |within| {
        let log = fixture.log(100, 0);
        async move { log.last_failed(within).await.unwrap().map(|row| row.id.unwrap().ms) }
    };
    assert_eq!(found(10).await, None, "of an empty log");
    fixture.fill(8).await;
    assert_eq!(found(10).await, Some(6), "every third failed");
    assert_eq!((found(3).await, found(2).await), (Some(6), None));
    assert_eq!(fixture.log(100, 7).last_failed(10).await.unwrap(), None, "what is too old is not seen");
}
