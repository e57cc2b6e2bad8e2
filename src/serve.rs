//! `serve`: starts the parts of a node, waits for the end, stops them in order.

use std::net::SocketAddr;

use tokio::sync::oneshot;

use crate::config::Config;

/// What the caller of [`run`] wants besides.
#[derive(Debug, Default)]
pub struct ServeOptions {
    /// Told once, when the node is ready.
    pub on_ready: Option<oneshot::Sender<Addresses>>,
}

/// Where a ready node listens: the ports that were bound, also where the settings said 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The API.
    pub api: SocketAddr,
    /// Metrics and health.
    pub management: SocketAddr,
}

/// Runs a node until SIGTERM or SIGINT, then drains it.
///
/// # Errors
/// It cannot start: a port is taken, Redis is missing or refuses.
pub async fn run(_config: Config, _options: ServeOptions) -> anyhow::Result<()> {
    anyhow::bail!("serving is not wired up yet")
}
