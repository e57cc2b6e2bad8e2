//! `delivery.proxy_url`: deliveries through a forward proxy, which are judged here all the same, and whose faults are not the
//! endpoint's.

use serde_json::{Value, json};

use crate::harness::{Client, ForwardProxy, NameServer, SOON, TestNode, TestRedis, Told, eventually, text};

const PUBLIC: &str = "93.184.215.14";
/// `ann:hunter2`
const CREDENTIALS: &str = "Basic YW5uOmh1bnRlcjI=";

/// A node whose deliveries go through the proxy at `address`, opens a breaker at the first failure, and asks `names`.
async fn node_behind(redis: &TestRedis, address: &str, names: &NameServer) -> TestNode {
    let (url, names) = (format!("http://{address}"), names.address());
    let settings = [
        ("DELIVERY__PROXY_URL", url.as_str()),
        ("DELIVERY__DNS_SERVERS", names.as_str()),
        ("DELIVERY__ALLOWED_NETWORKS", ""),
        ("BREAKER__FAILURE_THRESHOLD", "1"),
    ];
    TestNode::start_with(redis, &settings).await
}

/// Publishes one event to a new webhook at `url`; gives its id and how its one attempt ended.
async fn delivered(node: &TestNode, url: &str, more: &Value) -> (String, Value) {
    let ann = node.user("ann", "acme");
    let mut fields = json!({ "retryAttempts": 0 });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = text(&ann.create(url, &["lead.created"], &fields).await["id"]);
    node.publisher("acme").publish("lead.created", &json!({})).await;
    let row = attempted(&ann, &id).await;
    ann.patch(&format!("/api/webhooks/{id}"), &json!({ "isActive": false })).await.expect(200);
    (id, row)
}

async fn attempted(user: &Client, id: &str) -> Value {
    eventually("the attempt is logged", SOON, async || user.log(id, "").await.into_iter().next()).await
}

#[tokio::test]
async fn an_http_endpoint_is_asked_for_as_a_whole_and_credentials_stay_with_the_proxy() {
    let (redis, proxy, names) = (TestRedis::start(), ForwardProxy::start().await, NameServer::start().await);
    names.tell("crm.test", Told::addresses(&[PUBLIC]));
    let node = node_behind(&redis, &format!("ann:hunter2@{}", proxy.address()), &names).await;
    let own = json!({ "headers": { "X-Team": "blue" } });
    let (_, row) = delivered(&node, "http://crm.test:8080/hook?a=b", &own).await;
    assert_eq!(row["success"], true, "{row}");
    let asked = proxy.asked().remove(0);
    assert_eq!(asked.line(), "POST http://crm.test:8080/hook?a=b HTTP/1.1");
    assert_eq!(asked.headers("host"), ["crm.test:8080"]);
    assert_eq!(asked.headers("x-team"), ["blue"]);
    assert_eq!(asked.headers("proxy-authorization"), [CREDENTIALS]);
    let log = node.log_text();
    assert_eq!(log.matches("deliveries go through a proxy").count(), 1, "{log}");
    for secret in ["hunter2", "YW5uOmh1bnRlcjI", &proxy.address()] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test]
async fn an_https_endpoint_gets_a_tunnel_and_the_test_of_a_webhook_too() {
    let (redis, proxy, names) = (TestRedis::start(), ForwardProxy::start().await, NameServer::start().await);
    names.tell("crm.test", Told::addresses(&[PUBLIC]));
    let node = node_behind(&redis, &format!("ann:hunter2@{}", proxy.address()), &names).await;
    let ann = node.user("ann", "acme");
    for (url, line) in [
        ("https://crm.test/hook", "CONNECT crm.test:443 HTTP/1.1"),
        ("https://93.184.215.14:8443/hook", "CONNECT 93.184.215.14:8443 HTTP/1.1"),
    ] {
        let once = json!({ "timeoutSeconds": 2, "isActive": false });
        let id = text(&ann.create(url, &["*"], &once).await["id"]);
        // Nobody speaks TLS behind the tunnel.
        ann.post_empty(&format!("/api/webhooks/{id}/test")).await.expect(200);
        let asked = proxy.asked().pop().expect("it was asked");
        assert_eq!(asked.line(), line);
        assert_eq!(asked.headers("proxy-authorization"), [CREDENTIALS]);
        assert_eq!(asked.tunnelled, Some(0x16), "a TLS handshake follows");
        assert!(!asked.head.contains("x-webhook"), "{}", asked.head);
    }
}

#[tokio::test]
async fn what_leads_inside_does_not_get_as_far_as_the_proxy() {
    let (redis, proxy, names) = (TestRedis::start(), ForwardProxy::start().await, NameServer::start().await);
    let node = node_behind(&redis, &proxy.address(), &names).await;
    let ann = node.user("ann", "acme");
    for (scheme, told, kind) in [
        ("http", Told::addresses(&["127.0.0.1"]), "blocked_address"),
        ("https", Told::addresses(&[PUBLIC, "10.0.0.1"]), "blocked_address"),
        ("https", Told::addresses(&["::ffff:127.0.0.1"]), "blocked_address"),
        ("http", Told::NoSuchName, "dns"),
        ("https", Told::NoSuchName, "dns"),
    ] {
        names.tell("turning.test", Told::addresses(&[PUBLIC]));
        let once = json!({ "retryAttempts": 0, "isActive": true });
        let id = text(&ann.create(&format!("{scheme}://turning.test/"), &["*"], &once).await["id"]);
        names.tell("turning.test", told);
        node.publisher("acme").publish("lead.created", &json!({})).await;
        assert_eq!(attempted(&ann, &id).await["errorKind"], kind);
        ann.delete(&format!("/api/webhooks/{id}")).await;
    }
    let body = json!({ "name": "test", "url": "https://10.0.0.1/", "events": ["*"] });
    ann.post("/api/webhooks", &body).await.error(400);
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
}

#[tokio::test]
async fn a_fault_of_the_proxy_is_not_the_endpoints() {
    let (redis, proxy, names) = (TestRedis::start(), ForwardProxy::start().await, NameServer::start().await);
    let node = node_behind(&redis, &proxy.address(), &names).await;
    let ann = node.user("ann", "acme");
    let (http, https) = (format!("http://{PUBLIC}/"), format!("https://{PUBLIC}/"));
    let unauthenticated = ("cancelled", "the proxy of the service refused its authentication");
    let unreached = ("cancelled", "the proxy of the service could not be reached");
    let refused = ("connect", "the proxy refused the connection");
    for (answer, url, (kind, message)) in [
        ("HTTP/1.1 407 Proxy Authentication Required", &http, unauthenticated),
        ("HTTP/1.1 407 Proxy Authentication Required", &https, unauthenticated),
        ("HTTP/1.1 403 Forbidden", &https, refused),
        ("HTTP/1.0 502 Bad Gateway", &https, refused),
        ("SSH-2.0-nope", &https, unreached),
    ] {
        proxy.answers(answer);
        let (id, row) = delivered(&node, url, &json!({})).await;
        assert_eq!((&row["errorKind"], &row["errorMessage"]), (&json!(kind), &json!(message)), "{answer}");
        let failures = if kind == "cancelled" { 0 } else { 1 };
        assert_eq!(ann.webhook(&id).await["consecutiveFailures"], failures, "{answer}");
    }
}

#[tokio::test]
async fn no_breaker_opens_while_the_proxy_is_down() {
    let (redis, names) = (TestRedis::start(), NameServer::start().await);
    let gone = ForwardProxy::start().await.address();
    let node = node_behind(&redis, &gone, &names).await;
    let ann = node.user("ann", "acme");
    for url in [format!("http://{PUBLIC}/"), format!("https://{PUBLIC}/")] {
        let (id, row) = delivered(&node, &url, &json!({})).await;
        assert_eq!(row["errorKind"], "cancelled", "{row}");
        assert_eq!(row["errorMessage"], "the proxy of the service could not be reached");
        let webhook = ann.webhook(&id).await;
        assert_eq!((&webhook["consecutiveFailures"], &webhook["failureCount"]), (&json!(0), &json!(1)));
        assert_eq!(webhook["pausedUntil"], Value::Null);
        assert!(!row.to_string().contains(&gone), "{row}");
    }
}
