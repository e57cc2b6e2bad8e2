//! Steps of a recovery against a real Redis.

use super::*;
use crate::domain::Shard;
use crate::store::testing::TestRedis;

const PARTITION: Partition = Partition(3);
const TOKEN: &str = "mine";

struct Fixture {
    server: TestRedis,
    keys: Keys,
    tenant: Tenant,
    webhook: WebhookId,
}

impl Fixture {
    /// An active webhook, and a lease.
    async fn new() -> Self {
        let fixture = Self {
            server: TestRedis::start().await,
            keys: Keys::new("sw:"),
            tenant: "org:demo".parse().unwrap(),
            webhook: WebhookId::new(Shard(0), "abcdefghijklmnopqrstuv"),
        };
        fixture.switch(true).await;
        fixture.run(&["HSET", "sw:{p03}:lease", "token", TOKEN]).await;
        fixture
    }

    async fn switch(&self, on: bool) {
        let record = if on { "4 1 17 -\n{}" } else { "5 0 17 -\n{}" };
        self.run(&["HSET", "sw:{p03}:webhooks", self.webhook.as_str(), record]).await;
    }

    fn recoveries(&self) -> Recoveries<'_> {
        let Self { server, keys, tenant, webhook } = self;
        Recoveries { redis: &server.redis, keys, partition: PARTITION, tenant, webhook }
    }

    async fn run(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        self.server.redis.query(&command).await.unwrap()
    }

    async fn number(&self, words: &[&str]) -> u64 {
        redis::from_redis_value(self.run(words).await).unwrap()
    }

    fn record(&self, event: &str) -> String {
        let event = event.parse().unwrap();
        self.keys.key(PARTITION, &format!("event:{}", event_hash(&self.tenant, &event)))
    }

    /// A dead delivery, and what its event's record says of it.
    async fn dead(&self, event: &str, status: &str) {
        let list = format!("sw:{{p03}}:dead:{}", self.webhook);
        self.run(&["XADD", &list, "*", "e", event, "t", "lead.created", "n", "4"]).await;
        let field = format!("to:{}", self.webhook);
        self.run(&["HSET", &self.record(event), "body", "{}", "type", "lead.created", &field, status]).await;
    }

    async fn waiting(&self) -> u64 {
        self.number(&["XLEN", "sw:{p03}:events"]).await
    }
}

const ALL: Span = Span { since: Millis(0), until: None, event: None };

#[tokio::test]
async fn a_step_queues_what_still_stands_as_dead_and_nothing_twice() {
    let fixture = Fixture::new().await;
    let recoveries = fixture.recoveries();
    fixture.dead("evt_1", "dead 17 4").await;
    fixture.dead("evt_2", "delivered 17 4").await;
    fixture.dead("evt_3", "pending").await;
    fixture.dead("evt_1", "dead 18 4").await;
    fixture.dead("evt_4", "dead 17 4").await;
    fixture.run(&["DEL", &fixture.record("evt_4")]).await;
    fixture.dead("evt_5", "dead 17 4").await;
    let survey = recoveries.survey(&ALL).await.unwrap();
    assert_eq!((survey.total(), survey.body_gone), (2, 1));
    for _ in 0..2 {
        assert_eq!(recoveries.begin("rec_1", &ALL, &survey, Millis(20)).await.unwrap(), Begun::Begun);
    }
    assert_eq!(fixture.waiting().await, 1, "its owner is told once");
    assert_eq!(recoveries.begin("rec_2", &ALL, &survey, Millis(20)).await.unwrap(), Begun::Running);
    assert_eq!(
        running(&fixture.server.redis, &fixture.keys, PARTITION).await.unwrap(),
        std::slice::from_ref(&fixture.webhook)
    );
    // What dies later belongs to another one.
    fixture.dead("evt_6", "dead 19 4").await;

    assert!(matches!(recoveries.step("another's", Millis(21)).await, Err(Error::Fenced)));
    assert_eq!(recoveries.step(TOKEN, Millis(21)).await.unwrap(), Step::Over);
    assert_eq!(fixture.waiting().await, 3);
    let done = recoveries.last().await.unwrap().unwrap();
    assert_eq!((done.status, done.requeued, done.skipped), (Status::Completed, 2, 4));
    assert_eq!((done.total, done.started_at, done.ended_at), (2, Millis(20), Some(Millis(21))));
    assert_eq!(recoveries.step(TOKEN, Millis(22)).await.unwrap(), Step::Over);
    assert_eq!(fixture.waiting().await, 3, "a repeat does nothing");
    assert!(running(&fixture.server.redis, &fixture.keys, PARTITION).await.unwrap().is_empty());
    // Sent again, it died again: another recovery takes it again.
    let survey = recoveries.survey(&ALL).await.unwrap();
    assert_eq!(survey.total(), 3);
    assert_eq!(recoveries.begin("rec_3", &ALL, &survey, Millis(30)).await.unwrap(), Begun::Begun);
}

#[tokio::test]
async fn steps_wait_for_room_and_move_on_by_their_place() {
    let fixture = Fixture::new().await;
    let recoveries = fixture.recoveries();
    for n in 0..STEP_ENTRIES + 5 {
        fixture.dead(&format!("evt_{n}"), "dead 17 4").await;
    }
    let survey = recoveries.survey(&ALL).await.unwrap();
    recoveries.begin("rec_1", &ALL, &survey, Millis(20)).await.unwrap();
    let mailbox = format!("sw:{{p03}}:mbox:{}", fixture.webhook);
    for _ in 0..MOST_QUEUED {
        fixture.run(&["XADD", &mailbox, "*", "e", "other"]).await;
    }
    assert_eq!(recoveries.step(TOKEN, Millis(21)).await.unwrap(), Step::Wait);
    fixture.run(&["DEL", &mailbox]).await;
    assert_eq!(recoveries.step(TOKEN, Millis(21)).await.unwrap(), Step::Done);
    assert_eq!(recoveries.last().await.unwrap().unwrap().requeued, STEP_ENTRIES as u64);
    assert_eq!(recoveries.step(TOKEN, Millis(21)).await.unwrap(), Step::Wait, "those are not dispatched");
    fixture.run(&["DEL", "sw:{p03}:events"]).await;
    // Others' entries do not keep it.
    for _ in 0..300 {
        fixture.run(&["XADD", "sw:{p03}:events", "*", "k", "x"]).await;
    }
    assert_eq!(recoveries.step(TOKEN, Millis(22)).await.unwrap(), Step::Over);
    assert_eq!(recoveries.last().await.unwrap().unwrap().requeued, survey.total());
}

#[tokio::test]
async fn what_is_on_its_way_already_is_not_queued_by_the_next_one() {
    let fixture = Fixture::new().await;
    let recoveries = fixture.recoveries();
    fixture.dead("evt_1", "dead 17 4").await;
    let survey = recoveries.survey(&ALL).await.unwrap();
    recoveries.begin("rec_1", &ALL, &survey, Millis(20)).await.unwrap();
    assert_eq!(recoveries.step(TOKEN, Millis(21)).await.unwrap(), Step::Over);
    let waiting = fixture.waiting().await;
    for id in ["rec_2", "rec_3"] {
        recoveries.begin(id, &ALL, &survey, Millis(22)).await.unwrap();
        assert_eq!(recoveries.step(TOKEN, Millis(23)).await.unwrap(), Step::Over);
        assert_eq!(recoveries.last().await.unwrap().unwrap().requeued, 0, "{id}: it awaits dispatch");
    }
    assert_eq!(fixture.waiting().await, waiting + 2, "nothing but the two beginnings");
    // It was dispatched, and died again.
    fixture.run(&["DEL", "sw:{p03}:events"]).await;
    recoveries.begin("rec_4", &ALL, &survey, Millis(24)).await.unwrap();
    assert_eq!(recoveries.step(TOKEN, Millis(25)).await.unwrap(), Step::Over);
    assert_eq!(recoveries.last().await.unwrap().unwrap().requeued, 1);
}

#[tokio::test]
async fn a_span_ends_before_its_end_by_the_clock_of_who_recorded_the_death() {
    let fixture = Fixture::new().await;
    let recoveries = fixture.recoveries();
    let list = format!("sw:{{p03}}:dead:{}", fixture.webhook);
    for (event, entry, at) in
        [("evt_1", "100000-0", "100000"), ("evt_2", "100000-1", "100001"), ("evt_3", "100002-0", "99999")]
    {
        fixture.run(&["XADD", &list, entry, "e", event, "t", "lead.created", "n", "4", "a", at]).await;
        let field = format!("to:{}", fixture.webhook);
        fixture
            .run(&["HSET", &fixture.record(event), "body", "{}", "type", "lead.created", &field, "dead 1 4"])
            .await;
    }
    for (since, until, total) in [
        (100_000, Some(100_001), 1),
        (99_999, None, 3),
        (0, Some(100_000), 1),
        (100_001, None, 1),
        (100_002, None, 0),
    ] {
        let span = Span { since: Millis(since), until: until.map(Millis), event: None };
        assert_eq!(recoveries.survey(&span).await.unwrap().total(), total, "{span:?}");
        recoveries.cancel(Millis(1)).await.unwrap();
    }
    let span = Span { since: Millis(100_000), until: Some(Millis(100_001)), event: None };
    let survey = recoveries.survey(&span).await.unwrap();
    recoveries.begin("rec_1", &span, &survey, Millis(20)).await.unwrap();
    assert_eq!(recoveries.step(TOKEN, Millis(21)).await.unwrap(), Step::Over);
    let done = recoveries.last().await.unwrap().unwrap();
    assert_eq!((done.requeued, done.skipped), (1, 0));
}

#[tokio::test]
async fn it_ends_when_it_is_cancelled_or_its_webhook_is_off_or_gone() {
    let fixture = Fixture::new().await;
    let recoveries = fixture.recoveries();
    assert!(!recoveries.cancel(Millis(20)).await.unwrap());
    fixture.dead("evt_1", "dead 17 4").await;
    let survey = recoveries.survey(&ALL).await.unwrap();
    recoveries.begin("rec_1", &ALL, &survey, Millis(20)).await.unwrap();
    assert!(recoveries.cancel(Millis(21)).await.unwrap());
    assert_eq!(recoveries.step(TOKEN, Millis(22)).await.unwrap(), Step::Over);
    let ended = recoveries.last().await.unwrap().unwrap();
    assert_eq!((ended.status, ended.requeued, ended.ended_at), (Status::Cancelled, 0, Some(Millis(21))));

    recoveries.begin("rec_2", &ALL, &survey, Millis(23)).await.unwrap();
    // Also while there is no room for another step.
    let mailbox = format!("sw:{{p03}}:mbox:{}", fixture.webhook);
    for _ in 0..MOST_QUEUED {
        fixture.run(&["XADD", &mailbox, "*", "e", "other"]).await;
    }
    assert_eq!(recoveries.step(TOKEN, Millis(23)).await.unwrap(), Step::Wait);
    fixture.switch(false).await;
    assert_eq!(recoveries.step(TOKEN, Millis(24)).await.unwrap(), Step::Over);
    assert_eq!(recoveries.last().await.unwrap().unwrap().status, Status::Stopped);
    assert_eq!(recoveries.begin("rec_3", &ALL, &survey, Millis(25)).await.unwrap(), Begun::Inactive);
    fixture.run(&["DEL", "sw:{p03}:webhooks"]).await;
    assert_eq!(recoveries.begin("rec_3", &ALL, &survey, Millis(25)).await.unwrap(), Begun::NoWebhook);
}
