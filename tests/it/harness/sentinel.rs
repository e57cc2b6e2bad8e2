//! A master, its replicas and three sentinels of one test's own.
//!
//! Two replicas, where one is lost in the test: a master that asks for a replica before it takes writes would take none
//! after a fail-over to the only one. One replica, where master and replica change places: of two, the other would still
//! follow the former master for a second, which would take writes that are lost.

use std::path::Path;

use super::server::{KEEPS_DATA, Server, free_ports};
use super::{SOON, TempDir, eventually};

/// The name that the sentinels know the master by.
const MASTER: &str = "main";

/// Servers that end with the test.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
    _dir: TempDir,
}

impl RedisSentinel {
    /// Starts it and waits until the master takes writes and the sentinels know each other.
    pub async fn start(replicas: usize) -> Self {
        let dir = TempDir::new();
        let ports = free_ports(1 + replicas + 3);
        let (ports, sentinel_ports) = ports.split_at(1 + replicas);
        let master = ports[0].to_string();
        let follows = ["--replicaof", "127.0.0.1", master.as_str()];
        let mut servers = vec![Server::start(dir.path(), ports[0], &KEEPS_DATA)];
        let replica =
            |port: &u16| Server::start(dir.path(), *port, &[&KEEPS_DATA[..], &follows[..]].concat());
        servers.extend(ports[1..].iter().map(replica));
        eventually("the master takes writes", SOON, async || servers[0].is_followed_master().then_some(()))
            .await;
        let sentinels =
            sentinel_ports.iter().map(|port| start_sentinel(dir.path(), *port, ports[0])).collect();
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

    /// `kill -9` of the master.
    pub fn kill_primary(&mut self) {
        let master =
            self.servers.iter_mut().find(|server| server.is_followed_master()).expect("there is one");
        master.kill();
    }

    /// Has the sentinels make a replica the master, as an operator does for maintenance.
    pub async fn change_places(&self) {
        let is_master = |server: &&Server| server.is_followed_master();
        let master = self.servers.iter().find(is_master).expect("there is one").port;
        let asked = self.sentinels[0].command::<String>(&["SENTINEL", "FAILOVER", MASTER]);
        asked.expect("the sentinels take the request");
        eventually("another is the master", SOON, async || {
            self.servers.iter().find(is_master).filter(|server| server.port != master).map(|_| ())
        })
        .await;
    }

    /// From now on servers take writes whether or not a replica follows: a former master too, until it learns that it is one.
    pub fn take_writes_alone(&self) {
        for server in &self.servers {
            let alone = ["CONFIG", "SET", "min-replicas-to-write", "0"];
            server.command::<()>(&alone).expect("it takes the setting");
        }
    }

    async fn is_watched(&self) {
        eventually("the sentinels know each other and the replicas", SOON, async || {
            let all = format!("slaves={},sentinels=3", self.servers.len() - 1);
            let knows = |sentinel: &Server| {
                let info = sentinel.command::<String>(&["INFO", "sentinel"]).unwrap_or_default();
                info.contains("status=ok") && info.contains(&all)
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
