//! Where the publications of one thread meet: those that come while a call is under way go together in the next one. A
//! call for each costs Redis and the node as much again as what it does. On a Redis Cluster, where no script works for two
//! partitions, each travels alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::Value;
use tokio::sync::oneshot;

use super::{Bounds, Item, PUBLISH, Stored, read_stored};
use crate::store::events::{text, unreadable};
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
}

impl Intake {
    /// For the thread that `redis` belongs to.
    pub fn new(redis: Redis, keys: Keys, bounds: Bounds) -> Self {
        Self { redis, keys, bounds, queue: Arc::default() }
    }

    /// Stores an event in one partition. Dropping the future leaves open whether it is stored.
    pub(super) async fn store(&self, item: Item) -> Result<Stored, Error> {
        if self.redis.is_cluster() {
            return self.call(&[&item]).await?.pop().unwrap_or_else(|| Err(unreadable("publish")));
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
            let answers = self.call(&items).await.unwrap_or_else(|error| {
                // Nobody waits for as many limits as there are calls: what waits is refused with these.
                self.refuse_waiting(&error);
                items.iter().map(|_| Err(error.clone())).collect()
            });
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

    async fn call(&self, items: &[&Item]) -> Result<Vec<Result<Stored, Error>>, Error> {
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
        Ok(answers.iter().map(read).collect())
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
