//! The settings as they are written: the shape of `config/default.toml`, before any check.
//!
//! Numbers are `i64` throughout, so that a value out of range reaches the check that names the range instead of failing
//! in the parser; the one share is an `f64`. What each key means stands in `config/default.toml`.

use serde::Deserialize;

macro_rules! sections {
    ($($name:ident { $($key:ident: $kind:ty),* $(,)? })*) => {$(
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name { $(pub(super) $key: $kind),* }
    )*};
}

sections! {
    Raw {
        node: Node,
        server: Server,
        api: Api,
        dashboard: Dashboard,
        auth: Auth,
        security: Security,
        redis: Redis,
        cluster: Cluster,
        delivery: Delivery,
        breaker: Breaker,
        queue: Queue,
        limits: Limits,
        log: Log,
        events: Events,
        telemetry: Telemetry,
    }
    Node { id: String }
    Server {
        bind: String,
        port: i64,
        management_port: i64,
        workers: i64,
        max_connections: i64,
        base_path: String,
        trusted_proxies: Vec<String>,
        drain_seconds: i64,
    }
    Api {
        max_event_bytes: i64,
        rate_limit_per_minute: i64,
        publish_rate_limit_per_second: i64,
        cors_allowed_origins: Vec<String>,
    }
    Dashboard { enabled: bool }
    Auth {
        jwt_secret: String,
        jwt_public_key_file: String,
        jwks_file: String,
        jwks_url: String,
        jwks_refresh_seconds: i64,
        issuer: String,
        audience: String,
        read_only_roles: Vec<String>,
        publisher_roles: Vec<String>,
        admin_roles: Vec<String>,
    }
    Security { encryption_key: String, former_encryption_keys: Vec<String> }
    Redis {
        mode: String,
        url: String,
        sentinel_urls: Vec<String>,
        sentinel_master: String,
        cluster_urls: Vec<String>,
        tls_ca_file: String,
        prefix: String,
        data_dir: String,
        require_persistence: bool,
        connect_timeout_ms: i64,
        command_timeout_ms: i64,
    }
    Cluster {
        partitions: i64,
        webhooks_per_shard: i64,
        shards_per_tenant: i64,
        threads: i64,
        handover_seconds: i64,
    }
    Delivery {
        require_https: bool,
        allowed_networks: Vec<String>,
        dns_servers: Vec<String>,
        proxy_url: String,
        default_rate_limit_per_second: i64,
        max_in_flight: i64,
        response_capture_bytes: i64,
        max_age_days: i64,
        memory_budget_bytes: i64,
    }
    Breaker { failure_threshold: i64, pause_seconds: i64, max_pause_seconds: i64, disable_after_days: i64 }
    Queue { max_pending_per_webhook: i64, max_undispatched_bytes: i64, max_pending_bytes_per_tenant: i64 }
    Limits { webhooks_per_user: i64, webhooks_per_tenant: i64 }
    Log { max_attempts: i64, retention_days: i64, payload_retention_days: i64 }
    Events { catalogue_file: String }
    Telemetry { log_level: String, log_format: String, otlp_endpoint: String, otlp_sample_ratio: f64 }
}
