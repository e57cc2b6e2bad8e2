//! A Lua script that Redis runs as one step, called by its digest.
//!
//! Redis forgets scripts at a restart, a fail-over and `SCRIPT FLUSH`: a call that finds its script unknown loads it and
//! calls again, which is safe because NOSCRIPT means that nothing ran.
//! Source: Redis "Scripting with Lua", `EVALSHA`, "EVAL script flags".

use super::{Error, Redis};
use redis::{Cmd, ToRedisArgs};

/// The functions that several scripts share, put before each script's own text.
const SHARED: &str = include_str!("scripts/shared.lua");

/// One script: its text and the SHA-1 that names it.
#[derive(Debug)]
pub struct Script {
    text: String,
    digest: String,
}

impl Script {
    /// The script of `text`, which may begin with a `#!lua flags=…` line; the shared functions are put after that line.
    pub fn new(text: &str) -> Self {
        let (shebang, body) = match text.split_once('\n') {
            Some((first, rest)) if first.starts_with("#!") => (first, rest),
            _ => ("#!lua", text),
        };
        let text = format!("{shebang}\n{SHARED}\n{body}");
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self { text, digest }
    }

    /// Starts a call: `key` routes it (any key of the partition); arguments follow with [`Call::arg`].
    pub fn on(&self, key: &str) -> Call<'_> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.digest).arg(1).arg(key);
        Call { script: self, command }
    }

    /// Makes the script known to Redis, for calls that travel in a pipeline and cannot load it themselves.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn load(&self, redis: &Redis) -> Result<(), Error> {
        redis.query::<String>(redis::cmd("SCRIPT").arg("LOAD").arg(&self.text)).await.map(drop)
    }
}

/// One call of a script with its arguments.
#[derive(Debug)]
pub struct Call<'a> {
    script: &'a Script,
    command: Cmd,
}

impl Call<'_> {
    /// Adds an argument (`ARGV`).
    pub fn arg(&mut self, value: impl ToRedisArgs) -> &mut Self {
        self.command.arg(value);
        self
    }

    /// The bare command, for a pipeline.
    pub fn into_command(self) -> Cmd {
        self.command
    }

    /// Runs it.
    ///
    /// # Errors
    /// As [`Redis::query`]; an unknown script is loaded, not reported.
    pub async fn run<T: redis::FromRedisValue>(&self, redis: &Redis) -> Result<T, Error> {
        match redis.query(&self.command).await {
            Err(Error::NoScript) => {
                self.script.load(redis).await?;
                redis.query(&self.command).await
            }
            answer => answer,
        }
    }
}
