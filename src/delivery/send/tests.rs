//! Real sockets on the loopback: what an endpoint sees, and what every way to misbehave is called.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

mod environment;
mod sockets;

use crate::domain::{ErrorKind, Retries, Secret};

/// Settings of a webhook at `url`, for this module's tests.
pub(crate) fn settings(url: &str) -> Settings {
    Settings {
        tenant: "org:demo".parse().expect("a tenant"),
        owner: "ann".parse().expect("a user"),
        name: "test".into(),
        description: None,
        url: url.into(),
        events: vec!["*".parse().expect("a pattern")],
        headers: BTreeMap::new(),
        retries: Retries { attempts: 0, delay_seconds: 0, backoff: Default::default(), schedule: None },
        timeout_seconds: 5,
        rate_limit_per_second: None,
        max_concurrency: 1,
        ordered: false,
        filter: None,
        secret: Secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into()),
        former_secrets: vec![],
        created_at: Millis(0),
    }
}

/// An event with a body, for this module's tests.
pub(crate) fn event() -> EventBody {
    EventBody {
        event_type: "lead.created".into(),
        bytes: Bytes::from_static(br#"{"id":"evt_1","data":{"n":1}}"#),
        trace: None,
    }
}

const AT: Millis = Millis(1_768_473_000_123);
const CAPTURE: usize = 4096;
const MINE: Key = Key(1);
const OTHER: Key = Key(2);

fn config(networks: &[&str]) -> Delivery {
    Delivery {
        require_https: false,
        allowed_networks: networks.iter().map(|network| network.parse().expect(network)).collect(),
        dns_servers: vec![],
        proxy_url: None,
        default_rate_limit_per_second: 0,
        max_in_flight: 16,
        response_capture_bytes: CAPTURE,
        max_age: Duration::from_secs(60),
        memory_budget_bytes: 1 << 20,
    }
}

fn sharing(sockets: &Sockets) -> Sender {
    Sender::new(&config(&["127.0.0.0/8", "::1/128"]), sockets).expect("a sender")
}

pub(in crate::delivery) fn sender() -> Sender {
    sharing(&Sockets::new(16))
}

pub(in crate::delivery) async fn attempt(sender: &Sender, settings: &Settings) -> AttemptResult {
    sender
        .turn(MINE)
        .await
        .attempt(&sender.endpoint(settings), &"evt_1".parse().expect("an id"), &event(), 1, AT, None)
        .await
}

/// An endpoint on the loopback that does `behave` with every connection, and counts them.
async fn endpoint<F>(behave: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(behave(socket));
        }
    });
    (address, connections)
}

/// An endpoint that answers every request with the same bytes and hands over the requests as text.
async fn answering(answer: impl Into<Vec<u8>>) -> (String, mpsc::Receiver<String>) {
    let (url, received, _) = answering_and_counting(answer).await;
    (url, received)
}

/// The same, with the count of connections.
pub(in crate::delivery) async fn answering_and_counting(
    answer: impl Into<Vec<u8>>,
) -> (String, mpsc::Receiver<String>, Arc<AtomicUsize>) {
    let answer: Arc<[u8]> = answer.into().into();
    let (requests, received) = mpsc::channel(16);
    let (address, connections) = endpoint(move |mut socket| {
        let (answer, requests) = (Arc::clone(&answer), requests.clone());
        async move {
            while let Some(request) = read_request(&mut socket).await {
                requests.try_send(request).ok();
                socket.write_all(&answer).await.ok();
            }
        }
    })
    .await;
    (format!("http://{address}/hook?a=b"), received, connections)
}

/// Head and body of one request; `None` when the connection ends first.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
            return Some(text.into_owned());
        }
    }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn told(result: &AttemptResult) -> (Option<ErrorKind>, &str) {
    let failure = result.failure.as_ref();
    (failure.map(|failure| failure.kind), failure.map_or("", |failure| &failure.message))
}

#[tokio::test]
async fn an_endpoint_gets_exactly_the_documented_request() {
    let (url, mut received) = answering(http("200 OK", "", "thanks")).await;
    let mut settings = settings(&url);
    settings.headers.insert("X-Custom".into(), "mine".into());
    let result = attempt(&sender(), &settings).await;
    assert!(result.success(), "{result:?}");
    assert_eq!((result.status, result.response_body.as_deref()), (Some(200), Some("thanks")));
    assert_eq!(result.at, AT);

    let request = received.recv().await.expect("a request");
    let (head, body) = request.split_once("\r\n\r\n").expect("a head and a body");
    assert_eq!(body.as_bytes(), event().bytes);
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /hook?a=b HTTP/1.1"));
    let mut names: Vec<_> = lines.filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    names.sort_unstable();
    let documented = [
        "accept",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "x-custom",
        "x-webhook-attempt",
        "x-webhook-event",
        "x-webhook-id",
        "x-webhook-signature",
        "x-webhook-timestamp",
    ];
    assert_eq!(names, documented);
}

#[tokio::test]
async fn every_attempt_sends_the_same_bytes_over_a_kept_connection() {
    let (url, mut received, connections) =
        answering_and_counting(http("500 Internal Server Error", "", "no")).await;
    let (sender, id) = (sender(), "evt_1".parse().expect("an id"));
    let endpoint = sender.endpoint(&settings(&url));
    let mut bodies = Vec::new();
    for number in 1..=3 {
        sender.turn(MINE).await.attempt(&endpoint, &id, &event(), number, AT, None).await;
        let request = received.recv().await.expect("a request");
        assert!(request.contains(&format!("x-webhook-attempt: {number}\r\n")), "{request}");
        bodies.push(request.split_once("\r\n\r\n").expect("a body").1.to_owned());
    }
    assert!(bodies.iter().all(|body| body.as_bytes() == event().bytes));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_the_endpoint_closes_after_its_answer_fails_no_attempt() {
    for answer in [http("200 OK", "connection: close\r\n", "ok"), http("200 OK", "", "ok")] {
        let told = answer.clone();
        let (address, connections) = endpoint(move |mut socket| {
            let answer = told.clone();
            async move {
                read_request(&mut socket).await;
                // It is gone in the same breath, whatever the answer says.
                socket.write_all(answer.as_bytes()).await.ok();
            }
        })
        .await;
        let (sender, settings) = (sender(), settings(&format!("http://{address}/")));
        for _ in 0..3 {
            let result = attempt(&sender, &settings).await;
            assert!(result.success(), "{answer}: {result:?}");
        }
        assert_eq!(connections.load(Ordering::SeqCst), 3, "{answer}");
    }
}

#[tokio::test]
async fn an_attempt_that_is_dropped_closes_its_connection() {
    let (closed, mut told) = mpsc::channel(1);
    let (address, _) = endpoint(move |mut socket| {
        let closed = closed.clone();
        async move {
            while read_request(&mut socket).await.is_some() {}
            closed.send(()).await.ok();
        }
    })
    .await;
    let (sender, settings) = (sender(), settings(&format!("http://{address}/")));
    let given_up = tokio::time::timeout(Duration::from_millis(50), attempt(&sender, &settings)).await;
    assert!(given_up.is_err());
    told.recv().await.expect("the endpoint sees the end");
}

#[tokio::test]
async fn answers_are_told_apart() {
    for (answer, kind, message) in [
        (http("204 No Content", "", ""), None, ""),
        (
            http("500 Internal Server Error", "", "boom"),
            Some(ErrorKind::HttpStatus),
            "the endpoint answered 500 Internal Server Error",
        ),
        (
            http("302 Found", "location: http://127.0.0.1:1/\r\n", ""),
            Some(ErrorKind::Redirect),
            "the endpoint answered 302 Found: redirects are not followed",
        ),
        (http("410 Gone", "", ""), Some(ErrorKind::HttpStatus), "the endpoint answered 410 Gone"),
        (
            "SSH-2.0-nope\r\n\r\n".into(),
            Some(ErrorKind::Protocol),
            "the head of the answer is not valid HTTP, or too long",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".into(),
            Some(ErrorKind::Protocol),
            "the answer was not valid HTTP",
        ),
    ] {
        let (url, mut received) = answering(answer.clone()).await;
        let result = attempt(&sender(), &settings(&url)).await;
        assert_eq!(told(&result), (kind, message), "{answer}");
        assert!(received.recv().await.is_some() && received.try_recv().is_err(), "one request: {answer}");
    }
}

#[tokio::test]
async fn a_busy_endpoint_is_heard_when_it_names_a_time() {
    let (url, _received) = answering(http("503 Service Unavailable", "retry-after: 120\r\n", "")).await;
    assert_eq!(attempt(&sender(), &settings(&url)).await.retry_after, Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn a_compressed_answer_stays_as_it_came() {
    let (url, _received) = answering(http("500 Oops", "content-encoding: gzip\r\n", "not gzip")).await;
    let result = attempt(&sender(), &settings(&url)).await;
    assert_eq!(result.response_body.as_deref(), Some("not gzip"));
}

/// Writes the head of a 200 answer and waits for the request to be read.
async fn begin_answer(socket: &mut TcpStream, length: u64) {
    read_request(socket).await;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.ok();
}

#[tokio::test]
async fn a_huge_answer_is_read_only_as_far_as_it_is_kept() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let (address, _) = endpoint(move |mut socket| {
        let count = Arc::clone(&count);
        async move {
            begin_answer(&mut socket, 10 << 30).await;
            while socket.write_all(&[b'x'; 65_536]).await.is_ok() {
                count.fetch_add(65_536, Ordering::SeqCst);
            }
        }
    })
    .await;
    let result = attempt(&sender(), &settings(&format!("http://{address}/"))).await;
    assert!(result.success(), "{result:?}");
    assert_eq!(result.response_body.map(|body| body.len()), Some(256));
    assert!(written.load(Ordering::SeqCst) < 64 << 20, "the rest stays with the endpoint");
}

#[tokio::test]
async fn dripping_and_silent_endpoints_run_into_the_timeout() {
    let (dripping, _) = endpoint(|mut socket| async move {
        begin_answer(&mut socket, 1000).await;
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        while socket.write_all(b"x").await.is_ok() {
            beat.tick().await;
        }
    })
    .await;
    let (silent, _) =
        endpoint(|mut socket| async move { while read_request(&mut socket).await.is_some() {} }).await;
    let (mute_tls, _) = endpoint(|mut socket| async move {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.ok();
    })
    .await;
    for (url, status) in [
        (format!("http://{dripping}/"), Some(200)),
        (format!("http://{silent}/"), None),
        (format!("https://{mute_tls}/"), None),
    ] {
        let mut settings = settings(&url);
        settings.timeout_seconds = 1;
        let result = attempt(&sender(), &settings).await;
        assert_eq!(told(&result), (Some(ErrorKind::Timeout), "no complete answer within 1 s"), "{url}");
        assert_eq!(result.status, status);
        assert!((1000..1900).contains(&result.elapsed.as_millis()), "{:?}", result.elapsed);
    }
}

#[tokio::test]
async fn broken_connections_are_told_apart() {
    let (closing, _) = endpoint(|mut socket| async move {
        read_request(&mut socket).await;
    })
    .await;
    let (resetting, _) = endpoint(|socket| async move {
        // Closing with the request unread makes the kernel reset the connection.
        socket.readable().await.ok();
    })
    .await;
    let (halving, _) = endpoint(|mut socket| async move {
        begin_answer(&mut socket, 1000).await;
        socket.write_all(b"half").await.ok();
    })
    .await;
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    for (address, kind) in [
        (closing, ErrorKind::Connect),
        (resetting, ErrorKind::Connect),
        (halving, ErrorKind::Protocol),
        (free, ErrorKind::Connect),
    ] {
        let result = attempt(&sender(), &settings(&format!("http://{address}/"))).await;
        let (told, message) = told(&result);
        assert_eq!(told, Some(kind), "{message}");
        assert!(!message.is_empty() && !message.contains("127.0.0.1"), "{message}");
    }
}

#[tokio::test]
async fn an_endpoint_without_tls_is_a_tls_failure() {
    let (plain, _) = endpoint(|mut socket| async move {
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.ok();
    })
    .await;
    let (closing, _) = endpoint(|mut socket| async move {
        let mut hello = [0; 5];
        socket.read_exact(&mut hello).await.ok();
        socket.shutdown().await.ok();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.ok();
    })
    .await;
    for (address, expected) in [
        (plain, "the endpoint does not speak TLS on this port"),
        (closing, "the connection was closed during the TLS handshake"),
    ] {
        let result = attempt(&sender(), &settings(&format!("https://{address}/"))).await;
        assert_eq!(told(&result), (Some(ErrorKind::Tls), expected));
    }
}

#[tokio::test]
async fn refused_addresses_get_no_connection_in_any_spelling() {
    let (address, connections) = endpoint(|_socket| async {}).await;
    let strict = Sender::new(&config(&[]), &Sockets::new(16)).expect("a sender");
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "１２７.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
    ] {
        let url = format!("http://{host}:{}/", address.port());
        let result = attempt(&strict, &settings(&url)).await;
        assert_eq!(told(&result).0, Some(ErrorKind::BlockedAddress), "{host}: {result:?}");
        let parsed = Url::parse(&url).expect("a URL");
        assert_eq!(strict.vet(&parsed).await, Err(address::Fault::Address), "{host}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_forbidden_port_is_refused_at_every_attempt() {
    let result = attempt(&sender(), &settings("http://127.0.0.1:6379/")).await;
    assert_eq!(told(&result), (Some(ErrorKind::BlockedAddress), "url must not use port 6379"));
}

#[tokio::test]
async fn a_name_is_resolved_and_a_missing_one_told() {
    let (url, mut received) = answering(http("200 OK", "", "")).await;
    let named = url.replace("127.0.0.1", "localhost");
    let result = attempt(&sender(), &settings(&named)).await;
    assert!(result.success(), "{result:?}");
    assert!(received.recv().await.is_some_and(|request| request.contains("host: localhost:")));

    let missing = attempt(&sender(), &settings("http://no-such-name.invalid/")).await;
    assert_eq!(told(&missing), (Some(ErrorKind::Dns), "the host name could not be resolved"));
    let url = Url::parse("http://no-such-name.invalid/").expect("a URL");
    assert_eq!(sender().vet(&url).await, Ok(()), "checked again at every connection");
}

#[tokio::test]
async fn the_turn_of_an_attempt_is_over_with_it_or_with_its_first_moments() {
    let (hanging, _) = endpoint(|socket| async move {
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    let (sender, id, event) = (sender(), "evt_1".parse().expect("an id"), event());
    let mut others = Vec::new();
    for _ in 1..AT_ONCE {
        others.push(sender.turn(MINE).await);
    }
    let last = sender.turn(MINE).await;
    assert!(sender.turn(MINE).now_or_never().is_none(), "no turn is left");
    assert!(sender.turn(OTHER).now_or_never().is_some(), "but to another tenant");
    drop(last);
    let settings = settings(&format!("http://{hanging}/"));
    let endpoint = sender.endpoint(&settings);
    let hangs = sender.turn(MINE).await.attempt(&endpoint, &id, &event, 1, AT, None);
    tokio::select! {
        biased;
        result = hangs => panic!("nobody answered it: {result:?}"),
        _next = sender.turn(MINE) => {}
    }
    // It was dropped, and so are these.
    drop(others);
    assert!(sender.turn(MINE).now_or_never().is_some());
}
