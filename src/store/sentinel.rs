//! Finds the master that sentinels name, and connects to it.
//!
//! All sentinels are asked at once, and a majority of answers is enough: one that is dead or slow costs nothing. The
//! places that they name are tried in the order of their configuration epochs, newest first, and the first that *proves to
//! be a master* wins (`ROLE`), so a sentinel that is behind the others leads nowhere. A former master that still believes
//! in itself (a planned fail-over leaves it ten seconds for that) answers `ROLE` like a true one: the epoch tells them
//! apart, and [`Manager::has_moved`] is asked from time to time, since such a connection never breaks.
//! Sources: Redis "Sentinel client spec", "High availability with Redis Sentinel" (configuration epochs), `ROLE`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, RedisError, Value};

use super::address::moved_to;

/// Host and port.
type Place = (String, u16);

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
    ) -> Self {
        let (sentinels, name, login) = (sentinels.to_vec(), name.to_owned(), login.clone());
        Self { sentinels, name, login, config, patience: limit / 2, opened: Mutex::default() }
    }

    /// Connects to the master.
    ///
    /// # Errors
    /// No sentinel led to one; the error is that of the last that failed.
    pub(super) async fn open(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut failed = None;
        for place in self.places().await? {
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

    /// Whether the sentinels name another place first than the one that the last connection was opened to.
    ///
    /// # Errors
    /// No sentinel answered.
    pub(super) async fn has_moved(&self) -> Result<bool, RedisError> {
        let places = self.places().await?;
        let opened = self.opened();
        Ok(opened.as_ref().is_some_and(|opened| places.first() != Some(opened)))
    }

    /// The places that the sentinels name, the newest first.
    async fn places(&self) -> Result<Vec<Place>, RedisError> {
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
            _ => Ok(newest_first(named)),
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

    fn opened(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
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
}
