//! A Redis of its own for each test: nothing of Redis is mocked, and no test meets another's keys.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Redis;
use super::connection::Address;
use crate::clock;

/// Stops and removes itself when dropped.
pub struct PrivateRedis {
    server: Child,
    directory: PathBuf,
}

impl PrivateRedis {
    /// Starts one and waits until it listens. It dies with the calling thread, also on `kill -9`.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("webhooks-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "redis-server", "--port", "0", "--save", "", "--unixsocket"])
            .arg(directory.join("redis.sock"))
            .arg("--dir")
            .arg(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("setpriv and redis-server are installed");
        let started = Self { server, directory };
        started.wait();
        started
    }

    fn wait(&self) {
        let deadline = clock::monotonic() + Duration::from_secs(20);
        while UnixStream::connect(self.directory.join("redis.sock")).is_err() {
            assert!(clock::monotonic() < deadline, "redis-server did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        let url = format!("unix://{}", self.directory.join("redis.sock").display());
        Address::new(&url, Duration::from_secs(5), Duration::from_secs(5)).expect("a unix socket's URL")
    }

    /// Commands to it.
    pub fn client(&self) -> Redis {
        Redis::new(self.address()).expect("no TLS to set up")
    }

    /// Ends it now: what comes next finds no Redis.
    pub fn stop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The same with a connection to it.
pub struct TestRedis {
    /// Commands to it.
    pub redis: Redis,
    _server: PrivateRedis,
}

impl TestRedis {
    /// Starts one and waits until it listens.
    pub async fn start() -> Self {
        let server = PrivateRedis::start();
        Self { redis: server.client(), _server: server }
    }
}
