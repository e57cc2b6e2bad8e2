//! A node for a benchmark: the binary as a child process.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// What tokens for it are signed with.
pub const SECRET: &str = "only-the-benchmark-signs-with-this-secret";

/// The binary with a private Redis, in a directory of its own; gone at the end.
pub struct Node {
    child: Child,
    /// Where its API listens.
    pub api: String,
    /// Where its data lies.
    pub directory: PathBuf,
}

impl Node {
    /// Starts it; `bench` names its directory.
    pub fn start(bench: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("sw-{bench}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the data");
        let mut child = Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
            .env("WEBHOOKS_SERVER__PORT", "0")
            .env("WEBHOOKS_SERVER__MANAGEMENT_PORT", "0")
            .env("WEBHOOKS_AUTH__JWT_SECRET", SECRET)
            .env("WEBHOOKS_DELIVERY__ALLOWED_NETWORKS", "127.0.0.0/8")
            .env("WEBHOOKS_REDIS__DATA_DIR", &directory)
            .env("WEBHOOKS_TELEMETRY__LOG_FORMAT", "json")
            .current_dir(&directory)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let api = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let entry: Value = serde_json::from_str(&line).ok()?;
            (entry["message"] == "listening").then(|| entry["api"].as_str().map(str::to_owned))?
        });
        // Read on, so that it never waits for a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, api: api.expect("the node says where it listens"), directory }
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
