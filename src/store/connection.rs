//! Connections to Redis.
//!
//! One [`Redis`] serves one thread: its connection is multiplexed (all callers share one socket and their commands
//! travel as one pipeline) and is driven by the runtime that opened it; using it from another runtime costs a wake-up a
//! command. To one server and to the master that sentinels name it comes from a deadpool pool, which opens it within a
//! bound; a connection that failed, or whose server says that it is not the one that takes writes, is given up and the
//! next command opens another. To a Redis Cluster it is that client's own set of sockets, which mends itself, and is made
//! anew when it does not. Blocking reads have a connection of their own ([`Redis::open_own`]), because a blocked command
//! stops every other one on its socket, and so have transactions that watch keys ([`super::arrivals`]).
//!
//! Every wait has an end: opening, waiting for the pool, and each answer. redis-rs gives a command 500 ms by itself, too
//! little for a busy Redis and wrong for a blocking read; both bounds are set here.
//!
//! [`Redis::generation`] tells whether what was read before may still be trusted; it is for correctness, as the lease is.

mod error;
mod identity;
mod link;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, FromRedisValue, Pipeline};

pub use self::error::Error;
pub use self::identity::Memory;
pub(super) use self::identity::info_field;
use self::link::{Link, Opener, connection_config, timed_out, within};
pub use super::address::Address;
use super::address::Servers;
use super::meter::{Called, measured, waited};
use super::{cluster, sentinel};
use crate::clock;

/// Commands of one [`Redis::each`] that are on their way to a Redis Cluster at once.
const AT_ONCE: usize = 256;
/// A cluster client that is older than so many times the longest wait, and does not bring a command to its end, is made
/// anew: it mends itself as a rule, but was seen to time out for good on what a dead primary had held.
const TRUSTED_FOR: u32 = 2;

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

/// What is known of the connection in use.
#[derive(Debug)]
struct Current {
    link: Option<Link>,
    /// Tells the connection from its successors.
    number: u64,
    /// See [`Redis::generation`].
    generation: u64,
    /// See [`Redis::replacements`].
    replacements: u64,
    /// What [`Redis::identity`] found last.
    identity: Option<String>,
    /// How many answers of the sentinels were heeded.
    answers: u64,
    /// Another cluster client is being opened, to take the place of the one in use.
    remaking: bool,
    /// When the connection was opened.
    opened: Instant,
}

impl Current {
    /// Takes another connection into use; answers its number.
    fn put(&mut self, link: Link) -> u64 {
        self.number += 1;
        self.generation += 1;
        self.opened = clock::monotonic();
        self.link = Some(link);
        self.number
    }
}

impl Redis {
    /// Does not connect: the first command does, on the runtime that runs it.
    ///
    /// # Errors
    /// The address cannot be used at all (a TLS set-up that does not load).
    pub fn new(address: Address) -> Result<Self, Error> {
        let opener = Opener::new(&address)?;
        let current = Current {
            link: None,
            number: 0,
            generation: 0,
            replacements: 0,
            identity: None,
            answers: 0,
            remaking: false,
            opened: clock::monotonic(),
        };
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
    /// UNBLOCKED), the sentinels named another one, or [`Self::identity`] found other primaries. It says nothing of an outage that nobody met: ask
    /// [`Self::identity`] from time to time. A cluster's client reconnects unseen; there that is the only sign.
    pub fn generation(&self) -> u64 {
        self.follow();
        self.lock().generation
    }

    /// Changes [`Self::generation`]: a connection beside this one met another server.
    pub fn distrust(&self) {
        self.lock().generation += 1;
    }

    /// Runs one command.
    ///
    /// # Errors
    /// See [`Error`]; after [`Error::Unanswered`] the command may have happened. Cancel safe in the same sense.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        measured(Called::Command, self.ask(command)).await
    }

    /// As [`Self::query`], measured by the caller.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let (number, link) = self.connection().await?;
        let answer = match link {
            // This client bounds the whole way of a command by itself: a second timer costs and adds nothing.
            Link::One(mut connection) => command.query_async(&mut connection).await.map_err(Error::from),
            Link::Cluster(mut connection) => {
                within(self.patience(), command.query_async(&mut connection)).await
            }
        };
        self.judge(number, answer)
    }

    /// As [`Self::query`], and without an answer within `limit` it has none.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_within<T: FromRedisValue>(&self, limit: Duration, command: &Cmd) -> Result<T, Error> {
        measured(Called::Command, self.ask_within(limit, command)).await
    }

    /// As [`Self::query_within`], measured by the caller.
    pub(super) async fn ask_within<T: FromRedisValue>(
        &self,
        limit: Duration,
        command: &Cmd,
    ) -> Result<T, Error> {
        let asked = async {
            let (number, mut link) = self.connection().await?;
            let answer = within(self.patience().min(limit), command.query_async(&mut link)).await;
            self.judge(number, answer)
        };
        // Opening the connection counts too.
        tokio::time::timeout(limit * 2, asked).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Runs several commands on keys of one partition in one round trip; not atomic.
    ///
    /// # Errors
    /// As [`Self::query`]: any command's error is the error of all.
    pub async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Error> {
        measured(Called::Pipeline, self.ask_together(commands)).await
    }

    /// As [`Self::pipeline`], measured by the caller.
    pub(super) async fn ask_together<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Error> {
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
        measured(Called::Pipeline, self.ask_each(commands)).await
    }

    /// As [`Self::each`], measured by the caller.
    pub(super) async fn ask_each<T: FromRedisValue>(&self, commands: &[Cmd]) -> Result<Vec<T>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if self.is_cluster() {
            let alone = commands.iter().map(|command| self.ask(command));
            let answers: Vec<Result<T, Error>> =
                futures_util::stream::iter(alone).buffered(AT_ONCE).collect().await;
            return answers.into_iter().collect();
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        self.ask_together(&pipeline).await
    }

    /// As [`Self::each`], but on a Redis Cluster a command whose server does not answer within `limit` is `None` and the
    /// others have their answers.
    ///
    /// # Errors
    /// As [`Self::query`]; on a Redis Cluster none.
    pub async fn what_answers<T: FromRedisValue>(
        &self,
        limit: Duration,
        commands: &[Cmd],
    ) -> Result<Vec<Option<T>>, Error> {
        if !self.is_cluster() {
            return Ok(self.each(commands).await?.into_iter().map(Some).collect());
        }
        let alone = commands.iter().map(async |command| self.query_within(limit, command).await.ok());
        Ok(futures_util::stream::iter(alone).buffered(AT_ONCE).collect().await)
    }

    /// Opens a connection to the server that holds `key`, for who needs one alone. Its answers are awaited as long as
    /// any, and `block` longer: for blocking reads of at most that.
    ///
    /// # Errors
    /// Redis cannot be reached in time.
    pub async fn open_own(&self, key: &str, block: Duration) -> Result<MultiplexedConnection, Error> {
        let address = &self.inner.address;
        let config = connection_config(address, block + address.command_timeout);
        let info = match &address.servers {
            Servers::One(info) => info.clone(),
            Servers::Sentinel { sentinels, name, login, known } => {
                let limit = address.connect_timeout;
                let manager = sentinel::Manager::new(sentinels, name, login, config, limit, known);
                return within(limit, manager.open()).await;
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
        let started = clock::monotonic();
        // Boxed: it is rare and large, and everything that asks Redis would carry its 14 KB about.
        let opened = Box::pin(self.opened()).await;
        waited(started);
        opened
    }

    /// One task opens, the others wait for what it opened.
    async fn opened(&self) -> Result<(u64, Link), Error> {
        let limit = self.opening_limit();
        let _opening =
            tokio::time::timeout(limit, self.inner.opening.lock()).await.map_err(|_| timed_out())?;
        if let Some(open) = self.open_connection() {
            return Ok(open);
        }
        let link = self.inner.opener.open(limit).await?;
        Ok((self.lock().put(link.clone()), link))
    }

    fn open_connection(&self) -> Option<(u64, Link)> {
        self.ask_sentinels_when_due();
        self.follow();
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
        if is_useless && self.is_cluster() {
            self.remake();
        } else if is_useless {
            self.give_up(number);
        }
        answer
    }

    /// Opens another cluster client behind the one in use, and takes it if it reaches every primary. While one hangs there
    /// is no gain in another client: without a connection to that one it would stop for all others with each command to
    /// it, while it looks for the way.
    fn remake(&self) {
        if std::mem::replace(&mut self.lock().remaking, true) {
            return;
        }
        let redis = self.clone();
        tokio::spawn(async move {
            let opened = redis.open_another().await;
            let mut current = redis.lock();
            current.remaking = false;
            // Not again at once, if it is no better.
            current.opened = clock::monotonic();
            if let Ok(link) = opened {
                current.put(link);
            }
        });
    }

    async fn open_another(&self) -> Result<Link, Error> {
        let link = self.inner.opener.open(self.opening_limit()).await?;
        if let Link::Cluster(connection) = &link {
            let mut connection = connection.clone();
            if !within(self.patience(), cluster::reaches_all(&mut connection)).await? {
                return Err(timed_out());
            }
        }
        Ok(link)
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

#[cfg(test)]
mod tests;
