//! A Redis for one test: a real server of its own on a unix socket, gone when the test ends.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Redis;
use super::connection::Address;

/// A running server and a way to it.
pub struct TestRedis {
    /// Commands to it.
    pub redis: Redis,
    server: Child,
    directory: PathBuf,
}

impl TestRedis {
    /// Starts one and waits until it answers.
    pub async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sw-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory for the socket");
        let socket = directory.join("redis.sock");
        let server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--stream-node-max-bytes", "512", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let url = format!("unix://{}", socket.display());
        let limit = Duration::from_secs(5);
        let redis =
            Redis::new(Address::new(&url, limit, limit).expect("a good URL")).expect("a good address");
        let started = Self { redis, server, directory };
        started.answers().await;
        started
    }

    /// How it is named in `redis.url`.
    pub fn url(&self) -> String {
        format!("unix://{}", self.directory.join("redis.sock").display())
    }

    /// Waits for the first answer, at most 10 s.
    async fn answers(&self) {
        let ping = async {
            while self.redis.query::<String>(&redis::cmd("PING")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ping).await.expect("redis-server answers");
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
