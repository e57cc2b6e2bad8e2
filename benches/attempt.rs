//! What one attempt costs the thread that makes it: 1 KiB bodies to an endpoint on the loopback that takes everything.
//!
//! The figure is CPU time a delivery, user and system, of the sending thread alone; the endpoint runs on another. Run
//! with `cargo bench --bench attempt`; Linux only, for `/proc/thread-self/schedstat`. `-- --attempts 20000` makes it
//! shorter, `-- --webhooks 1` lets all go to one.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use salesos_webhooks::clock;
use salesos_webhooks::config::Delivery;
use salesos_webhooks::delivery::{Sender, Sockets};
use salesos_webhooks::domain::webhook::Settings;
use salesos_webhooks::domain::{EventBody, EventId};
use salesos_webhooks::policy::shares::Key;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Parser)]
struct Arguments {
    /// Given by `cargo bench`; without it nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
    /// Attempts of one round.
    #[arg(long, default_value_t = 100_000)]
    attempts: u64,
    /// Webhooks that they are made for, one host and many paths.
    #[arg(long, default_value_t = 64)]
    webhooks: usize,
    /// Attempts in flight at once.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() {
    let arguments = Arguments::parse();
    if !arguments.bench {
        return;
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let address = start_endpoint();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let mut costs: Vec<f64> =
        (0..arguments.rounds).map(|_| local.block_on(&runtime, round(address, &arguments))).collect();
    costs.sort_by(f64::total_cmp);
    let median = costs[costs.len() / 2];
    println!("CPU an attempt: {median:.2} us (rounds: {costs:.2?})");
}

/// Makes the attempts and tells what one of them cost, in microseconds.
async fn round(address: SocketAddr, arguments: &Arguments) -> f64 {
    let sockets = Sockets::new(config().max_in_flight);
    let sender = Sender::new(&config(), &sockets).expect("a sender");
    let webhooks: Vec<Settings> =
        (0..arguments.webhooks).map(|n| settings(&format!("http://{address}/hook/{n}"))).collect();
    let (id, event) = (EventId::made(clock::now(), 7 << 64), event());
    let before = thread_cpu();
    let lanes: FuturesUnordered<_> = (0..arguments.in_flight)
        .map(|lane| {
            let (sender, settings) = (sender.clone(), &webhooks[lane % webhooks.len()]);
            let endpoint = sender.endpoint(settings);
            let (id, event) = (id.clone(), event.clone());
            let count = arguments.attempts / arguments.in_flight as u64;
            // A task each, as in a node.
            tokio::task::spawn_local(async move {
                for _ in 0..count {
                    let result = sender
                        .turn(Key(1))
                        .await
                        .attempt(&endpoint, &id, &event, 1, clock::now(), None)
                        .await;
                    assert!(result.success(), "{result:?}");
                }
                count
            })
        })
        .collect();
    let made: u64 =
        lanes.map(|lane| lane.expect("it does not panic")).fold(0, |a, b| async move { a + b }).await;
    (thread_cpu() - before).as_secs_f64() * 1e6 / made as f64
}

fn config() -> Delivery {
    Delivery {
        require_https: false,
        allowed_networks: vec!["127.0.0.0/8".parse().expect("a network")],
        dns_servers: vec![],
        proxy_url: None,
        default_rate_limit_per_second: 0,
        max_in_flight: 256,
        response_capture_bytes: 4096,
        max_age: Duration::from_secs(60),
        memory_budget_bytes: 1 << 20,
    }
}

fn settings(url: &str) -> Settings {
    serde_json::from_value(serde_json::json!({
        "tenant": "org:bench", "owner": "ann", "name": "x", "url": url, "events": ["*"],
        "retries": { "attempts": 3, "delay_seconds": 60, "backoff": "fixed" },
        "timeout_seconds": 30, "max_concurrency": 16, "created_at": 1,
        "secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    }))
    .expect("settings")
}

fn event() -> EventBody {
    EventBody { event_type: "lead.created".into(), bytes: Bytes::from(vec![b'x'; 1024]), trace: None }
}

/// CPU time of this thread so far. See proc(5), `schedstat`: the first field, in nanoseconds.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let nanos = text.split(' ').next().and_then(|field| field.parse().ok()).expect("a number");
    Duration::from_nanos(nanos)
}

/// An endpoint on a thread of its own.
fn start_endpoint() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
    });
    address
}

/// Answers each request whose head and body it has seen in one piece.
async fn answer(mut stream: TcpStream) {
    let mut buffer = [0; 16_384];
    while let Ok(1..) = stream.read(&mut buffer).await {
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            return;
        }
    }
}
