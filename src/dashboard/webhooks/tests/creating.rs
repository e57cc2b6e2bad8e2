//! The form of a new webhook: what it makes, what it refuses, and that it works once.

use super::*;

#[actix_web::test]
async fn a_form_creates_a_webhook_and_shows_its_secret_once() {
    let bench = Bench::new().await;
    let given = with(
        &GOOD,
        &[
            ("headerName", "X-Key"),
            ("headerValue", "k"),
            ("filter", "{\"amount\": {\"gte\": 1}}"),
            ("ordered", "on"),
        ],
    );
    let made = bench.send(NEW, &given).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.header("cache-control"), "no-store");
    let secret = made.text.split_once("id=\"secret-value\">").unwrap().1.split_once('<').unwrap().0;
    assert!(secret.starts_with("whsec_"), "{secret}");
    let all = bench.all().await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["headers"], json!({"X-Key": "k"}));
    assert_eq!((&all[0]["ordered"], &all[0]["filter"]), (&json!(true), &json!({"amount": {"gte": 1}})));
    let path = format!("{LIST}/{}", all[0]["id"].as_str().unwrap());
    assert!(
        made.text.contains(&format!("href=\"{path}/verify\"")) && made.text.contains(&format!("{path}/test"))
    );
    for page in [LIST, &format!("{path}/edit"), &format!("{path}/secret")] {
        assert!(!bench.get(page).await.text.contains(secret), "{page}");
    }
}

#[actix_web::test]
async fn a_form_that_is_sent_twice_creates_once() {
    let bench = Bench::new().await;
    let id = hidden(&bench.get(NEW).await.text, "form").unwrap();
    let fields = with(&with(&GOOD, &USUAL), &[("form", &id)]);
    assert_eq!(bench.post(NEW, &fields).await.status, 201);
    let again = bench.post(NEW, &fields).await;
    assert_eq!(again.status, 409, "{}", again.text);
    assert!(again.text.contains("This form was sent before") && again.text.contains("value=\"first\""));
    assert!(!again.text.contains("whsec_") || !again.text.contains("secret-value"), "{}", again.text);
    assert_eq!(bench.all().await.len(), 1);
    // Who means it sends the form that came back, which has an id of its own.
    let fresh = hidden(&again.text, "form").unwrap();
    assert_ne!(fresh, id);
    assert_eq!(bench.post(NEW, &with(&fields, &[("form", &fresh)])).await.status, 201);
    let none = bench.post(NEW, &with(&GOOD, &USUAL)).await;
    assert_eq!((none.status, bench.all().await.len()), (409, 2), "a form without an id is none of ours");
}

#[actix_web::test]
async fn a_form_of_another_session_is_none_of_ours() {
    let bench = Bench::new().await;
    let mine = hidden(&bench.get(NEW).await.text, "form").unwrap();
    let theirs = Browser::of(&user("bob"), &bench.redis).await.get(NEW).await.text;
    let theirs = hidden(&theirs, "form").unwrap();
    let sent = async |id: &str| bench.post(NEW, &with(&with(&GOOD, &USUAL), &[("form", id)])).await.status;
    assert_eq!(
        (sent(&theirs).await, sent("AAAAAAAAAAAAAAAAAAAAAAAA").await, sent(&mine).await),
        (409, 409, 201)
    );
}

#[actix_web::test]
async fn both_of_two_presses_at_the_same_moment_create_once() {
    let bench = Bench::new().await;
    let id = hidden(&bench.get(NEW).await.text, "form").unwrap();
    let fields = with(&with(&GOOD, &USUAL), &[("form", &id)]);
    let (one, two) = tokio::join!(bench.post(NEW, &fields), bench.post(NEW, &fields));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!((statuses, bench.all().await.len()), ([201, 409], 1));
}

#[actix_web::test]
async fn each_fault_stands_beside_its_field_and_nothing_is_created() {
    let bench = Bench::new().await;
    let long = "x".repeat(1001);
    let cases: [(&str, &str, &str, &str); 14] = [
        ("name", " ", "name-fault", "name should not be empty"),
        ("description", &long, "description-fault", "description must be at most 1000 characters long"),
        ("url", "ftp://example.com", "url-fault", "url must be an http or https URL"),
        ("url", "http://10.0.0.1/", "url-fault", "url must not point to a private or reserved address"),
        ("events", "lead.craeted", "events-fault", "events.0: unknown event type"),
        ("retryAttempts", "21", "retryAttempts-fault", "retryAttempts must be an integer from 0 to 20"),
        ("retryDelaySeconds", "", "retryDelaySeconds-fault", "retryDelaySeconds must be an integer"),
        (
            "retryBackoff",
            "slow",
            "retryBackoff-fault",
            "retryBackoff must be one of fixed, linear, exponential",
        ),
        (
            "retrySchedule",
            "5 x",
            "retrySchedule-fault",
            "retrySchedule must be an array of at most 20 integers",
        ),
        ("timeoutSeconds", "61", "timeoutSeconds-fault", "timeoutSeconds must be an integer from 1 to 60"),
        ("rateLimitPerSecond", "0", "rateLimitPerSecond-fault", "rateLimitPerSecond must be an integer"),
        ("maxConcurrency", "x", "maxConcurrency-fault", "maxConcurrency must be an integer from 1 to 256"),
        ("filter", "{a", "filter-fault", "filter is not valid JSON (line 1, column 2)"),
        ("secret", "short", "secret-fault", "secret must be"),
    ];
    for (name, value, id, fault) in cases {
        let answer = bench.send(NEW, &with(&GOOD, &[(name, value)])).await;
        assert_eq!(answer.status, 400, "{name}: {}", answer.text);
        let beside = answer
            .text
            .split_once(&format!("id=\"{id}\""))
            .unwrap_or_else(|| panic!("{name}: {}", answer.text))
            .1;
        assert!(beside.split_once("</div>").unwrap().0.contains(fault), "{name}: {beside}");
        assert!(answer.text.contains(&format!("<a href=\"#{name}\">")), "{name}");
        assert!(answer.text.contains("role=\"alert\""), "{name}");
    }
    assert!(bench.all().await.is_empty());
}

#[actix_web::test]
async fn what_was_typed_is_kept_and_all_faults_are_told_at_once() {
    let bench = Bench::new().await;
    let secret = "whsec_c2VjcmV0";
    let given = [
        ("name", ""),
        ("url", "x"),
        ("headerName", "a b"),
        ("headerValue", "typed-value"),
        ("headerName", "Host"),
        ("headerValue", ""),
        ("secret", secret),
        ("description", "typed text"),
    ];
    let answer = bench.send(NEW, &given).await;
    assert_eq!(answer.status, 400);
    for kept in ["typed-value", "value=\"a b\"", "typed text", secret] {
        assert!(answer.text.contains(kept), "{kept}");
    }
    for fault in [
        "name should not be empty",
        "url must be an http or https URL",
        "events should not be empty",
        "headers.a b: not a legal header name",
        "headers.Host: this header is set by the service",
    ] {
        assert_eq!(answer.text.matches(fault).count(), 2, "{fault}: on top and beside its field");
    }
    assert!(!answer.text.contains("name=\"isActive\" checked"), "it was not ticked");
    assert_eq!(answer.text.matches("<details class=\"card\" open").count(), 2);
}

#[actix_web::test]
async fn a_refused_form_can_be_sent_again_from_where_it_was() {
    let bench = Bench::new().await;
    let id = hidden(&bench.get(NEW).await.text, "form").unwrap();
    let fields = with(&with(&GOOD, &USUAL), &[("form", &id)]);
    assert_eq!(bench.post(NEW, &with(&fields, &[("url", "x")])).await.status, 400);
    assert_eq!(bench.post(NEW, &fields).await.status, 201, "after going back in the browser");
    for _ in 0..3 {
        bench.webhook(json!({})).await;
    }
    let full = bench.send(NEW, &GOOD).await;
    assert_eq!(full.status, 409);
    assert!(full.text.contains("has 4 webhooks, which is the most allowed"), "{}", full.text);
}

#[actix_web::test]
async fn the_preview_button_changes_nothing() {
    let bench = Bench::new().await;
    let (path, _) = bench.webhook(json!({})).await;
    let given = with(&GOOD, &[("preview", "1"), ("name", "other"), ("retrySchedule", "5 300")]);
    for page in [NEW.to_owned(), format!("{path}/edit")] {
        let shown = bench.send(&page, &given).await;
        assert_eq!(shown.status, 200, "{page}");
        assert!(shown.text.contains("Matches 2 types"), "{}", shown.text);
        assert!(shown.text.contains("2nd retry after 5 min") && shown.text.contains("value=\"other\""));
    }
    let all = bench.all().await;
    assert_eq!((all.len(), &all[0]["name"]), (1, &json!("first")));
    let part = bench
        .get(&format!("{LIST}/preview?events=*&retryAttempts=1&retryDelaySeconds=5&retryBackoff=fixed"))
        .await;
    assert!(part.text.contains("Matches 3 types") && !part.text.contains("<html"), "{}", part.text);
}
