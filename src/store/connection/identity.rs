//! Which servers take our writes, and whether they are the same as before.

use super::link::{Link, Opener, within};
use super::{Error, Redis};
use crate::clock;
use crate::store::cluster;

/// The memory of one server, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What it uses.
    pub used: u64,
    /// Its `maxmemory`; 0 = it has none.
    pub limit: u64,
}

impl Memory {
    /// How much of the limit is used, from 0; 0 where there is no limit.
    pub fn share(self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.used as f64 / self.limit as f64 }
    }
}

impl Redis {
    /// Names the servers that take writes: their run ids and the histories that they continue. Another name means that
    /// one was restarted or replaced, and the last moment before may be lost. With sentinels it also follows a master
    /// that was replaced in good order and has not noticed yet. A few round trips: for once a second, not for each call.
    ///
    /// # Errors
    /// As [`Self::query`]; one primary of a cluster that does not answer is an error.
    pub async fn identity(&self) -> Result<String, Error> {
        self.follow_sentinels().await?;
        let primaries = self.info(&["server", "replication"]).await?;
        let name_of = |info: &str| {
            let [run, history] =
                ["run_id", "master_replid"].map(|name| info_field(info, name).unwrap_or("?"));
            format!("{run}.{history}")
        };
        let mut names: Vec<String> = primaries.iter().map(|(_, info)| name_of(info)).collect();
        names.sort_unstable();
        let identity = names.join(",");
        let mut current = self.lock();
        if current.identity.replace(identity.clone()).is_some_and(|before| before != identity) {
            current.generation += 1;
            current.replacements += 1;
        }
        Ok(identity)
    }

    /// How much of its memory Redis uses; in a cluster the fullest primary.
    ///
    /// # Errors
    /// As [`Self::identity`].
    pub async fn memory(&self) -> Result<Memory, Error> {
        let primaries = self.info(&["memory"]).await?;
        let number =
            |info: &str, name| info_field(info, name).and_then(|text| text.parse().ok()).unwrap_or_default();
        let memory =
            |info: &str| Memory { used: number(info, "used_memory"), limit: number(info, "maxmemory") };
        let all = primaries.iter().map(|(_, info)| memory(info));
        Ok(all.max_by(|a, b| a.share().total_cmp(&b.share())).unwrap_or_default())
    }

    /// A number that changes whenever the servers that take writes are found to be others: only then may Redis have lost
    /// something, whatever became of a connection.
    pub fn replacements(&self) -> u64 {
        self.follow();
        self.lock().replacements
    }

    /// Asks the sentinels when that is due, and gives the connection up when they name another master by now.
    async fn follow_sentinels(&self) -> Result<(), Error> {
        if let Opener::Sentinel(pool) = &self.inner.opener
            && pool.manager().known().is_due(clock::monotonic())
        {
            within(self.inner.address.connect_timeout, pool.manager().ask_all()).await?;
        }
        self.follow();
        Ok(())
    }

    /// Has the sentinels asked when that is due. The command that finds it due does not wait for their answer: it may be
    /// a renewal, and sentinels may hang.
    pub(super) fn ask_sentinels_when_due(&self) {
        let Opener::Sentinel(pool) = &self.inner.opener else { return };
        if pool.manager().known().is_due(clock::monotonic()) {
            let (pool, limit) = (pool.clone(), self.inner.address.connect_timeout);
            // Without an answer things stay as they are until the next time.
            tokio::spawn(async move { within(limit, pool.manager().ask_all()).await.map(drop) });
        }
    }

    /// Gives the connection up when the sentinels have named another master since it was opened. They were asked by
    /// whichever connection of the process did so first: all of them move together.
    pub(super) fn follow(&self) {
        let Opener::Sentinel(pool) = &self.inner.opener else { return };
        let answers = pool.manager().known().answers();
        let mut current = self.lock();
        if std::mem::replace(&mut current.answers, answers) != answers
            && pool.manager().has_moved()
            && current.link.take().is_some()
        {
            current.generation += 1;
            current.replacements += 1;
        }
    }

    /// What `INFO` says (of these sections; none = the usual ones) on each server that takes writes, with the server's
    /// address in a cluster and no address elsewhere.
    ///
    /// # Errors
    /// As [`Self::query`]; one primary of a cluster that does not answer is an error.
    pub async fn info(&self, sections: &[&str]) -> Result<Vec<(Option<String>, String)>, Error> {
        let mut command = redis::cmd("INFO");
        command.arg(sections);
        let (number, link) = self.connection().await?;
        let Link::Cluster(mut connection) = link else {
            return Ok(vec![(None, self.query(&command).await?)]);
        };
        let asked = within(self.patience(), cluster::ask_primaries(&mut connection, command)).await;
        let answers = self.judge(number, asked)?;
        Ok(answers.into_iter().map(|(address, info)| (Some(address), info)).collect())
    }

    /// Whether Redis answers; a cluster does while one of its primaries does, and what the others hold is refused.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn ping(&self) -> Result<(), Error> {
        let (number, link) = self.connection().await?;
        match link {
            Link::Cluster(mut connection) => {
                let answer = within(self.patience(), cluster::ping(&mut connection)).await;
                self.judge(number, answer)
            }
            Link::One(_) => self.query::<String>(&redis::cmd("PING")).await.map(drop),
        }
    }
}

/// The value of a line of `INFO`.
pub(in crate::store) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    info.lines().find_map(value).map(str::trim)
}
