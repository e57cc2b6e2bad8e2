//! Finds the master that sentinels name, and connects to it.
//!
//! All sentinels are asked at once, and a majority of answers is enough: one that is dead or slow costs nothing. The
//! places that they name are tried in the order of their configuration epochs, newest first, and the first that *proves to
//! be a master* wins (`ROLE`), so a sentinel that is behind the others leads nowhere. A former master that still believes
//! in itself (a planned fail-over leaves it ten seconds for that) answers `ROLE` like a true one: the epoch tells them
//! apart, and the sentinels are asked once a second, since such a connection never breaks.
//!
//! What they say is [`Known`] to all connections of the process at once. For correctness: connections of one owner that
//! worked on two masters would have its leases on one and its records on the other.
//! Sources: Redis "Sentinel client spec", "High availability with Redis Sentinel" (configuration epochs), `ROLE`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, RedisError, Value};

use super::address::moved_to;
use crate::clock;

/// How often the sentinels are asked, by whichever connection of the process is used first.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long older knowledge is not believed. Only sentinels that were set up anew still offer it then.
const BELIEVE_FOR: Duration = Duration::from_secs(10);

/// Host and port.
type Place = (String, u16);

/// What the sentinels said last; one for all connections to an address.
#[derive(Debug, Default)]
pub(super) struct Known {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The master and the epoch in which it became one.
    master: Option<(u64, Place)>,
    /// When a sentinel last named it, or a newer one.
    confirmed: Option<Instant>,
    /// When somebody last set out to ask.
    asked: Option<Instant>,
    /// Counts the answers.
    answers: u64,
}

impl Known {
    /// Whether it is time to ask; the caller does so then, and nobody else.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let due = state.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_EVERY);
        if due {
            state.asked = Some(now);
        }
        due
    }

    /// How many answers there were so far.
    pub(super) fn answers(&self) -> u64 {
        self.lock().answers
    }

    /// Notes what sentinels named, and gives the places to try, the master first. In a fail-over the sentinels learn of it
    /// one by one: what is older than what is known leads nowhere.
    fn learn(&self, named: Vec<(u64, Place)>, now: Instant) -> Vec<Place> {
        let mut state = self.lock();
        let newest = named.iter().max_by_key(|(epoch, _)| *epoch).cloned();
        let confirmed = state.master.as_ref().is_some_and(|known| named.contains(known));
        let forgotten = state.confirmed.is_none_or(|at| now.saturating_duration_since(at) >= BELIEVE_FOR);
        let known_epoch = state.master.as_ref().map_or(0, |(epoch, _)| *epoch);
        let is_newer =
            |epoch: u64| epoch > known_epoch || (!confirmed && (epoch == known_epoch || forgotten));
        if let Some(newest) = newest.filter(|(epoch, _)| is_newer(*epoch)) {
            state.master = Some(newest);
            state.confirmed = Some(now);
        } else if confirmed {
            state.confirmed = Some(now);
        }
        state.answers += 1;
        let master = state.master.as_ref().map(|(_, place)| place.clone());
        let others = newest_first(named).into_iter().filter(|place| Some(place) != master.as_ref());
        master.iter().cloned().chain(others).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a pool opens connections to the master with.
#[derive(Debug)]
pub(super) struct Manager {
    sentinels: Vec<ConnectionInfo>,
    name: String,
    login: ConnectionInfo,
    config: AsyncConnectionConfig,
    /// How long a majority of the sentinels is waited for; then those that answered must do.
    patience: Duration,
    /// Where the last connection was opened to.
    opened: Mutex<Option<Place>>,
    known: Arc<Known>,
}

impl Manager {
    /// A manager of connections to the master `name`, which differ from `login` in host and port. A place is found
    /// within `limit`.
    pub(super) fn new(
        sentinels: &[ConnectionInfo],
        name: &str,
        login: &ConnectionInfo,
        config: AsyncConnectionConfig,
        limit: Duration,
        known: &Arc<Known>,
    ) -> Self {
        let (sentinels, name, login) = (sentinels.to_vec(), name.to_owned(), login.clone());
        Self {
            sentinels,
            name,
            login,
            config,
            patience: limit / 2,
            opened: Mutex::default(),
            known: known.clone(),
        }
    }

    /// Connects to the master.
    ///
    /// # Errors
    /// No sentinel led to one; the error is that of the last that failed.
    pub(super) async fn open(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut failed = None;
        for place in self.ask_all().await? {
            match self.connect(&place).await {
                Ok(connection) => {
                    *self.opened() = Some(place);
                    return Ok(connection);
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| (ErrorKind::EmptySentinelList, "there is no sentinel to ask").into()))
    }

    /// What the sentinels said last.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// Whether the master is another one than the last connection was opened to.
    pub(super) fn has_moved(&self) -> bool {
        let known = self.known.lock();
        let master = known.master.as_ref().map(|(_, place)| place);
        self.opened().as_ref().is_some_and(|opened| master.is_some_and(|master| master != opened))
    }

    /// Asks the sentinels, notes what they say for all, and gives the places that they name, the newest first.
    ///
    /// # Errors
    /// No sentinel answered.
    pub(super) async fn ask_all(&self) -> Result<Vec<Place>, RedisError> {
        let mut asked: FuturesUnordered<_> =
            self.sentinels.iter().map(|sentinel| self.ask(sentinel)).collect();
        let (mut named, mut failed) = (Vec::new(), None);
        let most = async {
            // A fail-over takes a majority, so a majority has heard of it.
            while named.len() <= self.sentinels.len() / 2 {
                match asked.next().await {
                    Some(Ok(answer)) => named.push(answer),
                    Some(Err(error)) => failed = Some(error),
                    None => break,
                }
            }
        };
        // Those that answered in time must do.
        let _ = tokio::time::timeout(self.patience, most).await;
        match failed {
            Some(error) if named.is_empty() => Err(error),
            _ => Ok(self.known.learn(named, clock::monotonic())),
        }
    }

    /// What one sentinel says: the epoch of its knowledge and the place.
    async fn ask(&self, sentinel: &ConnectionInfo) -> Result<(u64, Place), RedisError> {
        let client = Client::open(sentinel.clone())?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&self.config).await?;
        let mut ask = redis::pipe();
        // In a fail-over the first names the new master earlier than the second, which alone tells the epoch.
        ask.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        ask.cmd("SENTINEL").arg("MASTER").arg(&self.name);
        let (place, state): (Option<Place>, HashMap<String, String>) =
            ask.query_async(&mut connection).await?;
        let epoch = state.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        let unknown = (ErrorKind::MasterNameNotFoundBySentinel, "the sentinel knows no such master");
        Ok((epoch, place.ok_or(unknown)?))
    }

    async fn connect(&self, (host, port): &Place) -> Result<MultiplexedConnection, RedisError> {
        let client = Client::open(moved_to(&self.login, host.clone(), *port))?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&self.config).await?;
        demand_master(&mut connection).await?;
        Ok(connection)
    }

    fn opened(&self) -> MutexGuard<'_, Option<Place>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl managed::Manager for Manager {
    type Type = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> Result<MultiplexedConnection, RedisError> {
        self.open().await
    }

    async fn recycle(
        &self,
        connection: &mut MultiplexedConnection,
        _: &Metrics,
    ) -> RecycleResult<RedisError> {
        demand_master(connection).await.map_err(RecycleError::Backend)
    }
}

/// The distinct places in the order of their newest epochs.
fn newest_first(mut named: Vec<(u64, Place)>) -> Vec<Place> {
    named.sort_by(|(one, at), (other, there)| other.cmp(one).then_with(|| at.cmp(there)));
    let mut places: Vec<Place> = Vec::new();
    for (_, place) in named {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// A sentinel may not have noticed yet that the master became a replica.
async fn demand_master(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
    match role.first() {
        Some(Value::BulkString(name)) if name == b"master" => Ok(()),
        _ => {
            let problem = "the server named by the sentinel is no master";
            Err((ErrorKind::MasterNameNotFoundBySentinel, problem).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentinel_with_the_newest_knowledge_is_believed_first() {
        let place = |port| ("10.0.0.1".to_owned(), port);
        let named = vec![(3, place(1)), (4, place(2)), (3, place(1)), (4, place(2)), (0, place(3))];
        assert_eq!(newest_first(named), [place(2), place(1), place(3)]);
        assert_eq!(newest_first(Vec::new()), []);
    }

    #[test]
    fn a_sentinel_that_is_behind_changes_nothing_unless_all_were_set_up_anew() {
        let (a, b) = (("10.0.0.1".to_owned(), 1), ("10.0.0.1".to_owned(), 2));
        let (known, start) = (Known::default(), clock::monotonic());
        let learn = |named: &[(u64, &Place)], seconds| {
            let named = named.iter().map(|(epoch, place)| (*epoch, (*place).clone())).collect();
            known.learn(named, start + Duration::from_secs(seconds))[0].clone()
        };
        assert_eq!(learn(&[(3, &a), (3, &a)], 0), a);
        assert_eq!(learn(&[(3, &a), (4, &b)], 1), b, "one has heard of the fail-over");
        assert_eq!(learn(&[(3, &a), (3, &a)], 2), b, "the others are behind");
        assert_eq!(learn(&[(4, &b), (3, &a)], 9), b);
        assert_eq!(learn(&[(0, &a)], 18), b);
        assert_eq!(learn(&[(0, &a)], 19), a, "nobody has named it for long");
        assert_eq!(learn(&[(0, &b)], 20), b, "monitored anew, in the same epoch");
    }

    #[test]
    fn one_of_all_asks_once_a_second() {
        let (known, start) = (Known::default(), clock::monotonic());
        assert!(known.is_due(start));
        assert!(!known.is_due(start + ASK_EVERY / 2));
        assert!(known.is_due(start + ASK_EVERY));
        assert_eq!(known.answers(), 0);
    }
}
