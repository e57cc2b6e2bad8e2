//! Clients of the API that break the rules: what each gets, that it ends, and that others are served meanwhile.
//!
//! Raw sockets to a real node. The table in `docs/security.md` ("Limits on requests") says the same in words.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{SOON, TestNode, TestRedis, Token};

/// Connects and sends; the node may have ended the connection before the last byte.
async fn send(node: &TestNode, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(node.address().get()).await.unwrap();
    // A reset is an answer too: what came before it is read.
    let _ = socket.write_all(bytes).await;
    socket
}

/// Everything up to the end of the connection, or of the first answer.
async fn answer(mut socket: TcpStream) -> String {
    let mut all = Vec::new();
    let reading = async {
        let mut chunk = [0; 4096];
        loop {
            match socket.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(count) => all.extend_from_slice(&chunk[..count]),
            }
            if is_whole(&all) {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("an answer or an end");
    String::from_utf8(all).expect("text")
}

/// A head, and the body that it announces.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    !head.contains(" 100 ") && length.is_none_or(|length| body.len() >= length)
}

fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok()).unwrap_or_default()
}

/// The JSON error, if the answer has one.
fn error(answer: &str) -> Option<Value> {
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /api/events HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}").into_bytes()
}

/// What of an answer is ours.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Body {
    /// The contract's error.
    Ours,
    /// The framework answers by itself, and has nothing to say.
    Empty,
}

#[tokio::test]
async fn requests_that_two_readers_could_understand_differently_are_refused() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let chunk = "0\r\n\r\n";
    for (what, bytes) in [
        ("both lengths", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunk)),
        ("both lengths, turned round", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunk)),
        ("two equal lengths", post("Content-Length: 2\r\nContent-Length: 2\r\n", "{}")),
        ("two lengths", post("Content-Length: 2\r\nContent-Length: 3\r\n", "{}")),
        ("a list of lengths", post("Content-Length: 2, 2\r\n", "{}")),
        ("a length with a sign", post("Content-Length: +2\r\n", "{}")),
        ("a negative length", post("Content-Length: -2\r\n", "{}")),
        ("a length beyond numbers", post(&format!("Content-Length: {}\r\n", "9".repeat(30)), "{}")),
        ("a coding before chunked", post("Transfer-Encoding: gzip, chunked\r\n", chunk)),
        ("nearly chunked", post("Transfer-Encoding: xchunked\r\n", chunk)),
        ("two codings", post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", chunk)),
        (
            "chunked in HTTP/1.0",
            b"POST /api/events HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        ),
        ("a folded line", get("/api/webhooks", "X-A: b\r\n c\r\n")),
        ("a lone CR", get("/api/webhooks", "X-A: b\rX-B: c\r\n")),
        ("a NUL", get("/api/webhooks", "X-A: b\0\r\n")),
        ("a space before the colon", post("Content-Length : 2\r\n", "{}")),
        ("two hosts", get("/api/webhooks", "Host: y\r\n")),
        ("no host", b"GET /api/webhooks HTTP/1.1\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"GET /api/webhooks\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("TLS", vec![0x16, 3, 1, 0, 0xa5, 1, 0, 0, 0xa1]),
        ("a path that is no text", b"GET /api/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
    ] {
        let mut socket = send(&node, &bytes).await;
        let mut all = Vec::new();
        // The connection ends as well: nothing that follows is read as another request.
        let reading = socket.read_to_end(&mut all);
        tokio::time::timeout(SOON, reading).await.expect("it is closed").unwrap();
        let answer = String::from_utf8(all).unwrap();
        assert_eq!((status(&answer), error(&answer)), (400, None), "{what}: {answer}");
    }
}

#[tokio::test]
async fn what_is_too_much_is_refused_before_it_is_held() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let token =
        format!("Authorization: Bearer {}\r\n", Token::user("crm").org("acme").role("service").sign());
    let json = format!("{token}Content-Type: application/json\r\n");
    let chunks = |count: usize| format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(count);
    for (what, bytes, expected, body) in [
        ("95 headers and Host", get("/api/webhooks", &many(95)), 401, Body::Ours),
        ("96 headers and Host", get("/api/webhooks", &many(96)), 431, Body::Empty),
        ("100,000 headers", get("/api/webhooks", &many(100_000)), 431, Body::Empty),
        (
            "a header of 200 KB",
            get("/api/webhooks", &format!("X-A: {}\r\n", "x".repeat(200_000))),
            431,
            Body::Empty,
        ),
        ("a URL of 9 KB", get(&format!("/api/{}", "x".repeat(9000)), ""), 414, Body::Ours),
        ("a query of 60 KB", get(&format!("/api/webhooks?{}", "x".repeat(60_000)), ""), 414, Body::Ours),
        ("a URL of 70 KB", get(&format!("/api/{}", "x".repeat(70_000)), ""), 400, Body::Empty),
        (
            "an announced body of an exabyte",
            post(&format!("{json}Content-Length: 1000000000000000000\r\n"), ""),
            413,
            Body::Ours,
        ),
        (
            "a chunked body of 512 KB",
            post(&format!("{json}Transfer-Encoding: chunked\r\n"), &chunks(512)),
            413,
            Body::Ours,
        ),
        (
            "a coded body",
            post(&format!("{json}Content-Encoding: gzip\r\nContent-Length: 2\r\n"), "{}"),
            415,
            Body::Ours,
        ),
        (
            "a chunk beyond numbers",
            post(&format!("{json}Transfer-Encoding: chunked\r\n"), "fffffffffffffffff\r\n"),
            400,
            Body::Ours,
        ),
        ("a broken chunk", post(&format!("{json}Transfer-Encoding: chunked\r\n"), "zz\r\n"), 400, Body::Ours),
        (
            "a token of 9 KB",
            get("/api/webhooks", &format!("Authorization: Bearer {}\r\n", "x".repeat(9000))),
            401,
            Body::Ours,
        ),
    ] {
        let answer = answer(send(&node, &bytes).await).await;
        assert_eq!(status(&answer), expected, "{what}: {}", &answer[..answer.len().min(500)]);
        let found = if error(&answer).is_some_and(|body| body["statusCode"] == expected) {
            Body::Ours
        } else {
            Body::Empty
        };
        assert_eq!(found, body, "{what}: {answer}");
        assert!(answer.len() < 2500, "{what}: an answer of {} bytes", answer.len());
    }
}

#[tokio::test]
async fn odd_forms_lead_nowhere_else() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let line = |first: &str| format!("{first} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    for (bytes, expected) in [
        (line("GET http://evil.example/api/webhooks"), 401),
        (line("CONNECT evil.example:443"), 404),
        (line("TRACE /api/webhooks"), 405),
        (line("OPTIONS *"), 404),
        (line("FOO /api/webhooks"), 405),
        (line(&format!("{} /api/webhooks", "A".repeat(5000))), 405),
        (line("GET /api/webhooks/%00"), 401),
        (line("GET /api/webhooks/%ff%fe"), 401),
        (line("GET /api/webhooks/%2e%2e/%2e%2e/metrics"), 404),
        (line("GET //api/webhooks"), 404),
        (line("GET /api/../metrics"), 404),
        (get("/api/webhooks", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), 401),
        (get("/api/webhooks", "Connection: Upgrade\r\nUpgrade: h2c\r\n"), 401),
        (post("Expect: 200-maybe\r\nContent-Length: 2\r\n", "{}"), 401),
        (get("/api/webhooks", "Content-Length: 2\r\n"), 401),
    ] {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let answer = answer(send(&node, &bytes).await).await;
        assert_eq!(status(&answer), expected, "{what}: {answer}");
        assert_eq!(error(&answer).map(|body| body["statusCode"].clone()), Some(json!(expected)), "{what}");
        assert!(!answer.contains("Secret"), "nothing is sent back");
    }
    let told = node.log_text();
    assert!(!told.contains(&"A".repeat(17)), "a method without end is not repeated in the log");
}

/// One client that holds a connection in a way of its own. Gives the socket when it is held.
async fn hold(node: &TestNode, how: usize) -> TcpStream {
    let first = get("/api/webhooks", "");
    match how {
        // Nothing more after an answer.
        0 => {
            let mut socket = send(node, &first).await;
            read_some(&mut socket).await;
            socket
        }
        // A second head that never ends; the framework looks at the first alone.
        1 => {
            let mut socket = send(node, &first).await;
            read_some(&mut socket).await;
            socket.write_all(b"GET /api/webhooks HTTP/1.1\r\nHost:").await.unwrap();
            socket
        }
        // A chunked body that goes on behind its answer.
        2 => {
            let mut socket = send(node, &post("Transfer-Encoding: chunked\r\n", "1\r\n{\r\n")).await;
            read_some(&mut socket).await;
            socket
        }
        // No answer is ever read, of far more than the buffers of two systems hold.
        _ => {
            let token = format!("Authorization: Bearer {}\r\n", Token::user("eve").org("acme").sign());
            send(node, &get("/api/webhooks/events", &token).repeat(300)).await
        }
    }
}

async fn read_some(socket: &mut TcpStream) {
    let mut head = [0; 2048];
    let count = tokio::time::timeout(SOON, socket.read(&mut head)).await.expect("an answer").unwrap();
    assert!(count > 0);
}

/// Goes on as before until the node ends the connection.
async fn until_cut(mut socket: TcpStream, drip: &[u8]) {
    let mut scrap = vec![0; 1 << 20];
    let ended = async {
        loop {
            if !drip.is_empty() && socket.write_all(drip).await.is_err() {
                break;
            }
            let reading = tokio::time::timeout(Duration::from_millis(100), socket.read(&mut scrap));
            if let Ok(Ok(0) | Err(_)) = reading.await {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("the node ends it");
}

/// Connections of the node in these tests, and how many of them count as too many.
const MOST: usize = 16;
const CROWD: usize = 12;

/// Everybody holds connections in that way; a client that keeps to the rules comes last.
async fn crowd(how: usize, drip: &[u8], cut_at_least: usize) {
    let redis = TestRedis::start();
    let most = MOST.to_string();
    let settings = [("SERVER__MAX_CONNECTIONS", most.as_str()), ("SERVER__WORKERS", "1")];
    let node = TestNode::start_with(&redis, &settings).await;
    let held = join_all((0..MOST).map(|_| hold(&node, how))).await;
    node.user("ann", "acme").get("/api/webhooks").await.expect(200);
    let mut cut: FuturesUnordered<_> = held.into_iter().map(|socket| until_cut(socket, drip)).collect();
    for _ in 0..cut_at_least {
        cut.next().await.expect("as many as are too many");
    }
}

#[tokio::test]
async fn a_healthy_client_is_served_where_others_hold_all_connections_idle() {
    crowd(0, b"", MOST - CROWD).await;
}

#[tokio::test]
async fn a_healthy_client_is_served_where_others_hold_all_connections_with_heads_that_do_not_end() {
    crowd(1, b"x", MOST - CROWD).await;
}

#[tokio::test]
async fn a_healthy_client_is_served_where_others_hold_all_connections_with_bodies_that_do_not_end() {
    crowd(2, b"1\r\nx\r\n", MOST - CROWD).await;
}

#[tokio::test]
async fn a_healthy_client_is_served_where_others_hold_all_connections_and_read_no_answer() {
    // To look for their end is to read, which makes honest clients of those that were not cut yet.
    crowd(3, b"", 1).await;
}

#[tokio::test]
async fn a_large_answer_may_be_taken_slowly_in_a_crowd() {
    // Slow for more than twice the time that a crowd gives, of more than the buffers of two systems hold.
    const ANSWERS: usize = 5;
    const SLOW_PIECES: usize = 48;
    let redis = TestRedis::start();
    let most = MOST.to_string();
    let settings = [("SERVER__MAX_CONNECTIONS", most.as_str()), ("SERVER__WORKERS", "1")];
    let node = TestNode::start_with(&redis, &settings).await;
    let mut others = join_all((0..=CROWD).map(|_| hold(&node, 0))).await;
    let mut slow = little_buffered(&node).await;
    let asked = get("/api/docs/swagger-ui-bundle.js", "").repeat(ANSWERS);
    slow.write_all(&asked).await.unwrap();
    let mut piece = vec![0; 32 * 1024];
    let mut expected = None;
    for _ in 0..SLOW_PIECES {
        slow.read_exact(&mut piece).await.expect("it is not cut");
        expected = expected.or_else(|| Some(ANSWERS * length_of(&piece)));
        // The crowd keeps to the rules: each of them sends a request in time.
        others.rotate_left(1);
        others[0].write_all(&get("/api/webhooks", "")).await.expect("it is not cut either");
        read_some(&mut others[0]).await;
        // Waits for nothing: to be slow is what it is there for.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let rest = expected.unwrap() - SLOW_PIECES * piece.len();
    let reading = async { slow.read_exact(&mut vec![0; rest]).await.map(drop) };
    tokio::time::timeout(SOON, reading).await.expect("an end").expect("all of it");
}

/// A connection of which this side's system holds little.
async fn little_buffered(node: &TestNode) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let address = node.address().get().to_string().parse().unwrap();
    socket.connect(address).await.unwrap()
}

/// The body that a head announces.
fn length_of(bytes: &[u8]) -> usize {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).expect("a length")
}
