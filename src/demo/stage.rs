//! The processes of the demo: a private Redis and nodes, this very program as child processes.
//!
//! Everything ends with its value, in this order: nodes, Redis, the directory with all data. Where not even that can
//! happen (`kill -9` of the demo), the kernel ends the children, if `setpriv` (util-linux) is there.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::config::{Config, Layers, layers};
use crate::domain::NodeId;
use crate::store::connection::Address;
use crate::store::overview::{self, Overview};
use crate::store::private::Private;
use crate::store::{Keys, Redis};

/// The longest wait until every node owns its share.
const ASSEMBLED_WITHIN: Duration = Duration::from_secs(30);
/// How often the cluster is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The most of a node's log that is shown when it ended.
const LAST_WORDS: usize = 600;

/// See the module's page.
#[derive(Debug)]
pub struct Stage {
    // In the order in which they end.
    nodes: Vec<Node>,
    _private: Private,
    directory: Directory,
    redis: Redis,
    /// The settings that all nodes have.
    pub config: Config,
}

impl Stage {
    /// Starts Redis and `nodes` nodes over it, and waits until each owns its share. Call it on the process's main thread:
    /// children end with the thread that started them.
    ///
    /// # Errors
    /// Something cannot be started, or does not come up in time.
    pub async fn set(nodes: usize) -> anyhow::Result<Self> {
        let directory = Directory::make()?;
        let config = settings(&directory.0)?;
        let private = Private::start(&config.redis).context("redis-server did not start")?;
        let redis = Redis::new(Address::of(&config.redis, Some(&private.url()))?)?;
        let program = std::env::current_exe().context("this program cannot be found")?;
        let start = |number| Node::start(&program, number, &directory.0, &private.url(), &config);
        let nodes = (1..=nodes).map(start).collect::<anyhow::Result<_>>()?;
        let mut stage = Self { nodes, _private: private, directory, redis, config };
        let assembled = tokio::time::timeout(ASSEMBLED_WITHIN, stage.assembled()).await;
        assembled.context("the nodes did not share the partitions in time")??;
        Ok(stage)
    }

    /// Where all data of the demo lies.
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// The nodes that were started, in order.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.iter().map(|node| &node.id)
    }

    /// Who owns what now.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn overview(&self) -> anyhow::Result<Overview> {
        let keys = Keys::new(&self.config.redis.prefix);
        let read = overview::read(&self.redis, &keys, self.config.cluster.partitions).await;
        read.context("redis cannot be read")
    }

    /// `kill -9`. The node has ended when this returns.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn kill(&mut self, id: &NodeId) -> std::io::Result<()> {
        let killed: Vec<Node> = self.nodes.extract_if(.., |node| node.id == *id).collect();
        killed.into_iter().try_for_each(|mut node| node.kill())
    }

    /// Waits until every partition has an owner among the nodes that were not killed.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn owned_by_the_living(&self) -> anyhow::Result<()> {
        loop {
            let overview = self.overview().await?;
            let lives = |owner: &NodeId| self.nodes().any(|node| node == owner);
            if overview.partitions.iter().all(|state| state.owner.as_ref().is_some_and(lives)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn assembled(&mut self) -> anyhow::Result<()> {
        let share = usize::from(self.config.cluster.partitions) / self.nodes.len();
        loop {
            self.nodes.iter_mut().try_for_each(Node::check)?;
            let overview = self.overview().await?;
            let has_share = |node: &Node| overview.of(&node.id).count() >= share;
            let listed = overview.nodes.len() == self.nodes.len();
            let owned = overview.partitions.iter().all(|state| state.owner.is_some());
            if listed && owned && self.nodes.iter().all(has_share) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn settings(directory: &Path) -> anyhow::Result<Config> {
    let origin = "the demo";
    let mut layers = Layers::default();
    layers.put_text(origin, layers::DEVELOPMENT);
    layers.set("auth.jwt_secret", &hex::encode(rand::random::<[u8; 32]>()), origin);
    layers.set("redis.data_dir", directory.to_str().context("the temporary directory is not text")?, origin);
    Ok(layers.check()?)
}

/// A directory for this user alone; gone with its value.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn make() -> anyhow::Result<Self> {
        // Short: a socket lies in it.
        let path = std::env::temp_dir().join(format!("sw-demo-{:08x}", rand::random::<u32>()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node as a child process. Ends with its value.
#[derive(Debug)]
struct Node {
    id: NodeId,
    child: Child,
    log: PathBuf,
}

impl Node {
    fn start(
        program: &Path,
        number: usize,
        directory: &Path,
        redis: &str,
        config: &Config,
    ) -> anyhow::Result<Self> {
        let name = format!("node-{number}");
        let log = directory.join(format!("{name}.log"));
        let networks: Vec<String> =
            config.delivery.allowed_networks.iter().map(ToString::to_string).collect();
        let networks = networks.join(",");
        let child = tied(program)
            .arg("serve")
            .env_clear()
            .env("WEBHOOKS_NODE__ID", &name)
            .env("WEBHOOKS_SERVER__PORT", "0")
            .env("WEBHOOKS_SERVER__MANAGEMENT_PORT", "0")
            .env("WEBHOOKS_REDIS__URL", redis)
            .env("WEBHOOKS_AUTH__JWT_SECRET", config.auth.jwt_secret.as_deref().unwrap_or_default())
            .env("WEBHOOKS_DELIVERY__ALLOWED_NETWORKS", &networks)
            .env("WEBHOOKS_DELIVERY__MAX_IN_FLIGHT", "1024")
            .env("WEBHOOKS_SERVER__MAX_CONNECTIONS", "512")
            .env("WEBHOOKS_TELEMETRY__LOG_LEVEL", "warn")
            // No settings file lies there.
            .current_dir(directory)
            // Ctrl-C in a terminal reaches the demo alone, which ends them.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("a node did not start")?;
        Ok(Self { id: name.parse()?, child, log })
    }

    fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn check(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let skipped = log.chars().count().saturating_sub(LAST_WORDS);
        let words: String = log.chars().skip(skipped).collect();
        bail!("{} ended ({status}); its last words: {}", self.id, words.trim());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Ended already is what is wanted.
        let _ = self.kill();
    }
}

/// The start of the command line that runs `program` for no longer than the calling thread lives, if that can be had.
fn tied(program: &Path) -> Command {
    let through = |program: &Path| {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    };
    // BusyBox has a setpriv without that option.
    let works = through(Path::new("true")).stdin(Stdio::null()).stderr(Stdio::null()).status();
    if works.is_ok_and(|status| status.success()) { through(program) } else { Command::new(program) }
}
