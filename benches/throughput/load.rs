//! The load generator, a process of its own: publishes over keep-alive connections, one request at a time on each, as
//! fast as it goes or at a steady rate. Raw HTTP/1.1 on a socket, so that it costs little of the machine it shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::percentiles::{Percentiles, micros};

/// What to publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Where the nodes' APIs listen; connections are spread over them.
    pub nodes: Vec<String>,
    /// One for each organization; events go to them in turn.
    pub tokens: Vec<String>,
    /// How many events.
    pub events: u64,
    /// Connections, each with one request under way at most.
    pub connections: usize,
    /// Events a second; `None` = as fast as it goes.
    pub rate: Option<u32>,
    /// Events that may be under way, published and not arrived; `None` = any number. Lines on standard input say how many
    /// have arrived, on average over their webhooks. Without it a publisher that is faster than the deliveries measures how a backlog grows.
    pub under_way: Option<u64>,
    /// Bytes of the published body.
    pub bytes: usize,
    /// The type of the events.
    pub event_type: String,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Published {
    /// Answered with 202.
    pub accepted: u64,
    /// Answered otherwise.
    pub refused: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// From a request to its answer, in ms.
    pub answer: Percentiles,
    /// How late, in ms, the latest request of a steady rate was sent.
    pub latest_ms: f64,
}

/// Carries the plan out.
pub async fn run(plan: Plan) -> Published {
    let plan = Arc::new(plan);
    let next = Arc::new(AtomicU64::new(0));
    let arrived = Arc::new(watch::Sender::new(0));
    if plan.under_way.is_some() {
        let arrived = arrived.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            let lines = std::io::stdin().lines().map_while(Result::ok);
            lines.filter_map(|line| line.parse().ok()).for_each(|events| _ = arrived.send_replace(events));
        });
    }
    let start = Instant::now();
    let work = |number: usize| {
        tokio::spawn(connection(plan.clone(), next.clone(), arrived.subscribe(), start, number))
    };
    let tasks: Vec<_> = (0..plan.connections).map(work).collect();
    let (mut accepted, mut refused, mut times, mut latest) = (0, 0, Vec::new(), Duration::ZERO);
    for task in tasks {
        let of_one = task.await.expect("a connection does not panic");
        accepted += of_one.accepted;
        refused += of_one.refused;
        latest = latest.max(of_one.latest);
        times.extend(of_one.times);
    }
    let seconds = start.elapsed().as_secs_f64();
    Published {
        accepted,
        refused,
        seconds,
        answer: Percentiles::of(times),
        latest_ms: latest.as_secs_f64() * 1000.0,
    }
}

#[derive(Default)]
struct OfOne {
    accepted: u64,
    refused: u64,
    times: Vec<u32>,
    latest: Duration,
}

async fn connection(
    plan: Arc<Plan>,
    next: Arc<AtomicU64>,
    mut arrived: watch::Receiver<u64>,
    start: Instant,
    number: usize,
) -> OfOne {
    let mut of_one = OfOne::default();
    let address = &plan.nodes[number % plan.nodes.len()];
    let mut stream = TcpStream::connect(address).await.expect("the node listens");
    stream.set_nodelay(true).expect("a socket");
    let mut requests: Vec<Option<Request>> = plan.tokens.iter().map(|_| None).collect();
    let mut answer = Vec::with_capacity(4096);
    loop {
        let event = next.fetch_add(1, Ordering::Relaxed);
        if event >= plan.events {
            return of_one;
        }
        if let Some(rate) = plan.rate {
            let due = start + Duration::from_secs_f64(event as f64 / f64::from(rate));
            tokio::time::sleep_until(due.into()).await;
            of_one.latest = of_one.latest.max(due.elapsed());
        }
        if let Some(under_way) = plan.under_way {
            arrived.wait_for(|arrived| event < arrived + under_way).await.expect("the plan is carried out");
        }
        let of_token = event as usize % plan.tokens.len();
        let request =
            requests[of_token].get_or_insert_with(|| Request::new(&plan, &plan.tokens[of_token], address));
        let sent = Instant::now();
        stream.write_all(request.now()).await.expect("the node reads");
        match read_status(&mut stream, &mut answer).await {
            202 => of_one.accepted += 1,
            _ => of_one.refused += 1,
        }
        of_one.times.push(micros(sent.elapsed()));
    }
}

/// The request of one organization, made once: only the time in it changes.
struct Request {
    bytes: Vec<u8>,
    /// Where the time lies.
    time: std::ops::Range<usize>,
}

impl Request {
    fn new(plan: &Plan, token: &str, host: &str) -> Self {
        const BEFORE_TEXT: &str = r#","text":""#;
        let head = format!(r#"{{"type":"{}","data":{{"t":"#, plan.event_type);
        let digits = micros_now().to_string().len();
        let text = plan.bytes.saturating_sub(head.len() + digits + BEFORE_TEXT.len() + 3);
        let length = head.len() + digits + BEFORE_TEXT.len() + text + 3;
        let mut bytes = format!(
            "POST /api/events HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: \
             application/json\r\ncontent-length: {length}\r\n\r\n{head}"
        )
        .into_bytes();
        let time = bytes.len()..bytes.len() + digits;
        bytes.resize(time.end, b'0');
        bytes.extend_from_slice(BEFORE_TEXT.as_bytes());
        bytes.resize(bytes.len() + text, b'x');
        bytes.extend_from_slice(b"\"}}");
        Self { bytes, time }
    }

    /// The request with the time of now.
    fn now(&mut self) -> &[u8] {
        let now = micros_now().to_string();
        self.bytes[self.time.clone()].copy_from_slice(now.as_bytes());
        &self.bytes
    }
}

fn micros_now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_micros()
}

/// Reads one answer whole; its status.
async fn read_status(stream: &mut TcpStream, answer: &mut Vec<u8>) -> u16 {
    answer.clear();
    loop {
        let read = stream.read_buf(answer).await.expect("the node answers");
        assert!(read > 0, "the node closed the connection");
        let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&answer[..head]).unwrap_or_default();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
        });
        if answer.len() >= head + 4 + length.unwrap_or(0) {
            return text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        }
    }
}
