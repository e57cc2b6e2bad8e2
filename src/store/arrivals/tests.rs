//! What is written without a script, against a real Redis: the same as the script writes, and only by who holds the lease.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::domain::{Partition, Shard, Tenant, WebhookId};
use crate::policy::breaker::Signal;
use crate::store::events;
use crate::store::outcomes::{Disposition, Source};
use crate::store::testing::TestRedis;

const NOW: Millis = Millis(1_800_000_000_000);
const SCRIPT: Partition = Partition(3);
const PLAIN: Partition = Partition(4);

struct Fixture {
    server: TestRedis,
    keys: Keys,
    arrivals: Arrivals,
    tenant: Tenant,
}

impl Fixture {
    /// Two partitions with the same webhooks of two owners.
    async fn new() -> Self {
        let (server, tenant) = (TestRedis::start().await, "org:demo".parse().unwrap());
        let arrivals = Arrivals::new(server.redis.for_another_thread().unwrap());
        let fixture = Self { server, keys: Keys::new("sw:"), arrivals, tenant };
        for partition in [SCRIPT, PLAIN] {
            let prefix = fixture.keys.of(partition);
            fixture.run(&["HSET", &format!("{prefix}lease"), "token", "t", "beat", "1"]).await;
            for name in ['a', 'b', 'c'] {
                let record = "1 1 0 -\n{\"url\":\"http://x/\"}";
                fixture.run(&["HSET", &format!("{prefix}webhooks"), webhook(name).as_str(), record]).await;
            }
        }
        fixture
    }

    async fn run(&self, words: &[&str]) -> Value {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        self.server.redis.query(&command).await.unwrap()
    }

    /// An event that lies in the stream and has arrived at those after so many ms.
    async fn arrived(&self, partition: Partition, n: u64, kind: &str, at: &[(char, u64)]) -> Instruction {
        let entry = EntryId { ms: NOW.0, seq: n };
        let stream = self.keys.key(partition, "events");
        self.run(&["XADD", &stream, &entry.to_string(), "k", "event", "b", "0123456789"]).await;
        let usage = self.keys.key(partition, "usage");
        self.run(&["HINCRBY", &usage, "undispatched", "10"]).await;
        let event = Event {
            id: crate::domain::EventId::made(NOW, u128::from(n) << 48),
            event_type: Arc::from(kind),
            tenant: self.tenant.clone(),
            body: Bytes::from("0123456789"),
            trace: None,
        };
        let outcome = |(name, ms): &(char, u64)| Outcome {
            webhook: webhook(*name),
            owner_hash: Arc::from(if *name == 'c' { "other" } else { "owner" }),
            tenant: self.tenant.clone(),
            tenant_hash: Arc::from(keys::tenant_hash(&self.tenant)),
            entry,
            source: Source::Mailbox,
            event: event.id.clone(),
            event_hash: keys::event_hash(&self.tenant, &event.id),
            event_type: event.event_type.clone(),
            event_size: None,
            attempt: 1,
            error_kind: None,
            disposition: Disposition::Delivered,
            row: (format!("{{\"n\":{n}}}"), None),
            elapsed: Some(Duration::from_millis(*ms)),
            paused_until: None,
            signal: Signal::Succeeded,
            change: None,
            disable: None,
        };
        let outcomes = at.iter().map(outcome).collect();
        Instruction::Arrived { entry, event, outcomes, skipped: Vec::new() }
    }

    /// The same events in a partition: the first ones make its webhooks steady.
    async fn events(&self, partition: Partition) -> (Vec<Instruction>, Vec<Instruction>) {
        let first = vec![self.arrived(partition, 1, "lead.created", &[('a', 3), ('b', 3), ('c', 70)]).await];
        let then = vec![
            self.arrived(partition, 2, "lead.created", &[('a', 0), ('b', 12)]).await,
            self.arrived(partition, 3, "deal.won", &[('a', 40_000)]).await,
            self.arrived(partition, 4, "lead.created", &[('c', 7), ('a', 7)]).await,
        ];
        (first, then)
    }

    async fn by_script(&self, partition: Partition, items: &[Instruction]) -> Result<Batch, Error> {
        let section = Section { partition, token: "t", items };
        events::dispatch(&self.server.redis, &self.keys, NOW, &limits(), &[section]).await?.remove(0)
    }

    async fn plainly(&self, sections: &[Arrived<'_>]) -> Vec<Option<Batch>> {
        self.arrivals.record(&self.keys, NOW, &limits(), sections).await.unwrap()
    }

    /// All that lies in a partition, without what Redis makes up itself.
    async fn dump(&self, partition: Partition) -> BTreeMap<String, String> {
        let prefix = self.keys.of(partition);
        let names: Vec<String> =
            redis::from_redis_value(self.run(&["KEYS", &format!("{prefix}*")]).await).unwrap();
        let mut dump = BTreeMap::new();
        for name in names {
            let kind: String = redis::from_redis_value(self.run(&["TYPE", &name]).await).unwrap();
            let value = match &*kind {
                "hash" => {
                    let all = self.run(&["HGETALL", &name]).await;
                    format!("{:?}", redis::from_redis_value::<BTreeMap<String, String>>(all).unwrap())
                }
                "stream" => {
                    let entries = events::entries_of(self.run(&["XRANGE", &name, "-", "+"]).await).unwrap();
                    format!("{:?}", entries.into_iter().map(|(_, fields)| fields).collect::<Vec<_>>())
                }
                _ => format!("{:?}", self.run(&["GET", &name]).await),
            };
            let lives = self.run(&["TTL", &name]).await != Value::Int(-1);
            dump.insert(name[prefix.len()..].to_owned(), format!("{value} lives {lives}"));
        }
        dump
    }
}

fn webhook(name: char) -> WebhookId {
    WebhookId::new(Shard(0), &name.to_string().repeat(WebhookId::RANDOM_LENGTH))
}

fn limits() -> DispatchLimits {
    let day = Duration::from_secs(86_400);
    DispatchLimits { closed: 3 * day, dead: 7 * day, max_pending: 10, log_max: 100, dead_max: 100 }
}

fn section(partition: Partition, items: &[Instruction]) -> Arrived<'_> {
    Section { partition, token: "t", items }
}

#[tokio::test]
async fn what_is_written_without_a_script_is_what_the_script_writes() {
    let fixture = Fixture::new().await;
    for partition in [SCRIPT, PLAIN] {
        let (first, then) = fixture.events(partition).await;
        let batch = fixture.by_script(partition, &first).await.unwrap();
        assert_eq!(batch.steady, ['a', 'b', 'c'].map(webhook));
        assert!(may_write(&then, NOW));
        let batch = match partition {
            SCRIPT => fixture.by_script(partition, &then).await.unwrap(),
            _ => fixture.plainly(&[section(partition, &then)]).await.remove(0).unwrap(),
        };
        let recorded = |n| Dispatched::Recorded(vec![Receipt::Recorded; n]);
        assert_eq!((batch.answers, batch.set_aside), (vec![recorded(2), recorded(1), recorded(2)], 0));
        assert_eq!(batch.steady.len(), 5);
    }
    let (script, plain) = (fixture.dump(SCRIPT).await, fixture.dump(PLAIN).await);
    assert_eq!(script, plain);
    assert!(script.contains_key("hours:wh_00aaaaaaaaaaaaaaaaaaaaaa"), "{script:?}");
    assert_eq!(script["usage"], r#"{"undispatched": "0"} lives false"#);
}

#[tokio::test]
async fn nothing_is_written_under_a_lease_that_is_not_ours_or_that_changes_meanwhile() {
    let fixture = Fixture::new().await;
    let (first, ours) = fixture.events(PLAIN).await;
    fixture.by_script(PLAIN, &first).await.unwrap();
    let (first, lost) = fixture.events(SCRIPT).await;
    fixture.by_script(SCRIPT, &first).await.unwrap();
    let lease = fixture.keys.key(SCRIPT, "lease");
    fixture.run(&["HSET", &lease, "token", "another node's"]).await;
    let before = fixture.dump(SCRIPT).await;
    let mut answers = fixture.plainly(&[section(SCRIPT, &lost), section(PLAIN, &ours)]).await;
    assert_eq!(answers.pop().unwrap().unwrap().answers.len(), 3);
    assert_eq!(answers.pop().unwrap(), None, "it is left to the script, which says so");
    assert_eq!(fixture.dump(SCRIPT).await, before);

    // Between the look and the transaction.
    fixture.run(&["HSET", &lease, "token", "t"]).await;
    let before = fixture.dump(SCRIPT).await;
    let mut connection = fixture.server.redis.open_own("", Duration::ZERO).await.unwrap();
    let sections = [section(SCRIPT, &lost)];
    assert_eq!(watch(&mut connection, &fixture.keys, &sections).await.unwrap(), [true]);
    fixture.run(&["HSET", &lease, "token", "t", "beat", "2"]).await;
    let limits = limits();
    let mut transaction = Transaction::new(NOW, &limits);
    transaction.add(&fixture.keys, &sections[0]);
    let answers: Option<Vec<RedisResult<Value>>> =
        transaction.pipeline.query_async(&mut connection).await.unwrap();
    assert!(answers.is_none());
    fixture.run(&["HSET", &lease, "token", "t", "beat", "1"]).await;
    assert_eq!(fixture.dump(SCRIPT).await, before);
    assert_eq!(
        fixture.plainly(&sections).await.remove(0).unwrap().answers.len(),
        3,
        "tried again it is written"
    );
}

#[tokio::test]
async fn a_call_that_has_no_answer_comes_to_nothing_after_its_repeat() {
    let fixture = Fixture::new().await;
    let (first, then) = fixture.events(PLAIN).await;
    fixture.by_script(PLAIN, &first).await.unwrap();
    let (sections, limits) = ([section(PLAIN, &then)], limits());
    let mut late = fixture.server.redis.open_own("", Duration::ZERO).await.unwrap();
    assert_eq!(watch(&mut late, &fixture.keys, &sections).await.unwrap(), [true]);
    // As `record` does where no answer comes.
    leases::renew(&fixture.server.redis, &fixture.keys, &[(PLAIN, Arc::from("t"))]).await.unwrap();
    fixture.by_script(PLAIN, &then).await.unwrap();
    let before = fixture.dump(PLAIN).await;
    let mut transaction = Transaction::new(NOW, &limits);
    transaction.add(&fixture.keys, &sections[0]);
    let answers: Option<Vec<RedisResult<Value>>> = transaction.pipeline.query_async(&mut late).await.unwrap();
    assert!(answers.is_none());
    assert_eq!(fixture.dump(PLAIN).await, before);
}

#[tokio::test]
async fn what_lies_in_the_place_of_something_else_is_set_aside_and_the_rest_is_written() {
    let fixture = Fixture::new().await;
    let (first, then) = fixture.events(PLAIN).await;
    fixture.by_script(PLAIN, &first).await.unwrap();
    let log = fixture.keys.of_webhook(PLAIN, "log", &webhook('b'));
    fixture.run(&["SET", &log, "another hand's"]).await;
    let batch = fixture.plainly(&[section(PLAIN, &then)]).await.remove(0).unwrap();
    assert_eq!((batch.answers.len(), batch.set_aside), (3, 1));
    assert!(batch.steady.is_empty(), "the script looks at them");
    let dump = fixture.dump(PLAIN).await;
    assert!(dump["quarantine"].contains("87, 82, 79, 78, 71, 84, 89, 80, 69"), "{dump:?}");
    let count = &dump[&format!("count:{}", webhook('b'))];
    assert!(count.contains(r#""ok": "2""#), "{count}");
}

#[tokio::test]
async fn where_an_older_entry_lies_in_the_stream_nothing_is_written() {
    let fixture = Fixture::new().await;
    fixture.events(PLAIN).await;
    let last = [fixture.arrived(PLAIN, 5, "lead.created", &[('a', 1)]).await];
    let before = fixture.dump(PLAIN).await;
    assert_eq!(fixture.plainly(&[section(PLAIN, &last)]).await, [None]);
    assert_eq!(fixture.dump(PLAIN).await, before);
    let answer = fixture.by_script(PLAIN, &last).await;
    assert!(matches!(answer, Err(Error::Fenced)), "{answer:?}");
}

#[test]
fn who_repeats_a_publication_late_or_chose_its_id_is_left_to_the_script() {
    let day = 86_400_000;
    let event = |id: &str| Event {
        id: id.parse().unwrap(),
        event_type: Arc::from("lead.created"),
        tenant: "org:demo".parse().unwrap(),
        body: Bytes::new(),
        trace: None,
    };
    let may = |id: &str, now: Millis| {
        let (entry, event) = (EntryId::ZERO, event(id));
        may_write(&[Instruction::Arrived { entry, event, outcomes: Vec::new(), skipped: Vec::new() }], now)
    };
    let ours = crate::domain::EventId::made(NOW, 7);
    assert!(may(ours.as_str(), NOW) && may(ours.as_str(), Millis(NOW.0 + day / 2)));
    assert!(!may(ours.as_str(), Millis(NOW.0 + day)));
    assert!(!may(ours.as_str(), Millis(NOW.0 - 1)), "from the future");
    assert!(!may("own-id", NOW));
    assert!(!may_write(&[Instruction::Skip { entry: EntryId::ZERO }], NOW));
}
