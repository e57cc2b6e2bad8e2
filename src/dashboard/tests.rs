//! Signing in, and what guards every page.

use actix_web::http::header::{COOKIE, ORIGIN, SET_COOKIE};
use actix_web::test::TestRequest;
use serde_json::json;

use super::routes::{PAGES, TABLE};
use super::testing::{Browser, hidden};
use crate::api::testing::{Answer, Client, config, token, user};
use crate::store::testing::TestRedis;

fn cookies(answer: &Answer) -> Vec<String> {
    answer.headers.get_all(SET_COOKIE).map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// Opens the form and sends it with that token; `change` may spoil the request.
async fn sign_in(client: &Client, token: &str, next: &str, change: fn(TestRequest) -> TestRequest) -> Answer {
    let form = client.send(TestRequest::get().uri("/dashboard/sign-in")).await;
    assert_eq!(form.status, 200);
    let guard = hidden(&form.text, "csrf").unwrap();
    let set = cookies(&form).pop().unwrap();
    assert!(set.contains("HttpOnly; SameSite=Strict") && set.contains("Path=/dashboard/sign-in"), "{set}");
    let fields = [("csrf", guard.as_str()), ("token", token), ("next", next)];
    let post = TestRequest::post().uri("/dashboard/sign-in").set_form(fields);
    let post = post.insert_header((COOKIE, set.split(';').next().unwrap()));
    client.send(change(post)).await
}

#[actix_web::test]
async fn a_token_signs_in_and_its_cookie_opens_the_pages_but_not_the_api() {
    let redis = TestRedis::start().await;
    let client = Client::with_pages(config(), &redis, &PAGES).await;
    let ann = user("ann");
    let entered =
        sign_in(&client, &format!(" Bearer {ann}\r\n"), "/dashboard/webhooks?q=a", |post| post).await;
    assert_eq!((entered.status, entered.header("location")), (303, "/dashboard/webhooks?q=a"));
    let session =
        cookies(&entered).into_iter().find(|cookie| cookie.starts_with("salesos_webhooks_session=")).unwrap();
    assert!(session.contains("HttpOnly; SameSite=Strict; Path=/dashboard; Max-Age="), "{session}");
    assert!(!session.contains("Secure"), "it came over plain HTTP: {session}");
    let age: u64 = session.rsplit('=').next().unwrap().parse().unwrap();
    assert!((500..=600).contains(&age), "until the token expires: {age}");

    let cookie = session.split(';').next().unwrap();
    let with_cookie = |path: &str| TestRequest::get().uri(path).insert_header((COOKIE, cookie));
    let page = client.send(with_cookie("/dashboard")).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text.contains(">ann<") && page.text.contains("in acme"), "{}", page.text);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    assert_eq!((page.header("cache-control"), page.header("x-frame-options")), ("no-store", "DENY"));
    assert_eq!(client.send(with_cookie("/api/webhooks")).await.status, 401, "a cookie is no key to the API");
    let header = client.get(&ann, "/dashboard").await;
    assert_eq!(header.status, 303, "nor a header to the pages");
    let again = client.send(with_cookie("/dashboard/sign-in?next=/dashboard/webhooks")).await;
    assert_eq!(
        (again.status, again.header("location")),
        (200, ""),
        "a redirect would inherit a token behind #"
    );
    assert!(again.text.contains("You are signed in as <strong>ann</strong>"), "{}", again.text);
    assert!(again.text.contains(r#"href="/dashboard/webhooks">Go on<"#), "{}", again.text);
    assert!(again.text.contains(r#"name="token""#), "another token may be given: {}", again.text);
}

#[actix_web::test]
async fn what_does_not_sign_in_says_why() {
    let redis = TestRedis::start().await;
    let client = Client::with_pages(config(), &redis, &PAGES).await;
    let narrow = token(json!({"sub": "bot", "scope": "events:publish"}));
    let long = token(json!({"sub": "ann", "note": "x".repeat(3000)}));
    for (token, status, why) in [
        ("", 400, "token should not be empty"),
        ("nonsense", 401, "This token is not taken: the token is not valid"),
        (&format!("{}x", user("ann")), 401, "the token&#39;s signature is not valid"),
        (&narrow, 403, "the token lacks the scope webhooks:read"),
        (&long, 400, "Use one with fewer claims"),
    ] {
        let answer = sign_in(&client, token, "", |post| post).await;
        let text = answer.text.replace("'", "&#39;");
        assert_eq!(answer.status, status, "{why}: {text}");
        assert!(text.contains(why), "{why}: {text}");
        assert!(token.len() < 9 || !answer.text.contains(token), "a token is not written into a page");
        assert!(!cookies(&answer).iter().any(|cookie| cookie.starts_with("salesos_webhooks_session")));
    }
    let foreign =
        sign_in(&client, &user("eve"), "", |post| post.insert_header(("sec-fetch-site", "cross-site"))).await;
    assert_eq!(foreign.status, 403);
    let unguarded = sign_in(&client, &user("eve"), "", |post| post.insert_header((COOKIE, "a=b"))).await;
    assert_eq!((unguarded.status, cookies(&unguarded).len()), (403, 1));
}

#[actix_web::test]
async fn little_is_read_of_who_is_not_signed_in() {
    let redis = TestRedis::start().await;
    let client = Client::with_pages(config(), &redis, &PAGES).await;
    // Of a form without the cookie nothing is, so nothing of its length is known.
    let endless = |guard: &str| {
        let body = format!("csrf={guard}&token={}", "x".repeat(16 * 1024));
        let form = ("content-type", "application/x-www-form-urlencoded");
        TestRequest::post().uri("/dashboard/sign-in").insert_header(form).set_payload(body)
    };
    assert_eq!(client.send(endless("x")).await.status, 403);
    let form = client.send(TestRequest::get().uri("/dashboard/sign-in")).await;
    let (guard, set) = (hidden(&form.text, "csrf").unwrap(), cookies(&form).pop().unwrap());
    let guarded = endless(&guard).insert_header((COOKIE, set.split(';').next().unwrap()));
    assert_eq!(client.send(guarded).await.status, 413);
}

#[actix_web::test]
async fn a_form_is_read_as_far_as_it_may_hold_something() {
    let redis = TestRedis::start().await;
    let browser = Browser::of(&user("ann"), &redis).await;
    let description = "x".repeat(256 * 1024);
    let answer = browser.post("/dashboard/webhooks/new", &[("description", &description)]).await;
    assert_eq!(answer.status, 413);
}

#[actix_web::test]
async fn two_open_tabs_both_sign_in() {
    let redis = TestRedis::start().await;
    let client = Client::with_pages(config(), &redis, &PAGES).await;
    let first = client.send(TestRequest::get().uri("/dashboard/sign-in")).await;
    let set = cookies(&first).pop().unwrap();
    let cookie = set.split(';').next().unwrap();
    let second =
        client.send(TestRequest::get().uri("/dashboard/sign-in").insert_header((COOKIE, cookie))).await;
    assert_eq!(hidden(&second.text, "csrf"), hidden(&first.text, "csrf"));
    assert_eq!(cookies(&second), cookies(&first));
    for odd in ["salesos_webhooks_sign_in=x", "salesos_webhooks_sign_in=", "salesos_webhooks_sign_in=%22%3E"]
    {
        let form =
            client.send(TestRequest::get().uri("/dashboard/sign-in").insert_header((COOKIE, odd))).await;
        assert_eq!(hidden(&form.text, "csrf").map(|guard| guard.len()), Some(24), "{odd}");
    }
}

#[actix_web::test]
async fn wrong_cookies_are_counted_on_every_page_and_visitors_without_one_are_not() {
    let redis = TestRedis::start().await;
    let browser = Browser::of("a.b.c", &redis).await;
    for _ in 0..70 {
        assert_eq!(browser.client.send(TestRequest::get().uri("/dashboard")).await.status, 303);
    }
    let mut answers = Vec::new();
    for _ in 0..70 {
        answers.push(browser.get("/dashboard/sign-in").await.status);
    }
    assert_eq!((answers[0], answers[69]), (200, 429), "{answers:?}");
    assert_eq!(browser.client.get("", "/api/webhooks").await.status, 429, "the API counts with it");
}

#[actix_web::test]
async fn a_secure_connection_is_kept_to_and_no_other_site_is_gone_on_to() {
    let redis = TestRedis::start().await;
    let client = Client::with_pages(config(), &redis, &PAGES).await;
    for next in [
        "https://evil.example",
        "//evil.example",
        "/dashboardx",
        "/dashboard\\evil",
        "/api/webhooks",
        "/dashboard/sign-in",
        "/dashboard\r\nx:y",
    ] {
        let securely = |post: TestRequest| {
            let origin = (ORIGIN, "https://hooks.example.com");
            post.insert_header(origin).insert_header(("sec-fetch-site", "same-origin"))
        };
        let entered = sign_in(&client, &user("ann"), next, securely).await;
        assert_eq!((entered.status, entered.header("location")), (303, "/dashboard"), "{next}");
        assert!(
            cookies(&entered).iter().all(|cookie| cookie.contains("; Secure")),
            "{:?}",
            cookies(&entered)
        );
    }
}

#[actix_web::test]
async fn who_is_not_signed_in_is_asked_to_and_comes_back() {
    let redis = TestRedis::start().await;
    let browser = Browser::of("a.b.c", &redis).await;
    let stranger = browser.client.send(TestRequest::get().uri("/dashboard?q=x%20y")).await;
    let asked = "/dashboard/sign-in?next=%2Fdashboard%3Fq%3Dx%2520y";
    assert_eq!((stranger.status, stranger.header("location")), (303, asked));
    let ended = browser.get("/dashboard").await;
    assert_eq!(
        (ended.status, ended.header("location")),
        (303, "/dashboard/sign-in?next=%2Fdashboard&ended=1")
    );
    let form = browser.client.send(TestRequest::get().uri(ended.header("location"))).await;
    assert!(form.text.contains("Your sign-in has ended"), "{}", form.text);
    let post = browser.post_unmarked("/dashboard/sign-out", &[]).await;
    assert_eq!((post.status, post.header("content-type")), (401, "text/html; charset=utf-8"));
    let post = browser.post_unmarked("/dashboard/webhooks/wh_1/edit", &[("name", "typed")]).await;
    let link = r#"href="/dashboard/sign-in?next=%2Fdashboard%2Fwebhooks%2Fwh_1%2Fedit""#;
    assert!(post.text.contains(link) && post.text.contains("what you typed is still there"), "{}", post.text);
}

#[actix_web::test]
async fn signing_out_forgets_the_token() {
    let redis = TestRedis::start().await;
    let browser = Browser::of(&token(json!({"sub": "vic", "role": "VIEWER"})), &redis).await;
    let left = browser.post("/dashboard/sign-out", &[]).await;
    assert_eq!((left.status, left.header("location")), (303, "/dashboard/sign-in?done=signed-out"));
    assert!(cookies(&left)[0].starts_with("salesos_webhooks_session=; HttpOnly"), "{:?}", cookies(&left));
    assert!(cookies(&left)[0].contains("Max-Age=0"));
    let form = browser.client.send(TestRequest::get().uri(left.header("location"))).await;
    assert!(form.text.contains("You are signed out."));
}

#[actix_web::test]
async fn nothing_is_changed_without_the_mark_of_the_session() {
    let redis = TestRedis::start().await;
    let browser = Browser::of(&user("ann"), &redis).await;
    let another = Browser::of(&user("bob"), &redis).await.mark().await;
    let mut posts = 0;
    for (_, path) in TABLE.rows().filter(|(method, path)| *method == "post" && *path != "/sign-in") {
        posts += 1;
        let path = format!("/dashboard{path}").replace("{id}", "wh_00aaaaaaaaaaaaaaaaaaaaaa");
        let path = path.replace("{attemptId}", "att_1");
        for fields in [&[][..], &[("csrf", "")], &[("csrf", another.as_str())]] {
            let answer = browser.post_unmarked(&path, fields).await;
            assert_eq!(answer.status, 403, "{path} {fields:?}: {}", answer.text);
            assert!(answer.text.contains("not one of this session"), "{path}: {}", answer.text);
        }
        let mark = browser.mark().await;
        let foreign = browser.signed_in(TestRequest::post()).uri(&path).set_form([("csrf", mark)]);
        let foreign = browser.client.send(foreign.insert_header(("sec-fetch-site", "cross-site"))).await;
        assert_eq!(foreign.status, 403, "{path}");
        assert!(foreign.text.contains("does not come from a page"), "{path}");
        let json = browser.signed_in(TestRequest::post()).uri(&path).set_json(json!({}));
        assert_eq!(browser.client.send(json).await.status, 415, "{path}");
    }
    assert!(posts > 0);
}

#[actix_web::test]
async fn a_failure_is_a_page_and_a_wrong_method_is_told() {
    let redis = TestRedis::start().await;
    let browser = Browser::of(&user("ann"), &redis).await;
    for (path, status) in
        [("/dashboard/nothing", 404), ("/dashboard/sign-out", 405), ("/dashboard/assets/x", 404)]
    {
        let answer = browser.get(path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "text/html; charset=utf-8"),
            "{path}"
        );
        assert!(answer.text.contains(answer.header("x-request-id")), "{path}");
    }
    for name in ["style.css", "icon.svg", "copy.js", "sign-in.js"] {
        let file = browser.client.send(TestRequest::get().uri(&format!("/dashboard/assets/{name}"))).await;
        assert_eq!((file.status, file.header("cache-control")), (200, "no-cache"), "{name}");
    }
    let client = Client::with(config(), &redis).await;
    assert_eq!(client.get(&user("ann"), "/dashboard").await.status, 404, "where they are switched off");
}
