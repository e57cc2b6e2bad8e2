//! The page of the log, against a real Redis.

use serde_json::json;

use crate::api::testing::{admin, token, user};
use crate::clock;
use crate::dashboard::deliveries::testing::{Room, SCRIPT, failed, row};
use crate::domain::{AttemptRow, ErrorKind};

#[actix_web::test]
async fn a_log_without_rows_says_what_to_do() {
    let room = Room::new().await;
    let log = room.at("/deliveries");
    let page = room.ann.get(&log).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("Nothing has been sent yet"), "{}", page.text);
    assert!(
        page.text.contains(&format!(r#"<a class="button primary" href="{}">Send a test"#, room.at("/test")))
    );
    let viewer =
        room.browser(&token(json!({"sub": "ann", "organizationId": "acme", "role": "VIEWER"}))).await;
    let seen = viewer.get(&log).await.text;
    assert!(seen.contains("Nothing has been sent yet") && !seen.contains("Send a test"), "{seen}");
    assert!(!seen.contains("/recover"), "{seen}");
    let narrow = room.ann.get(&format!("{log}?result=failed")).await;
    assert!(narrow.text.contains("Nothing matches") && narrow.text.contains("Clear the filters"));
    assert!(room.ann.get(&format!("{log}?page=3")).await.text.contains("Nothing is older"));
}

#[actix_web::test]
async fn rows_are_found_by_what_came_of_them() {
    let room = Room::new().await;
    let log = room.at("/deliveries");
    let now = clock::now();
    let next_retry_at = Some(now + std::time::Duration::from_secs(90));
    room.log(AttemptRow { at: now, ..row("lead.created") }).await;
    room.log(AttemptRow { next_retry_at, status: Some(503), ..failed(ErrorKind::HttpStatus) }).await;
    let last = room.log(AttemptRow { event_type: SCRIPT.into(), ..failed(ErrorKind::Timeout) }).await;
    let page = room.ann.get(&log).await;
    for part in [
        ">Delivered</span>",
        "Failed, will be retried",
        "Failed for good",
        "503 Service Unavailable",
        "No answer in time",
        ">in 1 min<",
        &format!(r#"<a class="event" href="{last}">"#),
    ] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(!page.text.contains("<script>") && page.text.contains("&quot;&gt;&lt;script&gt;alert(1)"));
    let count = async |query: &str| {
        let answer = room.ann.get(&format!("{log}?{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        answer.text.matches("<tr id=").count()
    };
    for (query, rows) in [
        ("result=delivered", 1),
        ("result=failed", 2),
        ("result=for-good", 1),
        ("result=retried", 1),
        ("event=lead.*", 2),
        ("event=lead.updated", 0),
        ("time=1h", 1),
        ("eventId=evt_1&result=failed", 2),
        ("eventId=evt_2", 0),
        ("time=own&until=2026-01-15T10:31", 2),
    ] {
        assert_eq!(count(query).await, rows, "{query}");
    }
}

#[actix_web::test]
async fn faults_stand_beside_their_fields_and_nothing_is_searched() {
    let room = Room::new().await;
    room.log(row("lead.created")).await;
    let page = room.ann.get(&room.at("/deliveries?time=own&since=soon&eventId=%22%3E%3Cscript%3E")).await;
    assert_eq!(page.status, 400);
    for field in ["since-fault", "eventId-fault"] {
        assert!(page.text.contains(&format!("id=\"{field}\"")), "{field}: {}", page.text);
    }
    assert!(!page.text.contains("<tr id=") && !page.text.contains("\"><script>"), "{}", page.text);
}

#[actix_web::test]
async fn pages_lead_to_each_other_and_keep_what_is_asked_for() {
    let room = Room::new().await;
    for _ in 0..26 {
        room.log(row("lead.created")).await;
    }
    room.log(failed(ErrorKind::Dns)).await;
    let page = async |query: &str| room.ann.get(&room.at(&format!("/deliveries?{query}"))).await.text;
    let first = page("result=delivered").await;
    assert_eq!(first.matches("<tr id=").count(), 25);
    assert!(
        first.contains("result=delivered&amp;page=2\" rel=\"next\"") && !first.contains("rel=\"prev\""),
        "{first}"
    );
    let second = page("result=delivered&page=2").await;
    assert_eq!(second.matches("<tr id=").count(), 1);
    assert!(
        second.contains("rel=\"prev\"") && !second.contains("rel=\"next\"") && !second.contains("data-tail")
    );
}

#[actix_web::test]
async fn the_part_is_the_rows_alone() {
    let room = Room::new().await;
    room.log(row("lead.created")).await;
    let log = room.at("/deliveries");
    let whole = room.ann.get(&format!("{log}?live=1")).await.text;
    assert!(whole.contains(&format!("data-part=\"{log}?part=1&amp;live=1\"")), "{whole}");
    assert!(whole.contains("aria-pressed=\"true\"") && whole.contains("name=\"live\" value=\"1\""));
    let part = room.ann.get(&format!("{log}?part=1")).await;
    assert_eq!((part.status, part.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(part.text.starts_with("<div") && !part.text.contains("<html") && part.text.contains("<tr id="));
    assert!(part.header("content-security-policy").starts_with("default-src 'none'"));
    let ended = room.browser("a.b.c").await.get(&format!("{log}?part=1")).await;
    assert_eq!(ended.status, 303, "the script takes a redirect for the end of the session");
}

#[actix_web::test]
async fn nobody_else_sees_a_log_but_an_administrator() {
    let room = Room::new().await;
    let path = room.log(row("lead.created")).await;
    for address in [room.at("/deliveries"), path.clone(), room.at("/recover")] {
        assert_eq!(room.browser(&user("bob")).await.get(&address).await.status, 404, "{address}");
        let page = room.browser(&admin("root")).await.get(&address).await;
        assert_eq!(page.status, 200, "{address}");
        assert!(!page.text.contains("/retry\"") && !page.text.contains("name=\"count\""), "{}", page.text);
        assert!(!page.text.contains("Send a test"));
    }
}
