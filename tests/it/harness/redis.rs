//! A Redis of one test's own, which can be killed, frozen and started again.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, FromRedisValue, Value};
use tokio::net::{TcpListener, UnixStream};

use super::TempDir;

/// A `redis-server` on a unix socket, append-only file on, in a directory that goes with it.
#[derive(Debug)]
pub struct TestRedis {
    dir: TempDir,
    child: Child,
    password: Option<String>,
}

impl TestRedis {
    /// Starts it and waits until it answers.
    pub fn start() -> Self {
        let dir = TempDir::new();
        let child = spawn(&dir);
        let redis = Self { dir, child, password: None };
        redis.await_answer();
        redis
    }

    /// In the form that `redis.url` has.
    pub fn url(&self) -> String {
        let password = self.password.as_ref().map(|password| format!("?pass={password}")).unwrap_or_default();
        format!("unix://{}/redis.sock{password}", self.dir.path().display())
    }

    /// From now on it asks for that password; a start anew forgets it.
    pub fn require_password(&mut self, password: &str) {
        let _: () = self.command(&["CONFIG", "SET", "requirepass", password]);
        self.password = Some(password.to_owned());
    }

    /// A way to it over TCP, as long as the test runs: the port.
    pub async fn listen_on_tcp(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let socket = self.dir.path().join("redis.sock");
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let socket = socket.clone();
                tokio::spawn(async move {
                    let mut far = UnixStream::connect(socket).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        port
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    /// Starts it again with the data that it had.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.dir);
        self.await_answer();
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open and nothing answers.
    pub fn freeze(&self) {
        signal("STOP", self.child.id());
    }

    /// The end of [`Self::freeze`].
    pub fn thaw(&self) {
        signal("CONT", self.child.id());
    }

    /// Runs one command on a connection of its own.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection =
            Client::open(self.url()).expect("a URL").get_connection().expect("redis takes connections");
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).expect("the command is good")
    }

    /// All that it holds, as text: every key of every type with its values.
    pub fn dump(&self) -> String {
        let keys: Vec<String> = self.command(&["KEYS", "*"]);
        let value = |key: &String| {
            let kind: String = self.command(&["TYPE", key]);
            let read: &[&str] = match kind.as_str() {
                "hash" => &["HGETALL", key],
                "stream" => &["XRANGE", key, "-", "+"],
                "zset" => &["ZRANGE", key, "0", "-1", "WITHSCORES"],
                "string" => &["GET", key],
                "list" => &["LRANGE", key, "0", "-1"],
                "set" => &["SMEMBERS", key],
                other => panic!("no way to read a {other}"),
            };
            format!("{key} {}\n", words(self.command(read)))
        };
        keys.iter().map(value).collect()
    }

    /// The bytes of its append-only files: every write that it ever took.
    pub fn append_only_files(&self) -> Vec<u8> {
        let dir = self.dir.path().join("appendonlydir");
        let files = std::fs::read_dir(dir).expect("it keeps a file");
        let read = |file: std::io::Result<std::fs::DirEntry>| {
            std::fs::read(file.expect("it can be listed").path()).expect("it can be read")
        };
        files.flat_map(read).collect()
    }

    /// Breaks every connection to it.
    pub fn cut_connections(&self) {
        let _: u64 = self.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }

    fn await_answer(&self) {
        let start = Instant::now();
        let answers = || {
            let mut connection = Client::open(self.url()).ok()?.get_connection().ok()?;
            redis::cmd("PING").exec(&mut connection).ok()
        };
        while answers().is_none() {
            assert!(start.elapsed() < Duration::from_secs(20), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All texts of an answer, whatever they are nested in.
fn words(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => format!("{} ", String::from_utf8_lossy(&bytes)),
        Value::Array(items) => items.into_iter().map(words).collect(),
        Value::Int(number) => format!("{number} "),
        Value::SimpleString(text) => format!("{text} "),
        Value::Nil => String::new(),
        other => panic!("an answer of another kind: {other:?}"),
    }
}

/// Sends a signal to one process.
pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().expect("kill is in PATH");
    assert!(sent.success(), "no process {pid}");
}

fn spawn(dir: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"])
        .args(["--maxmemory-policy", "noeviction", "--unixsocket", "redis.sock", "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir(dir.path())
        .spawn()
        .expect("redis-server is in PATH")
}
