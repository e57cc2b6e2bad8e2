//! Which routes are changes; what a trail tells at each end that a request can have.

use actix_web::test::TestRequest;
use serde_json::json;

use super::*;
use crate::api::testing::{Client, config, token, user};
use crate::telemetry::metrics::METRICS;

/// Routes that are no `GET` and change nothing, or nothing of a webhook.
const NO_CHANGES: [(&str, &str); 3] =
    [("post", "/events"), ("post", "/events/batch"), ("post", "/webhooks/{id}/filter-test")];

#[test]
fn every_route_is_a_change_or_is_known_to_be_none() {
    for (method, path) in routes::all() {
        let is_none = method == "get" || NO_CHANGES.contains(&(method, path));
        assert_eq!(action(method, path).is_none(), is_none, "{method} {path}");
    }
}

fn trail(action: Action) -> (Trail, Rc<Record>) {
    let record = Rc::new(Record {
        action,
        tenant: Tenant::Organization("acme".into()),
        user: UserId("ann".into()),
        webhook: RefCell::default(),
        fields: RefCell::default(),
        source: None,
        request: None,
        stage: Cell::new(Stage::Before),
    });
    (Trail(Some(record.clone())), record)
}

#[actix_web::test]
async fn a_write_is_done_undone_or_in_doubt() {
    let cut = || store::Error::unanswered();
    for (written, stage) in [
        (Ok(()), Stage::Done),
        (Err(store::Error::Changed), Stage::Before),
        (Err(store::Error::Fenced), Stage::Before),
        (Err(cut()), Stage::UnderWay),
    ] {
        let (trail, record) = trail(Action::ResetFailures);
        // The outcome is what is looked at.
        let _ = trail.follow(std::future::ready(written)).await;
        assert_eq!(record.stage.get(), stage);
        record.stage.set(Stage::Told);
    }
}

#[actix_web::test]
async fn a_request_that_is_given_up_in_the_middle_of_its_write_is_told_as_unknown() {
    let counted = || METRICS.changes.with_label_values(&["cancel_recovery", "unknown"]).get();
    let before = counted();
    let (trail, record) = trail(Action::CancelRecovery);
    drop(record);
    let mut write = Box::pin(trail.follow(std::future::pending::<Result<(), store::Error>>()));
    assert!(futures_util::poll!(&mut write).is_pending());
    drop(write);
    drop(trail);
    assert_eq!(counted(), before + 1);
}

#[actix_web::test]
async fn who_may_not_is_counted_as_denied_and_what_fails_otherwise_is_not_told() {
    let client = Client::alone(config()).await;
    let counted = |ending: Ending| {
        let action = Action::DeactivateWebhook.as_str();
        METRICS.changes.with_label_values(&[action, ending.as_str()]).get()
    };
    let before = Ending::ALL.map(counted);
    let path = "/api/webhooks/wh_00aaaaaaaaaaaaaaaaaaaaaa/deactivate";
    let viewer = token(json!({"sub": "eve", "organizationId": "acme", "role": "VIEWER"}));
    assert_eq!(client.post(&viewer, path, json!({})).await.status, 403);
    assert_eq!(client.post(&user("ann"), path, json!({})).await.status, 503);
    assert_eq!(client.send(TestRequest::post().uri(path)).await.status, 401);
    let [done, unknown, denied] = before;
    assert_eq!(Ending::ALL.map(counted), [done, unknown, denied + 1]);
}
