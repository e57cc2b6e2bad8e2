//! The page, opened as a browser would.

use serde_json::{Value, json};

use crate::api::testing::{admin, token, user};
use crate::dashboard::testing::Browser;
use crate::store::testing::TestRedis;

const XSS: &str = "\"><script>alert(1)</script>";

/// A webhook of `ann`, with headers of its own if any are named; her browser and the address of its page.
async fn opened(redis: &TestRedis, headers: Value) -> (Browser, Value, String) {
    let browser = Browser::of(&user("ann"), redis).await;
    let body =
        json!({"name": XSS, "url": "https://example.com/?a=<script>", "events": ["*"], "headers": headers});
    let made = browser.client.post(&user("ann"), "/api/webhooks", body).await.json();
    let path = format!("/dashboard/webhooks/{}/verify", made["id"].as_str().unwrap());
    (browser, made, path)
}

#[actix_web::test]
async fn the_page_holds_programs_with_the_webhook_s_own_names_and_no_secret() {
    let redis = TestRedis::start().await;
    let (browser, made, path) = opened(&redis, json!({"X-Team": "very secret"})).await;
    let page = browser.get(&path).await;
    assert_eq!(page.status, 200, "{}", page.text);
    for words in [
        "WEBHOOK_SECRET",
        "JavaScript",
        "webhook.py",
        "webhook.php",
        "<code>webhook-timestamp</code>",
        "<code>x-webhook-signature</code>",
        "which are not signed: <code>X-Team</code>.",
        "id=\"language-0\" checked",
        "data-copy=\"program-2\"",
    ] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    assert_eq!(page.text.matches(" checked").count(), 1);
    assert_eq!(page.text.matches("class=\"program\"").count(), 3, "the style sheet shows three");
    assert!(!page.text.contains("very secret") && !page.text.contains(made["secret"].as_str().unwrap()));
    assert!(!page.text.contains("<script>"), "{}", page.text);
    for address in ["secret", "test"] {
        assert!(page.text.contains(&format!("href=\"{}\"", path.replace("verify", address))), "{address}");
    }
}

#[actix_web::test]
async fn the_overlap_of_secrets_is_told_while_it_lasts() {
    let redis = TestRedis::start().await;
    let (browser, made, path) = opened(&redis, json!({})).await;
    let renew = format!("/api/webhooks/{}/regenerate-secret", made["id"].as_str().unwrap());
    let overlap = "is signed with the former secret too";
    let before = browser.get(&path).await.text;
    assert!(!before.contains(overlap) && before.contains("This webhook sends no headers of its own."));
    for (grace, is_told) in [(3600, true), (0, false)] {
        let body = json!({"gracePeriodSeconds": grace});
        assert_eq!(browser.client.post(&user("ann"), &renew, body).await.status, 200);
        assert_eq!(browser.get(&path).await.text.contains(overlap), is_told, "{grace}");
    }
}

#[actix_web::test]
async fn who_may_not_change_the_webhook_is_offered_no_new_secret() {
    let redis = TestRedis::start().await;
    let (_, _, path) = opened(&redis, json!({})).await;
    let viewer = token(json!({"sub": "ann", "organizationId": "acme", "role": "VIEWER"}));
    for (token, status) in [(viewer, 200), (admin("adam"), 200), (user("bob"), 404)] {
        let page = Browser::of(&token, &redis).await.get(&path).await;
        assert_eq!(page.status, status, "{}", page.text);
        assert!(!page.text.contains("New secret"), "{}", page.text);
        assert_eq!(page.text.contains("Whoever owns the webhook"), status == 200, "{}", page.text);
    }
}
