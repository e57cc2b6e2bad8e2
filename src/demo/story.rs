//! What happens in the demo, told while it happens.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::stage::Stage;
use crate::client::{Client, Created};
use crate::clock;
use crate::domain::{NodeId, Partition, Tenant, WebhookId};
use crate::policy::lease;
use crate::policy::partition::Layout;
use crate::receiver::{Received, Receiver};
use crate::stop::Stop;
use crate::store::overview::Overview;
use crate::token::{self, Bearer};

const NODES: usize = 3;
const WEBHOOKS: usize = 24;
/// Every so many webhooks one wants every event, and wants them in order; the others want one type each.
const ORDERED_EVERY: usize = 4;
const ORGANIZATION: &str = "demo";
const SCOPES: &str = "webhooks:read webhooks:write events:publish";
/// Event number n has the n-th type, over and over.
const TYPES: [&str; 4] = ["lead.created", "lead.updated", "contact.created", "opportunity.won"];
/// One event after another in that rhythm: slow enough that the kill falls into the middle of the work.
const PACE: Duration = Duration::from_millis(8);
/// How long to wait before what was refused is tried again.
const REPEAT_AFTER: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The longest wait for a partition's new owner.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30);
/// When nothing has arrived for that long, what is missing is lost.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(30);
/// The longest wait until the last deliveries are recorded.
const RECORDED_WITHIN: Duration = Duration::from_secs(15);
/// The life of the demo's token.
const TOKEN_TTL: Duration = Duration::from_secs(3600);

/// How much is to happen.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Events to publish.
    pub events: usize,
}

/// Plays it, and prints what happens. Call it on the process's main thread, in an actix system.
///
/// # Errors
/// Something was lost, arrived out of order or is counted wrongly; or it could not be played to its end.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    tokio::select! {
        played = play(options) => played,
        () = stop.told() => bail!("stopped before the end; its processes and its data are gone"),
    }
}

async fn play(Options { events }: Options) -> anyhow::Result<()> {
    let teller = Teller(clock::monotonic());
    say(&format!(
        "Three nodes, one organization with {WEBHOOKS} webhooks, {} events, and a kill -9 in the middle.\n",
        grouped(events)
    ))?;
    let mut stage = Stage::set(NODES).await?;
    teller.tell(&format!("a Redis of its own runs in {}", stage.directory().display()))?;
    let before = stage.overview().await?;
    for node in stage.nodes() {
        let api = before.nodes.iter().find(|listed| listed.id == *node).map(|listed| &listed.entry.api);
        let api = api.map_or("", String::as_str);
        teller.tell(&format!(
            "{node} owns {} of {} partitions, its API is at {api}",
            before.of(node).count(),
            before.partitions.len()
        ))?;
    }
    let mut receiver = Receiver::start((Ipv4Addr::LOCALHOST, 0).into())?;
    let scene = Scene::prepare(&stage, &before, &receiver, events).await?;
    let ordered = (0..WEBHOOKS).filter(|number| is_ordered(*number)).count();
    teller
        .tell(&format!("organization {ORGANIZATION} has {WEBHOOKS} webhooks, {ordered} of them ordered"))?;
    teller.tell(&format!("{} events are being published, at all nodes in turn", grouped(events)))?;
    let action = async {
        let (takeover, ()) =
            tokio::try_join!(scene.kill_the_busiest(&mut stage, &teller), scene.publish_all(&teller))?;
        scene.await_arrivals().await;
        anyhow::Ok(scene.with_first_delivery(takeover))
    };
    let takeover = tokio::select! {
        takeover = action => takeover?,
        never = scene.record(&mut receiver) => never?,
    };
    teller.tell("everything that will arrive has arrived")?;
    let books = scene.books().await?;
    report(&scene, &takeover, &books)
}

/// What the parts of the story share.
struct Scene {
    webhooks: Vec<Created>,
    partitions: Vec<Partition>,
    clients: Vec<Client>,
    events: usize,
    published: Cell<usize>,
    repeated: Cell<usize>,
    ledger: RefCell<Ledger>,
    last_arrival: Cell<Instant>,
    watch: RefCell<Option<Watch>>,
}

/// Waits for the first delivery of certain webhooks after a moment.
struct Watch {
    webhooks: BTreeSet<usize>,
    not_before: Instant,
    first: Option<Instant>,
}

/// How the work of the killed node went over to the others.
struct Takeover {
    killed_at: Instant,
    owned: Duration,
    first_delivery: Option<Duration>,
}

impl Scene {
    async fn prepare(
        stage: &Stage,
        overview: &Overview,
        receiver: &Receiver,
        events: usize,
    ) -> anyhow::Result<Self> {
        let bearer = Bearer {
            user: "ann",
            organization: Some(ORGANIZATION),
            scope: Some(SCOPES),
            ..Bearer::default()
        };
        let token = token::issue(&stage.config.auth, &bearer, clock::now(), TOKEN_TTL)?;
        let client = |api: &str| Client::new(&format!("http://{api}"), &token);
        let clients: Vec<Client> =
            overview.nodes.iter().map(|listed| client(&listed.entry.api)).collect::<Result<_, _>>()?;
        let mut webhooks = Vec::new();
        for number in 0..WEBHOOKS {
            let settings = json!({
                "name": format!("webhook {number}"), "url": format!("{}{number}", receiver.url()),
                "events": [wanted_by(number)], "ordered": is_ordered(number),
            });
            webhooks.push(clients[number % clients.len()].create(&settings).await?);
        }
        let partitions =
            webhooks.iter().map(|webhook| partition_of(stage, webhook)).collect::<Result<_, _>>();
        Ok(Self {
            webhooks,
            partitions: partitions?,
            clients,
            events,
            published: Cell::new(0),
            repeated: Cell::new(0),
            ledger: RefCell::new(Ledger::new(WEBHOOKS, events, wants)),
            last_arrival: Cell::new(clock::monotonic()),
            watch: RefCell::new(None),
        })
    }

    /// Publishes one event after another, each until a node has taken it: what a node that dies did not answer is
    /// repeated at the next with the same id.
    async fn publish_all(&self, teller: &Teller) -> anyhow::Result<()> {
        let mut rhythm = tokio::time::interval(PACE);
        for event in 0..self.events {
            rhythm.tick().await;
            let mut attempt = event;
            let id = format!("{ORGANIZATION}-{event}");
            let body = json!({ "type": type_of(event), "id": id, "data": { "number": event } });
            while let Err(error) = self.clients[attempt % self.clients.len()].publish_event(&body).await {
                if !error.is_transient() {
                    return Err(error).context("an event was refused");
                }
                self.repeated.set(self.repeated.get() + 1);
                attempt += 1;
                // Once every node has been tried.
                if (attempt - event) % self.clients.len() == 0 {
                    tokio::time::sleep(REPEAT_AFTER).await;
                }
            }
            self.published.set(event + 1);
        }
        teller.tell(&format!(
            "all events are published; {} requests met the dead node and were repeated at another",
            self.repeated.get()
        ))
    }

    /// When half is published: kills the node that serves most webhooks, and waits until all partitions are owned again.
    async fn kill_the_busiest(&self, stage: &mut Stage, teller: &Teller) -> anyhow::Result<Takeover> {
        while self.published.get() < self.events / 2 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let overview = stage.overview().await?;
        let nodes: Vec<NodeId> = stage.nodes().cloned().collect();
        let busiest = nodes.into_iter().max_by_key(|node| self.served_by(&overview, node).len());
        let busiest = busiest.context("there are nodes")?;
        let served = self.served_by(&overview, &busiest);
        let (webhooks, owned) = (served.len(), overview.of(&busiest).count());
        teller.tell(&format!(
            "{} published, {} delivered: {busiest} serves most webhooks ({webhooks}) and owns {owned} partitions. \
             kill -9 {busiest}",
            grouped(self.published.get()),
            grouped(self.ledger.borrow().deliveries()),
        ))?;
        let killed_at = clock::monotonic();
        stage.kill(&busiest)?;
        // Nobody may take its leases sooner than their term, and by half of it its last requests have arrived.
        self.watch.replace(Some(Watch {
            webhooks: served,
            not_before: killed_at + lease::TERM / 2,
            first: None,
        }));
        let taken = tokio::time::timeout(TAKEN_OVER_WITHIN, stage.owned_by_the_living()).await;
        taken.context("its partitions were not taken over in time")??;
        let owned = killed_at.elapsed();
        teller.tell(&format!("every partition has a living owner again, {}", after(owned)))?;
        Ok(Takeover { killed_at, owned, first_delivery: None })
    }

    fn served_by(&self, overview: &Overview, node: &NodeId) -> BTreeSet<usize> {
        let owned: BTreeSet<u16> = overview.of(node).map(|state| state.partition).collect();
        (0..WEBHOOKS).filter(|number| owned.contains(&self.partitions[*number].0)).collect()
    }

    /// Counts what arrives; never ends but by an error.
    async fn record(&self, receiver: &mut Receiver) -> anyhow::Result<Takeover> {
        loop {
            let received = receiver.next().await.context("the receiver ended")?;
            let now = clock::monotonic();
            self.last_arrival.set(now);
            match self.read(&received) {
                Some((webhook, event)) => {
                    self.ledger.borrow_mut().arrived(webhook, event);
                    let mut watch = self.watch.borrow_mut();
                    let watch = watch.as_mut().filter(|watch| watch.webhooks.contains(&webhook));
                    if let Some(watch) = watch.filter(|watch| now >= watch.not_before) {
                        watch.first.get_or_insert(now);
                    }
                }
                None => self.ledger.borrow_mut().strange(),
            }
        }
    }

    /// Which webhook and which event it is; `None` when it is not genuine.
    fn read(&self, received: &Received) -> Option<(usize, usize)> {
        let number: usize = received.path.strip_prefix('/')?.parse().ok()?;
        received.verify(&self.webhooks.get(number)?.secret).ok()?;
        let event = received.id.strip_prefix(ORGANIZATION)?.strip_prefix('-')?.parse().ok()?;
        Some((number, event))
    }

    /// Until nothing is missing, or nothing has come for so long that it will not.
    async fn await_arrivals(&self) {
        self.last_arrival.set(clock::monotonic());
        while self.ledger.borrow().missing() > 0 && self.last_arrival.get().elapsed() < GIVEN_UP_AFTER {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Fills in when the first delivery of what was taken over arrived.
    fn with_first_delivery(&self, takeover: Takeover) -> Takeover {
        let first = self.watch.borrow().as_ref().and_then(|watch| watch.first);
        let span = first.map(|first| first.saturating_duration_since(takeover.killed_at));
        Takeover { first_delivery: span, ..takeover }
    }

    /// What the service itself says of the deliveries, once all ends are recorded.
    async fn books(&self) -> anyhow::Result<Value> {
        let read = async {
            let mut turn = 0;
            loop {
                let answer = self.clients[turn % self.clients.len()].statistics().await;
                match answer.map(|mut statistics| statistics["deliveries"].take()) {
                    Ok(books) if books["pending"] == 0 => return Ok(books),
                    Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
                    Err(error) if error.is_transient() => turn += 1,
                    Err(error) => return Err(error),
                }
            }
        };
        let books = tokio::time::timeout(RECORDED_WITHIN, read).await;
        Ok(books.context("the last deliveries were not recorded in time")??)
    }
}

fn is_ordered(webhook: usize) -> bool {
    webhook.is_multiple_of(ORDERED_EVERY)
}

fn type_of(event: usize) -> &'static str {
    TYPES[event % TYPES.len()]
}

fn wanted_by(webhook: usize) -> &'static str {
    if is_ordered(webhook) { "*" } else { TYPES[webhook % TYPES.len()] }
}

fn wants(webhook: usize, event: usize) -> bool {
    is_ordered(webhook) || wanted_by(webhook) == type_of(event)
}

fn partition_of(stage: &Stage, webhook: &Created) -> anyhow::Result<Partition> {
    let cluster = &stage.config.cluster;
    let layout = Layout {
        partitions: cluster.partitions,
        webhooks_per_shard: cluster.webhooks_per_shard,
        shards_per_tenant: cluster.shards_per_tenant,
    };
    let id: WebhookId = webhook.id.parse()?;
    Ok(layout.partition_of(&Tenant::Organization(ORGANIZATION.into()), id.shard()))
}

/// Prints the figures and judges them.
fn report(scene: &Scene, takeover: &Takeover, books: &Value) -> anyhow::Result<()> {
    let ledger = scene.ledger.borrow();
    let ordered: Vec<usize> = (0..WEBHOOKS).filter(|number| is_ordered(*number)).collect();
    let in_order = ordered.iter().filter(|number| ledger.in_order(**number)).count();
    let lost = ledger.missing();
    let [successful, failed, pending] = ["successful", "failed", "pending"].map(|name| books[name].as_u64());
    say("")?;
    line("published", scene.events, &format!("events, {} deliveries to make", grouped(ledger.expected())))?;
    line("delivered", ledger.deliveries(), "requests arrived, every signature checked")?;
    line("unique", ledger.unique(), "of them are different")?;
    line("lost", lost, "")?;
    line(
        "duplicates",
        ledger.duplicates(),
        "under way when the node died, made again with the same webhook-id",
    )?;
    line("in order", in_order, &format!("of {} ordered webhooks", ordered.len()))?;
    span("take-over", takeover.first_delivery, "from the kill to the first delivery of what was taken over")?;
    span("", Some(takeover.owned), "from the kill until every partition had a living owner")?;
    let shown = |number: Option<u64>| number.map_or("?".into(), |number| grouped(number as usize));
    say(&format!(
        "\nThe statistics of the API: {} successful, {} failed, {} pending.",
        shown(successful),
        shown(failed),
        shown(pending)
    ))?;
    ensure!(lost == 0, "{lost} deliveries were lost");
    ensure!(ledger.strangers() == 0, "{} requests were not genuine", ledger.strangers());
    ensure!(in_order == ordered.len(), "not every ordered webhook got its events in order");
    ensure!(successful == Some(ledger.expected() as u64), "the statistics differ from what arrived");
    Ok(())
}

fn line(name: &str, number: usize, words: &str) -> anyhow::Result<()> {
    say(format!("  {name:<12}{:>9}   {words}", grouped(number)).trim_end())
}

fn span(name: &str, time: Option<Duration>, words: &str) -> anyhow::Result<()> {
    let time = time.map_or("none".into(), |time| format!("{:.1} s", time.as_secs_f64()));
    say(&format!("  {name:<12}{time:>9}   {words}"))
}

/// Tells what happens, with the time since the beginning.
struct Teller(Instant);

impl Teller {
    fn tell(&self, text: &str) -> anyhow::Result<()> {
        say(&format!("{:6.1} s  {text}", self.0.elapsed().as_secs_f64()))
    }
}

fn after(time: Duration) -> String {
    format!("{:.1} s after the kill", time.as_secs_f64())
}

/// With a comma between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `println!` would panic when nobody reads any more.
fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_grouped_by_thousands() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (24_003, "24,003"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
