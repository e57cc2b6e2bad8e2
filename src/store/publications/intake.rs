//! Where the publications of one thread meet: those that come while a call is under way go together in the next one. A
//! call for each costs Redis and the node as much again as what it does. On a Redis Cluster, where no script works for two
//! partitions, each travels alone.
//!
//! An event that nobody can repeat needs no script while its partition and its tenant are far from their bounds ([`super::levels`]): it
//! goes in a transaction, which costs Redis half as much.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{Pipeline, RedisResult, Value};
use tokio::sync::oneshot;

use super::fresh::{Fresh, Listeners};
use super::levels::{Levels, Way};
use super::{Bounds, Item, PUBLISH, Role, Stored, read_stored};
use crate::clock;
use crate::domain::Partition;
use crate::store::events::{Entry, EntryKind, text, unreadable};
use crate::store::meter::{Called, measured};
use crate::store::{Error, Keys, Redis};

/// Events in one call.
const CALL: usize = 128;
/// Bytes of bodies in one call; a single event may have more.
const CALL_BYTES: usize = 4 << 20;

type Waiting = (Item, oneshot::Sender<Result<Stored, Error>>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    running: bool,
}

/// Stores publications. Clones share what waits.
#[derive(Clone, Debug)]
pub struct Intake {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
    bounds: Bounds,
    queue: Arc<Mutex<Queue>>,
    levels: Arc<Mutex<Levels>>,
    listeners: Arc<Listeners>,
}

impl Intake {
    /// For the thread that `redis` belongs to; tells `listeners` what it stores.
    pub fn new(redis: Redis, keys: Keys, bounds: Bounds, listeners: Arc<Listeners>) -> Self {
        Self { redis, keys, bounds, queue: Arc::default(), levels: Arc::default(), listeners }
    }

    /// Stores an event in one partition. Dropping the future leaves open whether it is stored.
    pub(super) async fn store(&self, item: Item) -> Result<Stored, Error> {
        if self.redis.is_cluster() {
            return self.by_script(&[&item]).await?.pop().unwrap_or_else(|| Err(unreadable("publish")));
        }
        let (sender, answer) = oneshot::channel();
        let must_run = {
            let mut queue = self.lock();
            queue.waiting.push((item, sender));
            !std::mem::replace(&mut queue.running, true)
        };
        if must_run {
            // A task of its own: who published may go away, and others wait for the same call.
            tokio::spawn(self.clone().run());
        }
        // A run that died has perhaps stored it.
        answer.await.unwrap_or_else(|_| Err(Error::unanswered()))
    }

    /// Runs until nothing waits.
    async fn run(self) {
        let running = Running(&self);
        while let Some(taken) = running.0.take() {
            let items: Vec<&Item> = taken.iter().map(|(item, _)| item).collect();
            let answers = self.call(&items).await;
            for ((_, waiting), answer) in taken.into_iter().zip(answers) {
                // Who published may be gone.
                let _ = waiting.send(answer);
            }
        }
    }

    fn refuse_waiting(&self, error: &Error) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        for (_, to) in waiting {
            let _ = to.send(Err(error.clone()));
        }
    }

    /// What the next call carries; `None` = nothing waits, and the next one to come runs.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.lock();
        queue.waiting.retain(|(_, waiting)| !waiting.is_closed());
        let mut bytes = 0;
        let fits = |(item, _): &&Waiting| {
            let before = bytes;
            bytes += item.publication.event.body.len();
            before == 0 || bytes <= CALL_BYTES
        };
        let count = queue.waiting.iter().take(CALL).take_while(fits).count();
        queue.running = count > 0;
        let rest = queue.waiting.split_off(count);
        let taken = std::mem::replace(&mut queue.waiting, rest);
        queue.running.then_some(taken)
    }

    async fn call(&self, items: &[&Item]) -> Vec<Result<Stored, Error>> {
        let ways = self.ways(items);
        let of = |is_meant: fn(Way) -> bool| -> Vec<(&Item, Way)> {
            let all = items.iter().zip(&ways).map(|(item, way)| (*item, *way));
            all.filter(|(_, way)| is_meant(*way)).collect()
        };
        let (looked, plain) = (of(|way| way == Way::Look), of(|way| way != Way::Look));
        let looked: Vec<&Item> = looked.into_iter().map(|(item, _)| item).collect();
        let (looked, plain) = futures_util::join!(self.answered(&looked), self.plainly(&plain));
        let (mut looked, mut plain) = (looked.into_iter(), plain.into_iter());
        let answers = ways.iter().map(|way| if *way == Way::Look { looked.next() } else { plain.next() });
        answers.map(|answer| answer.unwrap_or_else(|| Err(unreadable("publish")))).collect()
    }

    /// How each is stored; what goes in this call counts.
    fn ways(&self, items: &[&Item]) -> Vec<Way> {
        let (levels, now) = (self.levels(), clock::monotonic());
        let mut more = 0;
        let way = |item: &&Item| {
            more += item.publication.event.body.len() as u64;
            match item.marks {
                Some(_) => Way::Look,
                None => levels.way(&self.bounds, item.partition, &item.tenant, more, now),
            }
        };
        items.iter().map(way).collect()
    }

    /// What the script answers of each.
    async fn answered(&self, items: &[&Item]) -> Vec<Result<Stored, Error>> {
        self.by_script(items).await.unwrap_or_else(|error| self.failed(&error, items.len()))
    }

    /// Nobody waits for as many limits as there are calls: what waits is refused with these.
    fn failed(&self, error: &Error, count: usize) -> Vec<Result<Stored, Error>> {
        self.refuse_waiting(error);
        (0..count).map(|_| Err(error.clone())).collect()
    }

    async fn by_script(&self, items: &[&Item]) -> Result<Vec<Result<Stored, Error>>, Error> {
        let Some(first) = items.first() else { return Ok(Vec::new()) };
        let mut call = PUBLISH.on(&self.keys.key(first.partition, "events"));
        call.arg(self.keys.of(first.partition));
        call.arg(self.bounds.max_undispatched).arg(self.bounds.max_pending_of_tenant);
        for item in items {
            item.add_to(&mut call, &self.keys);
        }
        let answers: Vec<Value> = call.run(&self.redis).await?;
        if answers.len() != items.len() {
            return Err(unreadable("publish"));
        }
        self.learn(items, &answers);
        Ok(answers.iter().map(read).collect())
    }

    /// Notes how full the script found partitions and tenants.
    fn learn(&self, items: &[&Item], answers: &[Value]) {
        let (mut levels, now) = (self.levels(), clock::monotonic());
        for (item, answer) in items.iter().zip(answers) {
            match answer {
                Value::Array(parts)
                    if let [_, _, Value::Int(undispatched), Value::Int(pending)] = parts[..] =>
                {
                    levels.tell(item.partition, u64::try_from(undispatched).unwrap_or_default());
                    let pending = u64::try_from(pending).unwrap_or_default();
                    levels.tell_pending(item.partition, &item.tenant, pending, now);
                }
                Value::Array(parts) => match parts.first().and_then(text) {
                    Some("partition_full") => levels.tell(item.partition, self.bounds.max_undispatched),
                    Some("tenant_full") => {
                        let pending = self.bounds.max_pending_of_tenant;
                        levels.tell_pending(item.partition, &item.tenant, pending, now);
                    }
                    Some("failed") => levels.forget(item.partition),
                    // A repeat: it was not looked at.
                    _ => {}
                },
                _ => {}
            }
        }
    }

    /// Stores what needs no look, all of it or nothing.
    async fn plainly(&self, items: &[(&Item, Way)]) -> Vec<Result<Stored, Error>> {
        if items.is_empty() {
            return Vec::new();
        }
        let transaction = Transaction::of(items, &self.keys);
        let asked = self.redis.ask_together::<Vec<RedisResult<Value>>>(&transaction.pipeline);
        match measured(Called::Publish, asked).await {
            Ok(answers) if answers.len() == transaction.pipeline.len() => {
                let stored = transaction.read(items, &answers, &mut self.levels());
                self.listeners.tell(transaction.fresh(items, &answers, &self.listeners));
                stored
            }
            Ok(_) => self.failed(&unreadable("publish"), items.len()),
            // The script says why, and of the next ones too.
            Err(error) if error.has_not_happened() => {
                let items: Vec<&Item> = items.iter().map(|(item, _)| *item).collect();
                items.iter().for_each(|item| self.levels().forget(item.partition));
                self.answered(&items).await
            }
            Err(error) => self.failed(&error, items.len()),
        }
    }

    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets another run begin when this one dies.
struct Running<'a>(&'a Intake);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().running = false;
        }
    }
}

/// Events that are stored without a look, in one step.
struct Transaction {
    pipeline: Pipeline,
    /// Where the answers of each item begin.
    begins: Vec<usize>,
    shares: Vec<Share>,
}

/// What a transaction stores in one partition.
struct Share {
    partition: Partition,
    /// Of the items, in their order.
    items: Vec<usize>,
    /// Where the answers of its counts lie: of bytes, and behind that of entries.
    counts: usize,
}

impl Transaction {
    fn of(items: &[(&Item, Way)], keys: &Keys) -> Self {
        let mut pipeline = Pipeline::with_capacity(5 * items.len());
        pipeline.atomic().ignore_errors();
        let (mut begins, mut shares) = (Vec::with_capacity(items.len()), Vec::<Share>::new());
        for (at, (item, way)) in items.iter().enumerate() {
            begins.push(pipeline.len());
            item.add_plainly(&mut pipeline, keys, *way);
            match shares.iter_mut().find(|share| share.partition == item.partition) {
                Some(share) => share.items.push(at),
                None => shares.push(Share { partition: item.partition, items: vec![at], counts: 0 }),
            }
        }
        for share in &mut shares {
            share.counts = pipeline.len();
            let usage = keys.key(share.partition, "usage");
            let bytes: usize = share.items.iter().map(|at| items[*at].0.publication.event.body.len()).sum();
            pipeline.cmd("HINCRBY").arg(&usage).arg("undispatched").arg(bytes);
            pipeline.cmd("HINCRBY").arg(&usage).arg("added").arg(share.items.len());
        }
        Self { pipeline, begins, shares }
    }

    /// What it stored in partitions that somebody listens for.
    fn fresh(
        &self,
        items: &[(&Item, Way)],
        answers: &[RedisResult<Value>],
        listeners: &Listeners,
    ) -> Vec<Fresh> {
        let entry = |at: &usize| {
            let (item, way) = items[*at];
            let stored = answers.get(self.begins[*at] + item.place_of_entry(way))?;
            let id = text(stored.as_ref().ok()?)?.parse().ok()?;
            Some(Entry { id, kind: EntryKind::Event(item.publication.event.clone()) })
        };
        let fresh = |share: &Share| {
            let Some(Ok(Value::Int(last))) = answers.get(share.counts + 1) else { return None };
            let entries = share.items.iter().map(entry).collect::<Option<Vec<_>>>()?;
            Some(Fresh { partition: share.partition, entries, last: u64::try_from(*last).ok()? })
        };
        self.shares.iter().filter(|share| listeners.has(share.partition)).filter_map(fresh).collect()
    }

    /// What became of each, and notes how full partitions and tenants are.
    fn read(
        &self,
        items: &[(&Item, Way)],
        answers: &[RedisResult<Value>],
        levels: &mut Levels,
    ) -> Vec<Result<Stored, Error>> {
        for Share { partition, counts, .. } in &self.shares {
            match answers.get(*counts) {
                Some(Ok(Value::Int(bytes))) => {
                    levels.tell(*partition, u64::try_from(*bytes).unwrap_or_default())
                }
                _ => levels.forget(*partition),
            }
        }
        let now = clock::monotonic();
        let mut stored = Vec::with_capacity(items.len());
        for ((item, way), begin) in items.iter().zip(&self.begins) {
            let answer = item.read_plainly(answers.get(*begin..).unwrap_or_default(), *way);
            match &answer {
                Ok((_, pending)) => {
                    if let Some(pending) = pending {
                        levels.tell_pending(item.partition, &item.tenant, *pending, now);
                    }
                    levels.stored(item.partition, &item.tenant, item.publication.event.body.len() as u64);
                }
                Err(_) => levels.forget(item.partition),
            }
            stored.push(answer.map(|(shards, _)| Stored::Yes(shards)));
        }
        stored
    }
}

impl Item {
    /// The commands that store it; their answers are those of [`Self::read_plainly`].
    fn add_plainly(&self, pipeline: &mut Pipeline, keys: &Keys, way: Way) {
        let (event, prefix) = (&self.publication.event, keys.of(self.partition));
        if matches!(self.role, Role::Home) {
            pipeline.cmd("HGET").arg(format!("{prefix}tenant:{}", self.tenant)).arg("shards");
        }
        if way == Way::Ask {
            pipeline.cmd("HGET").arg(format!("{prefix}usage")).arg(format!("t:{}", self.tenant));
        }
        pipeline.cmd("XADD").arg(format!("{prefix}events")).arg("*").arg("k").arg("event");
        pipeline.arg("e").arg(event.id.as_str()).arg("t").arg(&*event.event_type);
        pipeline.arg("n").arg(event.tenant.to_string()).arg("b").arg(&event.body[..]);
        if let Some(trace) = event.trace {
            pipeline.arg("c").arg(trace.to_string());
        }
    }

    /// Behind how many other answers of [`Self::add_plainly`] that of the entry's own command lies.
    fn place_of_entry(&self, way: Way) -> usize {
        usize::from(matches!(self.role, Role::Home)) + usize::from(way == Way::Ask)
    }

    /// How many shards hold it, and how much its tenant has pending if that was asked. `answers` begin with its own.
    fn read_plainly(&self, answers: &[RedisResult<Value>], way: Way) -> Result<(u8, Option<u64>), Error> {
        let at = |place: usize| match answers.get(place) {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(Error::from(error.clone())),
            None => Err(unreadable("publish")),
        };
        let entry = self.place_of_entry(way);
        at(entry)?;
        let shards = matches!(self.role, Role::Home).then(|| at(0));
        let pending = (way == Way::Ask).then(|| at(entry - 1));
        // It is stored, whatever else lies in a key's place.
        let told = Self::told(shards, pending);
        told.map_err(|_| Error::unanswered())
    }

    fn told(
        shards: Option<Result<&Value, Error>>,
        pending: Option<Result<&Value, Error>>,
    ) -> Result<(u8, Option<u64>), Error> {
        let shards = match shards.transpose()? {
            None => 0,
            Some(Value::Nil) => 1,
            Some(shards) => number(shards)?,
        };
        let pending = match pending.transpose()? {
            None => None,
            Some(Value::Nil) => Some(0),
            // An owner who dies half-way may leave less than nothing.
            Some(pending) => Some(number::<i64>(pending)?.try_into().unwrap_or_default()),
        };
        Ok((shards, pending))
    }
}

fn number<T: std::str::FromStr>(value: &Value) -> Result<T, Error> {
    text(value).and_then(|text| text.parse().ok()).ok_or_else(|| unreadable("publish"))
}

fn read(answer: &Value) -> Result<Stored, Error> {
    let Value::Array(parts) = answer else { return Err(unreadable("publish")) };
    if let [word, why] = &parts[..]
        && text(word) == Some("failed")
    {
        let kind = redis::ErrorKind::Server(redis::ServerErrorKind::ResponseError);
        let why = text(why).unwrap_or_default().to_owned();
        return Err(Error::Rejected((kind, "an event could not be stored", why).into()));
    }
    read_stored(answer).ok_or_else(|| unreadable("publish"))
}
