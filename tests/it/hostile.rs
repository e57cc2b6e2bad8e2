//! Contract §6 and §8 with endpoints that break every rule: each attempt ends in time, once, with its reason; nobody else
//! notices.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Authority, Case, Channel, Family, Hostile, Receiver, SOON, TestNode, TestRedis, Then, cases, eventually,
    text,
};

/// What endpoints are given, in seconds.
const TIMEOUT: u64 = 2;
/// The most that an attempt may take beyond, on a slow machine.
const SLACK_MS: u64 = 1500;
/// The most memory that the attempts of a family may take, all at once.
const MOST_MEMORY: usize = 64 << 20;

/// A node, and an endpoint for each case of a family, with a webhook of the same user.
struct Trial {
    node: TestNode,
    receiver: Receiver,
    cases: Vec<(Case, Hostile, String)>,
    _authority: Authority,
    _redis: TestRedis,
}

impl Trial {
    async fn of(family: Family) -> Self {
        Self::with(&[], TIMEOUT, |case| case.family == family).await
    }

    async fn with(settings: &[(&str, &str)], timeout: u64, is_tried: impl Fn(&Case) -> bool) -> Self {
        let (redis, authority) = (TestRedis::start(), Authority::new());
        let node = TestNode::start_trusting(&redis, authority.file(), settings).await;
        let receiver = Receiver::start().await;
        let ann = node.user("ann", "acme");
        let settings = json!({ "retryAttempts": 0, "timeoutSeconds": timeout });
        let mut trial = Vec::new();
        for case in cases().into_iter().filter(is_tried) {
            let endpoint = Hostile::start(&case, &authority).await;
            let id = text(&ann.create(&endpoint.url, &["*"], &settings).await["id"]);
            trial.push((case, endpoint, id));
        }
        node.user("eve", "other").create(&receiver.url("/"), &["*"], &json!({})).await;
        Self { node, receiver, cases: trial, _authority: authority, _redis: redis }
    }

    /// Sends one event of that many bytes to all of them, waits until all attempts have ended, and looks what came of each.
    async fn runs(&self, bytes: usize) {
        let memory = self.node.most_memory();
        self.sends(bytes).await;
        let ann = self.node.user("ann", "acme");
        let mut wrong = Vec::new();
        for (case, endpoint, id) in &self.cases {
            let log = ann.log(id, "").await;
            wrong.extend(differs(case, endpoint, &log).map(|fault| format!("{}: {fault}", case.name)));
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        let (took, most) = (self.node.most_memory() - memory, MOST_MEMORY + 4 * bytes * self.cases.len());
        assert!(took <= most, "{took} bytes for {} attempts", self.cases.len());
        self.holds_no_connection().await;
    }

    /// Meanwhile a webhook of somebody else gets its events, each soon.
    async fn sends(&self, bytes: usize) {
        let ann = self.node.user("ann", "acme");
        let data = json!({ "filler": "x".repeat(bytes) });
        self.node.publisher("acme").publish("lead.created", &data).await;
        let mut others = 0;
        eventually("every attempt has ended", SOON, async || {
            others += 1;
            self.node.publisher("other").publish("lead.created", &json!({ "n": others })).await;
            self.receiver.arrived_within(Duration::from_secs(TIMEOUT), "/", others).await;
            let counts = &ann.stats().await["deliveries"];
            (counts["total"] == self.cases.len() && counts["pending"] == 0).then_some(())
        })
        .await;
        assert!(self.node.is_ready().await);
    }

    /// Waits until the node has hung up everywhere, which it does a moment after the attempts.
    async fn holds_no_connection(&self) {
        for (case, endpoint, _) in &self.cases {
            let what = format!("no connection is held to one that {}", case.name);
            eventually(&what, SOON, async || (held_to(endpoint) == 0).then_some(())).await;
        }
    }
}

/// How many connections to an endpoint a caller still holds, as the kernel tells: an entry of `/proc/net/tcp` has the
/// remote address in its third column, and an inode in its tenth for as long as a process has it open.
fn held_to(endpoint: &Hostile) -> usize {
    let port = reqwest::Url::parse(&endpoint.url).unwrap().port().expect("it has one");
    let remote = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux tells it");
    let entries = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    entries.filter(|entry| entry.len() > 9 && entry[2].ends_with(&remote) && entry[9] != "0").count()
}

/// What is not as the case says.
fn differs(case: &Case, endpoint: &Hostile, log: &[Value]) -> Option<String> {
    let [row] = log else { return Some(format!("one attempt is one row: {log:?}")) };
    let told = (&row["success"], &row["errorKind"], &row["statusCode"]);
    let expected = (&json!(case.kind.is_none()), &json!(case.kind), &json!(case.status));
    let message = row["errorMessage"].as_str().unwrap_or_default();
    let took = row["responseTimeMs"].as_u64().unwrap_or(u64::MAX);
    let is_timeout = case.kind == Some("timeout");
    let in_time = took <= TIMEOUT * 1000 + SLACK_MS && (!is_timeout || took >= TIMEOUT * 1000);
    let requests = (endpoint.connections(), endpoint.requests());
    let is_right = told == expected
        && message.starts_with(case.message)
        && message.is_empty() == case.message.is_empty()
        && !message.contains("127.0.0.1")
        && in_time
        && requests.0 == 1
        && requests.1 <= 1;
    (!is_right).then(|| format!("{told:?} {message:?} in {took} ms, connections and requests {requests:?}"))
}

#[tokio::test]
async fn endpoints_that_let_their_callers_wait_run_into_the_timeout() {
    Trial::of(Family::Slow).await.runs(200_000).await;
}

#[tokio::test]
async fn a_head_without_an_end_is_left_early_and_a_large_one_is_read() {
    Trial::of(Family::Head).await.runs(10).await;
}

#[tokio::test]
async fn of_a_body_no_more_is_read_than_is_kept_and_it_is_never_unpacked() {
    let trial = Trial::of(Family::Body).await;
    trial.runs(10).await;
    let ann = trial.node.user("ann", "acme");
    for (case, _, id) in &trial.cases {
        let log = ann.log(id, "").await;
        let body = text(&log[0]["responseBody"]);
        let row = ann.get(&format!("/api/webhooks/{id}/deliveries/{}", text(&log[0]["id"]))).await;
        assert_eq!(text(&row.expect(200)["responseBody"]), body);
        match case.name {
            "a gzip bomb" => assert!(body.starts_with("\u{1f}\u{fffd}\u{8}"), "{body:?}"),
            "a body in Latin-1 with NULs" => assert_eq!(body, "M\u{fffd}ller\0\0"),
            _ => assert_eq!(body, "x".repeat(256), "{}", case.name),
        }
    }
}

#[tokio::test]
async fn endpoints_that_hang_up_too_early_are_told_apart() {
    Trial::of(Family::Breaking).await.runs(10).await;
}

#[tokio::test]
async fn interim_answers_without_an_end_are_left_and_a_redirect_is_not_followed() {
    Trial::of(Family::Interim).await.runs(10).await;
}

#[tokio::test]
async fn a_bad_certificate_is_refused_with_its_fault_and_a_good_one_is_taken() {
    Trial::of(Family::Certificate).await.runs(10).await;
}

#[tokio::test]
async fn what_is_no_http_is_called_so() {
    Trial::of(Family::Garbage).await.runs(10).await;
}

#[tokio::test]
async fn answers_that_contradict_themselves_are_refused() {
    Trial::of(Family::Framing).await.runs(10).await;
}

#[tokio::test]
async fn an_answer_counts_although_the_request_was_not_read() {
    Trial::of(Family::Hasty).await.runs(200_000).await;
}

#[tokio::test]
async fn an_endpoint_that_reads_nothing_does_not_keep_its_connection() {
    let large = [("API__MAX_EVENT_BYTES", "16777216")];
    let reads_nothing =
        |case: &Case| matches!(case.script.then, Then::Freezes) && matches!(case.channel, Channel::Tls(_));
    // An unoptimized build takes a second to sign it.
    let trial = Trial::with(&large, 2 * TIMEOUT, reads_nothing).await;
    // More than the kernel takes off the node's hands.
    trial.sends(3_500_000).await;
    trial.holds_no_connection().await;
}
