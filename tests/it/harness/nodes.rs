//! Several nodes on one Redis: real processes that can be killed, frozen, stopped, started again and joined by others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::sync::MutexGuard;

use super::client::Address;
use super::{Client, TestNode, TestRedis, Token, eventually, text};

/// `server.drain_seconds` of the default settings, and some for a slow machine.
const DRAIN: Duration = Duration::from_secs(30);

/// Held by the cluster that runs now: several under load at once would measure the machine and not the cluster.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Where the nodes listen: those that run and those that do not, as a client outside knows them.
pub type Addresses = Arc<Mutex<Vec<Address>>>;

/// Nodes `n0`, `n1`, … that end with the test.
#[derive(Debug)]
pub struct TestCluster {
    nodes: Vec<TestNode>,
    running: BTreeSet<usize>,
    settings: Vec<(&'static str, String)>,
    addresses: Addresses,
    _machine: MutexGuard<'static, ()>,
}

impl TestCluster {
    /// That many nodes on that Redis, which share all partitions.
    pub async fn start(redis: &TestRedis, count: usize) -> Self {
        Self::start_at(&[("REDIS__URL", redis.url())], count).await
    }

    /// As [`Self::start`] on the Redis that the settings lead to.
    pub async fn start_at(settings: &[(&'static str, String)], count: usize) -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            running: BTreeSet::new(),
            settings: settings.to_vec(),
            addresses: Addresses::default(),
            _machine: MACHINE.lock().await,
        };
        for _ in 0..count {
            cluster.add().await;
        }
        cluster
    }

    /// A node more; waits until it has its share. Gives its place.
    pub async fn add(&mut self) -> usize {
        self.add_with(&[]).await
    }

    /// As [`Self::add`] with settings of its own.
    pub async fn add_with(&mut self, settings: &[(&'static str, String)]) -> usize {
        let place = self.nodes.len();
        let own = [&self.settings[..], settings, &[("NODE__ID", format!("n{place}"))]].concat();
        let node = TestNode::start_at(&own).await;
        self.addresses.lock().expect("no holder panics").push(node.address().clone());
        self.nodes.push(node);
        self.running.insert(place);
        self.balanced().await;
        place
    }

    /// One of them.
    pub fn node(&self, place: usize) -> &TestNode {
        &self.nodes[place]
    }

    /// Where they all listen, those that will join included.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// A client of any node that runs.
    pub fn client(&self, token: &Token) -> Client {
        let first = self.running.first().expect("a node runs");
        self.nodes[*first].client(token)
    }

    /// A user of an organization.
    pub fn user(&self, sub: &str, org: &str) -> Client {
        self.client(&Token::user(sub).org(org))
    }

    /// `kill -9`.
    pub async fn kill(&mut self, place: usize) {
        self.running.remove(&place);
        self.nodes[place].kill().await;
    }

    /// SIGTERM, and waits for its end, which must be a good one.
    pub async fn terminate(&mut self, place: usize) {
        self.running.remove(&place);
        self.nodes[place].terminate();
        assert_eq!(self.nodes[place].ended(DRAIN).await.code(), Some(0), "n{place}");
    }

    /// Starts one again that was killed or terminated, and waits until it has its share.
    pub async fn restart(&mut self, place: usize) {
        self.nodes[place].start_again().await;
        self.running.insert(place);
        self.balanced().await;
    }

    /// SIGSTOP.
    pub fn freeze(&mut self, place: usize) {
        self.running.remove(&place);
        self.nodes[place].freeze();
    }

    /// SIGCONT.
    pub fn thaw(&mut self, place: usize) {
        self.nodes[place].thaw();
        self.running.insert(place);
    }

    /// Counts as gone until [`Self::is_back`]: it runs, and is cut off from Redis.
    pub fn is_cut_off(&mut self, place: usize) {
        self.running.remove(&place);
    }

    /// The end of [`Self::is_cut_off`].
    pub fn is_back(&mut self, place: usize) {
        self.running.insert(place);
    }

    /// What the cluster says of itself, asked at a node that runs; none while that cannot answer.
    pub async fn placement(&self) -> Option<Placement> {
        let first = self.running.first().expect("a node runs");
        let answer = self.nodes[*first].management().call(Method::GET, "/cluster").try_send().await.ok()?;
        (answer.status == 200).then(|| Placement::of(&answer.json()))
    }

    /// The place of the node that runs and owns the most partitions of those that `counts`.
    pub async fn busiest(&self, counts: impl Fn(u16) -> bool) -> usize {
        let placement = eventually("the placement is known", DRAIN, async || self.placement().await).await;
        let owned = |place: &usize| {
            let id = format!("n{place}");
            placement.owned_by(&id).filter(|partition| counts(*partition)).count()
        };
        *self.running.iter().max_by_key(|place| owned(place)).expect("a node runs")
    }

    /// Waits until every partition is owned by a node that runs.
    pub async fn all_partitions_owned(&self, within: Duration) {
        eventually("every partition has an owner that runs", within, async || {
            let placement = self.placement().await?;
            let owners = placement.owners.values();
            owners.into_iter().all(|owner| self.is_one_that_runs(owner.as_deref())).then_some(())
        })
        .await;
    }

    /// Waits until every partition is owned by a node that runs, and no two of them differ by more than one.
    pub async fn balanced(&self) {
        eventually("the partitions are shared evenly", DRAIN, async || {
            let placement = self.placement().await?;
            let owned = |place: &usize| placement.owned_by(&format!("n{place}")).count();
            let counts: Vec<usize> = self.running.iter().map(owned).collect();
            let (least, most) = (counts.iter().min()?, counts.iter().max()?);
            (most - least <= 1 && counts.iter().sum::<usize>() == placement.owners.len()).then_some(())
        })
        .await;
    }

    fn is_one_that_runs(&self, owner: Option<&str>) -> bool {
        owner.is_some_and(|owner| self.running.iter().any(|place| owner == format!("n{place}")))
    }
}

/// Who owns what.
#[derive(Clone, Debug)]
pub struct Placement {
    /// By partition.
    pub owners: BTreeMap<u16, Option<String>>,
}

impl Placement {
    fn of(answer: &Value) -> Self {
        let partitions = answer["partitions"].as_array().expect("partitions").iter();
        let owner = |partition: &Value| {
            let number = partition["partition"].as_u64().and_then(|number| u16::try_from(number).ok());
            let owner = partition["owner"].is_string().then(|| text(&partition["owner"]));
            (number.expect("a partition's number"), owner)
        };
        Self { owners: partitions.map(owner).collect() }
    }

    /// The partitions of one node.
    pub fn owned_by(&self, id: &str) -> impl Iterator<Item = u16> {
        let owned = move |(partition, owner): (&u16, &Option<String>)| {
            (owner.as_deref() == Some(id)).then_some(*partition)
        };
        self.owners.iter().filter_map(owned)
    }
}
