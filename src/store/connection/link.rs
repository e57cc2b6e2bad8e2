//! What opens connections, and an open one.
//!
//! Every wait has an end: opening, waiting for the pool, and each answer.

use std::time::Duration;

use deadpool::managed;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, RedisFuture, Value};

use super::Error;
use crate::store::address::{Address, Servers};
use crate::store::{cluster, sentinel};

/// What opens connections.
#[derive(Debug)]
pub(super) enum Opener {
    One(deadpool_redis::Pool),
    Sentinel(managed::Pool<sentinel::Manager>),
    Cluster(Box<ClusterClient>),
}

impl Opener {
    /// What opens connections to `address`; nothing connects yet.
    ///
    /// # Errors
    /// The address cannot be used at all (a TLS set-up that does not load).
    pub(super) fn new(address: &Address) -> Result<Self, Error> {
        let config = connection_config(address, address.command_timeout);
        Ok(match &address.servers {
            Servers::One(info) => {
                let manager = deadpool_redis::Manager::new_with_config(info.clone(), config)?;
                Opener::One(pool(address, manager))
            }
            Servers::Sentinel { sentinels, name, login, known } => Opener::Sentinel(pool(
                address,
                sentinel::Manager::new(sentinels, name, login, config, address.connect_timeout, known),
            )),
            Servers::Cluster { seeds, certificates } => {
                Opener::Cluster(Box::new(cluster::client(address, seeds, certificates.as_ref())?))
            }
        })
    }

    /// Opens one, within `limit` or the pool's own bounds.
    ///
    /// # Errors
    /// Redis cannot be reached in time.
    pub(super) async fn open(&self, limit: Duration) -> Result<Link, Error> {
        match self {
            Opener::One(pool) => {
                let pooled = pool.get().await.map_err(pool_error)?;
                Ok(Link::One(deadpool_redis::Connection::take(pooled)))
            }
            Opener::Sentinel(pool) => {
                let pooled = pool.get().await.map_err(pool_error)?;
                Ok(Link::One(managed::Object::take(pooled)))
            }
            Opener::Cluster(client) => within(limit, client.get_async_connection()).await.map(Link::Cluster),
        }
    }
}

/// An open connection.
#[derive(Clone)]
pub(super) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

pub(super) fn connection_config(address: &Address, answer: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(address.connect_timeout))
        .set_response_timeout(Some(answer))
}

/// A pool whose every wait has an end. One connection: it is multiplexed.
fn pool<M: managed::Manager, W: From<managed::Object<M>>>(
    address: &Address,
    manager: M,
) -> managed::Pool<M, W> {
    managed::Pool::builder(manager)
        .max_size(1)
        .wait_timeout(Some(address.connect_timeout))
        .create_timeout(Some(address.connect_timeout))
        .recycle_timeout(Some(address.command_timeout))
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .expect("a runtime is given, which is all that the builder asks")
}

/// Awaits `work` for `limit`: some paths of the client wait without an end of their own.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(timed_out()),
    }
}

pub(super) fn timed_out() -> Error {
    Error::unanswered()
}

fn pool_error(error: managed::PoolError<RedisError>) -> Error {
    match error {
        managed::PoolError::Backend(error) => error.into(),
        _ => timed_out(),
    }
}
