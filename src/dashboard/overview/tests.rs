//! The page, against a real Redis, as its visitor opens it.

use serde_json::json;

use crate::api::testing::{admin, config, token, user};
use crate::config::Config;
use crate::dashboard::staged::{HOSTILE, attempt, counters, give_up, log, this_hour, webhook};
use crate::dashboard::testing::Browser;
use crate::domain::ErrorKind;
use crate::store::testing::TestRedis;

const REFUSED: Option<(ErrorKind, &str)> = Some((ErrorKind::Connect, "the connection was refused"));

fn roomy() -> Config {
    let mut config = config();
    (config.limits.webhooks_per_user, config.limits.webhooks_per_tenant) = (50, 50);
    config
}

/// The places of `texts` in `page`, which must be there.
fn places(page: &str, texts: &[&str]) -> Vec<usize> {
    texts.iter().map(|text| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"))).collect()
}

#[actix_web::test]
async fn without_a_webhook_the_next_step_is_told_to_those_who_may_take_it() {
    let redis = TestRedis::start().await;
    let browser = Browser::of(&user("ann"), &redis).await;
    let page = browser.get("/dashboard").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("You have no webhooks yet"), "{}", page.text);
    assert!(page.text.contains(r#"href="/dashboard/webhooks/new">Create your first webhook<"#));
    for absent in ["Needs attention", "<svg", "100", "organization are listed"] {
        assert!(!page.text.contains(absent), "{absent}: {}", page.text);
    }
    let viewer = token(json!({"sub": "vic", "organizationId": "acme", "role": "VIEWER"}));
    let page = Browser::of(&viewer, &redis).await.get("/dashboard").await;
    assert!(page.text.contains("ask for a role that may"), "{}", page.text);
    assert!(!page.text.contains("/webhooks/new"), "what would be refused is not offered");
}

#[actix_web::test]
async fn a_webhook_that_was_never_used_has_no_rate_and_needs_nobody() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let browser = Browser::of(&ann, &redis).await;
    webhook(&browser.client, &ann, "first", json!({})).await;
    let page = browser.get("/dashboard").await.text;
    assert!(page.contains("no deliveries yet") && page.contains("Nothing needs your attention"), "{page}");
    assert!(!page.contains("100.0 %"), "{page}");
    assert!(page.contains("of 1 webhook<") && page.contains("none yet"), "{page}");
}

#[actix_web::test]
async fn figures_are_the_visitor_s_own() {
    let redis = TestRedis::start().await;
    let (ann, eve) = (user("ann"), admin("eve"));
    let browser = Browser::of(&ann, &redis).await;
    webhook(&browser.client, &ann, "of ann", json!({})).await;
    this_hour(&browser.client, "ann", 1999, 1).await;
    let page = browser.get("/dashboard").await.text;
    for text in ["99.9 %", "1 of 2,000 attempts failed", ">2,000<", "<svg", "to be sent, or tried again"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let of_eve = Browser::of(&eve, &redis).await.get("/dashboard").await.text;
    assert!(of_eve.contains("These are the figures of your own webhooks"), "{of_eve}");
    assert!(!of_eve.contains("of ann") && !of_eve.contains("2,000"), "{of_eve}");
}

#[actix_web::test]
async fn what_needs_somebody_stands_first_with_its_last_failure_and_the_way_to_it() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let browser = Browser::with(roomy(), &ann, &redis).await;
    let client = &browser.client;
    let mut ids = Vec::new();
    for name in ["fine", "a few", "many", "held back", "paused", "given up"] {
        ids.push(webhook(client, &ann, name, json!({})).await);
    }
    let [_, few, many, held, paused, gone] = &ids[..] else { panic!() };
    for (id, failures, pauses) in [(few, 2, 0), (many, 9, 0), (held, 10, 1), (paused, 5, 0), (gone, 3, 0)] {
        counters(client, id, &[("row", failures), ("pauses", pauses)]).await;
    }
    log(client, many, attempt(Some((ErrorKind::Dns, "the host name could not be resolved")))).await;
    let failed = log(client, many, attempt(REFUSED)).await;
    // A test that succeeded after it.
    log(client, many, attempt(None)).await;
    client.post(&ann, &format!("/api/webhooks/{paused}/deactivate"), json!({})).await;
    give_up(client, gone).await;

    let page = browser.get("/dashboard").await.text;
    let attention = page.split("Needs attention").nth(1).unwrap().split("Busiest").next().unwrap();
    let found = places(attention, &[">given up<", ">held back<", ">many<", ">a few<"]);
    assert!(found.is_sorted(), "{found:?}: {attention}");
    assert!(!attention.contains(">fine<") && !attention.contains(">paused<"), "{attention}");
    assert!(attention.contains("The connection was refused."), "the last failure: {attention}");
    assert!(!attention.contains("could not be resolved"), "not an earlier one: {attention}");
    let link = format!("href=\"/dashboard/webhooks/{many}/deliveries/{failed}\"");
    assert!(attention.contains(&link), "{link}: {attention}");
    assert!(attention.contains("9 failures in a row") && attention.contains("Switched off by the service"));
    assert!(page.contains("of 6 webhooks; 2 switched off"), "{page}");
}

#[actix_web::test]
async fn no_more_than_ten_are_told_of_and_how_many_there_are() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let browser = Browser::with(roomy(), &ann, &redis).await;
    for n in 0..12 {
        let id = webhook(&browser.client, &ann, &format!("number {n}"), json!({})).await;
        counters(&browser.client, &id, &[("row", 1 + n)]).await;
    }
    let page = browser.get("/dashboard").await.text;
    assert!(page.contains("These are the worst 10 of 12."), "{page}");
    let attention = page.split("Needs attention").nth(1).unwrap().split("Busiest").next().unwrap();
    assert!(attention.contains(">number 11<") && attention.contains(">number 2<"), "{attention}");
    assert!(!attention.contains(">number 1<") && !attention.contains(">number 0<"), "{attention}");
}

#[actix_web::test]
async fn what_comes_from_elsewhere_is_text() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let browser = Browser::of(&ann, &redis).await;
    let id = webhook(&browser.client, &ann, HOSTILE, json!({})).await;
    counters(&browser.client, &id, &[("row", 3)]).await;
    let mut row = attempt(Some((ErrorKind::Connect, HOSTILE)));
    row.event_type = HOSTILE.into();
    log(&browser.client, &id, row).await;
    let page = browser.get("/dashboard").await.text;
    assert!(page.matches("&lt;script&gt;alert(1)").count() >= 4, "{page}");
    assert!(!page.contains("<script>") && !page.contains("<img src=x"), "{page}");
}
