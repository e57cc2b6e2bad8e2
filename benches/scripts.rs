//! What a delivery costs Redis: µs of CPU of its main thread for each event or delivery, by step.
//!
//! It drives the functions of the store that a node uses over a private server with an append-only file, in as many
//! partitions at once as a busy node has, so that commands arrive together as they do there. The server's own account of
//! its main thread is read before and after each step, so a slow client or a busy machine changes little; the figures of
//! two builds compare only when they are made in turns, and then by the lowest of several. A word such as `16/128/1` (batch,
//! webhooks, fan-out) or `XREAD` chooses what is measured; `--commands` prints too which commands each step ran.
//!
//! Run with `cargo bench --profile dev --bench scripts`; it needs `redis-server`.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::Value;
use salesos_webhooks::domain::{
    AttemptRow, EntryId, Event, EventId, Millis, Partition, Shard, Tenant, UserId, WebhookId,
};
use salesos_webhooks::policy::breaker::Signal;
use salesos_webhooks::policy::partition::Layout;
use salesos_webhooks::store::attempts::encode;
use salesos_webhooks::store::connection::Address;
use salesos_webhooks::store::events::{
    self, Chunk, DispatchLimits, EntryKind, Instruction, MAX_TARGETS, Position,
};
use salesos_webhooks::store::keys::{event_hash, owner_hash, tenant_hash};
use salesos_webhooks::store::outcomes::{self, Disposition, Outcome, OutcomeLimits, Source};
use salesos_webhooks::store::publications::{self, Bounds, Intake, Publication};
use salesos_webhooks::store::script::Section;
use salesos_webhooks::store::{Keys, Redis};

const LAYOUT: Layout = Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 };
/// Partitions that are busy at once, each with one tenant.
const TENANTS: usize = 8;
/// Publications on their way at once, in all.
const AT_ONCE: usize = 64;
/// Events of each tenant in a round.
const EVENTS: usize = 128;
/// What is printed is the median of so many.
const ROUNDS: usize = 7;
/// Commands of one measure of the machine.
const YARD: usize = 10_000;
const DAY: Duration = Duration::from_secs(86_400);
const NOW: Millis = Millis(1_768_473_000_000);
const DISPATCH: DispatchLimits =
    DispatchLimits { closed: DAY, dead: DAY, max_pending: 100_000, log_max: 10_000, dead_max: 100_000 };
const OUTCOME: OutcomeLimits = OutcomeLimits { log_max: 10_000, dead_max: 100_000, closed: DAY, dead: DAY };

/// A server on a unix socket in a directory of its own, both gone at the end.
struct Server {
    child: Child,
    directory: std::path::PathBuf,
}

impl Server {
    fn start() -> (Self, String) {
        let directory = std::env::temp_dir().join(format!("sw-scripts-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the socket");
        let socket = directory.join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--stream-node-max-bytes", "512", "--unixsocket"])
            .arg(&socket)
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"])
            .arg("--dir")
            .arg(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        (Self { child, directory }, format!("unix://{}", socket.display()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn main() {
    // `cargo test --all-targets` starts benches too, without this argument: there is nothing to test here.
    if std::env::args().any(|argument| argument == "--bench") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(run());
    }
}

async fn run() {
    println!(
        "batch webhooks fan-out | publish  dispatch an event | outcome a delivery | all a delivery | yardstick"
    );
    for (batch, webhooks, fan_out) in [
        (1, 1, 1),
        (16, 1, 1),
        (128, 1, 1),
        (1, 128, 1),
        (16, 128, 1),
        (128, 128, 1),
        (16, 128, 10),
        (128, 128, 10),
    ] {
        if is_chosen(&format!("{batch}/{webhooks}/{fan_out}")) {
            Bench::start().await.measure(batch, webhooks, fan_out).await;
        }
    }
    if !is_chosen("XREAD") {
        return;
    }
    let bench = Bench::start().await;
    for streams in [1, 32, 64] {
        bench.measure_reads(streams).await;
    }
}

fn is_chosen(name: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--")).peekable();
    words.peek().is_none() || words.any(|word| word == name)
}

/// One tenant, whose webhooks lie in one partition.
struct Corner {
    tenant: Tenant,
    partition: Partition,
    owner_hash: Arc<str>,
    tenant_hash: Arc<str>,
    webhooks: Vec<WebhookId>,
}

/// What one step took.
struct Cost {
    micros: f64,
    commands: BTreeMap<String, u64>,
}

struct Bench {
    _server: Server,
    redis: Redis,
    keys: Keys,
    prints_commands: bool,
}

impl Bench {
    async fn start() -> Self {
        let (server, url) = Server::start();
        let limit = Duration::from_secs(10);
        let redis = Redis::new(Address::new(&url, limit, limit).expect("a URL")).expect("an address");
        while redis.query::<String>(&redis::cmd("PING")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let prints_commands = std::env::args().any(|argument| argument == "--commands");
        Self { _server: server, redis, keys: Keys::new("sw:"), prints_commands }
    }

    /// Events from their publication to the end of their deliveries, `batch` in one call.
    async fn measure(&self, batch: usize, webhooks: usize, fan_out: usize) {
        let mut corners = Vec::new();
        for n in 0.. {
            let corner = corner(n, webhooks);
            if corners.iter().all(|other: &Corner| other.partition != corner.partition) {
                self.prepare(&corner).await;
                corners.push(corner);
            }
            if corners.len() == TENANTS {
                break;
            }
        }
        // The first round makes keys and slots; the others are the ordinary case.
        self.round(&corners, batch, fan_out).await;
        let (mut rounds, mut yard) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            rounds.push(self.round(&corners, batch, fan_out).await);
            yard.push(Some(self.step(self.yardstick()).await));
        }
        let costs = std::array::from_fn(|step| median(rounds.iter_mut().map(|costs| costs[step].take())));
        self.print((batch, webhooks, fan_out), costs, median(yard.into_iter()).micros / YARD as f64);
    }

    async fn round(&self, corners: &[Corner], batch: usize, fan_out: usize) -> [Option<Cost>; 3] {
        let published = self.step(self.publish(corners)).await;
        let read = self.read_all(corners).await;
        let batches = dispatches(corners, &read, fan_out, batch);
        let dispatched = self.step(self.dispatch(corners, &batches)).await;
        let batches = ends(corners, &batches, batch);
        let ended = self.step(self.record(corners, &batches)).await;
        [published, dispatched, ended].map(Some)
    }

    fn print(&self, (batch, webhooks, fan_out): (usize, usize, usize), costs: [Cost; 3], yard: f64) {
        let events = TENANTS * EVENTS;
        let deliveries = events * fan_out;
        let parts = [events, events, deliveries];
        let of = |at: usize| costs[at].micros / parts[at] as f64;
        let all = costs.iter().map(|cost| cost.micros).sum::<f64>() / deliveries as f64;
        println!(
            "{batch:5} {webhooks:8} {fan_out:7} | {:7.1} {:18.1} | {:18.1} | {all:14.1} | {yard:9.2}",
            of(0),
            of(1),
            of(2)
        );
        for (at, what) in
            ["publish", "dispatch", "outcome"].iter().enumerate().filter(|_| self.prints_commands)
        {
            let commands =
                costs[at].commands.iter().map(|(name, calls)| (*calls as f64 / parts[at] as f64, name));
            let mut commands: Vec<(f64, &String)> = commands.filter(|(calls, _)| *calls >= 0.005).collect();
            commands.sort_by(|a, b| b.0.total_cmp(&a.0));
            let words: Vec<String> =
                commands.iter().map(|(calls, name)| format!("{name} {calls:.2}")).collect();
            println!("      {what}: {}", words.join(", "));
        }
    }

    async fn prepare(&self, corner: &Corner) {
        let mut keep = redis::pipe();
        keep.cmd("HSET").arg(self.keys.key(corner.partition, "lease")).arg("token").arg("t");
        for webhook in &corner.webhooks {
            let record = "1 1 0 -\n{\"url\":\"https://hooks.example.com/services/0123456789abcdef\"}";
            keep.cmd("HSET")
                .arg(self.keys.key(corner.partition, "webhooks"))
                .arg(webhook.as_str())
                .arg(record);
        }
        self.redis.pipeline::<Value>(&keep).await.expect("redis answers");
    }

    /// The main thread's CPU µs of the server so far, and how often it ran each command.
    async fn account(&self) -> Cost {
        let info: String =
            self.redis.query(redis::cmd("INFO").arg("cpu").arg("commandstats")).await.expect("redis answers");
        let mut account = Cost { micros: 0.0, commands: BTreeMap::new() };
        for (name, value) in info.lines().filter_map(|line| line.split_once(':')) {
            if let Some(command) = name.strip_prefix("cmdstat_") {
                let calls = value.split(['=', ',']).nth(1).and_then(|calls| calls.parse().ok());
                account.commands.insert(command.into(), calls.unwrap_or_default());
            } else if name.ends_with("_main_thread") {
                account.micros += value.parse::<f64>().expect("seconds") * 1e6;
            }
        }
        account
    }

    async fn step(&self, work: impl Future<Output = ()>) -> Cost {
        let before = self.account().await;
        work.await;
        let mut after = self.account().await;
        after.micros -= before.micros;
        for (name, calls) in before.commands {
            after.commands.entry(name).and_modify(|now| *now -= calls);
        }
        after.commands.remove("info");
        after
    }

    /// The same work whatever the scripts are: it tells how fast the machine is just now.
    async fn yardstick(&self) {
        let text = format!("for _ = 1, {YARD} do redis.call('HINCRBY', KEYS[1], 'field', '1') end");
        let mut eval = redis::cmd("EVAL");
        self.redis.query::<Value>(eval.arg(text).arg(1).arg("yard")).await.expect("redis answers");
    }

    async fn publish(&self, corners: &[Corner]) {
        let bounds = Bounds { max_undispatched: 1 << 30, max_pending_of_tenant: 1 << 30 };
        let intake = Intake::new(self.redis.clone(), self.keys.clone(), bounds, Default::default());
        let publications: Vec<Arc<Publication>> =
            (0..EVENTS).flat_map(|_| corners.iter().map(publication)).map(Arc::new).collect();
        for some in publications.chunks(AT_ONCE) {
            let publish = |publication| publications::publish(&intake, &LAYOUT, publication);
            for answer in join_all(some.iter().map(publish)).await {
                answer.expect("redis answers");
            }
        }
    }

    async fn read_all(&self, corners: &[Corner]) -> Vec<Vec<(EntryId, Event)>> {
        let mut reader = self.redis.open_own("any", Duration::from_secs(1)).await.expect("a connection");
        let mut all = Vec::new();
        for Corner { partition, .. } in corners {
            let from = [Position { partition: *partition, after: EntryId::ZERO }];
            let found =
                events::read(&mut reader, &self.keys, &from, 1_000_000, Some(Duration::from_secs(1))).await;
            let entries = found.expect("redis answers").remove(0).1.into_iter();
            let event = |entry: events::Entry| match entry.kind {
                EntryKind::Event(event) => Some((entry.id, event)),
                _ => None,
            };
            all.push(entries.filter_map(event).collect());
        }
        all
    }

    async fn dispatch(&self, corners: &[Corner], batches: &[Vec<Vec<Instruction>>]) {
        let run = async |at: usize| {
            for batch in &batches[at] {
                let section = Section { partition: corners[at].partition, token: "t", items: &batch[..] };
                let done = events::dispatch(&self.redis, &self.keys, NOW, &DISPATCH, &[section]).await;
                let done = done.expect("redis answers").remove(0);
                assert_eq!(done.expect("the lease is ours").set_aside, 0);
            }
        };
        join_all((0..corners.len()).map(run)).await;
    }

    async fn record(&self, corners: &[Corner], batches: &[Vec<Vec<Outcome>>]) {
        let run = async |at: usize| {
            for batch in &batches[at] {
                let items: Vec<&Outcome> = batch.iter().collect();
                let section = Section { partition: corners[at].partition, token: "t", items: &items[..] };
                let done = outcomes::record(&self.redis, &self.keys, NOW, &OUTCOME, &[section]).await;
                let done = done.expect("redis answers").remove(0);
                assert_eq!(done.expect("the lease is ours").set_aside, 0);
            }
        };
        join_all((0..corners.len()).map(run)).await;
    }

    /// What one XREAD costs over so many streams, of which one has an entry: already, and only once it is blocked.
    async fn measure_reads(&self, streams: u16) {
        const READS: u64 = 2000;
        let partitions: Vec<Partition> = (0..streams).map(Partition).collect();
        let last = self.keys.key(Partition(streams - 1), "events");
        let add = |n: u64| {
            let mut add = redis::cmd("XADD");
            add.arg(&last).arg(format!("{n}-1")).arg("k").arg("changed").arg("w").arg("none");
            add
        };
        let mut reader = self.redis.open_own("any", Duration::from_secs(1)).await.expect("a connection");
        let positions = |at: u64| -> Vec<Position> {
            let after = EntryId { ms: at, seq: 1 };
            partitions.iter().map(|partition| Position { partition: *partition, after }).collect()
        };
        self.redis.query::<Value>(&redis::cmd("FLUSHALL")).await.expect("redis answers");
        self.redis.query::<Value>(&add(1)).await.expect("redis answers");
        let block = Duration::from_secs(1);
        let ready = self
            .step(async {
                for _ in 0..READS {
                    let found = events::read(&mut reader, &self.keys, &positions(0), 10, Some(block)).await;
                    assert_eq!(found.expect("redis answers").len(), 1);
                }
            })
            .await;
        let adds = self
            .step(async {
                for n in 2..READS {
                    self.redis.query::<Value>(&add(n)).await.expect("redis answers");
                }
            })
            .await;
        let blocked = self
            .step(async {
                for n in READS..2 * READS {
                    let (from, add) = (positions(n - 1), add(n));
                    let read = events::read(&mut reader, &self.keys, &from, 10, Some(block));
                    let add = async {
                        tokio::task::yield_now().await;
                        self.redis.query::<Value>(&add).await
                    };
                    let (found, added) = futures_util::join!(read, add);
                    added.expect("redis answers");
                    assert_eq!(found.expect("redis answers").len(), 1);
                }
            })
            .await;
        println!(
            "XREAD over {streams:2} streams, one by one: {:5.1} with an entry there, {:5.1} woken by it (without its XADD)",
            ready.micros / READS as f64,
            (blocked.micros - adds.micros) / READS as f64
        );
    }
}

fn median(costs: impl Iterator<Item = Option<Cost>>) -> Cost {
    let mut costs: Vec<Cost> = costs.flatten().collect();
    costs.sort_by(|a, b| a.micros.total_cmp(&b.micros));
    costs.swap_remove(costs.len() / 2)
}

fn corner(n: usize, webhooks: usize) -> Corner {
    let tenant: Tenant = format!("org:tenant{n}").parse().expect("a tenant");
    let owner: UserId = "ann".parse().expect("a user");
    Corner {
        partition: LAYOUT.home_of(&tenant),
        owner_hash: owner_hash(&tenant, &owner).into(),
        tenant_hash: tenant_hash(&tenant).into(),
        webhooks: (0..webhooks).map(|n| WebhookId::new(Shard(0), &format!("{n:022}"))).collect(),
        tenant,
    }
}

fn publication(corner: &Corner) -> Publication {
    let body = format!("{{\"id\":\"x\",\"data\":\"{}\"}}", "d".repeat(1000));
    let event = Event {
        id: EventId::made(NOW, rand::random()),
        event_type: "lead.created".into(),
        tenant: corner.tenant.clone(),
        body: body.into(),
        trace: None,
    };
    Publication { event, timestamp: NOW, own_id: false, key: None, data: "{}".into() }
}

/// Sends event after event to the next webhooks in turn.
fn dispatches(
    corners: &[Corner],
    read: &[Vec<(EntryId, Event)>],
    fan_out: usize,
    batch: usize,
) -> Vec<Vec<Vec<Instruction>>> {
    let batch = batch.min(MAX_TARGETS / fan_out);
    let of = |(corner, events): (&Corner, &Vec<(EntryId, Event)>)| {
        let mut targets = corner.webhooks.iter().cycle();
        let mut all = Vec::new();
        for (entry, event) in events {
            let targets = targets.by_ref().take(fan_out);
            let targets = targets.map(|webhook| (webhook.clone(), corner.owner_hash.clone())).collect();
            let (entry, event, chunk) = (*entry, event.clone(), Chunk::Whole);
            all.push(Instruction::Event { entry, event, targets, skipped: Vec::new(), chunk, keep: true });
        }
        all.chunks(batch).map(<[_]>::to_vec).collect()
    };
    corners.iter().zip(read).map(of).collect()
}

/// Every delivery arrives.
fn ends(corners: &[Corner], dispatched: &[Vec<Vec<Instruction>>], batch: usize) -> Vec<Vec<Vec<Outcome>>> {
    let of = |(corner, batches): (&Corner, &Vec<Vec<Instruction>>)| {
        let all: Vec<Outcome> =
            batches.iter().flatten().flat_map(|instruction| delivered(corner, instruction)).collect();
        all.chunks(batch).map(<[_]>::to_vec).collect()
    };
    corners.iter().zip(dispatched).map(of).collect()
}

fn delivered(corner: &Corner, instruction: &Instruction) -> Vec<Outcome> {
    let Instruction::Event { entry, event, targets, .. } = instruction else { return Vec::new() };
    let outcome = |(webhook, owner): &(WebhookId, Arc<str>)| Outcome {
        webhook: webhook.clone(),
        tenant: event.tenant.clone(),
        owner_hash: owner.clone(),
        tenant_hash: corner.tenant_hash.clone(),
        entry: *entry,
        source: Source::Mailbox,
        event: event.id.clone(),
        event_hash: event_hash(&event.tenant, &event.id),
        event_type: event.event_type.clone(),
        event_size: Some(1024),
        attempt: 1,
        error_kind: None,
        disposition: Disposition::Delivered,
        row: encode(row(event), Some("ok".into())),
        elapsed: Some(Duration::from_millis(entry.seq % 40)),
        paused_until: None,
        signal: Signal::Succeeded,
        change: None,
        disable: None,
    };
    targets.iter().map(outcome).collect()
}

fn row(event: &Event) -> AttemptRow {
    AttemptRow {
        id: None,
        event_id: event.id.clone(),
        event_type: event.event_type.to_string(),
        url: "https://hooks.example.com/services/salesos/incoming/0123456789abcdef".into(),
        at: NOW,
        attempt: 1,
        elapsed_ms: 40,
        status: Some(200),
        error_kind: None,
        error_message: None,
        next_retry_at: None,
        response_body: None,
        body_beside: false,
        custom_headers: Vec::new(),
        is_test: false,
    }
}
