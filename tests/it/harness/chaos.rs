//! The network between one node and Redis, which can be cut, frozen, slowed down and made to lose answers.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What happens to what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Connections are dropped, and new ones too.
    Cut,
    /// Connections stay and are taken, and nothing moves.
    Frozen,
    /// Each chunk waits that long.
    Delayed(Duration),
    /// Commands arrive and are carried out; what Redis answers is lost.
    Deaf,
}

/// Which way a stream of bytes goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Commands,
    Replies,
}

/// A TCP proxy in front of a Redis, gone with its value.
#[derive(Debug)]
pub struct ChaosProxy {
    port: u16,
    mode: watch::Sender<Mode>,
    server: AbortHandle,
}

impl ChaosProxy {
    /// Passes everything on to that port of this machine.
    pub async fn start(redis_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (mode, watched) = watch::channel(Mode::Pass);
        let server = tokio::spawn(serve(listener, redis_port, watched)).abort_handle();
        Self { port, mode, server }
    }

    /// The settings that lead a node through it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("REDIS__URL", format!("redis://127.0.0.1:{}", self.port))]
    }

    /// Drops every connection, and new ones as soon as they are made.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Takes connections and keeps those that are there; nothing moves in them.
    pub fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }

    /// Lets every chunk wait, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.mode.send_replace(Mode::Delayed(delay));
    }

    /// Loses what Redis answers.
    pub fn lose_replies(&self) {
        self.mode.send_replace(Mode::Deaf);
    }

    /// Passes everything again.
    pub fn heal(&self) {
        self.mode.send_replace(Mode::Pass);
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, redis_port: u16, mode: watch::Receiver<Mode>) {
    // Dropped with the task, and every connection with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((near, _)) = listener.accept() => {
                connections.spawn(connection(near, redis_port, mode.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until either side closes it or it is cut.
async fn connection(near: TcpStream, redis_port: u16, mode: watch::Receiver<Mode>) -> io::Result<()> {
    if *mode.borrow() == Mode::Cut {
        return Ok(());
    }
    let far = TcpStream::connect(("127.0.0.1", redis_port)).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let mut watched = mode.clone();
    tokio::select! {
        ended = pump(near_read, far_write, Way::Commands, mode.clone()) => ended,
        ended = pump(far_read, near_write, Way::Replies, mode) => ended,
        _ = watched.wait_for(|mode| *mode == Mode::Cut) => Ok(()),
    }
}

/// Passes on what comes until the end of the stream.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut lost = false;
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        let now = mode.wait_for(|mode| *mode != Mode::Frozen).await.map_or(Mode::Cut, |mode| *mode);
        match now {
            Mode::Deaf if way == Way::Replies => {
                lost = true;
                continue;
            }
            Mode::Delayed(delay) => tokio::time::sleep(delay).await,
            _ => {}
        }
        // TCP loses nothing in the middle: a connection that lost something ends.
        if lost {
            return Ok(());
        }
        to.write_all(&chunk[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use redis::AsyncConnectionConfig;

    use super::*;
    use crate::harness::{SOON, TestRedis, eventually};

    type Connection = redis::aio::MultiplexedConnection;

    async fn connect(proxy: &ChaosProxy) -> redis::RedisResult<Connection> {
        let client = redis::Client::open(proxy.settings().remove(0).1)?;
        let patience = Some(Duration::from_millis(300));
        let config =
            AsyncConnectionConfig::new().set_response_timeout(patience).set_connection_timeout(patience);
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// What a counter of Redis is after one more, asked over that connection.
    async fn more(connection: &mut Connection) -> redis::RedisResult<u64> {
        redis::cmd("INCR").arg("counter").query_async(connection).await
    }

    #[tokio::test]
    async fn each_mode_does_what_it_says_and_heals() {
        let redis = TestRedis::start();
        let proxy = ChaosProxy::start(redis.listen_on_tcp().await).await;
        let mut first = connect(&proxy).await.unwrap();
        assert_eq!(more(&mut first).await.unwrap(), 1);
        proxy.lose_replies();
        more(&mut first).await.unwrap_err();
        assert_eq!(redis.command::<u64>(&["GET", "counter"]), 2, "it was carried out");
        proxy.heal();
        more(&mut first).await.unwrap_err();
        let mut second = connect(&proxy).await.unwrap();
        assert_eq!(more(&mut second).await.unwrap(), 4);
        proxy.freeze();
        let error = more(&mut second).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        proxy.heal();
        eventually("what was held back arrives", SOON, async || {
            (redis.command::<u64>(&["GET", "counter"]) == 5).then_some(())
        })
        .await;
        assert_eq!(more(&mut second).await.unwrap(), 6, "the same connection goes on");
        proxy.cut();
        let error = more(&mut second).await.unwrap_err();
        assert!(!error.is_timeout(), "{error}");
        connect(&proxy).await.unwrap_err();
        proxy.delay(Duration::from_millis(20));
        let start = std::time::Instant::now();
        let mut third = connect(&proxy).await.unwrap();
        assert_eq!(more(&mut third).await.unwrap(), 7);
        assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());
    }
}
