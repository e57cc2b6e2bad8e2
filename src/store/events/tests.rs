//! Dispatch against a real Redis: what it counts, and how long the record of an event lives.

mod arrived;

use super::*;
use crate::domain::{DisabledReason, Receipt, Shard};
use crate::policy::breaker::{Change, Signal};
use crate::store::outcomes::{Disposition, Outcome, OutcomeLimits, Recorded, Source, record};
use crate::store::resend;
use crate::store::testing::TestRedis;

const PARTITION: Partition = Partition(3);
const DAY: Duration = Duration::from_secs(86_400);

struct Fixture {
    server: TestRedis,
    keys: Keys,
    tenant: Tenant,
    webhook: WebhookId,
}

impl Fixture {
    async fn new() -> Self {
        let webhook = WebhookId::new(Shard(0), "abcdefghijklmnopqrstuv");
        let tenant = "org:demo".parse().unwrap();
        let fixture = Self { server: TestRedis::start().await, keys: Keys::new("sw:"), tenant, webhook };
        fixture.run(&["HSET", "sw:{p03}:lease", "token", "t"]).await;
        let record = "1 1 0 -\n{\"url\":\"http://x/\"}";
        fixture.run(&["HSET", "sw:{p03}:webhooks", fixture.webhook.as_str(), record]).await;
        fixture
    }

    async fn run(&self, words: &[&str]) -> String {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        let answer: Value = self.server.redis.query(&command).await.unwrap();
        redis::from_redis_value(answer).unwrap_or_default()
    }

    /// The answer when the queue of the webhook is full.
    fn left_full(&self) -> Dispatched {
        Dispatched::But(Left { full: vec![self.webhook.clone()], broken: Vec::new() })
    }

    fn hash(&self) -> String {
        keys::event_hash(&self.tenant, &"evt_1".parse().unwrap())
    }

    fn record_of_event(&self) -> String {
        format!("sw:{{p03}}:event:{}", self.hash())
    }

    /// The record of the event if it had arrived everywhere at once.
    fn delivered_record(&self) -> String {
        format!("sw:{{p03}}:delivered:{}", self.hash())
    }

    /// Seconds that the record of the event lives; -1 = no end.
    async fn lives(&self) -> i64 {
        self.run(&["TTL", &self.record_of_event()]).await.parse().unwrap()
    }

    async fn pending_bytes(&self) -> String {
        self.run(&["HGET", "sw:{p03}:usage", &format!("t:{}", keys::tenant_hash(&self.tenant))]).await
    }

    async fn undispatched(&self) -> String {
        self.run(&["HGET", "sw:{p03}:usage", "undispatched"]).await
    }

    async fn dispatch(&self, max_pending: u64, instruction: Instruction) -> Dispatched {
        self.try_dispatch(max_pending, instruction).await.unwrap().answers.pop().unwrap()
    }

    async fn try_dispatch(&self, max_pending: u64, instruction: Instruction) -> Result<Batch, Error> {
        self.try_dispatch_all(max_pending, &[instruction]).await
    }

    async fn try_dispatch_all(&self, max_pending: u64, items: &[Instruction]) -> Result<Batch, Error> {
        let section = Section { partition: PARTITION, token: "t", items };
        let (redis, now) = (&self.server.redis, Millis(1000));
        dispatch(redis, &self.keys, now, &limits(max_pending), &[section]).await?.remove(0)
    }

    /// An event like [`Self::event`] with an id of its own, to the webhook.
    fn event_of(&self, n: u64) -> Instruction {
        let event = Event {
            id: format!("evt_{n}").parse().unwrap(),
            event_type: Arc::from("lead.created"),
            tenant: self.tenant.clone(),
            body: Bytes::from("0123456789"),
            trace: None,
        };
        let targets = vec![(self.webhook.clone(), Arc::from("owner"))];
        let entry = EntryId { ms: 5, seq: n };
        Instruction::Event { entry, event, targets, skipped: Vec::new(), chunk: Chunk::Whole, keep: true }
    }

    /// The event `evt_1` with a body of ten bytes, published; the answer dispatches it to those.
    async fn event(&self, targets: Vec<WebhookId>) -> Instruction {
        let fields = ["k", "event", "b", "0123456789"];
        self.run(&[&["XADD", "sw:{p03}:events", "5-1"][..], &fields[..]].concat()).await;
        let mut instruction = self.event_of(1);
        if let Instruction::Event { targets: of_event, .. } = &mut instruction {
            *of_event = targets.into_iter().map(|webhook| (webhook, Arc::from("owner"))).collect();
        }
        instruction
    }

    /// The same, dispatched to the webhook.
    async fn dispatch_event(&self, max_pending: u64) -> Dispatched {
        let instruction = self.event(vec![self.webhook.clone()]).await;
        self.dispatch(max_pending, instruction).await
    }

    /// The event is wanted again.
    async fn resend(&self) -> Instruction {
        self.run(&["XADD", "sw:{p03}:events", "6-1", "k", "resend"]).await;
        Instruction::Resend {
            entry: EntryId { ms: 6, seq: 1 },
            event: "evt_1".parse().unwrap(),
            event_hash: self.hash(),
            tenant_hash: Arc::from(keys::tenant_hash(&self.tenant)),
            webhook: self.webhook.clone(),
            owner_hash: Arc::from("owner"),
        }
    }

    /// As a client asks for it: the control entry is named like the one of [`Self::resend`].
    async fn ask_again(&self) -> Instruction {
        let id = "evt_1".parse().unwrap();
        let event = (&id, "lead.created");
        let (redis, keys) = (&self.server.redis, &self.keys);
        let asked = resend::resend(redis, keys, PARTITION, &self.tenant, &self.webhook, event).await;
        assert_eq!(asked.unwrap(), resend::Resent::Queued);
        self.run(&["DEL", "sw:{p03}:events"]).await;
        self.resend().await
    }

    async fn record(&self, disposition: Disposition) -> Vec<Receipt> {
        self.recorded(disposition).await.receipts
    }

    async fn recorded(&self, disposition: Disposition) -> Recorded {
        self.record_this(|outcome| Outcome { disposition, ..outcome }).await
    }

    /// The first attempt of the event, which failed for no reason that is the endpoint's.
    fn outcome(&self) -> Outcome {
        Outcome {
            webhook: self.webhook.clone(),
            tenant: self.tenant.clone(),
            owner_hash: Arc::from("owner"),
            tenant_hash: Arc::from(keys::tenant_hash(&self.tenant)),
            entry: EntryId { ms: 5, seq: 1 },
            source: Source::Mailbox,
            event: "evt_1".parse().unwrap(),
            event_hash: self.hash(),
            event_type: Arc::from("lead.created"),
            event_size: None,
            attempt: 1,
            error_kind: None,
            disposition: Disposition::Delivered,
            row: ("{}".into(), None),
            elapsed: None,
            paused_until: None,
            signal: Signal::Nothing,
            change: None,
            disable: None,
        }
    }

    /// Every target has taken the event, which the answer dispatches.
    async fn arrived(&self, targets: &[WebhookId]) -> Instruction {
        let Instruction::Event { entry, event, .. } = self.event(Vec::new()).await else { unreachable!() };
        let outcome = |webhook: &WebhookId| {
            let elapsed = Some(Duration::from_millis(7));
            Outcome { webhook: webhook.clone(), elapsed, signal: Signal::Succeeded, ..self.outcome() }
        };
        let outcomes: Vec<Outcome> = targets.iter().map(outcome).collect();
        assert!(outcomes.iter().all(Outcome::is_plain));
        Instruction::Arrived { entry, event, outcomes, skipped: Vec::new() }
    }

    /// Records the first attempt of the event, with what `change` makes of it.
    async fn record_this(&self, change: impl FnOnce(Outcome) -> Outcome) -> Recorded {
        let outcome = self.outcome();
        let limits = OutcomeLimits { log_max: 100, dead_max: 100, closed: 3 * DAY, dead: 7 * DAY };
        let (redis, now) = (&self.server.redis, Millis(2000));
        let outcome = change(outcome);
        let section = Section { partition: PARTITION, token: "t", items: &[&outcome][..] };
        record(redis, &self.keys, now, &limits, &[section]).await.unwrap().remove(0).unwrap()
    }

    /// What is kept of the webhook's breaker: failures, since when, pauses, the end of the last, turns; and in the index.
    async fn breaker(&self) -> [String; 6] {
        let count = format!("sw:{{p03}}:count:{}", self.webhook);
        let mut kept: [String; 6] = Default::default();
        for (place, field) in ["row", "failing", "pauses", "pause_ends", "turn"].into_iter().enumerate() {
            kept[place] = self.run(&["HGET", &count, field]).await;
        }
        kept[5] = self.run(&["ZSCORE", "sw:{p03}:breakers", self.webhook.as_str()]).await;
        kept
    }

    async fn wakes(&self) -> String {
        self.run(&["ZSCORE", "sw:{p03}:wake", self.webhook.as_str()]).await
    }
}

fn limits(max_pending: u64) -> DispatchLimits {
    DispatchLimits { closed: 3 * DAY, dead: 7 * DAY, max_pending, log_max: 100, dead_max: 100 }
}

fn about(span: Duration, seconds: i64) -> bool {
    let most = i64::try_from(span.as_secs()).unwrap();
    (most - 60..=most).contains(&seconds)
}

#[tokio::test]
async fn an_event_is_kept_until_its_last_delivery_ends_and_its_bytes_are_given_back_then() {
    for (disposition, kept) in [(Disposition::Delivered, 3 * DAY), (Disposition::Dead, 7 * DAY)] {
        let fixture = Fixture::new().await;
        assert_eq!(fixture.dispatch_event(10).await, Dispatched::Done);
        assert_eq!((fixture.lives().await, &*fixture.pending_bytes().await), (-1, "10"));
        assert_eq!(fixture.record(disposition).await, [Receipt::Recorded]);
        assert_eq!(fixture.pending_bytes().await, "0");
        assert!(about(kept, fixture.lives().await), "{disposition:?}");
    }
}

#[tokio::test]
async fn what_a_mailbox_refuses_waits_among_the_retries() {
    let fixture = Fixture::new().await;
    let mailbox = format!("sw:{{p03}}:mbox:{}", fixture.webhook);
    fixture.run(&["XADD", &mailbox, "9-1", "e", "evt_of_another_hand"]).await;
    assert_eq!(fixture.dispatch_event(10).await, Dispatched::Done);
    let retries = format!("sw:{{p03}}:retry:{}", fixture.webhook);
    assert_eq!(fixture.run(&["ZSCORE", &retries, "5-1 1 evt_1"]).await, "1000");
    assert_eq!(fixture.run(&["XLEN", "sw:{p03}:events"]).await, "0");
}

#[tokio::test]
async fn nothing_is_dispatched_while_an_older_entry_lies_before_it() {
    let fixture = Fixture::new().await;
    fixture.run(&["XADD", "sw:{p03}:events", "5-1", "k", "what"]).await;
    fixture.run(&["XADD", "sw:{p03}:events", "6-1", "k", "what"]).await;
    let skip = |ms| Instruction::Skip { entry: EntryId { ms, seq: 1 } };
    let refused = fixture.try_dispatch(10, skip(6)).await;
    assert!(matches!(refused, Err(Error::Fenced)), "{refused:?}");
    assert_eq!(fixture.run(&["XLEN", "sw:{p03}:events"]).await, "2");
    for ms in [5, 6] {
        assert_eq!(fixture.dispatch(10, skip(ms)).await, Dispatched::Done);
    }
}

#[tokio::test]
async fn of_a_batch_that_was_partly_done_before_only_the_rest_is_done() {
    let fixture = Fixture::new().await;
    let of = async |seq: u64| {
        let id = format!("5-{seq}");
        fixture.run(&["XADD", "sw:{p03}:events", &id, "k", "event", "b", "0123456789"]).await;
        fixture.event_of(seq)
    };
    let batch = [of(1).await, of(2).await, of(3).await, of(4).await];
    let dispatched = async |items: &[Instruction]| fixture.try_dispatch_all(10, items).await.unwrap().answers;
    assert_eq!(dispatched(&batch[..2]).await, [Dispatched::Done, Dispatched::Done]);
    use Dispatched::{Done, Skipped};
    assert_eq!(dispatched(&batch).await, [Skipped, Skipped, Done, Done]);
    assert_eq!(dispatched(&batch).await, [Skipped, Skipped, Skipped, Skipped]);
    let twice = [of(5).await, fixture.event_of(5)];
    assert_eq!(dispatched(&twice).await, [Done, Skipped], "named twice it is done once");
    assert_eq!(fixture.run(&["XLEN", "sw:{p03}:events"]).await, "0");
    assert_eq!(fixture.run(&["XLEN", &format!("sw:{{p03}}:mbox:{}", fixture.webhook)]).await, "5");
}

#[tokio::test]
async fn a_call_about_two_partitions_does_the_one_whose_lease_is_ours() {
    let fixture = Fixture::new().await;
    fixture.run(&["HSET", "sw:{p04}:lease", "token", "of another node"]).await;
    fixture.run(&["XADD", "sw:{p04}:events", "5-1", "k", "what"]).await;
    let event = [fixture.event(vec![fixture.webhook.clone()]).await];
    let skip = [Instruction::Skip { entry: EntryId { ms: 5, seq: 1 } }];
    let lost = Section { partition: Partition(4), token: "t", items: &skip[..] };
    let ours = Section { partition: PARTITION, token: "t", items: &event[..] };
    let (redis, limits) = (&fixture.server.redis, limits(10));
    let sections = [lost, ours];
    let mut answers = dispatch(redis, &fixture.keys, Millis(1000), &limits, &sections).await.unwrap();
    let done = Batch { answers: vec![Dispatched::Done], set_aside: 0, steady: Vec::new() };
    assert_eq!(answers.pop().unwrap().unwrap(), done);
    assert!(matches!(answers.pop().unwrap(), Err(Error::Fenced)));
    assert_eq!(fixture.run(&["XLEN", "sw:{p04}:events"]).await, "1");
    assert_eq!(fixture.run(&["HGET", "sw:{p03}:usage", "pending"]).await, "1");
    assert_eq!(fixture.run(&["HGET", "sw:{p04}:usage", "pending"]).await, "");
}

#[tokio::test]
async fn an_event_that_is_queued_again_finds_the_queue_full_like_any_other() {
    let fixture = Fixture::new().await;
    fixture.dispatch_event(1).await;
    let resend = fixture.resend().await;
    assert_eq!(fixture.dispatch(1, resend).await, fixture.left_full());
    assert_eq!(fixture.run(&["XLEN", &format!("sw:{{p03}}:mbox:{}", fixture.webhook)]).await, "1");
    assert_eq!(fixture.run(&["XLEN", &format!("sw:{{p03}}:dead:{}", fixture.webhook)]).await, "1");
    assert_eq!(fixture.record(Disposition::Delivered).await, [Receipt::Recorded], "the first goes on");
    assert!(about(7 * DAY, fixture.lives().await));
}

#[tokio::test]
async fn an_event_that_is_queued_again_is_kept_again() {
    let fixture = Fixture::new().await;
    fixture.dispatch_event(10).await;
    fixture.record(Disposition::Dead).await;
    let resend = fixture.resend().await;
    assert_eq!(fixture.dispatch(10, resend).await, Dispatched::Done);
    assert_eq!((fixture.lives().await, &*fixture.pending_bytes().await), (-1, "10"));
}

#[tokio::test]
async fn a_delivery_that_finds_the_queue_full_is_dead_and_keeps_its_body_like_any_other() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.dispatch_event(0).await, fixture.left_full());
    assert_eq!(fixture.pending_bytes().await, "");
    assert!(about(7 * DAY, fixture.lives().await));
}

#[tokio::test]
async fn an_entry_that_is_set_aside_gives_its_bytes_back() {
    // Counted before, the entry's body, counted after.
    for (before, body, after) in [("17", "0123456789", "7"), ("4", "0123456789", "0"), ("17", "", "17")] {
        let fixture = Fixture::new().await;
        fixture.run(&["HSET", "sw:{p03}:usage", "undispatched", before]).await;
        let fields: &[&str] = if body.is_empty() { &["k", "what"] } else { &["k", "event", "b", body] };
        fixture.run(&[&["XADD", "sw:{p03}:events", "5-1"][..], fields].concat()).await;
        let entry = EntryId { ms: 5, seq: 1 };
        for answer in [Dispatched::Done, Dispatched::Skipped] {
            let quarantine = Instruction::Quarantine { entry, text: "fields: k".into() };
            assert_eq!(fixture.dispatch(10, quarantine).await, answer);
            assert_eq!(fixture.undispatched().await, after, "{before} {body}");
        }
        assert_eq!(fixture.run(&["XLEN", "sw:{p03}:quarantine"]).await, "1");
    }
}

#[tokio::test]
async fn an_entry_whose_fields_are_not_text_can_be_read_and_set_aside() {
    let fixture = Fixture::new().await;
    let redis = &fixture.server.redis;
    let mut add = redis::cmd("XADD");
    add.arg("sw:{p03}:events").arg("*").arg(b"\xff\xfe").arg(b"\xff");
    redis.query::<String>(&add).await.unwrap();
    let mut reader = redis.open_own("any", Duration::from_secs(1)).await.unwrap();
    let from = [Position { partition: PARTITION, after: EntryId::ZERO }];
    let found = read(&mut reader, &fixture.keys, &from, 10, Some(Duration::from_secs(1))).await.unwrap();
    assert!(matches!(found[0].1[0].kind, EntryKind::Unreadable(_)), "{found:?}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_does_not_hold_up_the_dispatch() {
    for record in ["garbage", "1 1 0 -\n[", "1 1 0 -\n7"] {
        let fixture = Fixture::new().await;
        fixture.run(&["HSET", "sw:{p03}:webhooks", fixture.webhook.as_str(), record]).await;
        assert_eq!(fixture.dispatch_event(0).await, fixture.left_full(), "{record}");
    }
}

#[tokio::test]
async fn the_end_of_an_attempt_tells_a_webhook_that_is_gone_from_a_delivery_that_is() {
    let fixture = Fixture::new().await;
    fixture.dispatch_event(10).await;
    assert_eq!(fixture.record(Disposition::Delivered).await, [Receipt::Recorded]);
    assert_eq!(fixture.record(Disposition::Delivered).await, [Receipt::Gone]);
    fixture.run(&["DEL", "sw:{p03}:webhooks"]).await;
    assert_eq!(fixture.record(Disposition::Delivered).await, [Receipt::NoWebhook]);
}

#[tokio::test]
async fn a_log_that_is_none_costs_its_row_and_neither_the_retry_nor_the_counts() {
    let fixture = Fixture::new().await;
    fixture.dispatch_event(10).await;
    let log = format!("sw:{{p03}}:log:{}", fixture.webhook);
    fixture.run(&["SET", &log, "of the wrong type"]).await;
    let due = Disposition::Retry(Millis(9000));
    let expected = Recorded { receipts: vec![Receipt::Recorded], set_aside: 1 };
    assert_eq!(fixture.recorded(due).await, expected);
    let retries = format!("sw:{{p03}}:retry:{}", fixture.webhook);
    assert_eq!(fixture.run(&["ZSCORE", &retries, "5-1 2 evt_1"]).await, "9000");
    assert_eq!(fixture.run(&["HGET", "sw:{p03}:stats:owner", "fail"]).await, "1");
    assert_eq!(fixture.run(&["XLEN", "sw:{p03}:quarantine"]).await, "1");
    assert_eq!(fixture.run(&["GET", &log]).await, "of the wrong type", "nobody's data is removed");
}

#[tokio::test]
async fn a_delivery_that_can_wait_nowhere_is_set_aside_and_counted_out() {
    let fixture = Fixture::new().await;
    fixture.dispatch_event(10).await;
    fixture.run(&["SET", &format!("sw:{{p03}}:retry:{}", fixture.webhook), "of the wrong type"]).await;
    let recorded = fixture.recorded(Disposition::Retry(Millis(9000))).await;
    // The second is the wake index, which cannot be told when the webhook's retries are due.
    assert_eq!(recorded, Recorded { receipts: vec![Receipt::Recorded], set_aside: 2 });
    assert_eq!(fixture.run(&["HGET", "sw:{p03}:stats:owner", "pending"]).await, "0");
    assert_eq!(fixture.pending_bytes().await, "0");
    let ended = fixture.run(&["HGET", &fixture.record_of_event(), &format!("to:{}", fixture.webhook)]).await;
    assert_eq!(ended, "dropped 2000 1");
}

#[tokio::test]
async fn a_mailbox_that_is_none_holds_up_no_other_webhook() {
    let fixture = Fixture::new().await;
    let broken = WebhookId::new(Shard(0), "zyxwvutsrqponmlkjihgfe");
    fixture.run(&["SET", &format!("sw:{{p03}}:mbox:{broken}"), "of the wrong type"]).await;
    let instruction = fixture.event(vec![broken.clone(), fixture.webhook.clone()]).await;
    let batch = fixture.try_dispatch(10, instruction).await.unwrap();
    let left = Left { full: Vec::new(), broken: vec![broken] };
    assert_eq!((batch.answers, batch.set_aside), (vec![Dispatched::But(left)], 1));
    assert_eq!(fixture.run(&["XLEN", &format!("sw:{{p03}}:mbox:{}", fixture.webhook)]).await, "1");
    assert_eq!(fixture.run(&["HGET", "sw:{p03}:usage", "pending"]).await, "1");
}

#[tokio::test]
async fn nothing_is_taken_out_while_the_whole_partition_is_broken() {
    let fixture = Fixture::new().await;
    fixture.run(&["SET", "sw:{p03}:wake", "of the wrong type"]).await;
    let instruction = fixture.event(vec![fixture.webhook.clone()]).await;
    assert!(matches!(fixture.try_dispatch(10, instruction).await, Err(Error::Rejected(_))));
    assert_eq!(fixture.run(&["XLEN", "sw:{p03}:events"]).await, "1");
}

#[tokio::test]
async fn what_an_outcome_turned_is_kept_once_and_wakes_the_webhook_when_its_pause_ends() {
    let fixture = Fixture::new().await;
    fixture.dispatch_event(10).await;
    let opens = |outcome| Outcome {
        disposition: Disposition::Retry(Millis(3000)),
        signal: Signal::Failed,
        change: Some(Change::Opened { pauses: 2, until: Millis(9000) }),
        ..outcome
    };
    let open = ["1", "2000", "2", "9000", "1", "9000"];
    for (repeat, receipt) in [(0, Receipt::Recorded), (1, Receipt::Gone)] {
        assert_eq!(fixture.record_this(opens).await.receipts, [receipt]);
        assert_eq!(fixture.breaker().await, open, "call {repeat}");
        assert_eq!(fixture.wakes().await, "9000", "not when its retry is due");
    }
    let probe = |outcome| Outcome { source: Source::Retries, attempt: 2, ..outcome };
    let unheard = |outcome| Outcome { disposition: Disposition::Retry(Millis(4000)), ..probe(outcome) };
    assert_eq!(fixture.record_this(unheard).await.receipts, [Receipt::Recorded]);
    assert_eq!(fixture.breaker().await, open, "a fault of ours tells nothing");
    let closes = |outcome| Outcome {
        signal: Signal::Succeeded,
        change: Some(Change::Closed),
        ..Outcome { attempt: 3, ..probe(outcome) }
    };
    assert_eq!(fixture.record_this(closes).await.receipts, [Receipt::Recorded]);
    assert_eq!(fixture.breaker().await, ["0", "", "", "", "2", ""]);
}

#[tokio::test]
async fn a_breaker_leaves_the_index_with_its_webhook() {
    let fixture = Fixture::new().await;
    fixture.run(&["ZADD", "sw:{p03}:breakers", "9000", fixture.webhook.as_str()]).await;
    fixture.run(&["XADD", "sw:{p03}:events", "5-1", "k", "deleted"]).await;
    let entry = EntryId { ms: 5, seq: 1 };
    fixture.dispatch(10, Instruction::Deleted { entry, webhook: fixture.webhook.clone() }).await;
    assert_eq!(fixture.breaker().await[5], "");
}

#[tokio::test]
async fn a_webhook_whose_failures_were_forgotten_is_not_switched_off_for_them() {
    let fixture = Fixture::new().await;
    let hopeless = |outcome| Outcome {
        disposition: Disposition::Retry(Millis(3000)),
        signal: Signal::Failed,
        disable: Some(DisabledReason::Failing),
        ..outcome
    };
    let record = async || fixture.run(&["HGET", "sw:{p03}:webhooks", fixture.webhook.as_str()]).await;
    fixture.dispatch_event(10).await;
    assert_eq!(fixture.record_this(hopeless).await.receipts, [Receipt::Recorded]);
    assert!(record().await.starts_with("1 1 0 -\n"), "{}", record().await);
    assert_eq!(fixture.run(&["XLEN", "sw:{p03}:events"]).await, "1", "whoever decided it reads it again");

    // That failure is kept: the next one has something to go by.
    let again = |outcome| Outcome { source: Source::Retries, attempt: 2, ..hopeless(outcome) };
    assert_eq!(fixture.record_this(again).await.receipts, [Receipt::Recorded]);
    assert!(record().await.starts_with("2 0 "), "{}", record().await);
}
