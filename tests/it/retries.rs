//! Contract §5 and §8: what follows a failed attempt.

use std::time::{Duration, SystemTime};

use chrono::DateTime;
use serde_json::{Value, json};

use crate::harness::{Received, Receiver, Reply, SOON, TestNode, TestRedis, eventually, text};

fn gaps(requests: &[Received]) -> Vec<Duration> {
    requests.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

/// Milliseconds from an attempt to the next one that its row promises.
fn promised(row: &Value) -> i64 {
    let at = |name: &str| DateTime::parse_from_rfc3339(&text(&row[name])).unwrap().timestamp_millis();
    at("nextRetryAt") - at("createdAt")
}

#[tokio::test]
async fn a_fixed_delay_is_kept_and_the_last_failure_ends_the_delivery() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(500)]);
    let ann = node.user("ann", "acme");
    let settings = json!({ "retryAttempts": 2, "retryDelaySeconds": 1 });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    node.publisher("acme").publish("lead.created", &json!({})).await;
    let stats = ann.settled(1).await;
    assert_eq!(stats["deliveries"]["failed"], 1);
    let got = receiver.received("/");
    assert_eq!(got.iter().map(Received::attempt).collect::<Vec<_>>(), [1, 2, 3]);
    for gap in gaps(&got) {
        assert!(gap >= Duration::from_millis(950), "{gap:?}");
    }
    let log = ann.log(&id, "").await;
    assert_eq!(log.len(), 3);
    assert_eq!(log[0]["nextRetryAt"], Value::Null);
    assert!(log[1..].iter().all(|row| (1000..1500).contains(&promised(row))), "{log:?}");
}

#[tokio::test]
async fn an_exponential_delay_doubles() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(500), Reply::status(500), Reply::status(200)]);
    let ann = node.user("ann", "acme");
    let settings = json!({ "retryAttempts": 5, "retryDelaySeconds": 1, "retryBackoff": "exponential" });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    node.publisher("acme").publish("lead.created", &json!({})).await;
    ann.settled(1).await;
    let log = ann.log(&id, "").await;
    assert!((1000..1500).contains(&promised(&log[2])), "{log:?}");
    assert!((2000..2600).contains(&promised(&log[1])), "{log:?}");
}

#[tokio::test]
async fn a_schedule_goes_on_after_the_node_was_killed() {
    let redis = TestRedis::start();
    let mut node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(500), Reply::status(500), Reply::status(200)]);
    let ann = node.user("ann", "acme");
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({ "retrySchedule": [2, 1] })).await["id"]);
    let event = node.publisher("acme").publish("lead.created", &json!({})).await;
    eventually("the first attempt is recorded", SOON, async || {
        (ann.log(&id, "").await.len() == 1).then_some(())
    })
    .await;
    node.kill().await;
    node.start_again().await;
    ann.settled(1).await;
    let got = receiver.received("/");
    assert_eq!(got.iter().map(Received::attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(got.iter().all(|request| request.event_id() == event && request.body == got[0].body));
    assert!(gaps(&got)[0] >= Duration::from_millis(1950), "{:?}", gaps(&got));
    assert_eq!(ann.webhook(&id).await["deliveryCount"], 3);
}

#[tokio::test]
async fn retry_after_is_waited_for_in_seconds_and_as_a_date() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(4));
    let cases = [("/seconds", 429, "2".to_owned()), ("/date", 503, date)];
    let ann = node.user("ann", "acme");
    for (path, status, value) in &cases {
        receiver.script(path, &[Reply::status(*status).header("Retry-After", value), Reply::status(200)]);
        ann.create(&receiver.url(path), &["*"], &json!({ "retrySchedule": [0] })).await;
    }
    // Any other failure's is not obeyed.
    receiver.script("/ignored", &[Reply::status(500).header("Retry-After", "3600"), Reply::status(200)]);
    ann.create(&receiver.url("/ignored"), &["*"], &json!({ "retrySchedule": [0] })).await;
    node.publisher("acme").publish("lead.created", &json!({})).await;
    ann.settled(3).await;
    assert!(gaps(&receiver.received("/seconds"))[0] >= Duration::from_millis(1950));
    assert!(gaps(&receiver.received("/date"))[0] >= Duration::from_millis(1500), "a date has whole seconds");
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_pause_gets_nothing_else_meanwhile() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(429).header("Retry-After", "2"), Reply::status(200)]);
    let ann = node.user("ann", "acme");
    let settings = json!({ "retrySchedule": [0], "maxConcurrency": 1 });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    let crm = node.publisher("acme");
    crm.publish("lead.created", &json!({})).await;
    eventually("the pause is recorded", SOON, async || (ann.log(&id, "").await.len() == 1).then_some(()))
        .await;
    crm.publish("lead.updated", &json!({})).await;
    ann.settled(2).await;
    let got = receiver.received("/");
    assert_eq!(got.len(), 3);
    assert!(got[1].at - got[0].at >= Duration::from_millis(1950), "{:?}", gaps(&got));
}

#[tokio::test]
async fn retry_after_is_read_in_every_form_and_bounded_at_a_day() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let hour = chrono::DateTime::from(SystemTime::now() + Duration::from_secs(3600));
    let hour: chrono::DateTime<chrono::Utc> = hour;
    let (day_seconds, none) = (86_400, 60);
    // (what the endpoint says, the seconds until the retry that must follow)
    let cases = [
        (429, "3600".to_owned(), 3600),
        (503, hour.format("%a, %d %b %Y %H:%M:%S GMT").to_string(), 3600),
        (503, hour.format("%A, %d-%b-%y %H:%M:%S GMT").to_string(), 3600),
        (503, hour.format("%a %b %e %H:%M:%S %Y").to_string(), 3600),
        (429, "31536000".to_owned(), day_seconds),
        (429, "99999999999999999999999999".to_owned(), day_seconds),
        (503, "Fri, 31 Dec 9999 23:59:59 GMT".to_owned(), day_seconds),
        (503, "Sun, 06 Nov 1994 08:49:37 GMT".to_owned(), none),
        (429, "-3600".to_owned(), none),
        (429, "tomorrow".to_owned(), none),
    ];
    let mut webhooks = Vec::new();
    for (place, (status, value, expected)) in cases.iter().enumerate() {
        let path = format!("/{place}");
        receiver.script(&path, &[Reply::status(*status).header("Retry-After", value)]);
        let made = ann.create(&receiver.url(&path), &["*"], &json!({ "retrySchedule": [none] })).await;
        webhooks.push((text(&made["id"]), value, *expected));
    }
    node.publisher("acme").publish("lead.created", &json!({})).await;
    for (id, value, expected) in webhooks {
        let row = eventually(value, SOON, async || ann.log(&id, "").await.into_iter().next()).await;
        let seconds = promised(&row) / 1000;
        // Dates have whole seconds, and the request took some time.
        assert!((expected - 5..=expected + 1).contains(&seconds), "{value}: {seconds} s");
        let webhook = ann.webhook(&id).await;
        assert_eq!((&webhook["status"], &webhook["pendingCount"]), (&json!("active"), &json!(1)), "{value}");
        let paused = if expected == none { &Value::Null } else { &row["nextRetryAt"] };
        assert_eq!(&webhook["pausedUntil"], paused, "{value}");
    }
}
