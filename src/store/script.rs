//! A Lua script that Redis runs as one step, called by its digest.
//!
//! Redis forgets scripts at a restart, a fail-over and `SCRIPT FLUSH`: a call that finds its script unknown is sent again
//! with the whole text, which runs it and makes it known to just the server that lacked it. That is safe because NOSCRIPT
//! means that nothing ran. `SCRIPT LOAD` would reach every node of a cluster, and fail while one of them is down.
//! Source: Redis "Scripting with Lua", `EVALSHA`, `EVAL`, "EVAL script flags".

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

    /// Runs it.
    ///
    /// # Errors
    /// As [`Redis::query`]; an unknown script is made known, not reported.
    pub async fn run<T: redis::FromRedisValue>(&self, redis: &Redis) -> Result<T, Error> {
        match redis.query(&self.command).await {
            Err(Error::NoScript) => redis.query(&self.with_text()).await,
            answer => answer,
        }
    }

    /// The same call with the script's text where its digest was.
    fn with_text(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(&self.script.text);
        for argument in self.command.args_iter().skip(2) {
            // The other kind is the cursor of a scan, which no call has.
            if let redis::Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

/// Runs calls on keys of any partitions as [`Redis::each`] does. They must bear being run twice: when one server lacks a
/// script, all are sent again.
///
/// # Errors
/// As [`Redis::each`]; an unknown script is made known, not reported.
pub async fn run_each<T: redis::FromRedisValue>(redis: &Redis, calls: &[Call<'_>]) -> Result<Vec<T>, Error> {
    let commands: Vec<Cmd> = calls.iter().map(|call| call.command.clone()).collect();
    match redis.each(&commands).await {
        Err(Error::NoScript) => {
            let whole: Vec<Cmd> = calls.iter().map(Call::with_text).collect();
            redis.each(&whole).await
        }
        answer => answer,
    }
}

/// As [`run_each`], but on a Redis Cluster a call whose server does not answer is `None` and the others have their
/// answers.
///
/// # Errors
/// As [`Redis::query`]; on a Redis Cluster none.
pub async fn run_what_answers<T: redis::FromRedisValue>(
    redis: &Redis,
    calls: &[Call<'_>],
) -> Result<Vec<Option<T>>, Error> {
    if !redis.is_cluster() {
        return Ok(run_each(redis, calls).await?.into_iter().map(Some).collect());
    }
    let alone = calls.iter().map(|call| async { call.run(redis).await.ok() });
    Ok(futures_util::future::join_all(alone).await)
}
