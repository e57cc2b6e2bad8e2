//! No secret anywhere: everything that is secret is planted with words that are easy to find, a node lives through all that
//! can happen to it at the most talkative level, and then whatever it and its commands have said is searched for them.
//!
//! Searched are standard error and standard output, the metrics, the other pages of the management port, what the collector
//! of traces got, and every answer that refuses something. An error may repeat what the contract lets it repeat (names of
//! properties, event types, the path): those are planted as [`ECHOED`], which only the answer itself may hold.

mod commands;
mod life;
mod planted;
mod refusals;

use crate::harness::{
    Call, ForwardProxy, NameServer, Receiver, SOON, TestNode, TestRedis, Told, eventually, text,
};
use life::Life;
use planted::{MARK, Planted};
use reqwest::Method;
use serde_json::json;

/// As much as a log can be asked for, of this program and of every library by its name.
const EVERYTHING: &str = "trace,hyper=trace,hyper_util=trace,hickory_resolver=trace,hickory_proto=trace,rustls=trace,\
                          redis=trace,actix_http=trace,actix_server=trace,mio=trace,h2=trace,salesos_webhooks=trace";

/// Lives through everything with that format of the log; gives all that was said.
async fn nothing_is_said_in(format: &str) -> String {
    let mut life = Life::begin(format, EVERYTHING).await;
    refusals::all(&mut life).await;
    life.deliver().await;
    life.fail().await;
    life.manage().await;
    life.visit().await;
    life.meet_garbage().await;
    life.lose_redis().await;
    life.end().await
}

#[tokio::test]
async fn no_secret_is_said_traced_or_measured_in_json() {
    let said = nothing_is_said_in("json").await;
    for expected in ["\"level\":\"DEBUG\"", "\"message\":\"listening\"", "\"message\":\"attempted\""] {
        assert!(said.contains(expected), "the whole log is seen, with {expected}");
    }
    let is_deep = |line: &&str| line.contains("\"level\":\"DEBUG\"") || line.contains("\"level\":\"TRACE\"");
    let is_ours = |line: &str| line.contains("\"target\":\"salesos_webhooks");
    let of_libraries: Vec<&str> = said.lines().filter(is_deep).filter(|line| !is_ours(line)).collect();
    assert!(of_libraries.is_empty(), "libraries are held to info: {of_libraries:?}");
}

#[tokio::test]
async fn no_secret_is_said_traced_or_measured_as_text() {
    let said = nothing_is_said_in("text").await;
    for expected in ["DEBUG salesos_webhooks", ": listening api=", ": attempted "] {
        assert!(said.contains(expected), "the whole log is seen, with {expected}");
    }
}

#[tokio::test]
async fn the_password_of_a_proxy_is_said_nowhere_whatever_the_proxy_does() {
    let (redis, proxy, names) = (TestRedis::start(), ForwardProxy::start().await, NameServer::start().await);
    names.tell("crm.test", Told::addresses(&["93.184.215.14"]));
    let (url, servers) =
        (format!("http://{MARK}proxy-user:{MARK}proxy-password@{}", proxy.address()), names.address());
    let settings = [
        ("DELIVERY__PROXY_URL", url.as_str()),
        ("DELIVERY__DNS_SERVERS", servers.as_str()),
        ("TELEMETRY__LOG_LEVEL", EVERYTHING),
    ];
    let node = TestNode::start_with(&redis, &settings).await;
    let (ann, mut planted) = (node.user("ann", "acme"), Planted::default());
    planted.add("the proxy's user", &format!("{MARK}proxy-user"));
    planted.add("the proxy's password", &format!("{MARK}proxy-password"));
    planted.add_credentials("the proxy's", &format!("{MARK}proxy-user:{MARK}proxy-password"));
    let once = json!({ "timeoutSeconds": 2, "retryAttempts": 0 });
    for (url, answer) in [
        ("http://crm.test/hook", "HTTP/1.1 200 OK"),
        ("http://crm.test/hook", "HTTP/1.1 407 planted-phrase"),
        ("https://crm.test/hook", "HTTP/1.1 407 planted-phrase"),
        ("https://crm.test/hook", "HTTP/1.1 403 planted-phrase"),
        ("https://crm.test/hook", "planted-nonsense"),
        ("https://crm.test/hook", "HTTP/1.1 200 OK"),
    ] {
        proxy.answers(answer);
        let id = text(&ann.create(url, &["*"], &once).await["id"]);
        let tested = ann.post_empty(&format!("/api/webhooks/{id}/test")).await;
        tested.expect(200);
        planted.is_absent_from("the answer of a test", &tested.body);
        node.publisher("acme").publish("lead.created", &json!({})).await;
        let rows = eventually("both are logged", SOON, async || {
            Some(ann.log(&id, "").await).filter(|r| r.len() == 2)
        });
        planted.is_absent_from("the log of deliveries", &format!("{:?}", rows.await));
        ann.delete(&format!("/api/webhooks/{id}")).await.expect(204);
    }
    drop(proxy);
    let id = text(&ann.create("http://crm.test/hook", &["*"], &once).await["id"]);
    ann.post_empty(&format!("/api/webhooks/{id}/test")).await.expect(200);
    planted.is_absent_from("the log", &node.all_said());
    planted.is_absent_from("a metric", &node.management().get("/metrics").await.body);
}

/// The searcher is searched itself, so that it cannot pass by finding nothing.
#[tokio::test]
async fn what_is_planted_is_found_in_every_spelling() {
    let mut planted = Planted::default();
    planted.add("a word", "planted-word");
    planted.add_secret("a secret", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    planted.add_credentials("some", "ann:hunter2");
    for leak in [
        "x planted-word y",
        "{\"body\":\"planted-word\"}",
        "706c616e7465642d776f7264",
        "706C616E7465642D776F7264",
        "[112, 108, 97, 110, 116, 101, 100, 45, 119, 111, 114, 100]",
        "[112,108,97,110,116,101,100,45,119,111,114,100]",
        "cGxhbnRlZC13b3Jk",
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28]",
        "Basic YW5uOmh1bnRlcjI=",
    ] {
        assert!(planted.first_in(leak).is_some(), "{leak}");
    }
    assert_eq!(planted.first_in("nothing of it, not even whsec_*** or 706c"), None);
}

/// A receiver that is no receiver: what it says is in no message.
async fn says_nonsense() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"planted-nonsense planted-more\r\n\r\n").await;
        }
    });
    format!("http://{address}/{MARK}path?{MARK}query")
}

/// A receiver, and all that was ever signed for it.
fn signatures(receiver: &Receiver, path: &str) -> Vec<String> {
    let of = |name: &str| -> Vec<String> {
        receiver.received(path).iter().map(|request| request.header(name).to_owned()).collect()
    };
    [of("x-webhook-signature"), of("webhook-signature")].concat()
}

/// Refuses a call with a status of 4xx, in words that hold nothing planted.
async fn is_refused(planted: &Planted, call: Call) {
    let answer = call.send().await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
    planted.is_marked_nowhere_in("an answer", &format!("{:?} {}", answer.headers, answer.body));
}

/// The methods that the routes know, and one that they do not.
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PATCH, Method::DELETE, Method::PUT];
