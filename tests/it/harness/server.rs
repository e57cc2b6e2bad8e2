//! One `redis-server` of several, on a loopback port of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Client, FromRedisValue, RedisResult};

/// The longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(1);

/// A `redis-server` that ends with its value.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
    child: Child,
}

impl Server {
    /// Starts one on `port` that keeps its data in a directory of its own below `dir`.
    pub fn start(dir: &Path, port: u16, arguments: &[&str]) -> Self {
        let dir = dir.join(port.to_string());
        std::fs::create_dir_all(&dir).expect("the temporary directory can be written");
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let child = spawn(&dir, port, &arguments);
        Self { port, dir, arguments, child }
    }

    /// `redis://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs one command on a connection of its own; a server that hangs is an error.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut connection = Client::open(self.url())?.get_connection_with_timeout(ANSWER)?;
        connection.set_read_timeout(Some(ANSWER))?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
    }

    /// Whether a section of `INFO` has that line; not while it does not answer.
    pub fn says(&self, section: &str, line: &str) -> bool {
        self.command::<String>(&["INFO", section]).is_ok_and(|info| info.lines().any(|found| found == line))
    }

    /// Whether it takes writes, with a replica that follows it.
    pub fn is_followed_master(&self) -> bool {
        let followed = |info: String| {
            info.contains("role:master")
                && info.contains("state=online")
                && info.contains("min_slaves_good_slaves:")
        };
        self.command::<String>(&["INFO", "replication"]).is_ok_and(followed)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    /// Starts it again with the data that it had.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.dir, self.port, &self.arguments);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, port: u16, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(arguments)
        .args(["--bind", "127.0.0.1", "--port"])
        .arg(port.to_string())
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir(dir)
        .spawn()
        .expect("redis-server is in PATH")
}

/// That many ports which nobody listens on now, outside of the range that the kernel gives to connections.
pub fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::with_capacity(count);
    while held.len() < count {
        let port = rand::random_range(10_000..32_000);
        // Held until all are found, so that they differ.
        held.extend(TcpListener::bind(("127.0.0.1", port)));
    }
    held.iter().map(|listener| listener.local_addr().expect("it is bound").port()).collect()
}

/// What every server that keeps data is started with. It takes writes only while a replica follows it closely, so that a
/// fail-over finds what was accepted.
pub const KEEPS_DATA: [&str; 14] = [
    "--save",
    "",
    "--appendonly",
    "yes",
    "--maxmemory-policy",
    "noeviction",
    "--min-replicas-to-write",
    "1",
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
    "--min-replicas-max-lag",
    "2",
];
