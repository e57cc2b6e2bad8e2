//! Steady traffic on a cluster, and the check of everything that came of it.
//!
//! Each organization has a publisher, which sends one event after another at an even pace and repeats what was not
//! answered with 202 at the next node with the same `Idempotency-Key`; and two webhooks, one `ordered` and one not, which
//! take every event. What the publisher was told and what the endpoints saw is the truth that the service's own figures
//! must agree with.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use salesos_webhooks::domain::{Shard, Tenant};
use salesos_webhooks::policy::partition::Layout;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::account::{Accepted, Account, Fault, Report, longest_gap};
use super::nodes::Addresses;
use super::{Client, Receiver, Reply, TestCluster, Token, eventually, text};

/// Far more than any fault takes to be overcome.
pub const RECOVERED: Duration = Duration::from_secs(60);
/// The longest wait of a publisher for one answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two nodes that a publisher asks.
const BEFORE_NEXT: Duration = Duration::from_millis(20);
/// What an endpoint needs for an answer: enough that some are always in flight.
const WORK: Duration = Duration::from_millis(20);
/// The longest time from an answer to its being recorded, as far as a fault may hide it.
const UNRECORDED: Duration = Duration::from_millis(200);
/// The names of an organization's webhooks, which are their paths too.
const WEBHOOKS: [&str; 2] = ["ordered", "unordered"];
/// The layout of the default settings.
const LAYOUT: Layout = Layout { partitions: 64, webhooks_per_shard: 16, shards_per_tenant: 16 };

/// One organization and what was accepted from it.
#[derive(Clone, Debug)]
struct Organization {
    name: String,
    /// The ids of its webhooks, as [`WEBHOOKS`].
    webhooks: Vec<String>,
    accepted: Arc<Mutex<Vec<Accepted>>>,
}

impl Organization {
    fn path(&self, webhook: &str) -> String {
        format!("/{}/{webhook}", self.name)
    }

    fn accepted(&self) -> Vec<Accepted> {
        self.accepted.lock().expect("no holder panics").clone()
    }
}

/// See the module's page.
#[derive(Debug)]
pub struct Traffic {
    receiver: Receiver,
    organizations: Vec<Organization>,
    publishers: JoinSet<()>,
    stop: watch::Sender<bool>,
    rate: u32,
    faults: Vec<Fault>,
    slack: Duration,
}

impl Traffic {
    /// Sets up that many organizations, each in a partition of its own, and publishes `rate` events a second.
    pub async fn start(cluster: &TestCluster, organizations: usize, rate: u32) -> Self {
        let receiver = Receiver::start().await;
        let mut set_up = Vec::new();
        for name in names(organizations) {
            set_up.push(subscribe(cluster, &receiver, name).await);
        }
        let every = Duration::from_secs(1) * u32::try_from(organizations).expect("few") / rate;
        let (stop, stopped) = watch::channel(false);
        let mut publishers = JoinSet::new();
        for organization in &set_up {
            let publisher = Publisher::new(cluster, organization.clone(), publishers.len());
            publishers.spawn(publisher.publish_every(every, stopped.clone()));
        }
        let (faults, slack) = (Vec::new(), UNRECORDED);
        Self { receiver, organizations: set_up, publishers, stop, rate, faults, slack }
    }

    /// Answers may stay unrecorded for that much longer before a fault: for faults that build up.
    pub fn allow_more(&mut self, slack: Duration) {
        self.slack += slack;
    }

    /// Events accepted so far.
    pub fn accepted(&self) -> usize {
        let count = |one: &Organization| one.accepted.lock().expect("no holder panics").len();
        self.organizations.iter().map(count).sum()
    }

    /// Requests that wait for their answer now.
    pub fn in_flight(&self) -> usize {
        self.receiver.all_in_flight()
    }

    /// Whether an organization lives in that partition.
    pub fn uses(&self, partition: u16) -> bool {
        self.organizations.iter().any(|one| home(&one.name) == partition)
    }

    /// Lets it run until as many more events are accepted as belong to that time.
    pub async fn run_for(&self, seconds: u32) {
        self.reaches(u32::try_from(self.accepted()).expect("few") + self.rate * seconds).await;
    }

    /// Lets it run until that many events are accepted.
    pub async fn reaches(&self, events: u32) {
        let wanted = usize::try_from(events).expect("few");
        let missing = wanted.saturating_sub(self.accepted());
        let limit = RECOVERED + Duration::from_secs(missing as u64) / self.rate;
        eventually("the events are accepted", limit, async || (self.accepted() >= wanted).then_some(()))
            .await;
    }

    /// Something is broken at this moment.
    pub fn fault(&mut self) {
        self.fault_since(Instant::now());
    }

    /// Something was broken since then, and is whole again.
    pub fn fault_since(&mut self, from: Instant) {
        self.faults.push(Fault { from, until: Instant::now() });
    }

    /// The time from each fault until every webhook got an event that was accepted after the fault began.
    pub fn flowed_again(&self) -> Vec<Duration> {
        let flows = |fault: &Fault| {
            let each = self.endpoints().map(|(one, path)| self.first_after(one, &path, fault.from));
            each.max().unwrap_or_default()
        };
        self.faults.iter().map(flows).collect()
    }

    fn first_after(&self, organization: &Organization, path: &str, moment: Instant) -> Duration {
        let accepted = organization.accepted();
        let Some(event) = accepted.iter().find(|event| event.at > moment) else { return Duration::ZERO };
        self.receiver.look(path, |received| {
            let arrived = received.iter().find(|request| request.event_id() == event.id);
            arrived.map_or(Duration::MAX, |request| request.at.saturating_duration_since(moment))
        })
    }

    /// Ends the publishers and checks everything: nothing lost, no duplicate but by a fault, order, and the service's own
    /// figures.
    pub async fn check(&mut self, cluster: &TestCluster) -> Report {
        self.stop.send_replace(true);
        while let Some(ended) = self.publishers.join_next().await {
            ended.expect("a publisher is not refused");
        }
        let settled = tokio::time::timeout(RECOVERED, self.settled(cluster)).await;
        let accounts = self.accounts();
        let report = self.report(&accounts);
        println!("{report}");
        for ((organization, path), account) in self.endpoints().zip(&accounts) {
            let count = organization.accepted().len();
            assert!(
                account.lost.is_empty(),
                "{path}: lost {} of {count}: {:?}",
                account.lost.len(),
                account.lost
            );
            let unexplained = &account.unexplained;
            assert!(
                unexplained.is_empty(),
                "{path}: duplicates without a fault:\n{}",
                unexplained.join("\n")
            );
            assert!(account.strangers.is_empty(), "{path}: never accepted: {:?}", account.strangers);
            let in_order = account.out_of_order.is_empty() || path.ends_with("unordered");
            assert!(in_order, "{path}: out of order: {:?}", account.out_of_order);
        }
        settled.expect("everything is counted in time");
        for organization in &self.organizations {
            check_figures(cluster, organization).await;
        }
        report
    }

    fn endpoints(&self) -> impl Iterator<Item = (&Organization, String)> {
        self.organizations.iter().flat_map(|one| WEBHOOKS.map(|webhook| (one, one.path(webhook))))
    }

    /// Waits until the service has counted every delivery as ended.
    async fn settled(&self, cluster: &TestCluster) {
        for organization in &self.organizations {
            let expected = organization.accepted().len() * WEBHOOKS.len();
            let ann = cluster.user("ann", &organization.name);
            eventually("every delivery has ended", RECOVERED * 2, async || {
                let answer = ann.call(Method::GET, "/api/webhooks/stats").try_send().await.ok()?;
                let counts = (answer.status == 200).then(|| answer.json())?["deliveries"].take();
                (counts["total"] == expected && counts["pending"] == 0).then_some(())
            })
            .await;
        }
    }

    fn accounts(&self) -> Vec<Account> {
        let account = |(one, path): (&Organization, String)| {
            let accepted = one.accepted();
            self.receiver.look(&path, |received| Account::of(&accepted, received, &self.faults, self.slack))
        };
        self.endpoints().map(account).collect()
    }

    fn report(&self, accounts: &[Account]) -> Report {
        let accepted = self.accepted();
        let arrivals = |(_, path): (_, String)| {
            self.receiver.look(&path, |received| received.iter().map(|one| one.at).collect::<Vec<_>>())
        };
        Report {
            accepted,
            deliveries: accepted * WEBHOOKS.len(),
            lost: accounts.iter().map(|account| account.lost.len()).sum(),
            duplicates: accounts.iter().map(|account| account.duplicates).sum(),
            longest_gap: longest_gap(self.endpoints().flat_map(arrivals).collect()),
        }
    }
}

/// The partition of an organization's first webhooks.
fn home(organization: &str) -> u16 {
    let tenant: Tenant = format!("org:{organization}").parse().expect("a tenant");
    LAYOUT.partition_of(&tenant, Shard(0)).0
}

/// Names of organizations that live in different partitions, which are as many as there can be.
fn names(count: usize) -> Vec<String> {
    assert!(count <= usize::from(LAYOUT.partitions));
    let mut homes = std::collections::BTreeSet::new();
    let names = (0..).map(|number| format!("org{number}"));
    names.filter(|name| homes.insert(home(name))).take(count).collect()
}

async fn subscribe(cluster: &TestCluster, receiver: &Receiver, name: String) -> Organization {
    let mut organization = Organization { name, webhooks: Vec::new(), accepted: Arc::default() };
    let ann = cluster.user("ann", &organization.name);
    for webhook in WEBHOOKS {
        let path = organization.path(webhook);
        receiver.script(&path, &[Reply::status(200).after(WORK)]);
        // An attempt that fails because of a fault is repeated soon and often.
        let settings =
            json!({ "ordered": webhook == "ordered", "retryAttempts": 20, "retryDelaySeconds": 1 });
        organization.webhooks.push(text(&ann.create(&receiver.url(&path), &["*"], &settings).await["id"]));
    }
    organization
}

/// The statistics, the counters and the log must say what was accepted, and the same as each other.
async fn check_figures(cluster: &TestCluster, organization: &Organization) {
    let accepted = organization.accepted().len();
    let ann = cluster.user("ann", &organization.name);
    let all = accepted * WEBHOOKS.len();
    let expected = json!({ "total": all, "successful": all, "failed": 0, "pending": 0 });
    assert_eq!(ann.stats().await["deliveries"], expected, "{}", organization.name);
    for id in &organization.webhooks {
        let (webhook, log) = (ann.webhook(id).await, ann.log(id, "").await);
        let good = log.iter().filter(|row| row["success"] == true).count();
        let counted = [&webhook["successCount"], &webhook["deliveryCount"], &webhook["pendingCount"]];
        assert_eq!(counted, [&json!(good), &json!(log.len()), &json!(0)], "{}", organization.name);
        assert_eq!(good, accepted, "{}: each is recorded once", organization.name);
    }
}

/// Publishes the events of one organization.
struct Publisher {
    organization: Organization,
    client: Client,
    addresses: Addresses,
    /// Grows when a node does not take an event; the next one is asked then.
    turn: usize,
}

impl Publisher {
    fn new(cluster: &TestCluster, organization: Organization, turn: usize) -> Self {
        let client = cluster.client(&Token::user("crm").org(&organization.name).role("service"));
        Self { organization, client, addresses: cluster.addresses().clone(), turn }
    }

    /// Catches up after a time in which nothing was accepted.
    async fn publish_every(mut self, every: Duration, mut stop: watch::Receiver<bool>) {
        // Not all in the same moment.
        let first = every.mul_f64(rand::random());
        let mut pace = tokio::time::interval_at(tokio::time::Instant::now() + first, every);
        for number in 0_u64.. {
            tokio::select! {
                _ = pace.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let id = self.publish(number).await;
            let accepted = Accepted { id, at: Instant::now() };
            self.organization.accepted.lock().expect("no holder panics").push(accepted);
        }
    }

    /// Asks one node after another until one takes the event; gives its id.
    async fn publish(&mut self, number: u64) -> String {
        let event = json!({ "type": "lead.created", "data": { "number": number } });
        let key = format!("{}-{number}", self.organization.name);
        let start = Instant::now();
        loop {
            if let Some(id) = self.ask(&event, &key).await {
                return id;
            }
            assert!(start.elapsed() < RECOVERED, "nobody takes event {key}");
            self.turn += 1;
            tokio::time::sleep(BEFORE_NEXT).await;
        }
    }

    /// None when it may or may not have been stored.
    async fn ask(&self, event: &Value, key: &str) -> Option<String> {
        let address = {
            let addresses = self.addresses.lock().expect("no holder panics");
            addresses[self.turn % addresses.len()].clone()
        };
        let call = self.client.at(&address).call(Method::POST, "/api/events");
        let call = call.header("Idempotency-Key", key).json(event).try_send();
        let answer = tokio::time::timeout(PATIENCE, call).await.ok()?.ok()?;
        assert!([202, 503].contains(&answer.status), "{}", answer.body);
        (answer.status == 202).then(|| text(&answer.json()["id"]))
    }
}
