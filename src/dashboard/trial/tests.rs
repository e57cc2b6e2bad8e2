//! The page of a test, opened and sent as a browser would, against a real Redis and a real endpoint.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::api::testing::{admin, config, token, user};
use crate::config::Config;
use crate::dashboard::testing::Browser;
use crate::domain::EncryptionKey;
use crate::store::testing::TestRedis;

const XSS: &str = "\"><script>alert(1)</script>";

/// One webhook of `ann` in `acme`, and her browser.
struct Bench {
    redis: TestRedis,
    browser: Browser,
    /// The page.
    path: String,
    /// The webhook in the API.
    api: String,
}

fn settings() -> Config {
    let mut config = config();
    config.delivery.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
    config
}

impl Bench {
    async fn at(url: &str) -> Self {
        Self::with(settings(), url).await
    }

    async fn with(config: Config, url: &str) -> Self {
        let redis = TestRedis::start().await;
        let browser = Browser::with(config, &user("ann"), &redis).await;
        let body =
            json!({"name": XSS, "url": url, "events": ["opportunity.*"], "headers": {"X-Team": "sesame"}});
        let made = browser.client.post(&user("ann"), "/api/webhooks", body).await.json();
        let id = made["id"].as_str().unwrap_or_else(|| panic!("{made}"));
        let (path, api) = (format!("/dashboard/webhooks/{id}/test"), format!("/api/webhooks/{id}"));
        Self { redis, browser, path, api }
    }

    /// Somebody else's browser.
    async fn as_seen_by(&self, token: &str) -> Browser {
        Browser::with(settings(), token, &self.redis).await
    }

    /// How many attempts the log has.
    async fn logged(&self) -> Value {
        let log = self.browser.client.get(&user("ann"), &format!("{}/deliveries", self.api)).await.json();
        log["pagination"]["total"].clone()
    }
}

/// An endpoint that gives each request the same answer, and what it is sent.
async fn endpoint(answer: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel(8);
    actix_web::rt::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
            // Every body here is an object whose data ends in two braces.
            while !seen.ends_with(b"}}") {
                match stream.read(&mut chunk).await {
                    Ok(read) if read > 0 => seen.extend_from_slice(&chunk[..read]),
                    _ => break,
                }
            }
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = sender.send(String::from_utf8_lossy(&seen).into_owned()).await;
        }
    });
    (url, receiver)
}

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

#[actix_web::test]
async fn the_page_offers_a_sample_of_each_type_and_says_what_is_sent() {
    let bench = Bench::at("http://127.0.0.1:9/hook").await;
    let plain = bench.browser.get(&bench.path).await;
    assert_eq!(plain.status, 200, "{}", plain.text);
    for words in [
        "<option value=\"test\" selected>",
        "<optgroup label=\"This webhook subscribes to\"><option value=\"opportunity.won\">",
        "This is a test of your webhook.",
        "POST http://127.0.0.1:9/hook",
        "<code>X-Team</code>",
        "<code>webhook-signature</code>",
        "while the webhook is paused",
        "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;</h1>",
    ] {
        assert!(plain.text.contains(words), "{words}: {}", plain.text);
    }
    assert!(!plain.text.contains("<script>") && !plain.text.contains("sesame"), "{}", plain.text);
    let chosen = bench.browser.get(&format!("{}?event=lead.created", bench.path)).await;
    assert!(chosen.text.contains("name=\"event\" value=\"lead.created\""), "{}", chosen.text);
    assert!(chosen.text.contains("{\n  &quot;id&quot;: 1\n}</textarea>"), "{}", chosen.text);
    let odd = bench.browser.get(&format!("{}?event=%3Cscript%3E", bench.path)).await;
    assert_eq!(odd.status, 200);
    assert!(odd.text.contains("There is no such event type."), "{}", odd.text);
    assert!(odd.text.contains("aria-describedby=\"event-hint event-fault\" aria-invalid=\"true\""));
}

#[actix_web::test]
async fn a_script_gets_the_fields_alone() {
    let bench = Bench::at("http://127.0.0.1:9/hook").await;
    let part = bench.browser.get(&format!("{}?part=1&event=lead.updated", bench.path)).await;
    assert_eq!((part.status, part.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(part.text.starts_with("<div id=\"draft\">"), "{}", part.text);
    assert!(part.text.contains("value=\"lead.updated\"") && !part.text.contains("csrf"), "{}", part.text);
}

#[actix_web::test]
async fn a_test_reaches_the_endpoint_as_it_was_typed_and_its_result_is_told() {
    let (url, mut requests) = endpoint(NO_CONTENT).await;
    let bench = Bench::at(&url).await;
    let data = "{\"z\": 1.50,\r\n \"a\": {\"n\":12345678901234567890123}}";
    let sent = bench.browser.post(&bench.path, &[("event", "lead.created"), ("data", data)]).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    let request = requests.recv().await.unwrap();
    assert!(request.contains("\"type\":\"lead.created\""), "{request}");
    assert!(request.ends_with("\"data\":{\"z\":1.50,\"a\":{\"n\":12345678901234567890123}}}"), "{request}");
    for words in [
        "<title>Test delivered · ",
        "The endpoint took the test",
        "<strong>204 No Content</strong>",
        "/deliveries?eventId=evt_",
        "{&quot;z&quot;: 1.50,\n &quot;a&quot;",
        "<option value=\"lead.created\" selected>",
    ] {
        assert!(sent.text.contains(words), "{words}: {}", sent.text);
    }
    assert_eq!(bench.logged().await, 1);
}

#[actix_web::test]
async fn a_paused_webhook_is_tested_too() {
    let (url, mut requests) = endpoint(NO_CONTENT).await;
    let bench = Bench::at(&url).await;
    let path = format!("{}/deactivate", bench.api);
    assert_eq!(bench.browser.client.post(&user("ann"), &path, json!({})).await.status, 200);
    let sent = bench.browser.post(&bench.path, &[("event", "test"), ("data", "{\"a\":{}}")]).await;
    assert!(sent.text.contains("The endpoint took the test") && sent.text.contains("It is paused."));
    assert!(requests.recv().await.unwrap().contains("\"type\":\"test\""));
}

#[actix_web::test]
async fn a_failure_is_explained_and_what_the_endpoint_wrote_stays_text() {
    let answer = "HTTP/1.1 500 Oops\r\nconnection: close\r\ncontent-length: 42\r\n\r\n\
                  </pre><script>alert(1)</script><b>boom</b>";
    let (url, _requests) = endpoint(answer).await;
    let bench = Bench::at(&url).await;
    let sent = bench.browser.post(&bench.path, &[("event", "test"), ("data", "{\"a\":{}}")]).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    for words in [
        "<title>Test failed · ",
        "<p class=\"problem\">The endpoint answered 500",
        "When it is repaired, send the test again.",
        "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;b&gt;boom",
    ] {
        assert!(sent.text.contains(words), "{words}: {}", sent.text);
    }
    assert!(!sent.text.contains("<script>"), "{}", sent.text);
}

#[actix_web::test]
async fn a_fault_is_shown_beside_its_field_and_nothing_is_sent() {
    let bench = Bench::at("http://127.0.0.1:9/hook").await;
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(2000));
    for (event, data, field, says) in [
        ("lead.craeted", "{}", "event-fault", "did you mean &quot;lead.created&quot;?"),
        (XSS, "{}", "event-fault", "&quot;&gt;&lt;script&gt;"),
        ("test", "", "data-fault", "The data is empty."),
        ("test", XSS, "data-fault", "not valid JSON: look at line 1, column"),
        ("test", "[1]", "data-fault", "Data must be an object."),
        ("test", "{},\"event\":\"lead.created\"", "data-fault", "not valid JSON"),
        ("test", &long, "data-fault", "at most 1024 are allowed"),
    ] {
        let sent = bench.browser.post(&bench.path, &[("event", event), ("data", data)]).await;
        assert_eq!(sent.status, 400, "{event} {data}: {}", sent.text);
        let beside = sent.text.split(&format!("<div id=\"{field}\">")).nth(1);
        let fault = beside.and_then(|rest| rest.split("</div>").next()).unwrap_or_default();
        assert!(fault.contains(says), "{event} {data}: {fault}");
        assert_eq!(sent.text.matches("aria-invalid=\"true\"").count(), 1, "{}", sent.text);
        let typed = html_escaped(data);
        assert!(
            sent.text.contains(&format!("\n{typed}</textarea>")),
            "what was typed is kept: {}",
            sent.text
        );
        assert!(sent.text.contains("<title>Test not sent · ") && !sent.text.contains("<script>"));
    }
    assert_eq!(bench.logged().await, 0);
}

#[actix_web::test]
async fn data_may_be_as_long_as_an_event_however_it_is_sent() {
    let mut config = settings();
    config.api.max_event_bytes = 1 << 20;
    let (url, _asked) = endpoint(NO_CONTENT).await;
    let bench = Bench::with(config, &url).await;
    // A browser sends three bytes for each of these.
    let data = |commas: usize| format!(r#"{{"text":"{}"}}"#, ",".repeat(commas));
    let taken =
        bench.browser.post(&bench.path, &[("event", "test"), ("data", &data((1 << 20) - 1000))]).await;
    assert_eq!((taken.status, bench.logged().await), (200, json!(1)));
    let refused = bench.browser.post(&bench.path, &[("event", "test"), ("data", &data(1 << 20))]).await;
    assert_eq!((refused.status, bench.logged().await), (400, json!(1)));
    assert!(refused.text.contains("at most 1048576 are allowed"));
}

fn html_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[actix_web::test]
async fn a_second_test_at_the_same_time_is_told_to_wait() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let bench = Bench::at(&format!("http://{}/", listener.local_addr().unwrap())).await;
    let (has_come, may_answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (come, answer) = (has_come.clone(), may_answer.clone());
    actix_web::rt::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        come.notify_one();
        answer.notified().await;
        let _ = stream.write_all(NO_CONTENT.as_bytes()).await;
    });
    let fields = [("event", "test"), ("data", "{\"mine\":1}")];
    let first = bench.browser.post(&bench.path, &fields);
    let second = async {
        has_come.notified().await;
        let told = bench.browser.post(&bench.path, &fields).await;
        may_answer.notify_one();
        told
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.status, second.status), (200, 409), "{}", second.text);
    let told =
        "<p class=\"problem\" role=\"alert\">A test of this webhook is running. Wait until it has ended";
    assert!(second.text.contains(told), "{}", second.text);
    assert!(second.text.contains("{&quot;mine&quot;:1}</textarea>"), "{}", second.text);
}

#[actix_web::test]
async fn who_may_not_send_one_is_told_why_and_refused() {
    let bench = Bench::at("http://127.0.0.1:9/hook").await;
    let viewer = token(json!({"sub": "ann", "organizationId": "acme", "role": "VIEWER"}));
    for (token, status, says) in [
        (viewer, 403, "You may look at this webhook, not send it a test."),
        (admin("adam"), 403, "This webhook belongs to <strong>ann</strong>"),
        (user("bob"), 404, ""),
    ] {
        let browser = bench.as_seen_by(&token).await;
        let page = browser.get(&bench.path).await;
        assert_eq!(page.status, if status == 404 { 404 } else { 200 }, "{}", page.text);
        assert!(page.text.contains(says) && !page.text.contains("<textarea"), "{says}: {}", page.text);
        let sent = browser.post(&bench.path, &[("event", "test"), ("data", "{}")]).await;
        assert_eq!(sent.status, status, "{}", sent.text);
    }
    assert_eq!(bench.logged().await, 0);
}

#[actix_web::test]
async fn a_webhook_whose_secret_cannot_be_read_has_no_form() {
    let mut sealed = settings();
    sealed.security.encryption_key = Some(EncryptionKey::new([7; 32]));
    let bench = Bench::with(sealed, "http://127.0.0.1:9/hook").await;
    let without_key = bench.as_seen_by(&user("ann")).await;
    let page = without_key.get(&bench.path).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(page.text.contains("A test cannot be signed") && page.text.contains("/secret\">New secret<"));
    assert!(!page.text.contains("<textarea"), "{}", page.text);
    let sent = without_key.post(&bench.path, &[("event", "test"), ("data", "{}")]).await;
    assert_eq!(sent.status, 409, "{}", sent.text);
    assert!(sent.text.contains("A test cannot be signed"), "{}", sent.text);
}
