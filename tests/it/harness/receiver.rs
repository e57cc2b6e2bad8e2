//! A customer's endpoint: a real socket with scripted answers that remembers everything it got.
//!
//! It speaks just enough HTTP/1.1 for a webhook: requests with `Content-Length`, one after another on a connection.
//! Paths are endpoints of their own, each with its own script.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::verify::{hex_signature, standard_signature};
use super::{SOON, eventually};

/// Holds answers back until the test lets them go.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// Shut.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets everything through, now and later.
    pub fn open(&self) {
        self.0.close();
    }

    /// Lets that many through.
    pub fn let_pass(&self, count: usize) {
        self.0.add_permits(count);
    }

    async fn pass(&self) {
        // Closed means open: every waiter returns.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// One scripted answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
    manner: Manner,
}

#[derive(Clone, Debug)]
enum Manner {
    AtOnce,
    Held(Gate),
    After(Duration),
    /// Never answers.
    Hangs,
    /// Hangs up instead.
    Closes,
}

impl Reply {
    /// An answer with that status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: "thanks".to_owned(), manner: Manner::AtOnce }
    }

    /// No answer, ever.
    pub fn hang() -> Self {
        Self { manner: Manner::Hangs, ..Self::status(200) }
    }

    /// The connection is closed instead.
    pub fn close() -> Self {
        Self { manner: Manner::Closes, ..Self::status(200) }
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// Once the gate lets it pass.
    pub fn held(mut self, gate: &Gate) -> Self {
        self.manner = Manner::Held(gate.clone());
        self
    }

    /// After that long: an endpoint that has some work to do.
    pub fn after(mut self, delay: Duration) -> Self {
        self.manner = Manner::After(delay);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text =
            format!("HTTP/1.1 {} Scripted\r\ncontent-length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }
}

/// An answer that was given.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// When, before its first byte went out.
    pub at: Instant,
    /// The status code.
    pub status: u16,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// When its last byte was read.
    pub at: Instant,
    /// None while it waits, and for ever if the sender hung up first.
    pub answer: Option<Given>,
    /// By lower-case name; a repeated one keeps its last value.
    pub headers: BTreeMap<String, String>,
    /// The raw bytes.
    pub body: Vec<u8>,
}

impl Received {
    /// A header's value, which must be there.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {:?}", self.headers))
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The event's id.
    pub fn event_id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Counts from 1.
    pub fn attempt(&self) -> u32 {
        self.header("x-webhook-attempt").parse().expect("a number")
    }

    /// Checks both signatures; `secrets` newest first, as many as the request must be signed with.
    #[track_caller]
    pub fn verify(&self, secrets: &[&str]) {
        let id = self.header("webhook-id");
        let timestamp = self.header("webhook-timestamp");
        let expected: Vec<String> =
            secrets.iter().map(|secret| standard_signature(secret, id, timestamp, &self.body)).collect();
        assert_eq!(self.header("webhook-signature"), expected.join(" "));
        assert_eq!(self.header("x-webhook-signature"), hex_signature(secrets[0], &self.body));
    }
}

/// Which of its replies an endpoint gives next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// One after another.
    Requests,
    /// One after another for each event.
    EventsEach,
}

/// What one path answers, and what it got.
#[derive(Debug)]
struct Endpoint {
    order: Order,
    /// The last one is repeated for ever.
    replies: Vec<Reply>,
    answered: usize,
    answered_events: HashMap<String, usize>,
    received: Vec<Received>,
    in_flight: usize,
    most_in_flight: usize,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            order: Order::Requests,
            replies: vec![Reply::status(200)],
            answered: 0,
            answered_events: HashMap::new(),
            received: Vec::new(),
            in_flight: 0,
            most_in_flight: 0,
        }
    }
}

impl Endpoint {
    /// Notes a request and chooses its answer; with the place where it is noted.
    fn take(&mut self, request: Received) -> (usize, Reply) {
        let turn = match self.order {
            Order::Requests => &mut self.answered,
            Order::EventsEach => self.answered_events.entry(request.event_id().to_owned()).or_default(),
        };
        let reply = self.replies[(*turn).min(self.replies.len() - 1)].clone();
        *turn += 1;
        self.received.push(request);
        self.in_flight += 1;
        self.most_in_flight = self.most_in_flight.max(self.in_flight);
        (self.received.len() - 1, reply)
    }

    /// Notes that a request waits no longer, and what it is answered.
    fn end(&mut self, place: usize, status: Option<u16>) {
        self.in_flight -= 1;
        self.received[place].answer = status.map(|status| Given { at: Instant::now(), status });
    }
}

type Endpoints = Arc<Mutex<HashMap<String, Endpoint>>>;

/// A server with any number of endpoints, gone with its value.
#[derive(Debug)]
pub struct Receiver {
    port: u16,
    endpoints: Endpoints,
    server: AbortHandle,
}

impl Receiver {
    /// Listens on a free port; every path answers 200 until it is told otherwise.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let endpoints = Endpoints::default();
        let server = tokio::spawn(serve(listener, endpoints.clone())).abort_handle();
        Self { port, endpoints, server }
    }

    /// The URL of one path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The path answers these in turn from now on, the last one for ever.
    pub fn script(&self, path: &str, replies: &[Reply]) {
        self.set(path, Order::Requests, replies);
    }

    /// The path answers these in turn to each event apart, the last one for ever.
    pub fn script_each_event(&self, path: &str, replies: &[Reply]) {
        self.set(path, Order::EventsEach, replies);
    }

    fn set(&self, path: &str, order: Order, replies: &[Reply]) {
        assert!(!replies.is_empty());
        self.with(path, |endpoint| {
            endpoint.order = order;
            endpoint.replies = replies.to_vec();
            endpoint.answered = 0;
            endpoint.answered_events.clear();
        });
    }

    /// What came to the path so far, in order of arrival.
    pub fn received(&self, path: &str) -> Vec<Received> {
        self.with(path, |endpoint| endpoint.received.clone())
    }

    /// Looks at what came to the path so far, without a copy of it.
    pub fn look<T>(&self, path: &str, look: impl FnOnce(&[Received]) -> T) -> T {
        self.with(path, |endpoint| look(&endpoint.received))
    }

    /// How many requests came to the path so far.
    pub fn count(&self, path: &str) -> usize {
        self.with(path, |endpoint| endpoint.received.len())
    }

    /// How many requests of the path wait for their answer now.
    pub fn in_flight(&self, path: &str) -> usize {
        self.with(path, |endpoint| endpoint.in_flight)
    }

    /// How many requests of all paths wait for their answer now.
    pub fn all_in_flight(&self) -> usize {
        self.endpoints.lock().expect("no holder panics").values().map(|endpoint| endpoint.in_flight).sum()
    }

    /// The most that ever waited at once.
    pub fn most_in_flight(&self, path: &str) -> usize {
        self.with(path, |endpoint| endpoint.most_in_flight)
    }

    /// Waits until at least `count` requests came to the path, and gives all.
    pub async fn arrived(&self, path: &str, count: usize) -> Vec<Received> {
        self.arrived_within(SOON, path, count).await
    }

    /// As [`Self::arrived`] with a deadline of its own.
    pub async fn arrived_within(&self, limit: Duration, path: &str, count: usize) -> Vec<Received> {
        let what = format!("{count} requests at {path}");
        eventually(&what, limit, async || (self.count(path) >= count).then_some(())).await;
        self.received(path)
    }

    fn with<T>(&self, path: &str, work: impl FnOnce(&mut Endpoint) -> T) -> T {
        with(&self.endpoints, path, work)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn with<T>(endpoints: &Endpoints, path: &str, work: impl FnOnce(&mut Endpoint) -> T) -> T {
    let mut endpoints = endpoints.lock().expect("no holder panics");
    work(endpoints.entry(path.to_owned()).or_default())
}

async fn serve(listener: TcpListener, endpoints: Endpoints) {
    // Dropped with the task, and every connection with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(connection(stream, endpoints.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until either side closes it.
async fn connection(stream: TcpStream, endpoints: Endpoints) {
    let mut stream = BufReader::new(stream);
    while let Some((path, request)) = read_request(&mut stream).await {
        let (place, reply) = with(&endpoints, &path, |endpoint| endpoint.take(request));
        let answers = may_answer(&mut stream, &reply).await;
        // Before the answer goes out: the next request may follow it faster than this task runs again.
        with(&endpoints, &path, |endpoint| endpoint.end(place, answers.then_some(reply.status)));
        if !answers || stream.write_all(&reply.bytes()).await.is_err() {
            return;
        }
    }
}

/// Waits as the reply demands; false when there will be no answer.
async fn may_answer(stream: &mut BufReader<TcpStream>, reply: &Reply) -> bool {
    let hung_up = |read: std::io::Result<&[u8]>| read.map_or(true, <[u8]>::is_empty);
    match &reply.manner {
        Manner::AtOnce => true,
        Manner::Closes => false,
        Manner::Hangs => {
            while !hung_up(stream.fill_buf().await) {
                tokio::task::yield_now().await;
            }
            false
        }
        Manner::After(delay) => tokio::select! {
            () = tokio::time::sleep(*delay) => true,
            read = stream.fill_buf() => !hung_up(read),
        },
        Manner::Held(gate) => tokio::select! {
            () = gate.pass() => true,
            read = stream.fill_buf() => !hung_up(read),
        },
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(String, Received)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    assert!(line.starts_with("POST "), "a webhook is a POST: {line}");
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, Received { at: Instant::now(), answer: None, headers, body }))
}
