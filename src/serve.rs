//! `serve`: starts the parts of a node, waits for the end, stops them in order.
//!
//! Start: Redis (the node's own, if none is set), its checks, the ports, the arbiters with their partitions. Stop: not
//! ready at once, then attempts in flight are finished and partitions handed over while the API finishes its requests,
//! then the private Redis; all within `server.drain_seconds`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::actors::arbiter::{self, Blueprint};
use crate::api::Shared;
use crate::api::health::Readiness;
use crate::api::server::{self, Servers};
use crate::config::Config;
use crate::domain::Partition;
use crate::policy::partition::Layout;
use crate::store::connection::Address;
use crate::store::private::Private;
use crate::store::{Keys, Redis, preflight};
use crate::telemetry::events as facts;

/// How often Redis is asked whether it answers, for readiness.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// What the caller of [`run`] wants besides.
#[derive(Debug, Default)]
pub struct ServeOptions {
    /// Told once, when the node is ready.
    pub on_ready: Option<oneshot::Sender<Addresses>>,
    /// Stops the node like SIGTERM does.
    pub stop: Option<oneshot::Receiver<()>>,
}

/// Where a ready node listens: the ports that were bound, also where the settings said 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The API.
    pub api: SocketAddr,
    /// Metrics and health.
    pub management: SocketAddr,
}

/// Runs a node until SIGTERM or SIGINT, then drains it. Call it on the process's main thread: a private Redis ends with
/// the thread that started it.
///
/// # Errors
/// It cannot start: a port is taken, Redis is missing or refuses.
pub async fn run(config: Config, options: ServeOptions) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let private = start_private(&config)?;
    let served = serve(&config, private.as_ref(), options).await;
    if let Some(private) = private {
        private.stop().context("the private redis-server did not stop")?;
    }
    served
}

fn start_private(config: &Config) -> anyhow::Result<Option<Private>> {
    if !config.redis.is_private() {
        return Ok(None);
    }
    Ok(Some(Private::start(&config.redis).context("the private redis-server did not start")?))
}

async fn serve(config: &Arc<Config>, private: Option<&Private>, options: ServeOptions) -> anyhow::Result<()> {
    let url = private.map(Private::url);
    let address =
        Address::of(&config.redis, url.as_deref()).context("the settings of redis cannot be used")?;
    let redis = Redis::new(address.clone()).context("redis cannot be reached")?;
    preflight::check(&redis, &config.redis, &config.cluster).await.context("redis was refused")?;
    let layout = Layout {
        partitions: config.cluster.partitions,
        webhooks_per_shard: config.cluster.webhooks_per_shard,
        shards_per_tenant: config.cluster.shards_per_tenant,
    };
    let readiness = Arc::new(Readiness::default());
    let servers = server::bind(&Shared::new(config.clone(), address, layout), &readiness)?;
    let addresses = Addresses { api: servers.api_address, management: servers.management_address };
    let (stop, stopping) = watch::channel(false);
    let arbiters = start_arbiters(config, &redis, layout, &stopping)?;
    facts::listening(addresses.api, addresses.management);
    let probe = actix::spawn(probe(redis, readiness.clone(), options.on_ready, addresses));
    let told = told_to_stop(options.stop);
    let ended = run_until_told(servers, arbiters, told, &stop, &readiness, config.server.drain).await;
    probe.abort();
    ended
}

/// A thread with its own runtime for each share of the partitions; answers what tells that one has ended.
fn start_arbiters(
    config: &Arc<Config>,
    redis: &Redis,
    layout: Layout,
    stopping: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<oneshot::Receiver<anyhow::Result<()>>>> {
    let threads = config.cluster.threads;
    let permits = Arc::new(Semaphore::new(config.delivery.max_in_flight));
    let mut ended = Vec::with_capacity(threads);
    for thread in 0..threads {
        let of_thread = |partition: &u16| usize::from(*partition) % threads == thread;
        let blueprint = Blueprint {
            config: config.clone(),
            redis: redis.for_another_thread()?,
            keys: Keys::new(&config.redis.prefix),
            layout,
            permits: permits.clone(),
            partitions: (0..layout.partitions).filter(of_thread).map(Partition).collect(),
            stopping: stopping.clone(),
        };
        let (sender, receiver) = oneshot::channel();
        let spawned = actix::Arbiter::new().spawn_fn(move || {
            actix::spawn(async move {
                // Nobody listens any more only when the node is past its end.
                let _ = sender.send(arbiter::run(blueprint).await);
            });
        });
        anyhow::ensure!(spawned, "an arbiter thread did not start");
        ended.push(receiver);
    }
    Ok(ended)
}

/// Keeps readiness true to what Redis says, and tells `on_ready` the first time that it answers.
async fn probe(
    redis: Redis,
    readiness: Arc<Readiness>,
    mut on_ready: Option<oneshot::Sender<Addresses>>,
    addresses: Addresses,
) {
    loop {
        match redis.query::<String>(&redis::cmd("PING")).await {
            Ok(_) => {
                readiness.connected();
                if let Some(sender) = on_ready.take() {
                    // Who asked may have lost interest.
                    let _ = sender.send(addresses);
                }
            }
            Err(_) => readiness.disconnected(),
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

async fn run_until_told(
    servers: Servers,
    arbiters: Vec<oneshot::Receiver<anyhow::Result<()>>>,
    told: impl Future<Output = ()>,
    stop: &watch::Sender<bool>,
    readiness: &Readiness,
    drain: Duration,
) -> anyhow::Result<()> {
    let handles = [servers.api.handle(), servers.management.handle()];
    let (api, management) = (actix::spawn(servers.api), actix::spawn(servers.management));
    let mut arbiters = futures_util::future::join_all(arbiters);
    let mut ended = None;
    tokio::select! {
        () = told => tracing::info!("draining"),
        results = &mut arbiters => ended = Some(results),
    }
    readiness.draining();
    let _ = stop.send(true);
    let drained = async {
        let (_, results) = tokio::join!(handles[0].stop(true), async {
            match ended {
                Some(results) => results,
                None => arbiters.await,
            }
        });
        results
    };
    let results = tokio::time::timeout(drain, drained).await;
    handles[1].stop(false).await;
    api.abort();
    management.abort();
    let results = results.context("draining took longer than server.drain_seconds")?;
    for result in results {
        result.context("an arbiter died")??;
    }
    tracing::info!("stopped");
    Ok(())
}

/// SIGTERM, SIGINT, or the word of the caller.
async fn told_to_stop(stop: Option<oneshot::Receiver<()>>) {
    let listen = |kind| signal(kind).expect("the process may listen for its own signals");
    let (mut term, mut int) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    let asked = async {
        // A caller that is gone without a word has not asked for anything.
        let said = match stop {
            Some(stop) => stop.await.is_ok(),
            None => false,
        };
        if !said {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = asked => {}
    }
}
