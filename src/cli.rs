//! The command line: what the program can be asked to do.
//!
//! Commands write what they were asked for to standard output and everything else to standard error; they end with 0,
//! or with 1 and the reason.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio::sync::oneshot;

use crate::api::openapi;
use crate::config::{self, Auth, Config, Jwks, Layers, RedisMode};
use crate::domain::{EncryptionKey, KeyId};
use crate::operator::rekey;
use crate::policy::lease::{LOOK_EVERY, TERM};
use crate::policy::sealing::id_of;
use crate::serve::{Addresses, ServeOptions};
use crate::telemetry::metrics::METRICS;
use crate::token::{self, Bearer};
use crate::{clock, demo, development, listen, operator, serve, smoke, telemetry};

/// The settings file when `--config` names none; it need not exist.
const DEFAULT_FILE: &str = "config/default.toml";
/// The longest life of a token.
const LONGEST_TTL: Duration = Duration::from_secs(3650 * 86_400);

/// Self-hosted webhook delivery: signed, at least once, in time, whatever dies on the way.
#[derive(Debug, Parser)]
#[command(name = "salesos-webhooks", version)]
pub struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the settings come from.
#[derive(Debug, Args)]
struct Settings {
    /// The settings file [default: config/default.toml]; the environment (`WEBHOOKS_<SECTION>__<KEY>`) wins over it
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Settings for trying things out: addresses of this machine are allowed, a token secret is made when none is set, and
    /// `serve` proves a delivery to itself
    #[arg(long, global = true)]
    development: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node (the default)
    Serve,
    /// Print a token for the API, signed with auth.jwt_secret
    Token(TokenArgs),
    /// Check the settings and say what is wrong with them, all at once
    CheckConfig,
    /// Receive, verify and print deliveries on this machine; the webhook is deleted at the end
    Listen(ListenArgs),
    /// Ask a running installation to deliver one event, through its API; the webhook is deleted at the end
    SmokeTest(SmokeArgs),
    /// Watch a cluster lose a node and no event: three nodes, one killed in the middle. Needs redis-server, leaves nothing
    Demo(DemoArgs),
    /// Look at the cluster and move partitions off a node
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Encrypt the secrets of all webhooks with security.encryption_key, whatever they are stored with now; nodes may run
    Rekey(RekeyArgs),
    /// Print a new random key for security.encryption_key
    EncryptionKey,
    /// Wait and end: for a `preStop` hook in an image without a shell
    Sleep {
        /// A number and s, m, h or d
        #[arg(value_parser = ttl)]
        span: Duration,
    },
    /// Print the reference of all metrics, as docs/metrics.md has it
    Metrics,
    /// Print the OpenAPI document, with the event types of the settings
    Openapi,
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Print the nodes, what each owns and what waits
    Status,
    /// Let a node own nothing, restarts included, and wait until it does; --undo gives it its share again
    Drain(DrainArgs),
}

#[derive(Debug, Args)]
struct RekeyArgs {
    /// Count what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Store them as they are instead, for a version of the program that does not encrypt
    #[arg(long, conflicts_with = "dry_run")]
    decrypt: bool,
    /// The id of a key that is lost for good: nodes start without it, and its webhooks wait for new secrets
    #[arg(long, value_name = "ID", value_parser = key_id, conflicts_with = "dry_run")]
    lost_key: Option<KeyId>,
}

impl RekeyArgs {
    fn mode(&self) -> rekey::Mode {
        match (self.dry_run, self.decrypt) {
            (true, _) => rekey::Mode::DryRun,
            (false, true) => rekey::Mode::Decrypt,
            (false, false) => rekey::Mode::Encrypt,
        }
    }
}

#[derive(Debug, Args)]
struct DrainArgs {
    /// The node's id, as `cluster status` prints it
    node: String,
    /// Let it own its share again
    #[arg(long)]
    undo: bool,
    /// Also when no other node would take the partitions over: nothing is delivered then
    #[arg(long)]
    force: bool,
    /// The longest wait: a number and s, m, h or d
    #[arg(long, default_value = "60s", value_parser = ttl)]
    wait: Duration,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Events to publish
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    events: u32,
}

#[derive(Debug, Args)]
struct TokenArgs {
    /// The user (`sub`)
    #[arg(long, value_name = "USER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    sub: String,
    /// The organization (`organizationId`); without one the token acts in the user's private tenant
    #[arg(long, value_name = "ORGANIZATION", value_parser = organization)]
    org: Option<String>,
    /// The role, such as `service` to publish or `ADMIN`
    #[arg(long)]
    role: Option<String>,
    /// What it may do, space-separated: webhooks:read webhooks:write events:publish events:publish:any
    #[arg(long, value_name = "SCOPES", value_parser = scopes)]
    scope: Option<String>,
    /// How long it is good: a number and s, m, h or d
    #[arg(long, default_value = "24h", value_parser = ttl)]
    ttl: Duration,
}

#[derive(Debug, Args)]
struct ListenArgs {
    /// A token that may create and delete webhooks
    #[arg(long)]
    token: String,
    /// The event types to subscribe to, comma-separated: lead.created, lead.*, or * for all
    #[arg(long, default_value = "*", value_delimiter = ',')]
    events: Vec<String>,
    /// The base URL of the API
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Where to receive; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:0")]
    bind: SocketAddr,
}

#[derive(Debug, Args)]
struct SmokeArgs {
    /// The base URL of the API
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The base URL of the management port; without it readiness is not asked for
    #[arg(long, value_name = "URL")]
    management: Option<String>,
    /// Receive the event at this address of this machine, on any free port; the nodes must reach it, and allow it
    /// (delivery.allowed_networks) if it is private. Without it the event goes to a name that does not exist
    #[arg(long, value_name = "IP")]
    receive: Option<IpAddr>,
    /// The longest wait for readiness, and again for the attempt: a number and s, m, h or d
    #[arg(long, default_value = "60s", value_parser = ttl)]
    wait: Duration,
}

impl SmokeArgs {
    fn options(self) -> smoke::Options {
        let Self { url, management, receive, wait } = self;
        smoke::Options { api: url, management, receive, limit: wait }
    }
}

/// Does what was asked. Needs an actix system around it.
///
/// # Errors
/// What kept it from being done, in words for the person who asked.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let ended = serve_node(cli.settings.load(development::secret)?, cli.settings.development).await;
            telemetry::logging::finish();
            ended
        }
        Command::Token(args) => say(&args.issue(&cli.settings.load(development::kept_secret)?)?),
        Command::CheckConfig => say(&summary(&cli.settings.load(development::secret_or_any)?)),
        Command::Listen(ListenArgs { token, events, url, bind }) => {
            listen::listen(listen::Options { token, events, api: url, bind }).await
        }
        Command::SmokeTest(args) => {
            smoke::run(&cli.settings.load(development::kept_secret)?, args.options()).await
        }
        Command::Demo(DemoArgs { events }) => demo::run(demo::Options { events: events as usize }).await,
        Command::Cluster(command) => {
            let config = cli.settings.load_without_secret()?;
            say(&match command {
                ClusterCommand::Status => operator::status(&config).await?,
                ClusterCommand::Drain(DrainArgs { node, undo: true, .. }) => {
                    operator::undo_drain(&config, &node).await?
                }
                ClusterCommand::Drain(DrainArgs { node, force, wait, .. }) => {
                    let others =
                        if force { operator::Others::Whatever } else { operator::Others::MustTakeOver };
                    operator::drain(&config, &node, others, wait).await?
                }
            })
        }
        Command::Rekey(args) => {
            let config = cli.settings.load_without_secret()?;
            let report = rekey::run(&config, args.mode(), args.lost_key).await?;
            say(&report.to_string())?;
            anyhow::ensure!(report.is_whole(), "some records could not be read");
            Ok(())
        }
        Command::EncryptionKey => say(&EncryptionKey::new(rand::random()).to_base64()),
        Command::Sleep { span } => {
            tokio::time::sleep(span).await;
            Ok(())
        }
        Command::Metrics => say(telemetry::metrics::reference::markdown().trim_end()),
        Command::Openapi => say(&document(&cli.settings.load_without_secret()?)?),
        Command::Version => say(concat!("salesos-webhooks ", env!("CARGO_PKG_VERSION"))),
    }
}

async fn serve_node(config: Config, development: bool) -> anyhow::Result<()> {
    telemetry::logging::start(&config.telemetry).context("the log cannot be started")?;
    if !development {
        return serve::run(config, ServeOptions::default()).await;
    }
    let (on_ready, ready) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let options = ServeOptions { on_ready: Some(on_ready), stop: Some(stopped) };
    let mut serving = Box::pin(serve::run(config.clone(), options));
    let greeted = tokio::select! {
        ended = &mut serving => return ended,
        greeted = greet_when_ready(&config, ready) => greeted,
    };
    if greeted.is_err() {
        // A node that could not prove itself is drained like any other.
        let _ = stop.send(());
        serving.await?;
        return greeted;
    }
    let served = serving.await;
    drop(stop);
    served
}

async fn greet_when_ready(config: &Config, ready: oneshot::Receiver<Addresses>) -> anyhow::Result<()> {
    match ready.await {
        Ok(addresses) => {
            own_all(config).await;
            development::greet(config, addresses).await
        }
        // The node ended before it was ready: its own error says why.
        Err(_) => std::future::pending().await,
    }
}

/// Waits until the node owns its partitions, so that the proof does not measure the wait for the leases of a node that
/// was killed; for not much longer than that takes, because another node may hold them and deliver.
async fn own_all(config: &Config) {
    let all = i64::from(config.cluster.partitions);
    let owned = async {
        while METRICS.partitions_owned.get() < all {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // The log says what is being waited for.
    let _ = tokio::time::timeout(2 * TERM, owned).await;
}

impl Settings {
    /// Reads and checks them; with `--development` and no token secret set, `secret_in` gives that of the data directory.
    fn load(&self, secret_in: fn(&Path) -> io::Result<String>) -> anyhow::Result<Config> {
        let mut layers = self.layers();
        if self.development && layers.is_unset("auth.jwt_secret") {
            let data_dir = layers.text("redis.data_dir").unwrap_or_default();
            let secret = secret_in(Path::new(data_dir)).with_context(|| {
                format!("no token secret in redis.data_dir = {data_dir} (WEBHOOKS_REDIS__DATA_DIR)")
            })?;
            layers.set("auth.jwt_secret", &secret, "made by --development");
        }
        Ok(layers.check()?)
    }

    /// The same for a command that neither makes nor checks tokens: their secret need not be set.
    fn load_without_secret(&self) -> anyhow::Result<Config> {
        const UNUSED: &str = "this command makes and checks no token";
        let mut layers = self.layers();
        if layers.is_unset("auth.jwt_secret") {
            layers.set("auth.jwt_secret", UNUSED, "not needed here");
        }
        Ok(layers.check()?)
    }

    fn layers(&self) -> Layers {
        let mut layers = Layers::default();
        match &self.config {
            Some(file) => layers.put_file(file),
            None if self.development => {
                layers.put_text("the development settings", config::layers::DEVELOPMENT);
            }
            None if Path::new(DEFAULT_FILE).exists() => layers.put_file(Path::new(DEFAULT_FILE)),
            None => {}
        }
        layers.put_environment(config::environment());
        layers
    }
}

impl TokenArgs {
    fn issue(&self, config: &Config) -> anyhow::Result<String> {
        let bearer = Bearer {
            user: &self.sub,
            organization: self.org.as_deref(),
            role: self.role.as_deref(),
            scope: self.scope.as_deref(),
        };
        Ok(token::issue(&config.auth, &bearer, clock::now(), self.ttl)?)
    }
}

/// The OpenAPI document, with line breaks.
fn document(config: &Config) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&openapi::document(openapi::Subject::of(config)))?)
}

/// The settings in a few lines, without secrets.
fn summary(config: &Config) -> String {
    let Config { server, redis, cluster, .. } = config;
    let places =
        |urls: &[String]| urls.iter().map(|url| config::redacted_url(url)).collect::<Vec<_>>().join(", ");
    let redis = match (redis.mode, &redis.url) {
        (RedisMode::Standalone, Some(url)) => config::redacted_url(url),
        (RedisMode::Standalone, None) => format!("a private redis-server in {}", redis.data_dir.display()),
        (RedisMode::Sentinel, _) => {
            format!("the master {} of the sentinels {}", redis.sentinel_master, places(&redis.sentinel_urls))
        }
        (RedisMode::Cluster, _) => format!("the cluster of {}", places(&redis.cluster_urls)),
    };
    let secrets = match &config.security.encryption_key {
        Some(key) => format!("encrypted with the key {}", id_of(key)),
        None => "stored as they are".to_owned(),
    };
    format!(
        "ok\n  api          http://{}, also under {}\n  management   http://{}\n  tokens       {}\n  redis        {redis}\n  \
         cluster      {} partitions, {} threads here, {} for the API\n  secrets      {secrets}\n  events       {} types",
        SocketAddr::new(server.bind, server.port),
        server.base_path,
        SocketAddr::new(server.bind, server.management_port),
        tokens(&config.auth),
        cluster.partitions,
        cluster.threads,
        server.workers,
        config.catalogue.types().len(),
    )
}

/// Which keys verify tokens.
fn tokens(auth: &Auth) -> String {
    let secret = auth.jwt_secret.as_ref().map(|_| "HS256 by a secret".to_owned());
    let public =
        auth.jwt_public_key.as_ref().map(|key| format!("{} by a public key", key.algorithm().as_str()));
    let jwks = auth.jwks.as_ref().map(|jwks| match jwks {
        Jwks::File(file, set) => {
            format!("{} keys of {} ({} left out)", set.keys.len(), file.display(), set.left_out)
        }
        Jwks::Url(url) => format!("the keys of {}", config::redacted_url(url.as_str())),
    });
    let any_audience = auth.takes_any_audience().then(|| "for whatever audience (auth.audience)".to_owned());
    [secret, public, jwks, any_audience].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A span of time in words: `90s`, `15m`, `24h`, `30d`.
fn ttl(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and s, m, h or d, from 1s to 3650d, such as 24h".to_owned();
    let split = text.len().checked_sub(1).filter(|end| text.is_char_boundary(*end)).ok_or_else(expected)?;
    let (number, unit) = text.split_at(split);
    let seconds_per_unit: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(expected()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds_per_unit));
    let ttl = Duration::from_secs(seconds.ok_or_else(expected)?);
    if (Duration::from_secs(1)..=LONGEST_TTL).contains(&ttl) { Ok(ttl) } else { Err(expected()) }
}

/// Scopes that mean something: a misspelled one would be found out by a 403 much later.
fn scopes(text: &str) -> Result<String, String> {
    let known = token::SCOPES.join(" ");
    match text.split_whitespace().find(|scope| !token::SCOPES.contains(scope)) {
        Some(unknown) => Err(format!("there is no scope {unknown}; known are, with spaces between: {known}")),
        None if text.trim().is_empty() => Err(format!("known are, with spaces between: {known}")),
        None => Ok(text.split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

/// A key's id, as the log and `rekey` print it.
fn key_id(text: &str) -> Result<KeyId, String> {
    text.parse().map_err(|_| "expected eight of the digits 0-9 and a-f, such as 1a2b3c4d".into())
}

/// What the API takes as an organization.
fn organization(text: &str) -> Result<String, String> {
    match text {
        "" => Err("an organization has a name".into()),
        _ if text.starts_with("user:") => Err("may not begin with user:".into()),
        _ => Ok(text.to_owned()),
    }
}

/// `println!` would panic when nobody reads any more.
fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_may_stand_before_and_after_the_command() {
        for line in ["x --config a.toml serve --development", "x serve --config a.toml --development"] {
            let cli = Cli::try_parse_from(line.split(' ')).expect("it is a good line");
            assert!(cli.settings.development && cli.settings.config == Some("a.toml".into()), "{line}");
        }
        assert!(Cli::try_parse_from(["x"]).expect("serve is the default").command.is_none());
    }

    #[test]
    fn spans_of_time_are_read_with_their_unit() {
        for (text, seconds) in [("1s", 1), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000)] {
            assert_eq!(ttl(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "h", "24", "0s", "-1h", "1.5h", "4000d", "99999999999999999999d", "1 h", "5µ"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_scope_that_nothing_asks_for_is_refused_with_the_known_ones() {
        assert_eq!(scopes(" webhooks:read  events:publish "), Ok("webhooks:read events:publish".into()));
        for bad in ["webhooks:raed", "webhooks:read,webhooks:write", "", " ", "Webhooks:read"] {
            let refused = scopes(bad).expect_err(bad);
            assert!(token::SCOPES.iter().all(|known| refused.contains(known)), "{refused}");
        }
    }

    #[test]
    fn an_organization_cannot_pass_for_a_user() {
        assert!(organization("user:u1").is_err() && organization("").is_err());
        assert_eq!(organization("demo"), Ok("demo".into()));
    }
}
