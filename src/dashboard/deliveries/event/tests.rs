//! The page of an event, against a real Redis.

use crate::api::testing::user;
use crate::dashboard::deliveries::testing::{Room, failed};
use crate::domain::{AttemptRow, ErrorKind};

#[actix_web::test]
async fn an_event_tells_where_it_stands_and_what_it_says() {
    let room = Room::new().await;
    let body = r#"{"id":"evt_1","type":"lead.created","timestamp":"2026-01-15T10:30:00.000Z","organizationId":"acme","data":{"note":"</pre><script>alert(1)</script>"}}"#;
    room.keep("evt_1", body).await;
    let last = room
        .log(AttemptRow { status: Some(500), error_message: None, ..failed(ErrorKind::HttpStatus) })
        .await;
    let now = crate::clock::now().0;
    room.stand("evt_1", &format!("dead {now} 4")).await;
    let page = room.ann.get("/dashboard/events/evt_1").await;
    assert_eq!(page.status, 200, "{}", page.text);
    for part in [
        "Failed for good",
        "The endpoint answered 500.",
        &format!("href=\"{last}\">Last attempt"),
        "&lt;/pre&gt;&lt;script&gt;alert(1)",
        "15 Jan 2026, 10:30:00 UTC",
        "&quot;&gt;&lt;script&gt;alert(1)",
    ] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(!page.text.contains("<script>"), "{}", page.text);
    room.stand("evt_1", &format!("delivered {now} 5")).await;
    assert!(room.ann.get("/dashboard/events/evt_1").await.text.contains("?eventId=evt_1\">Its attempts"));
}

#[actix_web::test]
async fn an_event_that_is_not_there_or_is_nobody_s_is_told_alike() {
    let room = Room::new().await;
    room.keep("evt_1", r#"{"id":"evt_1","type":"lead.created","timestamp":"x","data":{}}"#).await;
    room.stand("evt_1", "pending").await;
    let bob = room.browser(&user("bob")).await;
    for (browser, path) in [(&bob, "evt_1"), (&room.ann, "evt_2"), (&room.ann, "no%20id")] {
        let page = browser.get(&format!("/dashboard/events/{path}")).await;
        assert_eq!(page.status, 404, "{path}");
        assert!(page.text.contains("This event is not here"), "{}", page.text);
    }
}
