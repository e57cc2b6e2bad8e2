//! A master, its replica and three sentinels of one test's own.

use std::path::Path;

use super::server::{KEEPS_DATA, Server, free_ports};
use super::{SOON, TempDir, eventually};

/// The name that the sentinels know the master by.
const MASTER: &str = "main";

/// Five servers that end with the test.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
    _dir: TempDir,
}

impl RedisSentinel {
    /// Starts it and waits until the master takes writes and the sentinels know each other.
    pub async fn start() -> Self {
        let dir = TempDir::new();
        let ports = free_ports(5);
        let master = ports[0].to_string();
        let follows = ["--replicaof", "127.0.0.1", master.as_str()];
        let servers = vec![
            Server::start(dir.path(), ports[0], &KEEPS_DATA),
            Server::start(dir.path(), ports[1], &[&KEEPS_DATA[..], &follows[..]].concat()),
        ];
        eventually("the master takes writes", SOON, async || servers[0].is_followed_master().then_some(()))
            .await;
        let sentinels = ports[2..].iter().map(|port| start_sentinel(dir.path(), *port, ports[0])).collect();
        let sentinel = Self { servers, sentinels, _dir: dir };
        sentinel.is_watched().await;
        sentinel
    }

    /// The settings that lead a node to it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let urls: Vec<String> = self.sentinels.iter().map(Server::url).collect();
        vec![
            ("REDIS__MODE", "sentinel".to_owned()),
            ("REDIS__SENTINEL_MASTER", MASTER.to_owned()),
            ("REDIS__SENTINEL_URLS", urls.join(",")),
        ]
    }

    /// `kill -9` of the master; gives its place.
    pub fn kill_primary(&mut self) -> usize {
        let master = self.servers.iter().position(Server::is_followed_master).expect("there is one");
        self.servers[master].kill();
        master
    }

    /// Waits until the replica has taken over, and starts what was killed again; it follows the new master.
    pub async fn fail_over(&mut self, killed: usize) {
        let other = 1 - killed;
        eventually("the replica takes over", SOON, async || {
            self.servers[other].says("replication", "role:master").then_some(())
        })
        .await;
        self.servers[killed].start_again();
    }

    /// Has the sentinels make the replica the master, as an operator does for maintenance.
    pub async fn change_places(&self) {
        let master = self.servers.iter().position(Server::is_followed_master).expect("there is one");
        let asked = self.sentinels[0].command::<String>(&["SENTINEL", "FAILOVER", MASTER]);
        asked.expect("the sentinels take the request");
        eventually("the other is the master", SOON, async || {
            self.servers[1 - master].is_followed_master().then_some(())
        })
        .await;
    }

    async fn is_watched(&self) {
        eventually("the sentinels know each other and the replica", SOON, async || {
            let line =
                |sentinel: &Server| sentinel.command::<String>(&["INFO", "sentinel"]).unwrap_or_default();
            let knows = |sentinel: &Server| {
                line(sentinel).contains("status=ok") && line(sentinel).contains("slaves=1,sentinels=3")
            };
            self.sentinels.iter().all(knows).then_some(())
        })
        .await;
    }
}

/// A sentinel keeps what it learns in its configuration file, so it must have one.
fn start_sentinel(dir: &Path, port: u16, master: u16) -> Server {
    let file = dir.join(format!("sentinel-{port}.conf"));
    let text = format!(
        "sentinel monitor {MASTER} 127.0.0.1 {master} 2\nsentinel down-after-milliseconds {MASTER} 2000\n\
         sentinel failover-timeout {MASTER} 6000\n"
    );
    std::fs::write(&file, text).expect("the temporary directory can be written");
    Server::start(dir, port, &[file.to_str().expect("a plain path"), "--sentinel"])
}
