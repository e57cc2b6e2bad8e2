//! A Lua script that Redis runs as one step, called by its digest.
//!
//! Redis forgets scripts at a restart, a fail-over and `SCRIPT FLUSH`: a call that finds its script unknown is sent again
//! with the whole text, which runs it and makes it known to just the server that lacked it. That is safe because NOSCRIPT
//! means that nothing ran. `SCRIPT LOAD` would reach every node of a cluster, and fail while one of them is down.
//! Source: Redis "Scripting with Lua", `EVALSHA`, `EVAL`, "EVAL script flags".

use std::time::Duration;

use redis::{Cmd, ToRedisArgs, Value};

use super::meter::{Called, measured};
use super::{Error, Redis};
use crate::domain::Partition;

/// What all scripts begin with. Functions that several share come after it; they are made anew at each call of a script, so
/// only those have them that use them.
const SHARED: &str = include_str!("scripts/shared.lua");

/// The functions that change queues.
const QUEUES: &str = include_str!("scripts/queues.lua");

/// The functions that count attempts, put after those.
const COUNTING: &str = include_str!("scripts/counting.lua");

/// The functions that write what is kept of webhooks, put after those.
const STANDING: &str = include_str!("scripts/standing.lua");

/// What a script needs that works for several partitions in one call, put last.
const SECTIONS: &str = include_str!("scripts/sections.lua");

/// One script: its text and the SHA-1 that names it.
#[derive(Debug)]
pub struct Script {
    called: Called,
    text: String,
    digest: String,
}

impl Script {
    /// The script of `text`, which may begin with a `#!lua flags=…` line; what is shared is put after that line.
    pub fn new(called: Called, text: &str) -> Self {
        Self::after(called, SHARED, text)
    }

    /// As [`Self::new`], of a script that changes queues.
    pub fn of_queues(called: Called, text: &str) -> Self {
        Self::after(called, &[SHARED, QUEUES].concat(), text)
    }

    /// As [`Self::of_queues`], of a script that counts attempts too and whose calls have sections ([`Call::end_section`]).
    pub fn in_sections(called: Called, text: &str) -> Self {
        Self::after(called, &[SHARED, QUEUES, COUNTING, STANDING, SECTIONS].concat(), text)
    }

    fn after(called: Called, shared: &str, text: &str) -> Self {
        let (shebang, body) = match text.split_once('\n') {
            Some((first, rest)) if first.starts_with("#!") => (first, rest),
            _ => ("#!lua", text),
        };
        let text = format!("{shebang}\n{shared}\n{body}");
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self { called, text, digest }
    }

    /// Starts a call: `key` routes it (any key of the partition); arguments follow with [`Call::arg`].
    pub fn on(&self, key: &str) -> Call<'_> {
        // Room for an ordinary event and its arguments, so that the buffer does not grow step by step.
        let mut command = Cmd::with_capacity(24, 2048);
        command.arg("EVALSHA").arg(&self.digest).arg(1).arg(key);
        Call { script: self, command, arguments: 0, ends: Vec::new() }
    }
}

/// One call of a script with its arguments.
#[derive(Debug)]
pub struct Call<'a> {
    script: &'a Script,
    command: Cmd,
    /// How many arguments it has.
    arguments: usize,
    /// After which of them each section ends.
    ends: Vec<usize>,
}

impl Call<'_> {
    /// Adds an argument (`ARGV`): a single value.
    pub fn arg(&mut self, value: impl ToRedisArgs) -> &mut Self {
        self.command.arg(value);
        self.arguments += 1;
        self
    }

    /// What was added since the last section belongs to one partition, whose prefix and token came first.
    pub fn end_section(&mut self) {
        self.ends.push(self.arguments);
    }

    /// Runs it, and gives the answer of each section: of its items, and last how much was set aside.
    ///
    /// # Errors
    /// As [`Self::run`]. What fails of one section is that one's error alone.
    pub async fn run_sections(mut self, redis: &Redis) -> Result<Vec<Result<Answers, Error>>, Error> {
        let ends = std::mem::take(&mut self.ends);
        for end in &ends {
            self.arg(*end);
        }
        self.arg(ends.len());
        let answers: Vec<Value> = self.run(redis).await?;
        if answers.len() != ends.len() {
            return Err(super::events::unreadable(self.script.called.as_str()));
        }
        Ok(answers.into_iter().map(|answer| self.section(answer)).collect())
    }

    fn section(&self, answer: Value) -> Result<Answers, Error> {
        match answer {
            Value::Array(mut items) => match items.pop() {
                Some(Value::Int(count)) => {
                    Ok(Answers { items, set_aside: u64::try_from(count).unwrap_or_default() })
                }
                _ => Err(super::events::unreadable(self.script.called.as_str())),
            },
            Value::BulkString(text) if text.starts_with(b"FENCED") => Err(Error::Fenced),
            Value::BulkString(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                let kind = redis::ErrorKind::Server(redis::ServerErrorKind::ResponseError);
                Err(Error::Rejected((kind, "a section of a script failed", text).into()))
            }
            _ => Err(super::events::unreadable(self.script.called.as_str())),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// As [`Redis::query`]; an unknown script is made known, not reported.
    pub async fn run<T: redis::FromRedisValue>(&self, redis: &Redis) -> Result<T, Error> {
        let run = async {
            match redis.ask(&self.command).await {
                Err(Error::NoScript) => redis.ask(&self.with_text()).await,
                answer => answer,
            }
        };
        measured(self.script.called, run).await
    }

    /// As [`Self::run`], and without an answer within `limit` it has none.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_within<T: redis::FromRedisValue>(
        &self,
        limit: Duration,
        redis: &Redis,
    ) -> Result<T, Error> {
        let run = async {
            match redis.ask_within(limit, &self.command).await {
                Err(Error::NoScript) => redis.ask_within(limit, &self.with_text()).await,
                answer => answer,
            }
        };
        measured(self.script.called, run).await
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

/// What a script did with the items of one section.
#[derive(Debug)]
pub struct Answers {
    /// With each.
    pub items: Vec<Value>,
    /// How much was set aside, because what lies in Redis is not what we write.
    pub set_aside: u64,
}

/// Items for one partition, and the token that proves that it is ours.
#[derive(Clone, Debug)]
pub struct Section<'a, T: ?Sized> {
    /// Which partition.
    pub partition: Partition,
    /// The token of its lease.
    pub token: &'a str,
    /// The items.
    pub items: &'a T,
}

/// Runs calls on keys of any partitions as [`Redis::each`] does. They must bear being run twice: when one server lacks a
/// script, all are sent again.
///
/// # Errors
/// As [`Redis::each`]; an unknown script is made known, not reported.
pub async fn run_each<T: redis::FromRedisValue>(redis: &Redis, calls: &[Call<'_>]) -> Result<Vec<T>, Error> {
    let Some(first) = calls.first() else { return Ok(Vec::new()) };
    let commands: Vec<Cmd> = calls.iter().map(|call| call.command.clone()).collect();
    let run = async {
        match redis.ask_each(&commands).await {
            Err(Error::NoScript) => {
                let whole: Vec<Cmd> = calls.iter().map(Call::with_text).collect();
                redis.ask_each(&whole).await
            }
            answer => answer,
        }
    };
    measured(first.script.called, run).await
}

/// As [`run_each`], but on a Redis Cluster a call whose server does not answer within `limit` is `None` and the others
/// have their answers.
///
/// # Errors
/// As [`Redis::query`]; on a Redis Cluster none.
pub async fn run_what_answers<T: redis::FromRedisValue>(
    redis: &Redis,
    limit: Duration,
    calls: &[Call<'_>],
) -> Result<Vec<Option<T>>, Error> {
    if !redis.is_cluster() {
        return Ok(run_each(redis, calls).await?.into_iter().map(Some).collect());
    }
    let alone = calls.iter().map(|call| async move { call.run_within(limit, redis).await.ok() });
    Ok(futures_util::future::join_all(alone).await)
}
