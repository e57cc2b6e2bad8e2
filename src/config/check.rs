//! Holds every setting against its range and against the others. Pure: what the machine contributes is an argument.
//!
//! All faults are found before any is reported. A relation between two keys is judged only when both are within their
//! own ranges, so that one mistake is one fault. The ranges here are the ones that `config/default.toml` documents.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::checked::*;
use super::fault::{Fault, Faults};
use super::keys::KeyFiles;
use super::layers::Layers;
use super::load::Machine;
use super::raw::{self, Raw};
use crate::domain::{Catalogue, NodeId};

const MEBIBYTE: i64 = 1 << 20;
const GIBIBYTE: i64 = 1 << 30;
const SECONDS_PER_DAY: u64 = 86_400;
/// The longest `telemetry.log_level`, in bytes.
const LONGEST_LOG_FILTER: usize = 1000;
/// What a log level may be, for whoever gave another.
pub const LOG_FILTER: &str =
    "error, warn, info, debug, trace or off, or parts such as info,salesos_webhooks=debug";
/// Where a collector takes traces (OTLP specification, "OTLP/HTTP request").
const OTLP_TRACES: &str = "/v1/traces";

/// The files that the settings name, read.
pub(super) struct Files {
    pub(super) catalogue: Result<Catalogue, Vec<Fault>>,
    pub(super) keys: KeyFiles,
}

/// The settings `raw` of `layers`, checked, with the files that they name.
///
/// # Errors
/// Every fault of every key.
pub(super) fn check(layers: &Layers, raw: Raw, files: Files, machine: &Machine) -> Result<Config, Faults> {
    let mut check = Check { layers, faults: layers.faults.clone() };
    let catalogue = files.catalogue.unwrap_or_else(|faults| {
        check.faults.extend(faults);
        Catalogue::default()
    });
    let dashboard = Dashboard { enabled: raw.dashboard.enabled };
    let config = Config {
        node_id: check.node_id(raw.node.id, machine),
        server: check.server(raw.server, &dashboard, machine),
        api: check.api(&raw.api),
        auth: check.auth(raw.auth, files.keys),
        dashboard,
        security: check.security(raw.security),
        redis: check.redis(raw.redis),
        cluster: check.cluster(&raw.cluster, machine),
        delivery: check.delivery(&raw.delivery),
        breaker: check.breaker(&raw.breaker),
        queue: check.queue(&raw.queue),
        limits: check.limits(&raw.limits),
        log: check.log(&raw.log),
        telemetry: check.telemetry(raw.telemetry),
        catalogue,
    };
    check.relations(&config);
    if check.faults.is_empty() { Ok(config) } else { Err(Faults(check.faults)) }
}

struct Check<'a> {
    layers: &'a Layers,
    faults: Vec<Fault>,
}

/// One section each: the value within its range, or a fault and a stand-in that nobody will see.
impl Check<'_> {
    fn node_id(&mut self, id: String, machine: &Machine) -> NodeId {
        if id.is_empty() {
            return machine.node_id.clone();
        }
        let parsed = id.parse();
        self.demand("node.id", parsed.is_ok(), "1 to 64 letters, digits, '.', '_' or '-'");
        parsed.unwrap_or_else(|_| machine.node_id.clone())
    }

    fn server(&mut self, raw: raw::Server, pages: &Dashboard, machine: &Machine) -> Server {
        let base_path = raw.base_path;
        self.demand(
            "server.base_path",
            is_base_path(&base_path),
            "a path such as /api: a slash first, none at the end",
        );
        self.demand(
            "server.base_path",
            !pages.enabled || base_path.split('/').nth(1) != Some("dashboard"),
            "a path that is not /dashboard or below it, or dashboard.enabled = false",
        );
        Server {
            bind: self.parse("server.bind", &raw.bind, "an IP address", IpAddr::from([127, 0, 0, 1])),
            port: self.within("server.port", raw.port, 0..=65_535),
            management_port: self.within("server.management_port", raw.management_port, 0..=65_535),
            workers: self.threads("server.workers", raw.workers, machine.cores / 2),
            max_connections: self.within("server.max_connections", raw.max_connections, 16..=65_536),
            base_path,
            trusted_proxies: self.trusted_proxies(&raw.trusted_proxies),
            drain: self.seconds("server.drain_seconds", raw.drain_seconds, 1..=600),
        }
    }

    fn api(&mut self, raw: &raw::Api) -> Api {
        let publish_limit = raw.publish_rate_limit_per_second;
        Api {
            max_event_bytes: self.within("api.max_event_bytes", raw.max_event_bytes, 1024..=16 * MEBIBYTE),
            rate_limit_per_minute: self.within(
                "api.rate_limit_per_minute",
                raw.rate_limit_per_minute,
                1..=10_000_000,
            ),
            publish_rate_limit_per_second: self.within(
                "api.publish_rate_limit_per_second",
                publish_limit,
                0..=1_000_000,
            ),
            cors_allowed_origins: self.origins(&raw.cors_allowed_origins),
        }
    }

    fn redis(&mut self, raw: raw::Redis) -> Redis {
        let mode = self.redis_servers(&raw);
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
        let prefix_fits = (1..=32).contains(&raw.prefix.len()) && raw.prefix.bytes().all(legal);
        self.demand("redis.prefix", prefix_fits, "1 to 32 letters, digits, '.', '_', ':' or '-', no braces");
        self.demand("redis.data_dir", !raw.data_dir.is_empty(), "the path of a directory");
        let waits = 50..=60_000;
        Redis {
            mode,
            url: Some(raw.url).filter(|url| !url.is_empty()),
            sentinel_urls: raw.sentinel_urls,
            sentinel_master: raw.sentinel_master,
            cluster_urls: raw.cluster_urls,
            tls_ca_file: Some(raw.tls_ca_file).filter(|file| !file.is_empty()).map(Into::into),
            prefix: raw.prefix,
            data_dir: raw.data_dir.into(),
            require_persistence: raw.require_persistence,
            connect_timeout: self.milliseconds(
                "redis.connect_timeout_ms",
                raw.connect_timeout_ms,
                waits.clone(),
            ),
            command_timeout: self.milliseconds("redis.command_timeout_ms", raw.command_timeout_ms, waits),
        }
    }

    /// What of the keys that say where Redis is goes with `redis.mode`; the others must be empty, so that nobody believes
    /// in a key that does nothing.
    fn redis_servers(&mut self, raw: &raw::Redis) -> RedisMode {
        let any_url = |url: &str| url.is_empty() || url.into_connection_info().is_ok();
        let (sentinels, nodes) = (&raw.sentinel_urls, &raw.cluster_urls);
        let mode = match raw.mode.as_str() {
            "standalone" => {
                let expected = "redis://host:port/db, rediss://… for TLS, unix:///path, or empty";
                self.demand("redis.url", any_url(&raw.url), expected);
                RedisMode::Standalone
            }
            "sentinel" => {
                let expected = "how the master is logged in to, redis://user:password@master/db, rediss://… for TLS, or empty";
                self.demand("redis.url", raw.url.is_empty() || is_tcp(&raw.url), expected);
                let expected = "the sentinels, redis://host:26379 or rediss://…, at least one";
                self.demand("redis.sentinel_urls", all_tcp(sentinels), expected);
                let expected = "the name that the sentinels know the master by, such as mymaster";
                self.demand("redis.sentinel_master", !raw.sentinel_master.trim().is_empty(), expected);
                RedisMode::Sentinel
            }
            "cluster" => {
                let expected = "some nodes of the cluster, redis://host:port or all rediss://…, with one user and \
                                password, no database";
                self.demand("redis.cluster_urls", all_tcp(nodes) && are_alike(nodes), expected);
                let expected = "empty, because redis.cluster_urls says where a Redis Cluster is";
                self.demand("redis.url", raw.url.is_empty(), expected);
                RedisMode::Cluster
            }
            _ => {
                self.demand("redis.mode", false, "standalone, sentinel or cluster");
                return RedisMode::Standalone;
            }
        };
        let (no_sentinel, no_cluster) = (mode != RedisMode::Sentinel, mode != RedisMode::Cluster);
        let rules = [
            ("redis.sentinel_urls", no_sentinel && !sentinels.is_empty(), "sentinel"),
            ("redis.sentinel_master", no_sentinel && !raw.sentinel_master.is_empty(), "sentinel"),
            ("redis.cluster_urls", no_cluster && !nodes.is_empty(), "cluster"),
        ];
        for (key, is_idle, needed) in rules {
            self.demand(key, !is_idle, &format!("empty, or redis.mode = \"{needed}\""));
        }
        mode
    }

    fn cluster(&mut self, raw: &raw::Cluster, machine: &Machine) -> Cluster {
        let partitions: u16 = self.within("cluster.partitions", raw.partitions, 1..=1024);
        Cluster {
            partitions,
            webhooks_per_shard: self.within("cluster.webhooks_per_shard", raw.webhooks_per_shard, 1..=1000),
            shards_per_tenant: self.within("cluster.shards_per_tenant", raw.shards_per_tenant, 1..=255),
            // Deliveries cost far more than publications: fan-out 10 measured 1.2 times as fast with a thread for each of two
            // cores as with one thread, and a loaded node's median delay an eighth.
            threads: self.threads("cluster.threads", raw.threads, machine.cores.min(partitions.into())),
            handover: self.seconds("cluster.handover_seconds", raw.handover_seconds, 1..=300),
        }
    }

    fn breaker(&mut self, raw: &raw::Breaker) -> Breaker {
        let day = 86_400;
        Breaker {
            failure_threshold: self.within("breaker.failure_threshold", raw.failure_threshold, 1..=1_000_000),
            pause: self.seconds("breaker.pause_seconds", raw.pause_seconds, 1..=day),
            max_pause: self.seconds("breaker.max_pause_seconds", raw.max_pause_seconds, 1..=day),
            disable_after: self.days("breaker.disable_after_days", raw.disable_after_days, 1..=365),
        }
    }

    fn queue(&mut self, raw: &raw::Queue) -> Queue {
        let [pending, undispatched, tenant] =
            [raw.max_pending_per_webhook, raw.max_undispatched_bytes, raw.max_pending_bytes_per_tenant];
        let per_tenant = MEBIBYTE..=1024 * GIBIBYTE;
        Queue {
            max_pending_per_webhook: self.within("queue.max_pending_per_webhook", pending, 1..=10_000_000),
            max_undispatched_bytes: self.within(
                "queue.max_undispatched_bytes",
                undispatched,
                MEBIBYTE..=64 * GIBIBYTE,
            ),
            max_pending_bytes_per_tenant: self.within(
                "queue.max_pending_bytes_per_tenant",
                tenant,
                per_tenant,
            ),
        }
    }

    fn limits(&mut self, raw: &raw::Limits) -> Limits {
        Limits {
            webhooks_per_user: self.within("limits.webhooks_per_user", raw.webhooks_per_user, 1..=100_000),
            webhooks_per_tenant: self.within(
                "limits.webhooks_per_tenant",
                raw.webhooks_per_tenant,
                1..=1_000_000,
            ),
        }
    }

    fn log(&mut self, raw: &raw::Log) -> Log {
        Log {
            max_attempts: self.within("log.max_attempts", raw.max_attempts, 1..=1_000_000),
            retention: self.days("log.retention_days", raw.retention_days, 1..=365),
            payload_retention: self.days("log.payload_retention_days", raw.payload_retention_days, 1..=365),
        }
    }

    fn telemetry(&mut self, raw: raw::Telemetry) -> Telemetry {
        self.demand("telemetry.log_level", is_log_filter(&raw.log_level), LOG_FILTER);
        self.demand(
            "telemetry.log_format",
            ["json", "text"].contains(&raw.log_format.as_str()),
            "json or text",
        );
        let log_format = if raw.log_format == "json" { LogFormat::Json } else { LogFormat::Text };
        let otlp_endpoint = self.otlp_endpoint(&raw.otlp_endpoint);
        let otlp_sample_ratio = raw.otlp_sample_ratio;
        let is_share = (0.0..=1.0).contains(&otlp_sample_ratio);
        self.demand("telemetry.otlp_sample_ratio", is_share, "a number from 0 to 1");
        Telemetry { log_level: raw.log_level, log_format, otlp_endpoint, otlp_sample_ratio }
    }

    fn otlp_endpoint(&mut self, text: &str) -> Option<Url> {
        let endpoint = otlp_endpoint(text);
        let expected = "an http or https URL such as http://localhost:4318, without user, password, query or \
                        fragment, or empty";
        self.demand("telemetry.otlp_endpoint", text.is_empty() || endpoint.is_some(), expected);
        endpoint
    }

    fn relations(&mut self, config: &Config) {
        let max_event = u64::try_from(config.api.max_event_bytes).unwrap_or(u64::MAX);
        let memory = u64::try_from(config.delivery.memory_budget_bytes).unwrap_or(u64::MAX);
        let Server { port, management_port, .. } = config.server;
        let (queue, log, limits) = (&config.queue, &config.log, &config.limits);
        let rules = [
            ("server.management_port", "different from", "server.port", port == 0 || port != management_port),
            (
                "server.drain_seconds",
                "more than",
                "cluster.handover_seconds",
                config.server.drain > config.cluster.handover,
            ),
            (
                "log.payload_retention_days",
                "at most",
                "log.retention_days",
                log.payload_retention <= log.retention,
            ),
            (
                "limits.webhooks_per_user",
                "at most",
                "limits.webhooks_per_tenant",
                limits.webhooks_per_user <= limits.webhooks_per_tenant,
            ),
            (
                "breaker.pause_seconds",
                "at most",
                "breaker.max_pause_seconds",
                config.breaker.pause <= config.breaker.max_pause,
            ),
            ("delivery.memory_budget_bytes", "at least", "api.max_event_bytes", memory >= max_event),
            (
                "queue.max_undispatched_bytes",
                "at least",
                "api.max_event_bytes",
                queue.max_undispatched_bytes >= max_event,
            ),
            (
                "queue.max_pending_bytes_per_tenant",
                "at least",
                "api.max_event_bytes",
                queue.max_pending_bytes_per_tenant >= max_event,
            ),
        ];
        for (key, relation, other, holds) in rules {
            if !self.is_faulty(key) && !self.is_faulty(other) {
                let expected = format!("{relation} {other}, which is {}", self.layers.shown(other));
                self.demand(key, holds, &expected);
            }
        }
    }
}

/// What the sections are checked with.
impl Check<'_> {
    /// A fault of `key` unless it is as it should be.
    fn demand(&mut self, key: &str, holds: bool, expected: &str) {
        if !holds {
            let problem = format!("is {}; expected {expected}", self.layers.shown(key));
            self.faults.push(Fault::new(self.layers.subject(key), problem));
        }
    }

    fn is_faulty(&self, key: &str) -> bool {
        let named = |subject: &str| subject.split(' ').next() == Some(key);
        self.faults.iter().any(|fault| named(&fault.subject))
    }

    /// `value` if `range` holds it. `T` must hold all of `range`.
    fn within<T: TryFrom<i64>>(&mut self, key: &str, value: i64, range: RangeInclusive<i64>) -> T {
        let holds = range.contains(&value);
        self.demand(key, holds, &format!("a whole number from {} to {}", range.start(), range.end()));
        let value = if holds { value } else { *range.start() };
        T::try_from(value).ok().expect("the type holds the whole range")
    }

    fn milliseconds(&mut self, key: &str, value: i64, range: RangeInclusive<i64>) -> Duration {
        Duration::from_millis(self.within(key, value, range))
    }

    fn seconds(&mut self, key: &str, value: i64, range: RangeInclusive<i64>) -> Duration {
        Duration::from_secs(self.within(key, value, range))
    }

    fn days(&mut self, key: &str, value: i64, range: RangeInclusive<i64>) -> Duration {
        Duration::from_secs(SECONDS_PER_DAY * self.within::<u64>(key, value, range))
    }

    /// A number of threads, where 0 stands for `usual`.
    fn threads(&mut self, key: &str, value: i64, usual: usize) -> usize {
        match self.within(key, value, 0..=256) {
            0 => usual.max(1),
            threads => threads,
        }
    }

    fn parse<T: std::str::FromStr>(&mut self, key: &str, text: &str, expected: &str, stand_in: T) -> T {
        let parsed = text.parse().ok();
        self.demand(key, parsed.is_some(), expected);
        parsed.unwrap_or(stand_in)
    }
}

/// A `redis://` or `rediss://` URL: a place that can be reached from anywhere.
fn is_tcp(url: &str) -> bool {
    url.into_connection_info().is_ok_and(|info| !matches!(info.addr(), ConnectionAddr::Unix(_)))
}

fn all_tcp(urls: &[String]) -> bool {
    !urls.is_empty() && urls.iter().all(|url| is_tcp(url))
}

/// Whether the nodes of a cluster have one login and one kind of connection, and name no database: a cluster has one.
fn are_alike(urls: &[String]) -> bool {
    let nodes: Vec<_> = urls.iter().filter_map(|url| url.as_str().into_connection_info().ok()).collect();
    let login = |info: &ConnectionInfo| {
        let settings = info.redis_settings();
        let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        (tls, settings.username().map(str::to_owned), settings.password().map(str::to_owned))
    };
    nodes.iter().all(|node| node.redis_settings().db() == 0 && login(node) == login(&nodes[0]))
}

/// Segments of unreserved characters (RFC 3986, section 2.3), each after a slash; no dots alone, which clients resolve.
fn is_base_path(path: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let segment = |part: &str| !part.is_empty() && part.bytes().all(legal) && part.bytes().any(|b| b != b'.');
    path.len() <= 128 && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment))
}

/// A `tracing` filter. A bare word that is no level would be taken as the name of a part of the program and silence all
/// others, so a slip (`inof`) is refused.
pub fn is_log_filter(text: &str) -> bool {
    if text.len() > LONGEST_LOG_FILTER {
        return false;
    }
    let level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let directive = |part: &str| part.contains('=') || (level(part) && !part.is_empty());
    text.split(',').all(|part| directive(part.trim())) && EnvFilter::try_new(text).is_ok()
}

/// Where spans are sent. A URL without a path names the collector, one with a path the very place.
fn otlp_endpoint(text: &str) -> Option<Url> {
    let mut url = Url::parse(text).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    let is_bare = url.query().is_none() && url.fragment().is_none();
    if !["http", "https"].contains(&url.scheme()) || !is_plain || !is_bare {
        return None;
    }
    if url.path() == "/" {
        url.set_path(OTLP_TRACES);
    }
    Some(url)
}

mod auth;
mod clients;
mod delivery;
mod security;
#[cfg(test)]
mod tests;
