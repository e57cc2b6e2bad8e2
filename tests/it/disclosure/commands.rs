//! The commands, with settings and arguments that are wrong in every way: what they print holds no secret.

use std::process::Output;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::planted::{MARK, Planted};
use crate::harness::{SECRET, SOON, TempDir, TestNode, TestRedis};

/// Runs the program with that environment and nothing else.
async fn run(words: &[&str], variables: &[(&str, &str)], dir: &TempDir) -> Output {
    let run = tokio::process::Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(variables.iter().map(|(name, value)| (format!("WEBHOOKS_{name}"), value)))
        .current_dir(dir.path())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(SOON, run).await.expect("it ends in time").expect("the binary is built")
}

/// What it prints on both streams, which must hold nothing planted.
#[track_caller]
fn holds_no_secret(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    let mut planted = Planted::default();
    planted.add("the key of tokens", SECRET);
    planted.is_absent_from("what a command printed", &said);
    said
}

/// Settings that are wrong and hold a secret, each with what must be named.
const WRONG: [(&str, &str, &str); 29] = [
    ("AUTH__JWT_SECRET", "planted-short", "auth.jwt_secret"),
    ("AUTH__JWT_SECRETT", "planted-misspelt-0123456789-0123456789", "auth.jwt_secrett"),
    ("AUTH_JWT_SECRET", "planted-one-underscore-0123456789-0123", "AUTH_JWT_SECRET"),
    ("AUTH__JWKS_URL", "https://ann:planted-password@id.example.com/keys", "auth.jwks_url"),
    ("AUTH__JWKS_URL", "http://id.example.com/keys?key=planted-token", "auth.jwks_url"),
    ("AUTH__JWKS_URL", "planted-password@id.example.com", "auth.jwks_url"),
    ("SECURITY__ENCRYPTION_KEY", "planted-short", "security.encryption_key"),
    ("SECURITY__FORMER_ENCRYPTION_KEYS", "planted-short,planted-other", "security.former_encryption_keys"),
    ("SECURITY__ENCRYPTION_KEYS", "planted-misspelt", "security.encryption_keys"),
    ("REDIS__URL", "planted-password", "redis.url"),
    ("REDIS__URL", "planted-password@cache:6379", "redis.url"),
    ("REDIS__URL", "http://:planted-password@cache:6379", "redis.url"),
    ("REDIS__URL", "redis://:planted-password@cache:planted-port", "redis.url"),
    ("REDIS__URL", "redis://:planted/password@cache:6379", "redis.url"),
    ("REDIS__URL", "http://planted-password@cache:6379", "redis.url"),
    ("REDIS__URL", "http://app:12/planted-password@cache:6379", "redis.url"),
    ("REDIS__URL", "http://app:12#planted-password@cache:6379", "redis.url"),
    ("REDIS__URL", "http://app:12?planted-password@cache:6379", "redis.url"),
    ("REDIS__URL", "http://app:pass@word/planted-password@cache:6379", "redis.url"),
    ("REDIS__SENTINEL_URLS", "redis://:planted-password@a:26379", "redis.sentinel_urls"),
    ("REDIS__SENTINEL_URLS", "planted-password@a,http://planted-password@b", "redis.sentinel_urls"),
    ("REDIS__CLUSTER_URLS", "redis://:planted-password@a:6379", "redis.cluster_urls"),
    ("DELIVERY__PROXY_URL", "planted-password@proxy:3128", "delivery.proxy_url"),
    ("DELIVERY__PROXY_URL", "ftp://ann:planted-password@proxy:3128", "delivery.proxy_url"),
    ("DELIVERY__PROXY_URL", "ftp://planted-password@proxy:3128", "delivery.proxy_url"),
    (
        "DELIVERY__PROXY_URL",
        "http://ann:planted-password@proxy:3128/path?planted-query",
        "delivery.proxy_url",
    ),
    ("TELEMETRY__OTLP_ENDPOINT", "http://ann:planted-password@collector", "telemetry.otlp_endpoint"),
    ("TELEMETRY__OTLP_ENDPOINT", "http://planted-token@collector", "telemetry.otlp_endpoint"),
    ("TELEMETRY__OTLP_ENDPOINT", "http://collector/?key=planted-token", "telemetry.otlp_endpoint"),
];

#[tokio::test]
async fn a_setting_that_is_wrong_is_told_without_its_secret() {
    let dir = TempDir::new();
    for (name, value, named) in WRONG {
        let mut variables = vec![("AUTH__JWT_SECRET", SECRET)];
        variables.retain(|(given, _)| *given != name);
        variables.push((name, value));
        for words in [&["check-config"][..], &["serve"], &["cluster", "status"], &["token", "--sub", "ann"]] {
            let output = run(words, &variables, &dir).await;
            let said = holds_no_secret(&output);
            if words[0] == "cluster" && name == "AUTH__JWT_SECRET" && output.status.success() {
                continue;
            }
            assert!(!output.status.success(), "{words:?} with {name}={value}: {said}");
            assert!(said.contains(named), "{words:?} with {name}={value}: {said}");
        }
    }
}

#[tokio::test]
async fn a_settings_file_that_is_wrong_is_told_without_its_secrets() {
    let dir = TempDir::new();
    let file = dir.path().join("settings.toml");
    let path = file.to_str().expect("a plain path");
    for text in [
        "[auth]\njwt_secret = planted-without-quotes\n",
        "[auth]\njwt_secret = \"planted-without-end\n",
        "[auth]\njwt_secret = \"planted-0123456789-0123456789-0123456789\" planted-rest\n",
        "[auth]\njwt_secret = \"planted-a\"\njwt_secret = \"planted-b\"\n",
        "[auth]\njwt_secret = [\"planted-list\"]\n",
        "[auth]\njwt_secret = { value = \"planted-table\" }\n",
        "[auth.jwt_secret]\nvalue = \"planted-table\"\n",
        "[auth]\nsecret = \"planted-unknown\"\n",
        "auth = \"planted-section\"\n",
        "jwt_secret = \"planted-top\"\n",
        "[redis]\nurl = \"redis://:planted-password@cache:port\"\n",
        "[redis]\nurl = [\"redis://:planted-password@cache\"]\n",
        "[redis]\nurl = redis://:planted-password@cache\n",
        "[redis]\npassword = \"planted-password\"\n",
        "[delivery]\nproxy_url = { url = \"http://ann:planted-password@proxy\" }\n",
    ] {
        std::fs::write(&file, text).expect("it can be written");
        let output = run(&["check-config", "--config", path], &[], &dir).await;
        let said = holds_no_secret(&output);
        assert!(!output.status.success(), "{text}: {said}");
    }
}

#[tokio::test]
async fn commands_that_succeed_or_cannot_reach_anything_say_no_secret() {
    let (dir, mut redis) = (TempDir::new(), TestRedis::start());
    redis.require_password("planted-redis-password");
    let port = redis.listen_on_tcp().await;
    let good = format!("redis://:planted-redis-password@127.0.0.1:{port}");
    let bad = format!("redis://app:planted-wrong-password@127.0.0.1:{port}");
    let nobody = "redis://:planted-redis-password@127.0.0.1:1".to_owned();
    for url in [&good, &bad, &nobody] {
        let variables = [("AUTH__JWT_SECRET", SECRET), ("REDIS__URL", url.as_str())];
        for words in [&["check-config"][..], &["cluster", "status"], &["cluster", "drain", "some-node"]] {
            holds_no_secret(&run(words, &variables, &dir).await);
        }
    }
    let _: String = redis.command(&["PING"]);
    let token = "planted-head.planted-claims.planted-signature";
    for url in
        ["http://127.0.0.1:1", "http://planted-user:planted-password@127.0.0.1:1/planted", "planted-url"]
    {
        holds_no_secret(&run(&["listen", "--token", token, "--url", url], &[], &dir).await);
        holds_no_secret(&run(&["smoke-test", "--url", url], &[("AUTH__JWT_SECRET", SECRET)], &dir).await);
    }
    let node = TestNode::start_at(&[("REDIS__URL", good)]).await;
    let api = format!("http://{}", node.address().get());
    let refused = run(&["listen", "--token", token, "--url", &api], &[], &dir).await;
    assert!(holds_no_secret(&refused).contains("401"), "{refused:?}");
    let another = [("AUTH__JWT_SECRET", "planted-another-key-0123456789-0123456789")];
    assert!(holds_no_secret(&run(&["smoke-test", "--url", &api], &another, &dir).await).contains("401"));
    let issued = run(&["token", "--sub", "ann"], &another, &dir).await;
    assert!(issued.status.success() && issued.stderr.is_empty(), "{issued:?}");
    holds_no_secret(&issued);
}

/// Settings of each mode that lead to that port with that login.
fn of_each_mode(scheme: &str, login: &str, port: u16) -> [Vec<(&'static str, String)>; 3] {
    let url = format!("{scheme}://{login}@127.0.0.1:{port}");
    let sentinel = [
        ("REDIS__MODE", "sentinel".to_owned()),
        ("REDIS__SENTINEL_MASTER", "master".to_owned()),
        ("REDIS__SENTINEL_URLS", url.clone()),
        ("REDIS__URL", format!("{scheme}://{login}@master")),
    ];
    let cluster = [("REDIS__MODE", "cluster".to_owned()), ("REDIS__CLUSTER_URLS", url.clone())];
    [vec![("REDIS__URL", url)], sentinel.to_vec(), cluster.to_vec()]
}

/// A server that repeats what it is told in an error, as Redis does with a command that it does not know: the login is one.
async fn repeats_what_it_is_told() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut chunk = vec![0; 65_536];
                while let Ok(count @ 1..) = stream.read(&mut chunk).await {
                    let asked = String::from_utf8_lossy(&chunk[..count]).replace("\r\n", " ");
                    // As many answers as were asked for, and more.
                    let answer =
                        format!("-ERR unknown command, with args beginning with: {asked}\r\n").repeat(9);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_node_that_a_redis_will_not_log_in_repeats_no_password() {
    let mut redis = TestRedis::start();
    redis.require_password("another-password");
    let ports = [redis.listen_on_tcp().await, repeats_what_it_is_told().await, 1];
    for (port, login) in ports
        .iter()
        .flat_map(|port| [":planted-password", "planted-user:planted-password"].map(|login| (*port, login)))
    {
        for settings in
            of_each_mode("redis", login, port).into_iter().chain(of_each_mode("rediss", login, port))
        {
            let said = TestNode::refused(&settings).await;
            assert!(!said.contains(MARK), "{settings:?}: {said}");
            let mut variables = vec![("AUTH__JWT_SECRET", SECRET)];
            variables.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
            holds_no_secret(&run(&["cluster", "status"], &variables, &TempDir::new()).await);
        }
    }
}

#[tokio::test]
async fn a_file_that_is_no_certificate_is_not_repeated() {
    let dir = TempDir::new();
    let file = dir.path().join("ca.pem");
    let path = file.to_str().expect("a plain path");
    for text in ["planted-key", "-----BEGIN CERTIFICATE-----\nplanted-key\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&file, text).expect("it can be written");
        let variables = [
            ("AUTH__JWT_SECRET", SECRET),
            ("REDIS__URL", "rediss://:planted-password@127.0.0.1:1"),
            ("REDIS__TLS_CA_FILE", path),
        ];
        for words in [&["check-config"][..], &["cluster", "status"], &["serve"]] {
            holds_no_secret(&run(words, &variables, &dir).await);
        }
    }
}
