//! What must not be reached: it counts the connections that come, and says nothing to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// Listens on one port of the loopback, with both of its addresses where the machine has both.
#[derive(Debug)]
pub struct Listener {
    /// Its port.
    pub port: u16,
    connections: Arc<AtomicUsize>,
    servers: Vec<AbortHandle>,
}

impl Listener {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let v4 = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = v4.local_addr().expect("it is bound").port();
        let v6 = TcpListener::bind(("::1", port)).await;
        let connections = Arc::new(AtomicUsize::new(0));
        let listeners = [Ok(v4), v6].into_iter().flatten();
        let servers = listeners.map(|one| tokio::spawn(count(one, connections.clone())).abort_handle());
        Self { port, servers: servers.collect(), connections }
    }

    /// How many connections came so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.servers.iter().for_each(AbortHandle::abort);
    }
}

async fn count(listener: TcpListener, connections: Arc<AtomicUsize>) {
    while listener.accept().await.is_ok() {
        connections.fetch_add(1, Ordering::SeqCst);
    }
}
