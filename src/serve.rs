//! `serve`: starts the parts of a node, waits for the end, stops them in order.
//!
//! A node is whole or not at all: an arbiter that ends by itself ends the node, in order and with an error, so that
//! whoever supervises it starts another. A private Redis that dies is started again once ([`Private::keep_running`]).
//!
//! Start: Redis (the node's own, if none is set), its checks, the ports, the arbiters with their partitions. Stop: not
//! ready at once, then attempts in flight are finished and partitions handed over while the API finishes its requests,
//! then the last traces are sent and the private Redis ends; all within `server.drain_seconds`, whatever Redis does. A stop that gives something up is still a
//! good one: leases that were not given back stand still and are taken, and what was not recorded is sent again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use anyhow::{Context as _, anyhow};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::actors::arbiter::{self, Blueprint};
use crate::api::Shared;
use crate::api::health::Readiness;
use crate::api::server::{self, Servers};
use crate::clock;
use crate::cluster::figures;
use crate::cluster::fitness::{self, Scarcity};
use crate::cluster::membership::{self, Live, Membership};
use crate::config::Config;
use crate::dashboard;
use crate::delivery::pool::Pool;
use crate::domain::Partition;
use crate::policy::partition::Layout;
use crate::policy::placement::Placement;
use crate::policy::shares::Rule;
use crate::store::connection::Address;
use crate::store::private::Private;
use crate::store::{Keys, Redis, encryption, preflight};
use crate::telemetry::events as facts;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::traces;

mod files;

/// How often Redis is asked whether it answers, for readiness.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How long the last traces may take at the end.
const LAST_TRACES: Duration = Duration::from_secs(2);
/// How often a private Redis is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Ends with the arbiter of its thread; an error of its own means that the arbiter died of a panic.
type Arbiter = oneshot::Receiver<anyhow::Result<()>>;

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
/// It cannot start (a port is taken, Redis is missing or refuses, the system allows too few open files), or a part of it died.
pub async fn run(config: Config, options: ServeOptions) -> anyhow::Result<()> {
    files::allow(&config).context("too few open files")?;
    let config = Arc::new(config);
    let exporter = traces::start(&config.telemetry, &config.node_id).context("traces cannot be sent")?;
    let mut private = start_private(&config)?;
    let mut deadline = None;
    let served = serve(&config, private.as_mut(), options, &mut deadline).await;
    let deadline = deadline.unwrap_or_else(|| clock::monotonic() + config.server.drain);
    if let Some(exporter) = exporter {
        let left = deadline.saturating_duration_since(clock::monotonic());
        exporter.stop(LAST_TRACES.min(left / 4)).await;
    }
    if let Some(private) = private {
        // Not to the last moment: one that hangs is killed then, and the process has to end.
        let left = deadline.saturating_duration_since(clock::monotonic()) * 9 / 10;
        if let Err(error) = private.stop(left) {
            tracing::warn!(%error, "the private redis-server did not stop in order");
        }
    }
    served
}

fn start_private(config: &Config) -> anyhow::Result<Option<Private>> {
    if !config.redis.is_private() {
        return Ok(None);
    }
    Ok(Some(Private::start(&config.redis).context("the private redis-server did not start")?))
}

/// Sets `deadline` when the node begins to stop.
async fn serve(
    config: &Arc<Config>,
    private: Option<&mut Private>,
    options: ServeOptions,
    deadline: &mut Option<Instant>,
) -> anyhow::Result<()> {
    let url = private.as_deref().map(Private::url);
    let address =
        Address::of(&config.redis, url.as_deref()).context("the settings of redis cannot be used")?;
    let redis = Redis::new(address.clone()).context("redis cannot be reached")?;
    preflight::check(&redis, &config.redis, &config.cluster).await.context("redis was refused")?;
    let keys = Keys::new(&config.redis.prefix);
    let keyring = Arc::new(encryption::keyring(&config.security));
    encryption::check(&redis, &keys, &keyring, clock::now()).await.context("redis was refused")?;
    facts::secrets_are_stored(&keyring);
    if config.auth.takes_any_audience() {
        facts::any_audience();
    }
    let layout = Layout {
        partitions: config.cluster.partitions,
        webhooks_per_shard: config.cluster.webhooks_per_shard,
        shards_per_tenant: config.cluster.shards_per_tenant,
    };
    METRICS.partitions.set(i64::from(layout.partitions));
    let readiness = Arc::new(Readiness::default());
    let (live, lives) = watch::channel(Live::default());
    let shared = Shared::new(config.clone(), address, layout, lives.clone());
    let shared = shared.with_pages(config.dashboard.enabled.then_some(&dashboard::PAGES));
    let servers = server::bind(&shared, &readiness)?;
    let addresses = Addresses { api: servers.api_address, management: servers.management_address };
    let (stop, stopping) = watch::channel(false);
    let membership =
        Membership::join(redis.clone(), keys.clone(), config.clone(), addresses.api, live).await?;
    let scarcity = Scarcity::default();
    let mut arbiters = start_arbiters(&shared, &redis, &scarcity, &membership.placement(), &stopping)?;
    let mut membership = actix::spawn(membership.run(stopping));
    if config.delivery.proxy_url.is_some() {
        facts::deliveries_go_through_a_proxy();
    }
    facts::listening(addresses.api, addresses.management);
    let probe = actix::spawn(probe(redis.clone(), readiness.clone(), options.on_ready, addresses));
    let fitness = actix::spawn(fitness::watch(redis.clone(), config.clone(), keyring, scarcity));
    let authenticator = shared.authenticator.clone();
    let key_keeper = actix::spawn(async move { authenticator.keep_keys_fresh().await });
    let figures = actix::spawn(figures::tell(redis.clone(), keys.clone(), config.node_id.clone(), lives));
    let running = Running::new(servers);
    let ended = tokio::select! {
        () = told_to_stop(options.stop) => Ok(()),
        error = first_to_end(&mut arbiters) => Err(error),
        error = keep_private(private) => Err(error),
        ended = &mut membership => Err(membership_ended(ended)),
    };
    *deadline = Some(clock::monotonic() + config.server.drain);
    match &ended {
        Ok(()) => tracing::info!("draining"),
        Err(error) => tracing::error!(error = format!("{error:#}"), "draining: a part of the node died"),
    }
    readiness.draining();
    // The arbiters may be gone already.
    let _ = stop.send(true);
    let drained = running.drain(arbiters, config.server.drain_of_work()).await;
    membership.abort();
    figures.abort();
    key_keeper.abort();
    membership::leave(&redis, &keys, &config.node_id).await;
    probe.abort();
    fitness.abort();
    ended.and(drained)
}

/// A thread with its own runtime for each share of the partitions; answers what tells that one has ended.
fn start_arbiters(
    shared: &Shared,
    redis: &Redis,
    scarcity: &Scarcity,
    placement: &watch::Receiver<Arc<Placement>>,
    stopping: &watch::Receiver<bool>,
) -> anyhow::Result<FuturesUnordered<Arbiter>> {
    let Shared { config, layout, keyring, listeners, sockets, .. } = shared;
    let threads = config.cluster.threads;
    let permits = Arc::new(Pool::new(config.delivery.max_in_flight, Rule::Quarter));
    let ended = FuturesUnordered::new();
    for thread in 0..threads {
        let of_thread = |partition: &u16| usize::from(*partition) % threads == thread;
        let blueprint = Blueprint {
            config: config.clone(),
            redis: redis.for_another_thread()?,
            keys: Keys::new(&config.redis.prefix),
            layout: *layout,
            keyring: keyring.clone(),
            permits: permits.clone(),
            sockets: sockets.clone(),
            scarcity: scarcity.clone(),
            partitions: (0..layout.partitions).filter(of_thread).map(Partition).collect(),
            placement: placement.clone(),
            stopping: stopping.clone(),
            listeners: listeners.clone(),
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
        match redis.ping().await {
            Ok(()) => {
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

/// Waits until the first arbiter ends although nobody told it to: its share of the partitions is served by nobody then.
async fn first_to_end(arbiters: &mut FuturesUnordered<Arbiter>) -> anyhow::Error {
    match arbiters.next().await {
        Some(Ok(Ok(()))) => anyhow!("an arbiter ended by itself"),
        Some(Ok(Err(error))) => error.context("an arbiter ended"),
        Some(Err(_)) => anyhow!("an arbiter died of a panic"),
        None => anyhow!("there are no arbiters"),
    }
}

/// Without it nobody tells the others that the node lives: they would take what it owns.
fn membership_ended(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("the node's membership of the cluster ended"),
        Ok(Err(error)) => error,
        Err(error) => anyhow::Error::new(error).context("the node's membership of the cluster died"),
    }
}

/// Starts a private Redis again when it has ended, until that does not help.
async fn keep_private(private: Option<&mut Private>) -> anyhow::Error {
    let Some(private) = private else { return std::future::pending().await };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match private.keep_running() {
            Ok(false) => {}
            Ok(true) => facts::private_redis_restarted(),
            Err(error) => return error.into(),
        }
    }
}

/// Both servers, answering.
struct Running {
    handles: [ServerHandle; 2],
    tasks: [JoinHandle<std::io::Result<()>>; 2],
}

impl Running {
    fn new(Servers { api, management, .. }: Servers) -> Self {
        let handles = [api.handle(), management.handle()];
        Self { handles, tasks: [actix::spawn(api), actix::spawn(management)] }
    }

    /// Lets requests finish and arbiters hand over, for at most `limit`; what takes longer is left. Health is answered
    /// until the end.
    ///
    /// # Errors
    /// An arbiter died of something else than the lack of time.
    async fn drain(self, arbiters: FuturesUnordered<Arbiter>, limit: Duration) -> anyhow::Result<()> {
        let [api, management] = &self.handles;
        let work = async { tokio::join!(api.stop(true), arbiters.collect::<Vec<_>>()).1 };
        let ended = tokio::time::timeout(limit, work).await;
        management.stop(false).await;
        self.tasks.iter().for_each(JoinHandle::abort);
        let Ok(ended) = ended else {
            tracing::warn!(
                "stopped before everything was handed over: what is left is taken by the next owner"
            );
            return Ok(());
        };
        for arbiter in ended {
            arbiter.context("an arbiter died of a panic")??;
        }
        tracing::info!("stopped");
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn arbiters(count: usize) -> (Vec<oneshot::Sender<anyhow::Result<()>>>, FuturesUnordered<Arbiter>) {
        (0..count).map(|_| oneshot::channel()).unzip()
    }

    #[tokio::test]
    async fn one_arbiter_that_ends_is_noticed_while_the_others_run() {
        let (mut senders, mut running) = arbiters(3);
        let none = tokio::time::timeout(Duration::from_millis(20), first_to_end(&mut running)).await;
        assert!(none.is_err(), "all of them run");
        drop(senders.pop());
        let error = first_to_end(&mut running).await;
        assert_eq!(error.to_string(), "an arbiter died of a panic");
        let reason = anyhow!("the reader of events died");
        senders.remove(0).send(Err(reason)).expect("it is awaited");
        let error = first_to_end(&mut running).await;
        assert_eq!(format!("{error:#}"), "an arbiter ended: the reader of events died");
        senders.remove(0).send(Ok(())).expect("it is awaited");
        assert_eq!(first_to_end(&mut running).await.to_string(), "an arbiter ended by itself");
    }
}
