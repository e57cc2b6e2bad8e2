//! Events that had arrived at all their targets before their dispatch.

use super::*;

#[tokio::test]
async fn an_event_that_has_arrived_goes_into_no_mailbox_and_is_counted_once() {
    let fixture = Fixture::new().await;
    let count = format!("sw:{{p03}}:count:{}", fixture.webhook);
    fixture.run(&["HSET", &count, "row", "3", "failing", "900"]).await;
    let instruction = fixture.arrived(std::slice::from_ref(&fixture.webhook)).await;
    let answer = fixture.dispatch(10, instruction.clone()).await;
    assert_eq!(answer, Dispatched::Recorded(vec![Receipt::Recorded]));
    assert_eq!(fixture.dispatch(10, instruction).await, Dispatched::Skipped, "a repeat changes nothing");
    let mailbox = format!("sw:{{p03}}:mbox:{}", fixture.webhook);
    assert_eq!(fixture.run(&["EXISTS", &mailbox, "sw:{p03}:wake"]).await, "0");
    assert_eq!(fixture.run(&["XLEN", "sw:{p03}:events"]).await, "0");
    assert_eq!(fixture.run(&["XLEN", &format!("sw:{{p03}}:log:{}", fixture.webhook)]).await, "1");
    assert_eq!(fixture.undispatched().await, "-10", "nothing had counted it here");
    let lives: i64 = fixture.run(&["TTL", &fixture.delivered_record()]).await.parse().unwrap();
    assert_eq!((&*fixture.pending_bytes().await, about(3 * DAY, lives)), ("", true));
    assert_eq!(fixture.run(&["EXISTS", &fixture.record_of_event()]).await, "0");
    for (field, value) in
        [("row", "0"), ("failing", ""), ("ok", "1"), ("delivered", "1"), ("last_ok", "1000")]
    {
        assert_eq!(fixture.run(&["HGET", &count, field]).await, value, "{field}");
    }
    for (field, value) in [("ok", "1"), ("delivered", "1"), ("pending", ""), ("e:lead.created:ok", "1")] {
        assert_eq!(fixture.run(&["HGET", "sw:{p03}:stats:owner", field]).await, value, "{field}");
    }
    let record = fixture.run(&["GET", &fixture.delivered_record()]).await;
    assert_eq!(record, format!("lead.created - 1000 {}\n0123456789", fixture.webhook));
    let resend = fixture.ask_again().await;
    assert_eq!(fixture.dispatch(10, resend).await, Dispatched::Done);
    assert_eq!((fixture.lives().await, &*fixture.pending_bytes().await), (-1, "10"), "it can be sent again");
}

#[tokio::test]
async fn what_has_arrived_at_a_webhook_that_is_gone_leaves_no_row_of_it() {
    let fixture = Fixture::new().await;
    let gone = WebhookId::new(Shard(0), "0123456789abcdefghijkl");
    let instruction = fixture.arrived(&[gone.clone(), fixture.webhook.clone()]).await;
    let receipts = vec![Receipt::NoWebhook, Receipt::Recorded];
    assert_eq!(fixture.dispatch(10, instruction).await, Dispatched::Recorded(receipts));
    assert_eq!(fixture.run(&["EXISTS", &format!("sw:{{p03}}:log:{gone}")]).await, "0");
    assert_eq!(fixture.run(&["XLEN", &format!("sw:{{p03}}:log:{}", fixture.webhook)]).await, "1");
}

#[tokio::test]
async fn what_is_broken_of_a_webhook_costs_an_event_that_has_arrived_nothing_else() {
    let fixture = Fixture::new().await;
    let log = format!("sw:{{p03}}:log:{}", fixture.webhook);
    fixture.run(&["SET", &log, "another hand's"]).await;
    let instruction = fixture.arrived(std::slice::from_ref(&fixture.webhook)).await;
    let batch = fixture.try_dispatch(10, instruction).await.unwrap();
    assert_eq!(batch.answers, [Dispatched::Recorded(vec![Receipt::Recorded])]);
    assert_eq!(batch.set_aside, 1);
    assert_eq!(fixture.run(&["HGET", &format!("sw:{{p03}}:count:{}", fixture.webhook), "ok"]).await, "1");
    assert_eq!(fixture.run(&["EXISTS", &fixture.delivered_record()]).await, "1");
}

#[tokio::test]
async fn what_has_arrived_is_added_to_the_record_of_the_same_id_if_there_is_one() {
    let fixture = Fixture::new().await;
    let (record, target) = (fixture.record_of_event(), format!("to:{}", fixture.webhook));
    for (open, ends) in [("1", false), ("0", true)] {
        fixture.run(&["HSET", &record, "body", "{}", "to:other", "pending", "open", open]).await;
        let instruction = fixture.arrived(std::slice::from_ref(&fixture.webhook)).await;
        fixture.dispatch(10, instruction).await;
        assert_eq!(fixture.run(&["HGET", &record, &target]).await, "delivered 1000 1");
        assert_eq!(fixture.run(&["HGET", &record, "to:other"]).await, "pending");
        assert_eq!((fixture.lives().await != -1), ends);
        assert_eq!(fixture.run(&["EXISTS", &fixture.delivered_record()]).await, "0");
        fixture.run(&["DEL", "sw:{p03}:events"]).await;
    }
}
