//! A Redis Cluster of one test's own: three primaries with a replica each.

use std::process::{Command, Stdio};

use super::server::{KEEPS_DATA, Server, free_ports};
use super::{SOON, TempDir, eventually};

/// Six servers that end with the test.
#[derive(Debug)]
pub struct RedisCluster {
    servers: Vec<Server>,
    _dir: TempDir,
}

impl RedisCluster {
    /// Starts it and waits until every primary takes writes.
    pub async fn start() -> Self {
        let dir = TempDir::new();
        let ports = free_ports(12);
        let (ports, bus_ports) = ports.split_at(6);
        let start = |(port, bus): (&u16, &u16)| {
            let bus = bus.to_string();
            let cluster = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "2000",
                "--cluster-port",
                bus.as_str(),
            ];
            Server::start(dir.path(), *port, &[&KEEPS_DATA[..], &cluster[..]].concat())
        };
        let servers: Vec<Server> = ports.iter().zip(bus_ports).map(start).collect();
        for server in &servers {
            eventually("the server answers", SOON, async || server.command::<String>(&["PING"]).ok()).await;
        }
        let cluster = Self { servers, _dir: dir };
        cluster.join();
        cluster.is_whole().await;
        cluster
    }

    /// The settings that lead a node to it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let urls: Vec<String> = self.servers.iter().map(Server::url).collect();
        vec![("REDIS__MODE", "cluster".to_owned()), ("REDIS__CLUSTER_URLS", urls.join(","))]
    }

    /// `kill -9` of the primary with the most keys; gives its place.
    pub fn kill_primary(&mut self) -> usize {
        let keys = |server: &Server| server.command::<u64>(&["DBSIZE"]).unwrap_or(0);
        let primaries = (0..6).filter(|place| self.servers[*place].is_followed_master());
        let busiest = primaries.max_by_key(|place| keys(&self.servers[*place])).expect("there are three");
        self.servers[busiest].kill();
        busiest
    }

    /// Starts what was killed again; it follows the new primary.
    pub fn start_again(&mut self, place: usize) {
        self.servers[place].start_again();
    }

    /// Waits until a replica has taken over.
    pub async fn failed_over(&self) {
        eventually("a replica takes over", SOON, async || {
            let masters = self.servers.iter().filter(|server| server.says("replication", "role:master"));
            (masters.count() == 3).then_some(())
        })
        .await;
    }

    /// Waits until every primary takes writes.
    async fn is_whole(&self) {
        eventually("every primary has its replica and all slots are held", SOON, async || {
            let masters = self.servers.iter().filter(|server| server.is_followed_master()).count();
            let state = |server: &Server| server.command::<String>(&["CLUSTER", "INFO"]).unwrap_or_default();
            let good = |server: &Server| {
                let state = state(server);
                state.contains("cluster_state:ok") && state.contains("cluster_slots_ok:16384")
            };
            (masters == 3 && self.servers.iter().all(good)).then_some(())
        })
        .await;
    }

    /// Makes a cluster of the servers.
    fn join(&self) {
        let places = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let output = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(places)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli is in PATH");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
