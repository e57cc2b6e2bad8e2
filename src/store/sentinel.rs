//! Finds the master that sentinels name, and connects to it.
//!
//! All sentinels are asked at once and the first whose answer *proves to be a master* wins (`ROLE`): one that is dead,
//! slow or behind the others costs nothing. Nothing is remembered: each connection asks anew, so a fail-over is followed
//! by giving up the connection that it broke.
//! Sources: Redis "Sentinel client spec", command page `ROLE`.

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, RedisError, Value};

use super::address::moved_to;

/// What a pool opens connections to the master with.
#[derive(Debug)]
pub(super) struct Manager {
    sentinels: Vec<ConnectionInfo>,
    name: String,
    login: ConnectionInfo,
    config: AsyncConnectionConfig,
}

impl Manager {
    /// A manager of connections to the master `name`, which differ from `login` in host and port.
    pub(super) fn new(
        sentinels: &[ConnectionInfo],
        name: &str,
        login: &ConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Self {
        Self { sentinels: sentinels.to_vec(), name: name.to_owned(), login: login.clone(), config }
    }

    /// Connects to the master.
    ///
    /// # Errors
    /// No sentinel led to one; the error is that of the last that failed.
    pub(super) async fn open(&self) -> Result<MultiplexedConnection, RedisError> {
        if self.sentinels.is_empty() {
            return Err((ErrorKind::EmptySentinelList, "there is no sentinel to ask").into());
        }
        let asked = self.sentinels.iter().map(|sentinel| Box::pin(self.through(sentinel)));
        futures_util::future::select_ok(asked).await.map(|(connection, _)| connection)
    }

    async fn through(&self, sentinel: &ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
        let (host, port) = self.ask(sentinel).await?;
        let client = Client::open(moved_to(&self.login, host, port))?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&self.config).await?;
        demand_master(&mut connection).await?;
        Ok(connection)
    }

    async fn ask(&self, sentinel: &ConnectionInfo) -> Result<(String, u16), RedisError> {
        let client = Client::open(sentinel.clone())?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&self.config).await?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let place: Option<(String, u16)> = ask.query_async(&mut connection).await?;
        place.ok_or_else(|| {
            (ErrorKind::MasterNameNotFoundBySentinel, "the sentinel knows no such master").into()
        })
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

/// A sentinel may not have noticed yet that the master became a replica.
async fn demand_master(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
    match role.first() {
        Some(Value::BulkString(name)) if name == b"master" => Ok(()),
        _ => {
            Err((ErrorKind::MasterNameNotFoundBySentinel, "the server named by the sentinel is no master")
                .into())
        }
    }
}
