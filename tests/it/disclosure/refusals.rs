//! Everything that the API refuses, with planted words in each place that a client can write to.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::life::Life;
use super::planted::{ECHOED, MARK};
use super::{METHODS, Method, is_refused};
use crate::harness::Token;

/// All of them.
pub async fn all(life: &mut Life) {
    tokens(life).await;
    bodies(life).await;
    fields(life).await;
    queries_and_headers(life).await;
    no_http(life).await;
}

async fn tokens(life: &mut Life) {
    let ann = life.node.user("ann", "acme");
    let good = Token::user("ann").org("acme");
    let stale = good.clone().claim("exp", json!(1_000_000_000)).sign();
    let foreign = good.sign_with(&jsonwebtoken::Header::default(), "planted-key-of-somebody-else-0123456789");
    let powerless = good.clone().scope("planted-scope").sign();
    for token in [&stale, &foreign, &powerless, &good.sign()] {
        life.planted.add_plain("a token", token);
        life.planted.add_plain("a token's signature", token.rsplit('.').next().expect("three parts"));
    }
    let texts =
        [&stale, &foreign, &powerless, "planted-token", "planted-a.planted-b.planted-c", "\"planted-\""];
    for text in texts {
        for path in ["/api/webhooks", "/api/webhooks/stats"] {
            is_refused(&life.planted, ann.with_text(text).call(Method::GET, path)).await;
        }
    }
    let bare = ann.with_text("");
    for value in ["Basic planted-credentials", "planted-scheme x", "Bearer", "Bearer planted-one planted-two"]
    {
        let call = bare.call(Method::GET, "/api/webhooks").header("Authorization", value);
        is_refused(&life.planted, call).await;
    }
    is_refused(&life.planted, bare.call(Method::GET, "/api/webhooks?access_token=planted-token")).await;
}

async fn bodies(life: &mut Life) {
    let (ann, crm) = (life.node.user("ann", "acme"), life.node.publisher("acme"));
    let long = format!("{{\"name\":\"{}\"}}", MARK.repeat(100_000));
    let broken = [
        "planted-garbage",
        "{\"name\":\"planted-cut",
        "[\"planted-item\"]",
        "{\"a\":planted-}",
        "\"planted-text\"",
    ];
    for path in ["/api/webhooks", "/api/events", "/api/events/batch"] {
        for text in broken.iter().copied().chain([long.as_str()]) {
            is_refused(&life.planted, crm.call(Method::POST, path).text(text)).await;
        }
        is_refused(&life.planted, ann.call(Method::POST, path).raw("planted/type", "planted-body")).await;
        let coded = ann.call(Method::POST, path).header("Content-Encoding", "planted-coding");
        is_refused(&life.planted, coded.text("{\"name\":\"planted-name\"}")).await;
    }
}

async fn fields(life: &mut Life) {
    let (ann, crm) = (life.node.user("ann", "acme"), life.node.publisher("acme"));
    let good = json!({ "name": "planted-name", "url": "https://crm.test/planted-path", "events": ["*"] });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for body in [
        with("echoed-property", json!("planted-value")),
        with("secret", json!("whsec_planted-secret")),
        with("name", json!({ "planted-inner": "planted-value" })),
        with("name", json!("planted-".repeat(100))),
        with("description", json!(["planted-text"])),
        with("events", json!("planted-events")),
        with("events", json!(["echoed-type", "lead.echoed-"])),
        with("headers", json!({ "X-Own": "planted-\u{1}" })),
        with("headers", json!({ "X-Own": ["planted-list"] })),
        with("headers", json!({ "echoed-bad name": "planted-value" })),
        with("headers", json!({ "Host": "planted-host" })),
        with("filter", json!({ "echoed-path": { "gte": { "planted-operand": 1 } } })),
        with("filter", json!({ "a": { "echoed-operator": "planted-operand" } })),
        with("filter", json!("planted-filter")),
        with("retrySchedule", json!(["planted-seconds"])),
        with("timeoutSeconds", json!("planted-seconds")),
        with("url", json!("planted-no-url")),
        with("url", json!("ftp://planted-host/planted-path")),
        with("url", json!("https://planted-user:planted-password@crm.test/planted-path")),
        with("url", json!("https://10.0.0.1/planted-path?planted-query")),
        with("url", json!("https://crm.test:22/planted-path#planted-fragment")),
        with("url", json!("https://inside.test/planted-path")),
    ] {
        is_refused(&life.planted, ann.call(Method::POST, "/api/webhooks").json(&body)).await;
        let patch = ann.call(Method::PATCH, &format!("/api/webhooks/{}", life.webhook)).json(&body);
        is_refused(&life.planted, patch).await;
    }
    let event = |name: &str, value: Value| {
        let mut event = json!({ "type": "lead.created", "data": { "planted-key": "planted-value" } });
        event[name] = value;
        event
    };
    for body in [
        event("type", json!("echoed-type")),
        event("type", json!(["planted-type"])),
        event("data", json!("planted-data")),
        event("id", json!("planted bad id")),
        event("timestamp", json!("planted-time")),
        event("organizationId", json!("user:planted-organization")),
        event("echoed-property", json!("planted-value")),
    ] {
        is_refused(&life.planted, crm.call(Method::POST, "/api/events").json(&body)).await;
        let batch = json!({ "events": [body] });
        is_refused(&life.planted, crm.call(Method::POST, "/api/events/batch").json(&batch)).await;
    }
    for (route, body) in [
        ("regenerate-secret", json!({ "gracePeriodSeconds": "planted-seconds" })),
        ("test", json!({ "event": "echoed-type" })),
        ("filter-test", json!({ "filter": { "a": { "gte": "planted-operand" } }, "data": "planted-data" })),
        ("recover", json!({ "since": "planted-time" })),
    ] {
        let path = format!("/api/webhooks/{}/{route}", life.webhook);
        is_refused(&life.planted, ann.call(Method::POST, &path).json(&body)).await;
    }
}

async fn queries_and_headers(life: &mut Life) {
    let (ann, crm) = (life.node.user("ann", "acme"), life.node.publisher("acme"));
    let path = format!("/api/webhooks/{}", life.webhook);
    for query in [
        "/api/webhooks?isActive=planted-bool".to_owned(),
        "/api/webhooks?page=planted-page&limit=planted-limit".to_owned(),
        "/api/webhooks?all=planted-all".to_owned(),
        format!("{path}/deliveries?since=planted-time&success=planted-bool&limit=planted-limit"),
        format!("{path}/deliveries/echoed-attempt"),
        "/api/webhooks/echoed-id?planted-query".to_owned(),
        "/api/events/echoed-event?planted-query".to_owned(),
        "/api/echoed-route?planted-query".to_owned(),
        "/echoed-route/%ff%00?planted-query".to_owned(),
    ] {
        is_refused(&life.planted, ann.call(Method::GET, &query)).await;
    }
    for method in METHODS {
        let call = ann.call(method, "/api/echoed-route").header("Cookie", "planted-cookie");
        is_refused(&life.planted, call.text("{\"planted-key\":1}")).await;
    }
    let renamed = json!({ "name": "planted-name" });
    let matched = ann.call(Method::PATCH, &path).header("If-Match", "\"planted-etag\"").json(&renamed);
    is_refused(&life.planted, matched).await;
    let event = json!({ "type": "lead.created", "data": {} });
    for key in ["planted bad key", &MARK.repeat(40)] {
        let call = crm.call(Method::POST, "/api/events").header("Idempotency-Key", key).json(&event);
        is_refused(&life.planted, call).await;
    }
    let call = ann.call(Method::GET, &format!("/api/{ECHOED}route")).header("User-Agent", "planted-agent");
    let call = call.header("X-Request-Id", "planted bad id").header("Referer", "https://planted-referrer/");
    let call = call.header("Origin", "https://planted-origin").header("X-Forwarded-For", "planted-address");
    let call = call.header("traceparent", "planted-parent").header("tracestate", "planted=state");
    is_refused(&life.planted, call.header("baggage", "planted-baggage=1")).await;
}

/// What is not even HTTP, on both ports.
async fn no_http(life: &mut Life) {
    for address in [life.node.address().get(), life.node.management_address().get()] {
        for noise in [
            "planted-noise\r\n\r\n".to_owned(),
            "GET /planted-path HTTP/9.9\r\nplanted-name: planted-value\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nplanted name: planted-value\r\n\r\n".to_owned(),
            "POST /api/events HTTP/1.1\r\ncontent-length: planted-length\r\n\r\n".to_owned(),
            format!("GET /api/webhooks HTTP/1.1\r\nx: {}\r\n\r\n", MARK.repeat(40_000)),
            "\u{16}\u{3}\u{1}planted-handshake".to_owned(),
        ] {
            let mut stream = TcpStream::connect(&address).await.expect("it listens");
            // It may hang up before it has read all.
            let _ = stream.write_all(noise.as_bytes()).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            life.planted.is_marked_nowhere_in("an answer", &String::from_utf8_lossy(&answer));
        }
    }
}
