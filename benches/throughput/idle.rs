//! The scenario `idle`: many webhooks to which nothing happens. What they take of a node's memory, how soon another node
//! has taken them over from one that was killed, and how soon a node that starts over them delivers.
//!
//! Nobody may take a lease before it has stood still for its term: that time is a choice, not a speed. So the take-over is
//! told twice, from the kill and from the end of that term. The term begins with the last renewal of the last lease,
//! which is up to a second before the kill; the leases are watched in Redis to know it. What remains of the take-over is
//! how often the leases are looked at, the taking, and the reading of the webhooks, up to the first delivery for each
//! tenant.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use salesos_webhooks::domain::Partition;
use salesos_webhooks::policy::lease::{RENEW_EVERY, Seen, TERM};
use salesos_webhooks::store::{Keys, leases};
use serde_json::{Value, json};

use crate::machine::{Node, Redis, Role};
use crate::setting::{SHAPE, Setting, Shape};

/// Webhooks of one user, who is alone in an organization: what the default quota allows.
const OF_ONE_USER: usize = 1000;
/// The probes come on top of that.
const SETTINGS: &[(&str, &str)] = &[("WEBHOOKS_LIMITS__WEBHOOKS_PER_USER", "1001")];
const PARTITIONS: u16 = 64;
/// To this the idle webhooks do not subscribe, and one of each tenant does.
const PROBE: &str = "contact.created";
/// How often the leases are looked at: the error of when the last one was renewed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One round.
pub async fn idle(webhooks: usize) -> Value {
    let mut setting = Setting::new(Shape { settings: SETTINGS, ..SHAPE }).await;
    let resident = |node: &Node| node.process.memory_kib("VmRSS") as f64 / 1024.0;
    let empty = resident(&setting.nodes[0]);
    let url = format!("{}/ok", setting.sink_url);
    setting.api.create_many(webhooks, |number| number / OF_ONE_USER, &url, &json!({})).await;
    let above = resident(&setting.nodes[0]) - empty;
    println!("idle       {webhooks} webhooks: {above:.1} MiB above an empty node ({empty:.1} MiB)");
    create_probes(&setting).await;
    // Before anything is killed: a node that starts must watch a dead one for a while to know that it is dead.
    let [ready, flows] = start_up(&mut setting).await;
    println!(
        "idle       a node that starts is ready after {ready:.2} s, and everything flows after {flows:.2} s"
    );
    let [owned, owned_after_term, flows_after_term] = take_over(&mut setting).await;
    println!(
        "idle       all partitions of a killed node are owned again after {owned:.2} s; from when their leases may be taken \
         that is {owned_after_term:.2} s, and everything flows after {flows_after_term:.2} s"
    );
    json!({
        "webhooks": webhooks, "emptyMiB": empty, "aboveMiB": above, "takeOverSeconds": owned,
        "takeOverAfterTermSeconds": owned_after_term, "flowsAfterTermSeconds": flows_after_term,
        "readySeconds": ready, "startUpSeconds": flows,
    })
}

/// A webhook for each tenant that shows when its partition is served.
async fn create_probes(setting: &Setting) {
    for tenant in 0..SHAPE.tenants {
        let settings = json!({ "events": [PROBE] });
        setting.api.create(tenant, &format!("{}/ok", setting.sink_url), settings).await;
    }
}

/// The first node is killed beside a second one. Seconds until the second owns all partitions, from the kill and from the
/// end of the term of the last lease; and from that end until it has delivered for each tenant.
async fn take_over(setting: &mut Setting) -> [f64; 3] {
    let probes = SHAPE.tenants as u64;
    let second = Node::start(&setting.redis.url, SETTINGS);
    setting.api.until_metric(&second.management, "partitions_owned", |owned| owned == 32.0).await;
    setting.nodes.push(second);
    let mut leases = Leases::default();
    let watched = Instant::now();
    while watched.elapsed() < 2 * RENEW_EVERY {
        leases.look(&setting.redis).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    setting.nodes.remove(0).process.kill();
    let killed = Instant::now();
    leases.look(&setting.redis).await;
    let arrived_before: u64 = setting.sink.ask("count");
    let mut load = Role::start("load");
    load.tell(&setting.plan_of(PROBE, probes));
    let management = setting.nodes[0].management.clone();
    setting.api.until_metric(&management, "partitions_owned", |owned| owned == f64::from(PARTITIONS)).await;
    let owned = Instant::now();
    let flows = setting.until_arrived(arrived_before + probes).await;
    let term_ends = leases.last_of_those_taken(&setting.redis).await + TERM;
    // A lease may be seen renewed up to a look too late: what seems to be before its end is at its end.
    let seconds = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
    [seconds(killed, owned), seconds(term_ends, owned), seconds(term_ends, flows)]
}

/// The only node stops as it should, and another starts. Seconds from its start until it is ready, and until it has
/// delivered for each tenant.
async fn start_up(setting: &mut Setting) -> [f64; 2] {
    let probes = SHAPE.tenants as u64;
    setting.nodes.remove(0).process.stop();
    let start = Instant::now();
    let node = Node::start(&setting.redis.url, SETTINGS);
    setting.api.until_metric(&node.management, "ready", |ready| ready == 1.0).await;
    let ready = start.elapsed();
    setting.nodes.push(node);
    let arrived_before: u64 = setting.sink.ask("count");
    let mut load = Role::start("load");
    load.tell(&setting.plan_of(PROBE, probes));
    let flows = setting.until_arrived(arrived_before + probes).await;
    [ready.as_secs_f64(), (flows - start).as_secs_f64()]
}

/// What each lease showed last, and since when.
#[derive(Default)]
struct Leases(BTreeMap<Partition, (Seen, Instant)>);

impl Leases {
    async fn look(&mut self, redis: &Redis) {
        let now = Instant::now();
        for (partition, seen) in all_leases(redis).await {
            if self.0.get(&partition).is_none_or(|(before, _)| *before != seen) {
                self.0.insert(partition, (seen, now));
            }
        }
    }

    /// When the last of the leases that have another holder by now was renewed.
    async fn last_of_those_taken(&self, redis: &Redis) -> Instant {
        let now = all_leases(redis).await;
        let taken = self.0.iter().filter(|(partition, (before, _))| now[partition].token != before.token);
        taken.map(|(_, (_, since))| *since).max().expect("half of them were the other node's")
    }
}

async fn all_leases(redis: &Redis) -> BTreeMap<Partition, Seen> {
    let partitions: Vec<Partition> = (0..PARTITIONS).map(Partition).collect();
    let seen = leases::look(&redis.client, &Keys::new("sw:"), &partitions).await.expect("redis answers");
    partitions.into_iter().zip(seen).filter_map(|(partition, seen)| Some((partition, seen?))).collect()
}
