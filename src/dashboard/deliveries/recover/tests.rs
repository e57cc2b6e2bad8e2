//! Sending again what failed for good, against a real Redis. Nobody carries a recovery out here: it stays under way.

use crate::domain::Millis;
use serde_json::json;

use crate::api::testing::{admin, token};
use crate::dashboard::deliveries::testing::Room;
use crate::dashboard::testing::hidden;

#[actix_web::test]
async fn it_is_counted_first_and_then_queued_and_can_be_ended() {
    let room = Room::new().await;
    let here = room.at("/recover");
    for event in ["evt_1", "evt_2"] {
        room.dead(event).await;
    }
    let asked = room.ann.get(&here).await;
    assert_eq!(asked.status, 200);
    assert!(
        asked.text.contains("name=\"count\"") && !asked.text.contains("would be queued"),
        "{}",
        asked.text
    );
    let counted = room.ann.get(&format!("{here}?since=2020-01-01T00%3A00&until=&event=lead.*&count=1")).await;
    assert_eq!(counted.status, 200, "{}", counted.text);
    for part in ["<strong>2 events</strong>", "<code>lead.created</code>", "Queue 2 events again"] {
        assert!(counted.text.contains(part), "{part}: {}", counted.text);
    }
    let fields = ["since", "until", "event"].map(|name| {
        let form = counted.text.split("method=\"post\"").last().unwrap();
        (name, hidden(form, name).unwrap())
    });
    assert_eq!(fields[0].1, "2020-01-01T00:00");
    assert!(
        Millis::parse_rfc3339(&format!("{}Z", fields[1].1)).is_some(),
        "it ends when it was counted: {fields:?}"
    );
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    let begun = room.ann.post(&here, &fields).await;
    assert_eq!((begun.status, begun.header("location")), (303, format!("{here}?done=recovering").as_str()));

    let running = room.ann.get(begun.header("location")).await.text;
    for part in ["Under way", "<progress", "0 of 2 events queued again", "End it", "One recovery at a time"] {
        assert!(running.contains(part), "{part}: {running}");
    }
    assert!(!running.contains("name=\"count\""), "{running}");
    let second = room.ann.post(&here, &fields).await;
    assert!(second.status == 409 && second.text.contains("Nothing was queued"), "{}", second.text);
    let part = room.ann.get(&format!("{here}?part=1")).await.text;
    assert!(part.starts_with("<p>") && part.contains("<progress") && !part.contains("<html"), "{part}");

    let ended = room.ann.post(&format!("{here}/cancel"), &[]).await;
    assert_eq!(
        (ended.status, ended.header("location")),
        (303, format!("{here}?done=recovery-ended").as_str())
    );
    assert!(room.ann.get(&here).await.text.contains("Ended early"));
    assert_eq!(room.ann.post(&format!("{here}/cancel"), &[]).await.status, 303, "once more is no fault");
}

#[actix_web::test]
async fn what_never_began_cannot_be_ended() {
    let room = Room::new().await;
    let answer = room.ann.post(&room.at("/recover/cancel"), &[]).await;
    assert!(answer.status == 409 && answer.text.contains("No recovery is under way"), "{}", answer.text);
}

#[actix_web::test]
async fn faults_stand_beside_their_fields_and_nothing_is_queued() {
    let room = Room::new().await;
    let here = room.at("/recover");
    room.dead("evt_1").await;
    let counted = room.ann.get(&format!("{here}?since=soon&until=%22%3E%3Cb%3E&count=1")).await;
    assert_eq!(counted.status, 400);
    assert!(counted.text.contains("id=\"since-fault\"") && counted.text.contains("id=\"until-fault\""));
    assert!(!counted.text.contains("<b>") && !counted.text.contains("would be queued"), "{}", counted.text);
    let posted = room.ann.post(&here, &[("since", ""), ("until", "2026-01-15T10:30")]).await;
    assert!(posted.status == 400 && posted.text.contains("Fill in a start"), "{}", posted.text);
    assert_eq!(room.run(&["EXISTS", &room.key(&format!("recovery:{}", room.webhook))]).await, "0");
}

#[actix_web::test]
async fn where_nothing_failed_nothing_is_begun() {
    let room = Room::new().await;
    let here = room.at("/recover");
    let counted = room.ann.get(&format!("{here}?count=1")).await;
    assert!(
        counted.text.contains("Nothing is to be sent again") && !counted.text.contains("Queue "),
        "{}",
        counted.text
    );
    let posted = room.ann.post(&here, &[("since", "2020-01-01T00:00")]).await;
    assert!(posted.status == 200 && posted.text.contains("Nothing is to be sent again"), "{}", posted.text);
}

#[actix_web::test]
async fn what_would_be_refused_is_not_offered() {
    let room = Room::new().await;
    let here = room.at("/recover");
    room.dead("evt_1").await;
    let viewer = token(json!({"sub": "ann", "organizationId": "acme", "role": "VIEWER"}));
    for who in [admin("root"), viewer] {
        let browser = room.browser(&who).await;
        let page = browser.get(&format!("{here}?count=1")).await.text;
        assert!(
            page.contains("Only the owner of the webhook") && !page.contains("would be queued"),
            "{page}"
        );
        for post in [here.clone(), format!("{here}/cancel")] {
            assert_eq!(browser.post(&post, &[("since", "2020-01-01T00:00")]).await.status, 403);
        }
    }
    room.pause().await;
    let page = room.ann.get(&here).await.text;
    assert!(page.contains("Switch it on first") && !page.contains("name=\"count\""), "{page}");
    let posted = room.ann.post(&here, &[("since", "2020-01-01T00:00")]).await;
    assert!(posted.status == 409 && posted.text.contains("the webhook is not active"), "{}", posted.text);
}
