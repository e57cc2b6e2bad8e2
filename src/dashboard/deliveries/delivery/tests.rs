//! The page of one attempt, and sending it again, against a real Redis.

use std::time::Duration;

use serde_json::json;

use crate::api::testing::{admin, token};
use crate::clock;
use crate::dashboard::deliveries::testing::{Room, SCRIPT, failed, row};
use crate::dashboard::testing::hidden;
use crate::domain::{AttemptRow, ErrorKind};

const BODY: &str =
    r#"{"id":"evt_1","type":"lead.created","data":{"note":"</pre><script>alert(1)</script>"}}"#;

fn failure() -> AttemptRow {
    AttemptRow {
        status: Some(500),
        error_message: Some("the endpoint answered 500".into()),
        response_body: Some(SCRIPT.into()),
        ..failed(ErrorKind::HttpStatus)
    }
}

#[actix_web::test]
async fn a_failure_is_explained_before_all_else() {
    let room = Room::new().await;
    room.keep("evt_1", BODY).await;
    let path = room.log(failure()).await;
    let page = room.ann.get(&path).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let place = |part: &str| page.text.find(part).unwrap_or_else(|| panic!("{part}: {}", page.text));
    assert!(place("Why it failed") < place("The endpoint answered 500."));
    assert!(place("The endpoint answered 500.") < place("look into its own log"));
    assert!(place("This was the last attempt.") < place("All attempts of this event"));
    assert!(place("500 Internal Server Error") < place("What was sent"));
    place("&lt;/pre&gt;&lt;script&gt;alert(1)");
    place("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;</pre>");
    place("signatures were sent too, but are not shown");
    place(&format!("action=\"{path}/retry\""));
    place("/recover?since=2026-01-15T09%3A30&amp;until=2026-01-15T11%3A30");
    place("href=\"/dashboard/events/evt_1\"");
    assert!(!page.text.contains("<script>"), "{}", page.text);
}

#[actix_web::test]
async fn all_attempts_of_the_event_stand_in_a_row() {
    let room = Room::new().await;
    let now = clock::now();
    let next_retry_at = Some(now + Duration::from_secs(600));
    room.log(AttemptRow { at: now.minus(Duration::from_secs(61)), next_retry_at: Some(now), ..failure() })
        .await;
    room.log(AttemptRow { event_id: "evt_2".parse().unwrap(), ..failure() }).await;
    let second = room.log(AttemptRow { at: now, attempt: 2, next_retry_at, ..failure() }).await;
    let page = room.ann.get(&second).await.text;
    for part in [
        ">Attempt 1</a>",
        "1 min 1 s later",
        ">Attempt 2</strong>",
        "Next attempt <time",
        "It is tried again",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert_eq!(page.matches("<div class=\"point\">").count(), 3, "the other event is not there: {page}");
    let part = room.ann.get(&format!("{second}?part=1")).await.text;
    assert!(part.starts_with("<ol class=\"timeline\">") && part.contains(">Attempt 1</a>"), "{part}");
}

#[actix_web::test]
async fn a_delivery_is_sent_again_and_its_page_says_so() {
    let room = Room::new().await;
    room.keep("evt_1", BODY).await;
    let path = room.log(failure()).await;
    let waiting = async || room.run(&["XLEN", &room.key("events")]).await;
    let before = waiting().await;
    let sent = room.ann.post(&format!("{path}/retry"), &[]).await;
    assert_eq!((sent.status, sent.header("location")), (303, format!("{path}?done=retried").as_str()));
    assert_ne!(waiting().await, before, "it is queued");
    assert!(room.ann.get(sent.header("location")).await.text.contains("The delivery was queued again."));
}

#[actix_web::test]
async fn a_test_is_told_as_one_whatever_type_it_sent() {
    let room = Room::new().await;
    let path = room.log(AttemptRow { is_test: true, next_retry_at: None, ..failure() }).await;
    let page = room.ann.get(&path).await.text;
    assert!(page.contains("Test failed") && !page.contains("Failed for good"), "{page}");
    assert!(page.contains("A test is not sent again") && !page.contains("/retry\""), "{page}");
}

#[actix_web::test]
async fn a_button_that_is_pressed_twice_sends_once() {
    let room = Room::new().await;
    room.keep("evt_1", BODY).await;
    let path = room.log(failure()).await;
    let waiting = async || room.run(&["XLEN", &room.key("events")]).await;
    let page = room.ann.get(&path).await.text;
    let once = hidden(&page, "form").expect("the form has an id");
    let press = async || room.ann.post(&format!("{path}/retry"), &[("form", once.as_str())]).await;
    assert_eq!(press().await.status, 303);
    let after = waiting().await;
    let again = press().await;
    assert_eq!((again.status, again.header("location")), (303, format!("{path}?done=retried").as_str()));
    assert_eq!(waiting().await, after, "nothing more is queued");
}

#[actix_web::test]
async fn what_cannot_be_sent_again_is_not_offered_and_says_why_if_it_is_asked_for() {
    let room = Room::new().await;
    let path = room.log(failure()).await;
    let page = room.ann.get(&path).await.text;
    assert!(page.contains("It cannot be sent again: the body of the event is no longer kept."), "{page}");
    assert!(page.contains("Bodies are kept for 3 d,") && !page.contains("/retry\""), "{page}");
    let sent = room.ann.post(&format!("{path}/retry"), &[]).await;
    assert_eq!(sent.status, 409);
    assert!(
        sent.text.contains("It was not sent again: the body of the event is no longer kept."),
        "{}",
        sent.text
    );

    room.keep("evt_1", BODY).await;
    room.pause().await;
    assert!(room.ann.get(&path).await.text.contains("once the webhook is active"));
    let sent = room.ann.post(&format!("{path}/retry"), &[]).await;
    assert!(sent.status == 409 && sent.text.contains("the webhook is not active"), "{}", sent.text);

    let test = room.log(row("test")).await;
    let page = room.ann.get(&test).await.text;
    assert!(page.contains("A test is not sent again") && !page.contains("/dashboard/events/"), "{page}");
}

#[actix_web::test]
async fn only_the_owner_is_offered_to_send_it_again() {
    let room = Room::new().await;
    room.keep("evt_1", BODY).await;
    let path = room.log(failure()).await;
    let viewer = token(json!({"sub": "ann", "organizationId": "acme", "role": "VIEWER"}));
    for who in [admin("root"), viewer] {
        let browser = room.browser(&who).await;
        let page = browser.get(&path).await.text;
        assert!(page.contains("Only the owner of the webhook") && !page.contains("/retry\""), "{page}");
        assert_eq!(browser.post(&format!("{path}/retry"), &[]).await.status, 403);
    }
    let bob = room.browser(&crate::api::testing::user("bob")).await;
    assert_eq!(bob.post(&format!("{path}/retry"), &[]).await.status, 404);
    let unknown = room.at("/deliveries/att_17_0_aaaaaa");
    assert_eq!(room.ann.get(&unknown).await.status, 404);
    assert_eq!(room.ann.post(&format!("{unknown}/retry"), &[]).await.status, 404);
}

#[actix_web::test]
async fn a_success_shows_what_was_answered_and_may_be_repeated() {
    let room = Room::new().await;
    room.keep("evt_1", BODY).await;
    let path =
        room.log(AttemptRow { response_body: Some("{\"ok\":true}".into()), ..row("lead.created") }).await;
    let page = room.ann.get(&path).await.text;
    for part in [
        "It was delivered",
        "200 OK",
        "{\n  &quot;ok&quot;: true\n}",
        "Send it again",
        "Took 12 ms of the 30 s",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("Why it failed") && !page.contains("failed around that time"));
}
