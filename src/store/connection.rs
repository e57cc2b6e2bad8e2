//! Connections to Redis, and what their errors mean.
//!
//! One [`Redis`] serves one thread: its connection is multiplexed (all callers share one socket and their commands
//! travel as one pipeline) and is driven by the runtime that opened it; using it from another runtime costs a wake-up a
//! command. It comes from a deadpool-redis pool, which opens it within a bound and checks it before it is used anew; a
//! connection that failed is given up and the next command opens another. Blocking reads have a connection of their own
//! ([`Redis::open_reader`]), because a blocked command stops every other one on its socket.
//!
//! Every wait has an end: opening, waiting for the pool, and each answer. redis-rs gives a command 500 ms by itself, too
//! little for a busy Redis and wrong for a blocking read, and leaves `TCP_NODELAY` off; both are set here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_redis::{Manager, Pool};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    Pipeline, RedisError, ServerErrorKind,
};

use crate::domain::WebhookId;

/// Why the store could not do its job, by what the caller can do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or a broken connection: the command may or may not have happened. Repeat it if it is idempotent.
    #[error("redis did not answer")]
    Unanswered(#[source] RedisError),
    /// Redis cannot take the command now (full, read-only, loading): it has not happened. Try again later.
    #[error("redis refused the command for now")]
    Refused(#[source] RedisError),
    /// This node does not own the partition any more: nothing has happened, and nothing may be tried again.
    #[error("the lease of the partition is not ours")]
    Fenced,
    /// The record has another version than the one that was read: read again.
    #[error("the record has changed")]
    Changed,
    /// Redis does not know the script. Handled by [`super::Script`].
    #[error("redis does not know the script")]
    NoScript,
    /// Stored data is not what we wrote.
    #[error("the stored record of {0} cannot be read")]
    Malformed(WebhookId),
    /// A fault of ours or of the set-up (wrong password, wrong type): trying again does not help.
    #[error("redis rejected the command")]
    Rejected(#[source] RedisError),
}

impl Error {
    /// Whether the same call may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unanswered(_) | Self::Refused(_))
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        use ServerErrorKind as Server;
        match error.code() {
            Some("FENCED") => return Self::Fenced,
            Some("CHANGED") => return Self::Changed,
            Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY") => return Self::Refused(error),
            _ => {}
        }
        match error.kind() {
            ErrorKind::Server(Server::NoScript) => Self::NoScript,
            ErrorKind::Server(
                Server::BusyLoading
                | Server::ReadOnly
                | Server::TryAgain
                | Server::ClusterDown
                | Server::MasterDown
                | Server::Moved
                | Server::Ask,
            ) => Self::Refused(error),
            ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel => Self::Unanswered(error),
            _ => Self::Rejected(error),
        }
    }
}

/// How to reach one Redis.
#[derive(Clone, Debug)]
pub struct Address {
    info: ConnectionInfo,
    connect_timeout: Duration,
    command_timeout: Duration,
}

impl Address {
    /// The Redis at `url`: `redis://`, `rediss://` (TLS), `unix://` or `redis+unix://`, with user, password and db.
    ///
    /// # Errors
    /// The URL is none of those. The message does not hold the URL, which may carry a password.
    pub fn new(url: &str, connect_timeout: Duration, command_timeout: Duration) -> Result<Self, RedisError> {
        let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Self { info, connect_timeout, command_timeout })
    }

    /// The longest wait for one answer.
    pub fn command_timeout(&self) -> Duration {
        self.command_timeout
    }
}

/// Commands of one thread to Redis. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Redis {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    address: Address,
    pool: Pool,
    /// Held while a connection is being opened.
    opening: tokio::sync::Mutex<()>,
    /// The connection in use and a number that tells it from its successors.
    current: Mutex<(u64, Option<MultiplexedConnection>)>,
}

impl Redis {
    /// Does not connect: the first command does, on the runtime that runs it.
    ///
    /// # Errors
    /// The address cannot be used at all (a TLS set-up that does not load).
    pub fn new(address: Address) -> Result<Self, Error> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(address.connect_timeout))
            .set_response_timeout(Some(address.command_timeout));
        let manager = Manager::new_with_config(address.info.clone(), config)?;
        let pool = Pool::builder(manager)
            .max_size(1)
            .wait_timeout(Some(address.connect_timeout))
            .create_timeout(Some(address.connect_timeout))
            .recycle_timeout(Some(address.command_timeout))
            .runtime(deadpool_redis::Runtime::Tokio1)
            .build()
            .expect("a runtime is given, which is all that the builder asks");
        Ok(Self {
            inner: Arc::new(Inner {
                address,
                pool,
                opening: tokio::sync::Mutex::default(),
                current: Mutex::new((0, None)),
            }),
        })
    }

    /// Another set of connections to the same Redis, for another thread.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn for_another_thread(&self) -> Result<Self, Error> {
        Self::new(self.inner.address.clone())
    }

    /// Where it connects to.
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// Runs one command.
    ///
    /// # Errors
    /// See [`Error`]; after [`Error::Unanswered`] the command may have happened. Cancel safe in the same sense.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let (number, mut connection) = self.connection().await?;
        let answer = command.query_async(&mut connection).await.map_err(Error::from);
        self.keep_or_drop(number, answer)
    }

    /// Runs several commands in one round trip; not atomic.
    ///
    /// # Errors
    /// As [`Self::query`]: any command's error is the error of all.
    pub async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Error> {
        let (number, mut connection) = self.connection().await?;
        let answer = commands.query_async(&mut connection).await.map_err(Error::from);
        self.keep_or_drop(number, answer)
    }

    /// Opens a connection for blocking reads of at most `block`; its answers are awaited that much longer.
    ///
    /// # Errors
    /// Redis cannot be reached in time.
    pub async fn open_reader(&self, block: Duration) -> Result<MultiplexedConnection, Error> {
        let address = &self.inner.address;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(address.connect_timeout))
            .set_response_timeout(Some(block + address.command_timeout));
        let client = Client::open(address.info.clone())?;
        let opened = client.get_multiplexed_async_connection_with_config(&config);
        within(address.connect_timeout, opened).await
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), Error> {
        if let Some(open) = self.open_connection() {
            return Ok(open);
        }
        // One task opens, the others wait for what it opened.
        let limit = self.inner.address.connect_timeout;
        let _opening =
            tokio::time::timeout(limit, self.inner.opening.lock()).await.map_err(|_| timed_out())?;
        if let Some(open) = self.open_connection() {
            return Ok(open);
        }
        let pooled = self.inner.pool.get().await.map_err(pool_error)?;
        let opened = deadpool_redis::Connection::take(pooled);
        let mut current = self.lock();
        *current = (current.0 + 1, Some(opened.clone()));
        Ok((current.0, opened))
    }

    fn open_connection(&self) -> Option<(u64, MultiplexedConnection)> {
        let current = self.lock();
        current.1.clone().map(|connection| (current.0, connection))
    }

    fn keep_or_drop<T>(&self, number: u64, answer: Result<T, Error>) -> Result<T, Error> {
        if matches!(answer, Err(Error::Unanswered(_))) {
            let mut current = self.lock();
            if current.0 == number {
                current.1 = None;
            }
        }
        answer
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, Option<MultiplexedConnection>)> {
        self.inner.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Awaits `work` for `limit`: some paths of the client wait without an end of their own.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(timed_out()),
    }
}

fn timed_out() -> Error {
    Error::Unanswered(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
}

fn pool_error(error: deadpool_redis::PoolError) -> Error {
    match error {
        deadpool_redis::PoolError::Backend(error) => error.into(),
        _ => timed_out(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestRedis;

    #[actix_web::test]
    async fn many_tasks_that_begin_at_once_share_one_connection() {
        let server = TestRedis::start().await;
        let redis = Redis::new(server.redis.address().clone()).expect("a client");
        let pings = (0..200).map(|_| {
            let redis = redis.clone();
            actix::spawn(async move { redis.query::<String>(&redis::cmd("PING")).await.is_ok() })
        });
        let answered = futures_util::future::join_all(pings).await;
        assert!(answered.into_iter().all(|answer| answer.is_ok_and(|ok| ok)));
        let clients: String = redis.query(redis::cmd("CLIENT").arg("LIST")).await.expect("an answer");
        // The other one is the test server's own.
        assert_eq!(clients.lines().count(), 2, "{clients}");
    }

    #[actix_web::test]
    async fn a_reader_may_block_for_longer_than_a_command_may_take() {
        let server = TestRedis::start().await;
        let short = Duration::from_millis(300);
        let url = server.url();
        let redis =
            Redis::new(Address::new(&url, Duration::from_secs(5), short).expect("a URL")).expect("a client");
        let block = Duration::from_millis(700);
        let mut reader = redis.open_reader(block).await.expect("a connection");
        let mut read = redis::cmd("XREAD");
        read.arg("BLOCK").arg(block.as_millis() as u64).arg("STREAMS").arg("none").arg("0");
        let reading = actix::spawn(async move { read.query_async::<redis::Value>(&mut reader).await });
        assert_eq!(redis.query::<String>(&redis::cmd("PING")).await.expect("not behind the reader"), "PONG");
        assert_eq!(reading.await.expect("no panic").expect("no timeout"), redis::Value::Nil);
    }

    #[actix_web::test]
    async fn a_redis_that_hangs_is_an_error_within_the_limit() {
        let server = TestRedis::start().await;
        let short = Duration::from_millis(200);
        let redis = Redis::new(Address::new(&server.url(), short, short).expect("a URL")).expect("a client");
        let _: () =
            redis.query(redis::cmd("CLIENT").arg("PAUSE").arg(60_000).arg("ALL")).await.expect("paused");
        let answer = redis.query::<String>(&redis::cmd("PING")).await;
        assert!(answer.is_err_and(|error| error.is_transient()));
    }
}
