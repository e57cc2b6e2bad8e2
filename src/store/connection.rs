//! Connections to Redis, and what their errors mean.
//!
//! One [`Redis`] serves one thread: its connection is multiplexed (all callers share one socket and their commands
//! travel as one pipeline) and is driven by the runtime that opened it; using it from another runtime costs a wake-up a
//! command. To one server and to the master that sentinels name it comes from a deadpool pool, which opens it within a
//! bound; a connection that failed, or whose server says that it is not the one that takes writes, is given up and the
//! next command opens another. To a Redis Cluster it is that client's own set of sockets, which mends itself, and is made
//! anew when it does not. Blocking reads have a connection of their own ([`Redis::open_reader`]), because a blocked command
//! stops every other one on its socket.
//!
//! Every wait has an end: opening, waiting for the pool, and each answer. redis-rs gives a command 500 ms by itself, too
//! little for a busy Redis and wrong for a blocking read; both bounds are set here.
//!
//! [`Redis::generation`] tells whether what was read before may still be trusted; it is for correctness, as the lease is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed;
use futures_util::StreamExt;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture,
    ServerErrorKind, Value,
};

pub use super::address::Address;
use super::address::Servers;
use super::{cluster, sentinel};
use crate::clock;
use crate::domain::WebhookId;

/// Commands of one [`Redis::each`] that are on their way to a Redis Cluster at once.
const AT_ONCE: usize = 256;
/// A cluster client that is older than so many times the longest wait, and does not bring a command to its end, is made
/// anew: it mends itself as a rule, but was seen to time out for good on what a dead primary had held.
const TRUSTED_FOR: u32 = 2;

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

    /// Whether the server says that it is not, or not any more, the one that holds what we work on.
    pub fn is_of_another_server(&self) -> bool {
        use ServerErrorKind as Server;
        let Self::Refused(error) = self else { return false };
        let moved = [Server::ReadOnly, Server::MasterDown, Server::Moved, Server::BusyLoading];
        matches!(error.kind(), ErrorKind::Server(kind) if moved.contains(&kind))
            || error.code() == Some("UNBLOCKED")
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        use ServerErrorKind as Server;
        match error.code() {
            Some("FENCED") => return Self::Fenced,
            Some("CHANGED") => return Self::Changed,
            Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "UNBLOCKED") => return Self::Refused(error),
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

/// Commands of one thread to Redis. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Redis {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    address: Address,
    opener: Opener,
    /// Held while a connection is being opened.
    opening: tokio::sync::Mutex<()>,
    current: Mutex<Current>,
}

/// What opens connections.
#[derive(Debug)]
enum Opener {
    One(deadpool_redis::Pool),
    Sentinel(managed::Pool<sentinel::Manager>),
    Cluster(Box<ClusterClient>),
}

/// What is known of the connection in use.
#[derive(Debug)]
struct Current {
    link: Option<Link>,
    /// Tells the connection from its successors.
    number: u64,
    /// See [`Redis::generation`].
    generation: u64,
    /// What [`Redis::identity`] found last.
    identity: Option<String>,
    /// When the connection was opened.
    opened: Instant,
}

/// An open connection.
#[derive(Clone)]
enum Link {
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

impl Redis {
    /// Does not connect: the first command does, on the runtime that runs it.
    ///
    /// # Errors
    /// The address cannot be used at all (a TLS set-up that does not load).
    pub fn new(address: Address) -> Result<Self, Error> {
        let config = connection_config(&address, address.command_timeout);
        let opener = match &address.servers {
            Servers::One(info) => {
                let manager = deadpool_redis::Manager::new_with_config(info.clone(), config)?;
                Opener::One(pool(&address, manager))
            }
            Servers::Sentinel { sentinels, name, login } => Opener::Sentinel(pool(
                &address,
                sentinel::Manager::new(sentinels, name, login, config, address.connect_timeout),
            )),
            Servers::Cluster { seeds, certificates } => {
                Opener::Cluster(Box::new(cluster::client(&address, seeds, certificates.as_ref())?))
            }
        };
        let current =
            Current { link: None, number: 0, generation: 0, identity: None, opened: clock::monotonic() };
        let (opening, current) = (tokio::sync::Mutex::default(), Mutex::new(current));
        Ok(Self { inner: Arc::new(Inner { address, opener, opening, current }) })
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

    /// Whether it is a Redis Cluster: keys of two partitions do not go into one command or pipeline, and the client may
    /// send a command twice by itself.
    pub fn is_cluster(&self) -> bool {
        matches!(self.inner.opener, Opener::Cluster(_))
    }

    /// A number that changes whenever what was read before is not to be trusted any more: the connection was given up
    /// or opened anew, a server said that it is not the one that we work on (READONLY, MASTERDOWN, MOVED, LOADING,
    /// UNBLOCKED), or [`Self::identity`] found other primaries. It says nothing of an outage that nobody met: ask
    /// [`Self::identity`] from time to time. A cluster's client reconnects unseen; there that is the only sign.
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Changes [`Self::generation`]: a connection beside this one met another server.
    pub fn distrust(&self) {
        self.lock().generation += 1;
    }

    /// Names the servers that take writes: their run ids and the histories that they continue. Another name means that
    /// one was restarted or replaced, and the last moment before may be lost. With sentinels it also follows a master
    /// that was replaced in good order and has not noticed yet. A few round trips: for once a second, not for each call.
    ///
    /// # Errors
    /// As [`Self::query`]; one primary of a cluster that does not answer is an error.
    pub async fn identity(&self) -> Result<String, Error> {
        self.follow_sentinels().await?;
        let primaries = self.info(&["server", "replication"]).await?;
        let name_of = |info: &str| {
            let [run, history] =
                ["run_id", "master_replid"].map(|name| info_field(info, name).unwrap_or("?"));
            format!("{run}.{history}")
        };
        let mut names: Vec<String> = primaries.iter().map(|(_, info)| name_of(info)).collect();
        names.sort_unstable();
        let identity = names.join(",");
        let mut current = self.lock();
        if current.identity.replace(identity.clone()).is_some_and(|before| before != identity) {
            current.generation += 1;
        }
        Ok(identity)
    }

    /// Gives the connection up when the sentinels name another master by now.
    async fn follow_sentinels(&self) -> Result<(), Error> {
        let Opener::Sentinel(pool) = &self.inner.opener else { return Ok(()) };
        let number = self.lock().number;
        if within(self.inner.address.connect_timeout, pool.manager().has_moved()).await? {
            self.give_up(number);
        }
        Ok(())
    }

    /// What `INFO` says (of these sections; none = the usual ones) on each server that takes writes, with the server's
    /// address in a cluster and no address elsewhere.
    ///
    /// # Errors
    /// As [`Self::query`]; one primary of a cluster that does not answer is an error.
    pub async fn info(&self, sections: &[&str]) -> Result<Vec<(Option<String>, String)>, Error> {
        let mut command = redis::cmd("INFO");
        command.arg(sections);
        let (number, link) = self.connection().await?;
        let Link::Cluster(mut connection) = link else {
            return Ok(vec![(None, self.query(&command).await?)]);
        };
        let asked = within(self.patience(), cluster::ask_primaries(&mut connection, command)).await;
        let answers = self.judge(number, asked)?;
        Ok(answers.into_iter().map(|(address, info)| (Some(address), info)).collect())
    }

    /// Whether Redis answers; a cluster does while one of its primaries does, and what the others hold is refused.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn ping(&self) -> Result<(), Error> {
        let (number, link) = self.connection().await?;
        match link {
            Link::Cluster(mut connection) => {
                let answer = within(self.patience(), cluster::ping(&mut connection)).await;
                self.judge(number, answer)
            }
            Link::One(_) => self.query::<String>(&redis::cmd("PING")).await.map(drop),
        }
    }

    /// Runs one command.
    ///
    /// # Errors
    /// See [`Error`]; after [`Error::Unanswered`] the command may have happened. Cancel safe in the same sense.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let (number, mut link) = self.connection().await?;
        let answer = within(self.patience(), command.query_async(&mut link)).await;
        self.judge(number, answer)
    }

    /// Runs several commands on keys of one partition in one round trip; not atomic.
    ///
    /// # Errors
    /// As [`Self::query`]: any command's error is the error of all.
    pub async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Error> {
        let (number, mut link) = self.connection().await?;
        let answer = within(self.patience(), commands.query_async(&mut link)).await;
        self.judge(number, answer)
    }

    /// Runs commands on keys of any partitions; gives their answers in their order. One round trip, but on a Redis
    /// Cluster, where each travels alone and a bounded number at once.
    ///
    /// # Errors
    /// As [`Self::query`]: any command's error is the error of all, which are run all the same.
    pub async fn each<T: FromRedisValue>(&self, commands: &[Cmd]) -> Result<Vec<T>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if self.is_cluster() {
            let alone = commands.iter().map(|command| self.query(command));
            let answers: Vec<Result<T, Error>> =
                futures_util::stream::iter(alone).buffered(AT_ONCE).collect().await;
            return answers.into_iter().collect();
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        self.pipeline(&pipeline).await
    }

    /// As [`Self::each`], but on a Redis Cluster a command whose server does not answer is `None` and the others have
    /// their answers.
    ///
    /// # Errors
    /// As [`Self::query`]; on a Redis Cluster none.
    pub async fn what_answers<T: FromRedisValue>(&self, commands: &[Cmd]) -> Result<Vec<Option<T>>, Error> {
        if !self.is_cluster() {
            return Ok(self.each(commands).await?.into_iter().map(Some).collect());
        }
        let alone = commands.iter().map(async |command| self.query(command).await.ok());
        Ok(futures_util::stream::iter(alone).buffered(AT_ONCE).collect().await)
    }

    /// Opens a connection to the server that holds `key`, for blocking reads of at most `block`; its answers are awaited
    /// that much longer.
    ///
    /// # Errors
    /// Redis cannot be reached in time.
    pub async fn open_reader(&self, key: &str, block: Duration) -> Result<MultiplexedConnection, Error> {
        let address = &self.inner.address;
        let config = connection_config(address, block + address.command_timeout);
        let info = match &address.servers {
            Servers::One(info) => info.clone(),
            Servers::Sentinel { sentinels, name, login } => {
                let manager = sentinel::Manager::new(sentinels, name, login, config, address.connect_timeout);
                return within(address.connect_timeout, manager.open()).await;
            }
            Servers::Cluster { seeds, .. } => {
                let (number, link) = self.connection().await?;
                let (Link::Cluster(mut connection), Some(seed)) = (link, seeds.first()) else {
                    return Err(timed_out());
                };
                let found = within(self.patience(), cluster::primary_of(&mut connection, seed, key)).await;
                self.judge(number, found)?
            }
        };
        let client = Client::open(info)?;
        within(address.connect_timeout, client.get_multiplexed_async_connection_with_config(&config)).await
    }

    async fn connection(&self) -> Result<(u64, Link), Error> {
        if let Some(open) = self.open_connection() {
            return Ok(open);
        }
        // One task opens, the others wait for what it opened.
        let limit = self.opening_limit();
        let _opening =
            tokio::time::timeout(limit, self.inner.opening.lock()).await.map_err(|_| timed_out())?;
        if let Some(open) = self.open_connection() {
            return Ok(open);
        }
        let link = self.open(limit).await?;
        let mut current = self.lock();
        current.number += 1;
        current.generation += 1;
        current.opened = clock::monotonic();
        current.link = Some(link.clone());
        Ok((current.number, link))
    }

    async fn open(&self, limit: Duration) -> Result<Link, Error> {
        match &self.inner.opener {
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

    fn open_connection(&self) -> Option<(u64, Link)> {
        let current = self.lock();
        current.link.clone().map(|link| (current.number, link))
    }

    /// How long a connection may take to open. A cluster's is many, of which some may be to nodes that hang: half of the
    /// time is theirs.
    fn opening_limit(&self) -> Duration {
        self.inner.address.connect_timeout * if self.is_cluster() { 2 } else { 1 }
    }

    /// The longest that one call may take, whatever the client does in it.
    fn patience(&self) -> Duration {
        let answer = self.inner.address.command_timeout;
        // A little more than the client's own bound, which tells more.
        answer * if self.is_cluster() { cluster::PATIENCE } else { 1 } + answer / 2
    }

    /// Gives the connection up if it failed or leads to the wrong server.
    fn judge<T>(&self, number: u64, answer: Result<T, Error>) -> Result<T, Error> {
        let is_useless = match (&self.inner.opener, &answer) {
            (Opener::Cluster(_), Err(Error::Unanswered(_))) => self.is_old(),
            (Opener::Cluster(_), _) => false,
            (_, Err(Error::Unanswered(_))) => true,
            // A master whose replicas left it may have been replaced.
            (Opener::Sentinel(_), Err(Error::Refused(error))) if error.code() == Some("NOREPLICAS") => true,
            (_, Err(error)) => error.is_of_another_server(),
            (_, Ok(_)) => false,
        };
        if is_useless {
            self.give_up(number);
        }
        answer
    }

    fn is_old(&self) -> bool {
        let age = clock::monotonic().saturating_duration_since(self.lock().opened);
        age > self.patience() * TRUSTED_FOR
    }

    fn give_up(&self, number: u64) {
        let mut current = self.lock();
        if current.number == number && current.link.take().is_some() {
            current.generation += 1;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.inner.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of a line of `INFO`.
pub(super) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    info.lines().find_map(value).map(str::trim)
}

fn connection_config(address: &Address, answer: Duration) -> AsyncConnectionConfig {
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
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(timed_out()),
    }
}

fn timed_out() -> Error {
    Error::Unanswered(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
}

fn pool_error(error: managed::PoolError<RedisError>) -> Error {
    match error {
        managed::PoolError::Backend(error) => error.into(),
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
        let mut reader = redis.open_reader("none", block).await.expect("a connection");
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

    #[actix_web::test]
    async fn a_broken_connection_and_another_server_change_the_generation() {
        let server = TestRedis::start().await;
        let redis = Redis::new(server.redis.address().clone()).expect("a client");
        let ping = redis::cmd("PING");
        redis.query::<String>(&ping).await.expect("an answer");
        let (first, name) = (redis.generation(), redis.identity().await.expect("a name"));
        assert_eq!(redis.identity().await.expect("a name"), name);
        assert_eq!(redis.generation(), first, "nothing has happened");

        let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
        server.redis.query::<u64>(redis::cmd("CLIENT").arg(&kill)).await.expect("killed");
        redis.query::<String>(&ping).await.expect_err("the connection is broken");
        let second = redis.generation();
        assert_ne!(second, first);
        redis.query::<String>(&ping).await.expect("a new connection");
        assert_ne!(redis.generation(), second);

        let replica = ["127.0.0.1", "1"];
        server.redis.query::<()>(redis::cmd("REPLICAOF").arg(&replica)).await.expect("a replica now");
        let third = redis.generation();
        let refused = redis.query::<()>(redis::cmd("SET").arg("a").arg(1)).await;
        assert!(refused.is_err_and(|error| error.is_of_another_server()));
        assert_ne!(redis.generation(), third);
    }

    #[actix_web::test]
    async fn commands_on_any_keys_are_answered_in_their_order() {
        let server = TestRedis::start().await;
        let commands: Vec<Cmd> = (0..500).map(|n| redis::cmd("ECHO").arg(n).to_owned()).collect();
        let answers: Vec<u64> = server.redis.each(&commands).await.expect("answers");
        assert_eq!(answers, (0..500).collect::<Vec<u64>>());
    }
}
