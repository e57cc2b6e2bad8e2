//! The page, against a real Redis, as its visitors open it.

use serde_json::json;

use crate::api::testing::{Client, admin, config, token, user};
use crate::dashboard::staged::{HOSTILE, attempt, counters, log, webhook};
use crate::dashboard::testing::Browser;
use crate::domain::{ErrorKind, Millis, WebhookId};
use crate::store::testing::TestRedis;

async fn page(browser: &Browser, id: &WebhookId) -> String {
    let answer = browser.get(&format!("/dashboard/webhooks/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

/// What of a webhook's own pages is offered: addresses below it that a form or a button leads to.
fn offered(page: &str, id: &WebhookId) -> Vec<String> {
    let base = format!("/dashboard/webhooks/{id}/");
    let actions = page.split("class=\"row actions\"").nth(1).unwrap_or_default();
    let actions = actions.split("<dl").next().unwrap();
    actions.split(&base).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn how_a_webhook_does_and_why_it_failed_last() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let browser = Browser::of(&ann, &redis).await;
    let id = webhook(&browser.client, &ann, "first", json!({})).await;
    counters(
        &browser.client,
        &id,
        &[("row", 2), ("ok", 1), ("fail", 4), ("last_ok", 1_000), ("last", 2_000)],
    )
    .await;
    for _ in 0..4 {
        log(&browser.client, &id, attempt(Some((ErrorKind::Dns, "the host name could not be resolved"))))
            .await;
    }
    log(&browser.client, &id, attempt(None)).await;
    let mut last = attempt(Some((ErrorKind::Connect, "the connection was refused")));
    (last.attempt, last.next_retry_at) = (3, Some(Millis(u64::MAX / 2)));
    let failed = log(&browser.client, &id, last).await;
    let page = page(&browser, &id).await;
    for text in [
        "The last failure",
        "The connection was refused.",
        "What to do",
        &format!("/dashboard/webhooks/{id}/deliveries/{failed}"),
        "attempt 3",
        "again ",
        "1 attempt delivered, 4 failed",
        "none, 40 ms",
        "200, 40 ms",
        "No attempts yet.",
        "no deliveries yet",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert_eq!(page.matches("badge fail\">Failed").count(), 4, "the newest five: {page}");
    assert_eq!(page.matches("badge ok\">Delivered").count(), 1, "{page}");
    assert!(!page.contains("have succeeded since"), "{page}");
    counters(&browser.client, &id, &[("row", 0)]).await;
    let forgotten = self::page(&browser, &id).await;
    assert!(!forgotten.contains("have succeeded since"), "to forget failures is no success: {forgotten}");
    counters(&browser.client, &id, &[("last_ok", 253_402_300_799_000)]).await;
    assert!(self::page(&browser, &id).await.contains("Deliveries have succeeded since then."));
}

#[actix_web::test]
async fn settings_are_told_in_words_and_header_values_not_at_all() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let browser = Browser::of(&ann, &redis).await;
    let fields = json!({
        "description": "What it is for.", "events": ["lead.created", "opportunity.*"],
        "headers": {"X-Key": "top-secret-value"}, "filter": {"status": "new"},
        "retryAttempts": 3, "retryDelaySeconds": 60, "retryBackoff": "exponential",
        "rateLimitPerSecond": 50, "maxConcurrency": 4, "timeoutSeconds": 1,
    });
    let id = webhook(&browser.client, &ann, "first", fields).await;
    let text = page(&browser, &id).await;
    for expected in [
        "What it is for.",
        "<code>lead.created</code>, <code>opportunity.*</code>",
        "<code>X-Key</code>",
        "&quot;status&quot;: &quot;new&quot;",
        "up to 3 times, after 1 min, 2 min, 4 min",
        "given up after 7 min",
        "1 second for each attempt",
        "at most 4 at once, at most 50 a second",
        "Nothing has been sent to it lately.",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("top-secret-value") && !text.contains("whsec_"), "{text}");
    let plain = json!({"ordered": true, "retryAttempts": 0});
    let id = webhook(&browser.client, &ann, "second", plain).await;
    let text = page(&browser, &id).await;
    for expected in
        ["every event", "one after another, in order", "a delivery that fails is given up", ">none<"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

async fn switch(client: &Client, token: &str, id: &WebhookId, what: &str) {
    let answer = client.post(token, &format!("/api/webhooks/{id}/{what}"), json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[actix_web::test]
async fn visitors_are_offered_what_they_may_do_and_no_more() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let browser = Browser::of(&ann, &redis).await;
    let id = webhook(&browser.client, &ann, "first", json!({})).await;
    let rest = ["edit", "secret", "delete"];
    assert_eq!(offered(&page(&browser, &id).await, &id), [&["test", "recover", "pause"][..], &rest].concat());
    counters(&browser.client, &id, &[("row", 1)]).await;
    let failing = page(&browser, &id).await;
    assert_eq!(offered(&failing, &id), [&["test", "reset-failures", "recover", "pause"][..], &rest].concat());
    let mark = browser.mark().await;
    assert!(failing.matches(&format!("value=\"{mark}\"")).count() >= 2, "every form has its mark: {failing}");

    let eve = Browser::of(&admin("eve"), &redis).await;
    let of_admin = page(&eve, &id).await;
    assert_eq!(offered(&of_admin, &id), ["pause", "delete"]);
    assert!(
        of_admin.contains("owned by ann") && of_admin.contains("you may pause and delete it"),
        "{of_admin}"
    );
    assert!(!of_admin.contains("Send a test") && !of_admin.contains(">Change settings<"), "{of_admin}");
    switch(&browser.client, &ann, &id, "deactivate").await;
    assert_eq!(offered(&page(&eve, &id).await, &id), ["delete"]);
    assert_eq!(offered(&page(&browser, &id).await, &id), [&["resume", "test"][..], &rest].concat());

    let viewer = token(json!({"sub": "ann", "organizationId": "acme", "role": "VIEWER"}));
    let of_viewer = page(&Browser::of(&viewer, &redis).await, &id).await;
    assert_eq!(offered(&of_viewer, &id), Vec::<String>::new());
    assert!(of_viewer.contains("not change it") && !of_viewer.contains("Send a test"), "{of_viewer}");
}

#[actix_web::test]
async fn of_a_locked_webhook_only_what_works_is_offered() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let mut sealed = config();
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    sealed.security.encryption_key = Some(key.parse().unwrap());
    let id = webhook(&Browser::with(sealed, &ann, &redis).await.client, &ann, "first", json!({})).await;
    let browser = Browser::of(&ann, &redis).await;
    let text = page(&browser, &id).await;
    assert_eq!(offered(&text, &id), ["recover", "pause", "secret", "delete"]);
    assert!(text.contains("cannot be read by this node"), "{text}");
    let overview = browser.get("/dashboard").await.text;
    assert!(overview.contains("Its secret cannot be read") && overview.contains(&format!("/{id}/secret")));
}

#[actix_web::test]
async fn of_others_and_of_nothing_there_is_no_page() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let browser = Browser::of(&ann, &redis).await;
    let id = webhook(&browser.client, &ann, "first", json!({})).await;
    let bob = Browser::of(&user("bob"), &redis).await;
    for path in [format!("{id}"), "wh_00aaaaaaaaaaaaaaaaaaaaaa".into(), "nonsense".into()] {
        let answer = bob.get(&format!("/dashboard/webhooks/{path}")).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text.contains("There is no such page") && !answer.text.contains("first"));
    }
    let elsewhere = token(json!({"sub": "ann", "organizationId": "other", "role": "ADMIN"}));
    let answer = Browser::of(&elsewhere, &redis).await.get(&format!("/dashboard/webhooks/{id}")).await;
    assert_eq!(answer.status, 404, "another organization's administrator");
}

#[actix_web::test]
async fn what_comes_from_elsewhere_is_text() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let browser = Browser::of(&ann, &redis).await;
    let fields = json!({
        "description": HOSTILE, "filter": {"status": HOSTILE}, "url": "https://hooks.example.com/?q=%22'><script>",
    });
    let id = webhook(&browser.client, &ann, HOSTILE, fields).await;
    let mut row = attempt(Some((ErrorKind::Connect, HOSTILE)));
    row.event_type = HOSTILE.into();
    log(&browser.client, &id, row).await;
    let text = page(&browser, &id).await;
    // Title, trail, heading, description, filter, event, message.
    assert!(text.matches("&lt;script&gt;alert(1)").count() >= 7, "{text}");
    assert!(!text.contains("<script>") && !text.contains("<img src=x"), "{text}");
}
