//! One node: the real binary as a child process.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::client::Address;
use super::redis::signal;
use super::token::SECRET;
use super::{Client, SOON, TempDir, TestRedis, Token, eventually};

/// Lines of its log that are kept, to be shown when the test fails.
const LOG_LINES: usize = 200;

/// The most that is kept of all that it says, in bytes.
const MOST_SAID: usize = 32 << 20;

/// The most attempts of one webhook with the default `maxConcurrency` (16) that a kill can repeat: those on their way,
/// and those answered and not yet recorded, of which a lane lets twice as many wait.
pub const MOST_IN_FLIGHT: usize = 3 * 16;

/// A setting for tests that count the attempts of an endpoint which fails many times in a row: no breaker opens.
pub const NEVER_LEFT_ALONE: (&str, &str) = ("BREAKER__FAILURE_THRESHOLD", "1000000");

/// A node that ends with the test. Its clients follow it when it starts again.
#[derive(Debug)]
pub struct TestNode {
    /// Its environment, the settings in it.
    settings: BTreeMap<String, String>,
    /// What the shell sets before, such as `ulimit -n 512`.
    limits: String,
    child: Child,
    api: Address,
    management: Address,
    log: Arc<Mutex<Said>>,
    log_stalls: Arc<AtomicBool>,
    dir: TempDir,
}

/// What a node has said.
#[derive(Debug, Default)]
struct Said {
    /// The newest lines.
    lines: VecDeque<String>,
    /// All of them, and what came on standard output.
    all: String,
}

impl TestNode {
    /// A node on that Redis, ready.
    pub async fn start(redis: &TestRedis) -> Self {
        Self::start_with(redis, &[]).await
    }

    /// As [`Self::start`] with further settings, such as `("API__MAX_EVENT_BYTES", "1024")`.
    pub async fn start_with(redis: &TestRedis, settings: &[(&str, &str)]) -> Self {
        let url = redis.url();
        Self::launch(&[settings, &[("REDIS__URL", url.as_str())]].concat(), "").await
    }

    /// As [`Self::start`] with limits that the shell sets before, such as `ulimit -Sn 512`.
    pub async fn start_limited(redis: &TestRedis, limits: &str) -> Self {
        Self::launch(&[("REDIS__URL", redis.url().as_str())], limits).await
    }

    /// As [`Self::start_with`]; it trusts the certificate authorities in that file and no others.
    pub async fn start_trusting(redis: &TestRedis, authorities: &Path, settings: &[(&str, &str)]) -> Self {
        let url = redis.url();
        let settings = [settings, &[("REDIS__URL", url.as_str())]].concat();
        let authorities = authorities.to_str().expect("a plain path").to_owned();
        Self::launch_in(&settings, &[("SSL_CERT_FILE".to_owned(), authorities)], "").await
    }

    /// A node with a private Redis, ready.
    pub async fn start_with_private_redis() -> Self {
        Self::launch(&[], "").await
    }

    /// A node on the Redis that the settings lead to, ready.
    pub async fn start_at(settings: &[(&str, String)]) -> Self {
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Self::launch(&settings, "").await
    }

    /// What a node says that must not start with these settings.
    pub async fn refused(settings: &[(&str, String)]) -> String {
        Self::refused_when_limited(settings, "").await
    }

    /// As [`Self::refused`] with limits that the shell sets before, such as `ulimit -n 512`.
    pub async fn refused_when_limited(settings: &[(&str, String)], limits: &str) -> String {
        let dir = TempDir::new();
        let common = [("AUTH__JWT_SECRET", SECRET), ("SERVER__PORT", "0"), ("SERVER__MANAGEMENT_PORT", "0")];
        let given = settings.iter().map(|(name, value)| (*name, value.as_str()));
        let variables = common.into_iter().chain(given);
        let output = program(limits)
            .env_clear()
            .envs(variables.map(|(name, value)| (format!("WEBHOOKS_{name}"), value)))
            .current_dir(dir.path())
            .kill_on_drop(true)
            .output();
        let output =
            tokio::time::timeout(SOON, output).await.expect("it ends in time").expect("the binary is built");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        said
    }

    async fn launch(settings: &[(&str, &str)], limits: &str) -> Self {
        Self::launch_in(settings, &[], limits).await
    }

    /// With variables of its environment that are no settings.
    async fn launch_in(settings: &[(&str, &str)], environment: &[(String, String)], limits: &str) -> Self {
        let dir = TempDir::new();
        let data = dir.path().join("data");
        let common = [
            ("SERVER__PORT", "0"),
            ("SERVER__MANAGEMENT_PORT", "0"),
            ("AUTH__JWT_SECRET", SECRET),
            ("DELIVERY__ALLOWED_NETWORKS", "127.0.0.0/8,::1/128"),
            ("REDIS__DATA_DIR", data.to_str().expect("a plain path")),
            // Many nodes run side by side: no more open files each than the machine is likely to allow.
            ("DELIVERY__MAX_IN_FLIGHT", "1024"),
            ("SERVER__MAX_CONNECTIONS", "512"),
            ("TELEMETRY__LOG_FORMAT", "json"),
            ("TELEMETRY__LOG_LEVEL", "info"),
        ];
        let settings: BTreeMap<String, String> = common
            .iter()
            .chain(settings)
            .map(|(name, value)| (format!("WEBHOOKS_{name}"), (*value).to_owned()))
            .chain(environment.iter().cloned())
            .collect();
        let child = spawn(&settings, limits, dir.path());
        let (api, management, log, log_stalls) = Default::default();
        let limits = limits.to_owned();
        let mut node = Self { settings, limits, child, api, management, log, log_stalls, dir };
        node.await_ready().await;
        node
    }

    /// A user's client.
    pub fn client(&self, token: &Token) -> Client {
        Client::new(&self.api, token.sign())
    }

    /// A client with that text where the token belongs.
    pub fn bearer(&self, token: &str) -> Client {
        Client::new(&self.api, token.to_owned())
    }

    /// A user of an organization.
    pub fn user(&self, sub: &str, org: &str) -> Client {
        self.client(&Token::user(sub).org(org))
    }

    /// What publishes the events of an organization.
    pub fn publisher(&self, org: &str) -> Client {
        self.client(&Token::user("crm").org(org).role("service"))
    }

    /// The management port, which asks for no token.
    pub fn management(&self) -> Client {
        Client::new(&self.management, String::new())
    }

    /// Its metrics now.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.management().get("/metrics").await;
        answer.header("content-type").expect("a type");
        assert_eq!(answer.status, 200);
        Metrics(answer.body)
    }

    /// The most memory that it ever had, in bytes.
    pub fn most_memory(&self) -> usize {
        let pid = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        1024 * peak.expect("Linux tells it").parse::<usize>().expect("a number")
    }

    /// Reads its log no more, and leaves the pipe open.
    pub fn stall_log(&self) {
        self.log_stalls.store(true, Ordering::Relaxed);
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it runs");
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        signal("TERM", self.child.id().expect("it runs"));
    }

    /// Stops it in its tracks (SIGSTOP): its sockets stay open and nothing moves.
    pub fn freeze(&self) {
        signal("STOP", self.child.id().expect("it runs"));
    }

    /// The end of [`Self::freeze`].
    pub fn thaw(&self) {
        signal("CONT", self.child.id().expect("it runs"));
    }

    /// Whether it answers that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = self.management().call(reqwest::Method::GET, "/health/ready").try_send().await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// The lines of its log that were kept, newest last.
    pub fn log(&self) -> Vec<Value> {
        let log = self.log.lock().expect("no holder panics");
        log.lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The same as they were written.
    pub fn log_text(&self) -> String {
        let log = self.log.lock().expect("no holder panics");
        log.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// All that it ever said, on standard error and standard output.
    pub fn all_said(&self) -> String {
        let log = self.log.lock().expect("no holder panics");
        assert!(log.all.len() < MOST_SAID, "it said more than is kept");
        log.all.clone()
    }

    /// Where its API listens.
    pub fn address(&self) -> &Address {
        &self.api
    }

    /// Where its management port listens.
    pub fn management_address(&self) -> &Address {
        &self.management
    }

    /// Waits for its end.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        ended.expect("the node ends in time").expect("it is our child")
    }

    /// Starts it again after its end, with the settings that it had, and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.settings, &self.limits, self.dir.path());
        self.await_ready().await;
    }

    /// What the system allows it, as `/proc` shows it.
    pub fn limits(&self) -> String {
        let pid = self.child.id().expect("it runs");
        std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs")
    }

    /// The private Redis that it runs now.
    pub fn private_redis(&self) -> PrivateRedis {
        let pid = std::fs::read_to_string(self.dir.path().join("data/redis/redis.pid")).expect("a pid file");
        PrivateRedis(pid.trim().to_owned())
    }

    async fn await_ready(&mut self) {
        let lines = BufReader::new(self.child.stderr.take().expect("it is piped")).lines();
        let listening = tokio::time::timeout(SOON, self.await_listening(lines)).await;
        let lines = listening.expect("the node listens in time");
        tokio::spawn(keep_log(lines, self.log.clone(), self.log_stalls.clone()));
        let printed = BufReader::new(self.child.stdout.take().expect("it is piped")).lines();
        tokio::spawn(keep_printed(printed, self.log.clone()));
        eventually("the node is ready", SOON, async || self.is_ready().await.then_some(())).await;
    }

    /// Reads its log up to the line that tells the ports.
    async fn await_listening(
        &self,
        mut lines: Lines<BufReader<ChildStderr>>,
    ) -> Lines<BufReader<ChildStderr>> {
        while let Some(line) = lines.next_line().await.expect("its log is text") {
            keep(&self.log, &line);
            if let Some((api, management)) = addresses(&line) {
                self.api.set(&api);
                self.management.set(&management);
                return lines;
            }
        }
        panic!("the node ended at its start");
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in &self.log.lock().expect("no holder panics").lines {
                eprintln!("node: {line}");
            }
        }
        // `kill_on_drop` would leave it to a later moment, and its Redis goes right after it.
        let _ = self.child.start_kill();
    }
}

/// The ports, if this is the line that tells them, in either format of the log.
fn addresses(line: &str) -> Option<(String, String)> {
    let (is_it, [api, management]) = match serde_json::from_str::<Value>(line) {
        Ok(entry) => {
            let field = |name: &str| entry[name].as_str().map(str::to_owned);
            (entry["message"] == "listening", ["api", "management"].map(field))
        }
        Err(_) => {
            let field =
                |name: &str| Some(line.split_once(&format!(" {name}="))?.1.split(' ').next()?.to_owned());
            (line.contains(": listening "), ["api", "management"].map(field))
        }
    };
    is_it.then_some((api?, management?))
}

/// The binary, run by a shell that sets limits if there are any.
fn program(limits: &str) -> Command {
    const BINARY: &str = env!("CARGO_BIN_EXE_salesos-webhooks");
    if limits.is_empty() {
        return Command::new(BINARY);
    }
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{limits} && exec \"$0\" \"$@\"")).arg(BINARY);
    shell
}

fn spawn(settings: &BTreeMap<String, String>, limits: &str, dir: &Path) -> Child {
    program(limits)
        .arg("serve")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(settings)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary is built")
}

async fn keep_log(mut lines: Lines<BufReader<ChildStderr>>, log: Arc<Mutex<Said>>, stalls: Arc<AtomicBool>) {
    while let Ok(Some(line)) = lines.next_line().await {
        keep(&log, &line);
        if stalls.load(Ordering::Relaxed) {
            // The pipe stays open and is not emptied.
            std::future::pending::<()>().await;
        }
    }
}

fn keep(log: &Mutex<Said>, line: &str) {
    keep_text(log, line);
    let lines = &mut log.lock().expect("no holder panics").lines;
    if lines.len() == LOG_LINES {
        lines.pop_front();
    }
    lines.push_back(line.to_owned());
}

async fn keep_printed(mut lines: Lines<BufReader<ChildStdout>>, log: Arc<Mutex<Said>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        keep_text(&log, &line);
    }
}

fn keep_text(log: &Mutex<Said>, line: &str) {
    let all = &mut log.lock().expect("no holder panics").all;
    if all.len() < MOST_SAID {
        all.push_str(line);
        all.push('\n');
    }
}

/// A process that belongs to a node.
#[derive(Debug)]
pub struct PrivateRedis(String);

impl PrivateRedis {
    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        signal(name, self.0.parse().expect("a pid"));
    }

    /// Whether it lives. One that has ended and is not yet reaped does not.
    pub fn is_running(&self) -> bool {
        std::fs::read(format!("/proc/{}/cmdline", self.0)).is_ok_and(|command| !command.is_empty())
    }
}

/// The text of `/metrics`.
#[derive(Debug)]
pub struct Metrics(String);

impl Metrics {
    /// The sum of all samples of `salesos_webhooks_<name>` that carry these labels (`result="dead"`).
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let name = format!("salesos_webhooks_{name}");
        let of_name = |line: &&str| {
            line.strip_prefix(&name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        };
        let chosen: Vec<&str> = self.0.lines().filter(of_name).collect();
        assert!(!chosen.is_empty(), "no metric {name}");
        let labelled = chosen.iter().filter(|line| labels.iter().all(|label| line.contains(label)));
        labelled.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}
