//! Where Redis is: one server, the master that sentinels name, or the primaries of a Redis Cluster.
//!
//! A private certificate authority (`redis.tls_ca_file`) replaces the public ones; it is read once, when the address is
//! made. redis-rs leaves `TCP_NODELAY` off; it is set here, because every command is a small packet that somebody waits
//! for.
//! Sources: Redis "High availability with Redis Sentinel", "Redis cluster specification".

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, TlsCertificates,
};

use super::sentinel::Known;
use crate::config::{self, RedisMode};

/// What the master is logged in with when `redis.url` is empty: no password, database 0, no TLS.
const PLAIN_LOGIN: &str = "redis://master";

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct Address {
    pub(super) servers: Servers,
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
}

/// The three ways in which Redis is run.
#[derive(Clone, Debug)]
pub(super) enum Servers {
    /// One server.
    One(ConnectionInfo),
    /// The master of the name that the sentinels know; `login` has all but its host and port.
    Sentinel {
        /// Whom to ask.
        sentinels: Vec<ConnectionInfo>,
        /// `redis.sentinel_master`
        name: String,
        /// User, password, database and TLS of the master.
        login: Box<ConnectionInfo>,
        /// What is known of the master, shared by all copies of the address.
        known: Arc<Known>,
    },
    /// A Redis Cluster, found through any of its nodes.
    Cluster {
        /// Where to begin.
        seeds: Vec<ConnectionInfo>,
        /// The private certificate authority.
        certificates: Option<TlsCertificates>,
    },
}

impl Address {
    /// The one Redis at `url`: `redis://`, `rediss://` (TLS), `unix://` or `redis+unix://`, with user, password and db.
    ///
    /// # Errors
    /// The URL is none of those. The message does not hold the URL, which may carry a password.
    pub fn new(url: &str, connect_timeout: Duration, command_timeout: Duration) -> Result<Self, RedisError> {
        Ok(Self { servers: Servers::One(parse(url, None)?), connect_timeout, command_timeout })
    }

    /// The Redis of `[redis]`; `private` is the URL of the node's own, if it runs one.
    ///
    /// # Errors
    /// A URL is none that redis-rs reads, or `redis.tls_ca_file` holds no certificate.
    pub fn of(settings: &config::Redis, private: Option<&str>) -> Result<Self, RedisError> {
        let certificates = settings.tls_ca_file.as_deref().map(read_authority).transpose()?;
        let authority = certificates.as_ref();
        let each = |urls: &[String]| urls.iter().map(|url| parse(url, authority)).collect::<Result<_, _>>();
        let url = private.or(settings.url.as_deref());
        let servers = match settings.mode {
            RedisMode::Standalone => Servers::One(parse(url.unwrap_or_default(), authority)?),
            RedisMode::Sentinel => Servers::Sentinel {
                sentinels: each(&settings.sentinel_urls)?,
                name: settings.sentinel_master.clone(),
                login: Box::new(parse(url.unwrap_or(PLAIN_LOGIN), authority)?),
                known: Arc::default(),
            },
            RedisMode::Cluster => Servers::Cluster { seeds: each(&settings.cluster_urls)?, certificates },
        };
        let (connect_timeout, command_timeout) = (settings.connect_timeout, settings.command_timeout);
        Ok(Self { servers, connect_timeout, command_timeout })
    }

    /// The longest wait for one answer.
    pub fn command_timeout(&self) -> Duration {
        self.command_timeout
    }
}

/// `info` with another host and port.
pub(super) fn moved_to(info: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let addr = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(addr)
}

fn parse(url: &str, authority: Option<&TlsCertificates>) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    match authority {
        Some(authority) => {
            // The client alone knows how to put certificates into an address.
            Ok(Client::build_with_tls(info, authority.clone())?.get_connection_info().clone())
        }
        None => Ok(info),
    }
}

fn read_authority(file: &Path) -> Result<TlsCertificates, RedisError> {
    let unusable = |detail: String| {
        RedisError::from((ErrorKind::InvalidClientConfig, "redis.tls_ca_file is of no use", detail))
    };
    let pem = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    let is_one = String::from_utf8_lossy(&pem).contains("BEGIN CERTIFICATE");
    if !is_one {
        return Err(unusable("it holds no PEM certificate".to_owned()));
    }
    Ok(TlsCertificates { client_tls: None, root_cert: Some(pem) })
}
