//! The processes of the benchmark: Redis, nodes, sink, and the load generator; and what each has cost so far.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use redis::FromRedisValue;
use salesos_webhooks::store::connection::Address;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::token::SECRET;

/// So many warnings of a node are printed.
const MOST_WARNINGS: usize = 20;

/// A directory that is removed at the end.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!(
            "sw-{name}-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        ));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child process that ends with its handle.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// CPU time so far, user and system. See proc_pid_stat(5); the unit is 1/100 s on Linux.
    pub fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        let after = text.rsplit(')').next().unwrap_or_default();
        let ticks: u64 =
            after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory in KiB: now (`VmRSS`) or the most so far (`VmHWM`).
    pub fn memory_kib(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// `kill -9`, and the wait for its end.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// `SIGTERM`, and the wait for its end.
    pub fn stop(&mut self) {
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        assert!(told.is_ok_and(|status| status.success()), "it runs");
        let _ = self.0.wait();
    }
}

/// A redis-server with an append-only file.
pub struct Redis {
    pub process: Process,
    pub url: String,
    /// The client of the service, as a means to look into it.
    pub client: salesos_webhooks::store::Redis,
    _directory: Directory,
}

impl Redis {
    /// `fsync`: `everysec` or `always`.
    pub fn start(fsync: &str) -> Self {
        let directory = Directory::new("throughput-redis");
        // A port that is free now; a race for it would show at once.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a port")
            .port();
        let port = port.to_string();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                fsync,
            ])
            // As docs/operations.md says.
            .args(["--stream-node-max-bytes", "512", "--maxmemory-policy", "noeviction"])
            .args(["--auto-aof-rewrite-min-size", "512mb", "--dir"])
            .arg(&directory.0)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is in PATH");
        let process = Process(child);
        let start = Instant::now();
        while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "redis-server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        let url = format!("redis://127.0.0.1:{port}");
        let limit = Duration::from_secs(10);
        let address = Address::new(&url, limit, limit).expect("a URL");
        let client = salesos_webhooks::store::Redis::new(address).expect("an address");
        Self { process, url, client, _directory: directory }
    }

    /// What it answers to a command.
    pub async fn query<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.client.query(redis::cmd(words[0]).arg(&words[1..])).await.expect("redis answers")
    }
}

/// One node of the service.
pub struct Node {
    pub process: Process,
    pub api: String,
    pub management: String,
    _directory: Directory,
}

impl Node {
    pub fn start(redis: &str, settings: &[(&str, &str)]) -> Self {
        let directory = Directory::new("throughput-node");
        let mut child = Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
            .env("WEBHOOKS_REDIS__URL", redis)
            .env("WEBHOOKS_SERVER__PORT", "0")
            .env("WEBHOOKS_SERVER__MANAGEMENT_PORT", "0")
            .env("WEBHOOKS_AUTH__JWT_SECRET", SECRET)
            .env("WEBHOOKS_DELIVERY__ALLOWED_NETWORKS", "127.0.0.0/8")
            .env("WEBHOOKS_API__RATE_LIMIT_PER_MINUTE", "10000000")
            .envs(settings.iter().copied())
            .current_dir(&directory.0)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let ports = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let entry: Value = serde_json::from_str(&line).ok()?;
            let port = |name: &str| entry[name].as_str().map(str::to_owned);
            (entry["message"] == "listening").then(|| port("api").zip(port("management")))?
        });
        let (api, management) = ports.expect("the node says where it listens");
        // Read on in any case, so that it never waits for a full pipe.
        // What it warns of belongs beside the figures.
        std::thread::spawn(move || {
            let mut told = 0;
            for line in lines.map_while(Result::ok) {
                let warns = line.contains("\"level\":\"WARN\"") || line.contains("\"level\":\"ERROR\"");
                if warns && told < MOST_WARNINGS {
                    told += 1;
                    eprintln!("{line}");
                }
            }
        });
        Self { process: Process(child), api, management, _directory: directory }
    }
}

/// This executable in another role, spoken to by lines.
pub struct Role {
    pub process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Role {
    pub fn start(role: &str) -> Self {
        let executable: PathBuf = std::env::current_exe().expect("it runs");
        let mut child = Command::new(Path::new(&executable))
            .args(["--bench", "--role", role])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts itself");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { process: Process(child), input, output: BufReader::new(output) }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it prints");
        line.trim().to_owned()
    }

    pub fn ask<T: DeserializeOwned>(&mut self, request: &str) -> T {
        writeln!(self.input, "{request}").expect("it reads");
        serde_json::from_str(&self.line()).expect("it answers as agreed")
    }

    pub fn tell(&mut self, plan: &impl Serialize) {
        writeln!(self.input, "{}", serde_json::to_string(plan).expect("plain data")).expect("it reads");
    }

    /// Says what it need not hear: it may have ended.
    pub fn hint(&mut self, fact: u64) {
        let _ = writeln!(self.input, "{fact}");
    }

    pub fn answer<T: DeserializeOwned>(&mut self) -> T {
        serde_json::from_str(&self.line()).expect("it answers as agreed")
    }
}
