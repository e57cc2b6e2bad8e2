//! The checked settings: every value is within its range and fits the others.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::keys::{KeySet, PublicKey};
use crate::domain::{Catalogue, EncryptionKey, NodeId};

/// All settings of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `node.id`: names this node in the cluster; made at start when not set.
    pub node_id: NodeId,
    /// `[server]`
    pub server: Server,
    /// `[api]`
    pub api: Api,
    /// `[auth]`
    pub auth: Auth,
    /// `[dashboard]`
    pub dashboard: Dashboard,
    /// `[security]`
    pub security: Security,
    /// `[redis]`
    pub redis: Redis,
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[delivery]`
    pub delivery: Delivery,
    /// `[breaker]`
    pub breaker: Breaker,
    /// `[queue]`
    pub queue: Queue,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// The event types, from `events.catalogue_file` or the embedded catalogue.
    pub catalogue: Catalogue,
}

/// Where the node listens and how it stops.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// `server.bind`
    pub bind: IpAddr,
    /// `server.port`; 0 = any free one.
    pub port: u16,
    /// `server.management_port`; 0 = any free one.
    pub management_port: u16,
    /// `server.workers`: threads that answer the API; already resolved, at least 1.
    pub workers: usize,
    /// `server.max_connections`: of clients to the API at once.
    pub max_connections: usize,
    /// `server.base_path`: a second place where the routes answer, `/…` without a slash at the end.
    pub base_path: String,
    /// `server.trusted_proxies`: networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `server.drain_seconds`: from SIGTERM to exit.
    pub drain: Duration,
}

impl Server {
    /// What of [`Self::max_connections`] one worker may take; they get the same, and none gets nothing.
    pub fn connections_of_worker(&self) -> usize {
        (self.max_connections / self.workers).max(1)
    }

    /// What of [`Self::drain`] the work in flight may take; the rest is for what it rests on, such as a private Redis.
    pub fn drain_of_work(&self) -> Duration {
        self.drain * 4 / 5
    }
}

/// What the API takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// `api.max_event_bytes`: the largest body of a publish, in bytes.
    pub max_event_bytes: usize,
    /// `api.rate_limit_per_minute`: requests of one user, publishing apart.
    pub rate_limit_per_minute: u32,
    /// `api.publish_rate_limit_per_second`: publishes of one user; 0 = no limit.
    pub publish_rate_limit_per_second: u32,
    /// `api.cors_allowed_origins`
    pub cors_allowed_origins: Origins,
}

/// Which origins' pages may call the API from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Any.
    Any,
    /// These, as browsers write them; there may be none.
    These(Vec<String>),
}

/// Whose tokens are taken, and what their roles mean.
#[derive(Clone, PartialEq)]
pub struct Auth {
    /// `auth.jwt_secret`: the HS256 key, at least 32 bytes. One of this and the next two is always there.
    pub jwt_secret: Option<String>,
    /// The key in `auth.jwt_public_key_file`.
    pub jwt_public_key: Option<PublicKey>,
    /// `auth.jwks_file` or `auth.jwks_url`.
    pub jwks: Option<Jwks>,
    /// `auth.jwks_refresh_seconds`: how often the set is read again.
    pub jwks_refresh: Duration,
    /// `auth.issuer`: the required `iss`.
    pub issuer: Option<String>,
    /// `auth.audience`: the required `aud`.
    pub audience: Option<String>,
    /// `auth.read_only_roles`
    pub read_only_roles: Vec<String>,
    /// `auth.publisher_roles`
    pub publisher_roles: Vec<String>,
    /// `auth.admin_roles`
    pub admin_roles: Vec<String>,
}

impl Auth {
    /// Whether tokens of an identity provider are taken that it made for other services.
    pub fn takes_any_audience(&self) -> bool {
        self.jwks.is_some() && self.audience.is_none()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("jwt_secret", &self.jwt_secret.as_ref().map(|_| "***"))
            .field("jwt_public_key", &self.jwt_public_key)
            .field("jwks", &self.jwks)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Where the identity provider's public keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Jwks {
    /// `auth.jwks_file`, as it was at the start.
    File(PathBuf, KeySet),
    /// `auth.jwks_url`: https, or http on this machine; without user and password.
    Url(Url),
}

/// `[dashboard]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dashboard {
    /// `dashboard.enabled`: whether the node serves the pages.
    pub enabled: bool,
}

/// What webhooks' secrets are encrypted with where they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// `security.encryption_key`: encrypts, and decrypts; `None` = secrets are stored as they are.
    pub encryption_key: Option<EncryptionKey>,
    /// `security.former_encryption_keys`: decrypt only.
    pub former_encryption_keys: Vec<EncryptionKey>,
}

/// How Redis is reached, or that the node runs its own.
#[derive(Clone, PartialEq)]
pub struct Redis {
    /// `redis.mode`
    pub mode: RedisMode,
    /// `redis.url`; `None` = a private `redis-server` under `data_dir`, in [`RedisMode::Standalone`]. With sentinels it
    /// says how the master is logged in to, and in a cluster there is none.
    pub url: Option<String>,
    /// `redis.sentinel_urls`; at least one in [`RedisMode::Sentinel`], none elsewhere.
    pub sentinel_urls: Vec<String>,
    /// `redis.sentinel_master`: the name that the sentinels know the master by.
    pub sentinel_master: String,
    /// `redis.cluster_urls`; at least one in [`RedisMode::Cluster`], none elsewhere.
    pub cluster_urls: Vec<String>,
    /// `redis.tls_ca_file`: the authority that signed Redis's certificates; `None` = the public ones.
    pub tls_ca_file: Option<PathBuf>,
    /// `redis.prefix`: what every key begins with.
    pub prefix: String,
    /// `redis.data_dir`
    pub data_dir: PathBuf,
    /// `redis.require_persistence`: refuse a Redis that may forget.
    pub require_persistence: bool,
    /// `redis.connect_timeout_ms`
    pub connect_timeout: Duration,
    /// `redis.command_timeout_ms`: the longest wait for one answer.
    pub command_timeout: Duration,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every URL may carry a password.
        let url = self.url.as_ref().map(|_| "***");
        let mut shown = f.debug_struct("Redis");
        shown
            .field("mode", &self.mode)
            .field("url", &url)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// Whether the node runs a `redis-server` of its own.
    pub fn is_private(&self) -> bool {
        self.mode == RedisMode::Standalone && self.url.is_none()
    }
}

/// How Redis is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Standalone,
    /// A master with replicas, and sentinels that name the master.
    Sentinel,
    /// A Redis Cluster.
    Cluster,
}

/// How the work is divided. The first three are fixed at the first start on a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// `cluster.partitions`
    pub partitions: u16,
    /// `cluster.webhooks_per_shard`
    pub webhooks_per_shard: u32,
    /// `cluster.shards_per_tenant`
    pub shards_per_tenant: u8,
    /// `cluster.threads`: threads that run partitions; already resolved, at least 1.
    pub threads: usize,
    /// `cluster.handover_seconds`: how long attempts in flight may finish at a hand-over.
    pub handover: Duration,
}

/// How events are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// `delivery.require_https`
    pub require_https: bool,
    /// `delivery.allowed_networks`: networks that the address guard lets through although they are not public.
    pub allowed_networks: Vec<IpNet>,
    /// `delivery.dns_servers`: who is asked for the addresses of names; none = those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// `delivery.proxy_url`: the forward proxy that every delivery goes through.
    pub proxy_url: Option<ProxyUrl>,
    /// `delivery.default_rate_limit_per_second`; 0 = none.
    pub default_rate_limit_per_second: u32,
    /// `delivery.max_in_flight`: attempts of this node at once.
    pub max_in_flight: usize,
    /// `delivery.response_capture_bytes`
    pub response_capture_bytes: usize,
    /// `delivery.max_age_days`
    pub max_age: Duration,
    /// `delivery.memory_budget_bytes`: bodies kept in memory, per node.
    pub memory_budget_bytes: usize,
}

/// Where a proxy is: an http URL with a host, perhaps a user and a password, and nothing behind them.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(pub Url);

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.0.port_or_known_default().unwrap_or_default();
        write!(f, "ProxyUrl(http://***@{}:{port})", self.0.host_str().unwrap_or_default())
    }
}

/// How a webhook that keeps failing is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// `breaker.failure_threshold`: failures in a row.
    pub failure_threshold: u32,
    /// `breaker.pause_seconds`: the first pause.
    pub pause: Duration,
    /// `breaker.max_pause_seconds`: the longest pause.
    pub max_pause: Duration,
    /// `breaker.disable_after_days`
    pub disable_after: Duration,
}

/// Bounds of what waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// `queue.max_pending_per_webhook`
    pub max_pending_per_webhook: u64,
    /// `queue.max_undispatched_bytes`: per partition.
    pub max_undispatched_bytes: u64,
    /// `queue.max_pending_bytes_per_tenant`: per partition that holds webhooks of the tenant.
    pub max_pending_bytes_per_tenant: u64,
}

/// Quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `limits.webhooks_per_user`
    pub webhooks_per_user: u64,
    /// `limits.webhooks_per_tenant`
    pub webhooks_per_tenant: u64,
}

/// What the delivery log keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `log.max_attempts`: rows per webhook.
    pub max_attempts: u64,
    /// `log.retention_days`
    pub retention: Duration,
    /// `log.payload_retention_days`
    pub payload_retention: Duration,
}

/// What the node tells about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// `telemetry.log_level`: a `tracing` filter such as `info` or `salesos_webhooks=debug`.
    pub log_level: String,
    /// `telemetry.log_format`
    pub log_format: LogFormat,
    /// `telemetry.otlp_endpoint`, with its path; `None` = no traces.
    pub otlp_endpoint: Option<Url>,
    /// `telemetry.otlp_sample_ratio`, 0..=1: the share of traces that begin here.
    pub otlp_sample_ratio: f64,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
