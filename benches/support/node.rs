//! A node for a benchmark: the binary as a child process.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

#[path = "token.rs"]
mod token;

use token::SECRET;
pub use token::token;

/// The binary with a private Redis, in a directory of its own; gone at the end.
pub struct Node {
    child: Child,
    /// Where its API listens.
    pub api: String,
    /// Where it answers for its metrics.
    #[allow(dead_code, reason = "not every benchmark asks")]
    pub management: String,
    /// Where its data lies.
    pub directory: PathBuf,
}

impl Node {
    /// Starts it; `bench` names its directory.
    #[allow(dead_code, reason = "not every benchmark starts one without more")]
    pub fn start(bench: &str) -> Self {
        Self::start_with(bench, &[])
    }

    /// With these variables in its environment besides.
    pub fn start_with(bench: &str, environment: &[(&str, &str)]) -> Self {
        // One after another in one process: the server of the last one may still be about to end in its directory.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("sw-{bench}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the data");
        let mut child = Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
            .env("WEBHOOKS_SERVER__PORT", "0")
            .env("WEBHOOKS_SERVER__MANAGEMENT_PORT", "0")
            .env("WEBHOOKS_AUTH__JWT_SECRET", SECRET)
            .env("WEBHOOKS_DELIVERY__ALLOWED_NETWORKS", "127.0.0.0/8")
            .env("WEBHOOKS_REDIS__DATA_DIR", &directory)
            .env("WEBHOOKS_TELEMETRY__LOG_FORMAT", "json")
            .env("WEBHOOKS_API__RATE_LIMIT_PER_MINUTE", "10000000")
            // What a bench has fail is not to be left alone.
            .env("WEBHOOKS_BREAKER__FAILURE_THRESHOLD", "1000000")
            .envs(environment.iter().copied())
            .current_dir(&directory)
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
        // Read on, so that it never waits for a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, api, management, directory }
    }

    /// Where Linux tells of it.
    #[allow(dead_code, reason = "not every benchmark asks")]
    pub fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.child.id()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SIGTERM would wait for attempts that hang; its Redis ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
