//! Three nodes under steady load of which one is killed with `kill -9` every ten seconds and started again: what was
//! accepted, delivered, lost and sent twice, and how long each kill was felt. Everything is checked as in the tests, with
//! the very same harness, so a figure that is printed is one that held.
//!
//! After that, without any node: how many partitions move when nodes join one by one.
//!
//! Run with `cargo bench --bench cluster`; it needs `redis-server` and takes two minutes. `-- --seconds 20` shortens it.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the arguments")]

#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../tests/it/harness/mod.rs"]
mod harness;

use std::time::Duration;

use harness::{TestCluster, TestRedis, Traffic};
use salesos_webhooks::domain::Partition;
use salesos_webhooks::policy::placement::{Member, Placement};

const NODES: usize = 3;
/// Every partition gets events, so that none can stand still unseen.
const ORGANIZATIONS: usize = 64;
const PARTITIONS: u16 = 64;
/// Events a second; each goes to two webhooks.
const RATE: u32 = 334;
/// When nothing else is said: 20,000 events.
const SECONDS: u32 = 60;
const BETWEEN_KILLS_SECONDS: u32 = 10;
/// Every partition must have an owner again within this. Design §5 says six; the figure is printed.
const TAKE_OVER: Duration = Duration::from_secs(10);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` starts benches too, without this argument: there is nothing to test here.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let given = arguments.iter().position(|argument| argument == "--seconds");
    let seconds = given.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(SECONDS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(kill_one_after_another(seconds));
    print_moves();
}

async fn kill_one_after_another(seconds: u32) {
    let redis = TestRedis::start();
    let mut cluster = TestCluster::start(&redis, NODES).await;
    let mut traffic = Traffic::start(&cluster, ORGANIZATIONS, RATE).await;
    let kills = (seconds / BETWEEN_KILLS_SECONDS).saturating_sub(1);
    let mut in_flight = Vec::new();
    for place in (0..NODES).cycle().take(usize::try_from(kills).expect("few")) {
        traffic.run_for(BETWEEN_KILLS_SECONDS / 2).await;
        in_flight.push(traffic.in_flight());
        cluster.kill(place).await;
        traffic.fault();
        cluster.all_partitions_owned(TAKE_OVER).await;
        cluster.restart(place).await;
        let wanted = RATE * BETWEEN_KILLS_SECONDS * u32::try_from(in_flight.len()).expect("few");
        traffic.reaches(wanted).await;
    }
    traffic.reaches(RATE * seconds).await;
    traffic.check(&cluster).await;
    let flowed_again = traffic.flowed_again();
    println!("that was at {RATE} events a second, {NODES} nodes, {kills} kills");
    for (number, (in_flight, flowed)) in in_flight.iter().zip(flowed_again).enumerate() {
        let flowed = flowed.as_secs_f64();
        println!(
            "kill {}: {in_flight} requests in flight, all partitions flow after {flowed:.2} s",
            number + 1
        );
    }
}

fn placement(nodes: u16) -> Placement {
    let member = |number: u16| Member {
        joined: u64::from(number),
        id: format!("n{number}").parse().expect("a node's name"),
    };
    Placement::of((0..nodes).map(member), PARTITIONS)
}

fn print_moves() {
    println!("Nodes 1 to 16 added one by one: partitions moved against {PARTITIONS}/n");
    for nodes in 2..=16 {
        let (before, after) = (placement(nodes - 1), placement(nodes));
        let moved = |number: &u16| before.owner_of(Partition(*number)) != after.owner_of(Partition(*number));
        let moved = (0..PARTITIONS).filter(moved).count();
        println!(
            "{nodes:3} nodes: {moved:3} moved, its share is {:4.1}",
            f64::from(PARTITIONS) / f64::from(nodes)
        );
    }
}
