//! The documented defaults, every range, and every relation between two keys.

mod auth;

use super::*;
use crate::config::{catalogue, layers};

const SECRET: &str = "[auth]\njwt_secret = \"0123456789abcdef0123456789abcdef\"\n";

fn checked(file: &str) -> Result<Config, Faults> {
    let mut layers = Layers::default();
    layers.put_text("my.toml", file);
    let machine = Machine { cores: 5, node_id: "made-1-2".parse().expect("a node id") };
    let files = Files {
        catalogue: catalogue::parse("built in", catalogue::EMBEDDED),
        keys: KeyFiles { public_key: Ok(None), jwks: Ok(None) },
    };
    check(&layers, layers.raw(), files, &machine)
}

/// The faults of one setting put over otherwise good ones.
fn faults(section: &str, line: &str) -> Vec<String> {
    let file = match section {
        "auth" => format!("{SECRET}{line}"),
        _ => format!("{SECRET}[{section}]\n{line}"),
    };
    checked(&file).map_or_else(|faults| faults.0.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

#[test]
fn the_embedded_default_holds_the_documented_values() {
    let config = checked(SECRET).expect("the default and a secret are enough");
    let days = |days| Duration::from_secs(days * SECONDS_PER_DAY);
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = Config {
        node_id: "made-1-2".parse().expect("a node id"),
        server: Server {
            bind: IpAddr::from([127, 0, 0, 1]),
            port: 8080,
            management_port: 9464,
            workers: 2,
            max_connections: 4096,
            base_path: "/api".into(),
            trusted_proxies: vec![],
            drain: Duration::from_secs(25),
        },
        api: Api {
            max_event_bytes: 262_144,
            rate_limit_per_minute: 6000,
            publish_rate_limit_per_second: 0,
            cors_allowed_origins: Origins::These(vec![]),
        },
        auth: Auth {
            jwt_secret: Some("0123456789abcdef0123456789abcdef".into()),
            jwt_public_key: None,
            jwks: None,
            jwks_refresh: Duration::from_secs(300),
            issuer: None,
            audience: None,
            read_only_roles: words(&["VIEWER"]),
            publisher_roles: words(&["service"]),
            admin_roles: words(&["ADMIN", "admin"]),
        },
        dashboard: Dashboard { enabled: true },
        security: Security::default(),
        redis: Redis {
            mode: RedisMode::Standalone,
            url: None,
            sentinel_urls: vec![],
            sentinel_master: String::new(),
            cluster_urls: vec![],
            tls_ca_file: None,
            prefix: "sw:".into(),
            data_dir: "./data".into(),
            require_persistence: true,
            connect_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(2),
        },
        cluster: Cluster {
            partitions: 64,
            webhooks_per_shard: 16,
            shards_per_tenant: 16,
            threads: 5,
            handover: Duration::from_secs(5),
        },
        delivery: Delivery {
            require_https: false,
            allowed_networks: vec![],
            dns_servers: vec![],
            proxy_url: None,
            default_rate_limit_per_second: 0,
            max_in_flight: 4096,
            response_capture_bytes: 4096,
            max_age: days(30),
            memory_budget_bytes: 32 << 20,
        },
        breaker: Breaker {
            failure_threshold: 10,
            pause: Duration::from_secs(30),
            max_pause: Duration::from_secs(900),
            disable_after: days(5),
        },
        queue: Queue {
            max_pending_per_webhook: 100_000,
            max_undispatched_bytes: 64 << 20,
            max_pending_bytes_per_tenant: 256 << 20,
        },
        limits: Limits { webhooks_per_user: 1000, webhooks_per_tenant: 10_000 },
        log: Log { max_attempts: 10_000, retention: days(30), payload_retention: days(3) },
        telemetry: Telemetry {
            log_level: "info".into(),
            log_format: LogFormat::Json,
            otlp_endpoint: None,
            otlp_sample_ratio: 1.0,
        },
        catalogue: config.catalogue.clone(),
    };
    assert_eq!(config, expected);
}

#[test]
fn the_development_settings_fit() {
    let mut layers = Layers::default();
    layers.put_text("config/development.toml", layers::DEVELOPMENT);
    layers.put_text("a secret", SECRET);
    let config = layers.check().expect("the development settings are sound");
    assert_eq!(config.delivery.allowed_networks.len(), 2);
    assert_eq!(config.telemetry.log_format, LogFormat::Text);
}

#[test]
fn workers_share_the_connections_and_each_may_take_one() {
    let server = checked(SECRET).expect("sound").server;
    let of_worker = |workers, max_connections| {
        Server { workers, max_connections, ..server.clone() }.connections_of_worker()
    };
    assert_eq!([of_worker(2, 8192), of_worker(3, 100), of_worker(256, 16)], [4096, 33, 1]);
}

#[test]
fn a_value_out_of_range_is_named_with_what_is_allowed() {
    for (section, line, expected) in [
        ("node", "id = \"a b\"", "node.id (my.toml): is \"a b\"; expected 1 to 64 letters"),
        ("server", "bind = \"localhost\"", "expected an IP address"),
        (
            "server",
            "port = 65536",
            "server.port (my.toml): is 65536; expected a whole number from 0 to 65535",
        ),
        ("server", "port = -1", "from 0 to 65535"),
        ("server", "workers = 257", "from 0 to 256"),
        ("server", "max_connections = 15", "from 16 to 65536"),
        ("server", "max_connections = 65537", "from 16 to 65536"),
        ("server", "base_path = \"api\"", "is \"api\"; expected a path such as /api"),
        ("server", "base_path = \"/api/\"", "none at the end"),
        ("server", "base_path = \"/\"", "a path such as /api"),
        ("server", "base_path = \"/a/../b\"", "a path such as /api"),
        (
            "server",
            "base_path = \"/dashboard/x\"",
            "not /dashboard or below it, or dashboard.enabled = false",
        ),
        ("server", "base_path = \"/{id}\"", "a path such as /api"),
        ("api", "max_event_bytes = 0", "from 1024 to 16777216"),
        ("auth", "admin_roles = [\" \"]", "none empty"),
        ("redis", "prefix = \"{x}:\"", "no braces"),
        ("redis", "prefix = \"\"", "1 to 32"),
        ("redis", "data_dir = \"\"", "the path of a directory"),
        ("redis", "url = \"http://x\"", "is \"http://x/\"; expected redis://"),
        ("redis", "command_timeout_ms = 0", "from 50 to 60000"),
        ("redis", "mode = \"replicated\"", "is \"replicated\"; expected standalone, sentinel or cluster"),
        (
            "redis",
            "mode = \"cluster\"\ncluster_urls = [\"redis://:hunter2@a:7000\", \"redis://b:7000\"]",
            "is [\"redis://:***@a:7000\", \"redis://b:7000\"]; expected some nodes of the cluster",
        ),
        ("redis", "mode = \"cluster\"\ncluster_urls = [\"redis://a:7000/1\"]", "no database"),
        ("redis", "mode = \"cluster\"\ncluster_urls = [\"unix:///a.sock\"]", "redis://host:port"),
        ("redis", "mode = \"cluster\"\ncluster_urls = [\"redis://a\", \"rediss://b\"]", "all rediss://"),
        ("cluster", "partitions = 0", "from 1 to 1024"),
        ("cluster", "shards_per_tenant = 256", "from 1 to 255"),
        ("delivery", "allowed_networks = [\"10.0.0.0/8\", \"10.0.0.0/33\"]", "networks as CIDR"),
        ("server", "trusted_proxies = [\"10.0.0.1\"]", "at most 64 networks as CIDR"),
        ("server", "trusted_proxies = [\"0.0.0.0/0\"]", "none of them /0"),
        ("api", "cors_allowed_origins = [\"*\", \"https://a.example\"]", "or \"*\" alone"),
        ("api", "cors_allowed_origins = [\"https://a.example/\"]", "no slash at the end"),
        (
            "delivery",
            "dns_servers = [\"10.0.0.10\", \"ns.example\"]",
            "delivery.dns_servers (my.toml): is [\"10.0.0.10\", \"ns.example\"]; expected at most 8 addresses",
        ),
        (
            "delivery",
            "proxy_url = \"https://ann:hunter2@proxy\"",
            "delivery.proxy_url (my.toml): is \"https://ann:***@proxy/\"; expected a proxy as http://host:port",
        ),
        ("delivery", "max_in_flight = 0", "from 1 to 65536"),
        ("breaker", "failure_threshold = 0", "from 1 to 1000000"),
        ("breaker", "pause_seconds = 0", "from 1 to 86400"),
        ("breaker", "disable_after_days = 0", "from 1 to 365"),
        ("log", "retention_days = 366", "from 1 to 365"),
        ("telemetry", "log_level = \"inof\"", "is \"inof\"; expected error, warn"),
        ("telemetry", "log_level = \"\"", "expected error, warn"),
        ("telemetry", "log_level = \"info,x=loud\"", "expected error, warn"),
        ("telemetry", "log_format = \"xml\"", "json or text"),
        ("telemetry", "otlp_endpoint = \"localhost:4318\"", "expected an http or https URL"),
        ("telemetry", "otlp_endpoint = \"grpc://otel:4317\"", "expected an http or https URL"),
        (
            "telemetry",
            "otlp_endpoint = \"http://u:hunter2@otel\"",
            "is \"http://u:***@otel/\"; expected an http",
        ),
        (
            "telemetry",
            "otlp_endpoint = \"http://otel/?key=hunter2\"",
            "is \"http://otel/\"; expected an http",
        ),
        ("telemetry", "otlp_sample_ratio = 1.01", "is 1.01; expected a number from 0 to 1"),
        ("telemetry", "otlp_sample_ratio = nan", "a number from 0 to 1"),
        ("telemetry", "otlp_sample_ratio = \"all\"", "is \"all\"; expected a number"),
    ] {
        let found = faults(section, line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].contains(expected), "{line}: {}", found[0]);
    }
}

#[test]
fn a_collector_without_a_path_is_asked_at_the_usual_one() {
    for (given, used) in [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
        ("https://otel.example.com/api/otlp", "https://otel.example.com/api/otlp"),
    ] {
        let config = checked(&format!("{SECRET}[telemetry]\notlp_endpoint = \"{given}\""));
        let endpoint = config.expect("it is sound").telemetry.otlp_endpoint;
        assert_eq!(endpoint.map(String::from).as_deref(), Some(used));
    }
}

#[test]
fn values_at_the_edges_are_taken() {
    for (section, line) in [
        ("server", "port = 0\nmanagement_port = 0"),
        ("server", "bind = \"::\"\nbase_path = \"/v1/crm-hooks\""),
        ("dashboard", "enabled = false\n[server]\nbase_path = \"/dashboard/x\""),
        ("server", "base_path = \"/dashboards\""),
        ("redis", "url = \"rediss://:p@cache:6380/3\""),
        ("redis", "url = \"unix:///run/redis.sock\""),
        (
            "redis",
            "mode = \"sentinel\"\nsentinel_urls = [\"redis://a:26379\"]\nsentinel_master = \"main\"\n\
             url = \"rediss://app:p@master/3\"\ntls_ca_file = \"ca.pem\"",
        ),
        (
            "redis",
            "mode = \"cluster\"\ncluster_urls = [\"rediss://app:p@a:7000\", \"rediss://app:p@b:7000\"]",
        ),
        ("delivery", "response_capture_bytes = 0"),
        ("server", "trusted_proxies = [\"10.0.0.1/32\", \"fd00::/8\"]"),
        ("api", "cors_allowed_origins = [\"*\"]"),
        ("api", "cors_allowed_origins = [\"https://a.example\", \"http://localhost:3000\"]"),
        ("breaker", "failure_threshold = 1\npause_seconds = 1\nmax_pause_seconds = 1"),
        ("telemetry", "log_level = \"off\""),
        ("telemetry", "otlp_endpoint = \"https://otel.example.com:4318/traces\"\notlp_sample_ratio = 0"),
        ("telemetry", "log_level = \"warn,salesos_webhooks=debug\""),
    ] {
        assert_eq!(faults(section, line), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn keys_that_do_not_fit_each_other_are_refused() {
    for (section, line, expected) in [
        ("server", "port = 9464", "server.management_port: is 9464; expected different from server.port"),
        (
            "server",
            "drain_seconds = 5",
            "server.drain_seconds (my.toml): is 5; expected more than cluster.handover_seconds, which is 5",
        ),
        (
            "breaker",
            "max_pause_seconds = 29",
            "breaker.pause_seconds: is 30; expected at most breaker.max_pause_seconds, which is 29",
        ),
        (
            "log",
            "retention_days = 2",
            "log.payload_retention_days: is 3; expected at most log.retention_days",
        ),
        ("limits", "webhooks_per_tenant = 10", "expected at most limits.webhooks_per_tenant, which is 10"),
        (
            "delivery",
            "memory_budget_bytes = 1048576\n[api]\nmax_event_bytes = 2000000",
            "delivery.memory_budget_bytes (my.toml): is 1048576; expected at least api.max_event_bytes",
        ),
    ] {
        let found = faults(section, line);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].contains(expected), "{line}: {}", found[0]);
    }
}

#[test]
fn all_faults_come_at_once_and_show_no_secret() {
    let found = checked(
        "[auth]\njwt_secret = \"hunter2\"\n[redis]\nurl = \"redys://:hunter3@cache\"\nurls = \"hunter4\"\n\
         [server]\nport = 70000\n[log]\nretention_days = 0\n",
    )
    .expect_err("five settings are wrong");
    assert_eq!(found.0.len(), 5, "{found}");
    let text = found.to_string();
    assert!(text.starts_with("the configuration has 5 faults:\n  "), "{text}");
    assert!(text.contains("is 7 bytes long (not shown); expected at least 32"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
}

#[test]
fn what_a_mode_of_redis_lacks_and_what_it_does_not_use_are_named_at_once() {
    let others =
        "url = \"unix:///run/redis.sock\"\nsentinel_urls = [\"redis://a\"]\nsentinel_master = \"main\"\n";
    for (lines, expected) in [
        (
            "mode = \"sentinel\"\nurl = \"unix:///run/redis.sock\"\ncluster_urls = [\"redis://a\"]"
                .to_owned(),
            vec![
                "redis.url ",
                "redis.sentinel_urls: is []",
                "redis.sentinel_master: is \"\"",
                "redis.cluster_urls ",
            ],
        ),
        (
            format!("mode = \"cluster\"\n{others}"),
            vec!["redis.cluster_urls: is []", "redis.url ", "redis.sentinel_urls ", "redis.sentinel_master "],
        ),
        (format!("mode = \"standalone\"\n{others}"), vec!["redis.sentinel_urls ", "redis.sentinel_master "]),
    ] {
        let found = faults("redis", &lines);
        assert_eq!(found.len(), expected.len(), "{lines}: {found:?}");
        for (fault, start) in found.iter().zip(expected) {
            assert!(fault.starts_with(start), "{lines}: {fault}");
        }
    }
}

#[test]
fn a_missing_key_says_how_to_set_one() {
    let found = checked("").expect_err("there is no default key").to_string();
    assert!(found.contains("WEBHOOKS_AUTH__JWT_SECRET") && found.contains("openssl rand"), "{found}");
}

#[test]
fn one_core_still_makes_a_thread() {
    let layers = Layers::default();
    let mut check = Check { layers: &layers, faults: vec![] };
    for (value, usual, expected) in [(0, 0, 1), (0, 1, 1), (0, 64, 64), (7, 1, 7)] {
        assert_eq!(check.threads("server.workers", value, usual), expected);
    }
}

#[test]
fn encryption_keys_are_32_bytes_in_base64_and_never_shown() {
    let (good, other) =
        ("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=");
    let section = |line: &str| checked(&format!("{SECRET}[security]\n{line}"));
    let both = format!("encryption_key = \"{good}\"\nformer_encryption_keys = [\"{other}\", \"{good}\"]");
    let security = section(&both).expect("sound").security;
    assert_eq!(security.encryption_key.map(|key| *key.bytes()), Some([7; 32]));
    assert_eq!(security.former_encryption_keys.len(), 2);
    let key = "security.encryption_key (my.toml): is a value that is not shown; expected the base64 of exactly 32 bytes, \
               as `salesos-webhooks encryption-key` prints it, or empty";
    let former = "security.former_encryption_keys (my.toml): is a value that is not shown; expected at most 8 keys, each \
                  the base64 of exactly 32 bytes";
    let nine = format!("former_encryption_keys = [{}]", vec![format!("\"{good}\""); 9].join(","));
    for (line, fault) in [
        ("encryption_key = \"hunter2\"".to_owned(), key),
        (format!("encryption_key = \"{}\"", &good[..40]), key),
        (format!("encryption_key = \"{}\"", good.trim_end_matches('=')), key),
        ("former_encryption_keys = [\"hunter2\"]".to_owned(), former),
        (format!("former_encryption_keys = [\"{good}\", \"\"]"), former),
        (nine, former),
    ] {
        assert_eq!(faults("security", &line), [fault], "{line}");
    }
    let mistaken = faults("security", "encryption_key = 7");
    assert_eq!(
        mistaken,
        ["security.encryption_key (my.toml): is a value that is not shown; expected a text"]
    );
}
