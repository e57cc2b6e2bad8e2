//! `serve --development`: what makes a first try easy.
//!
//! A token secret is made when none is set and kept in the data directory, readable by its owner alone. Once the node
//! is ready it proves itself: through the public API alone, one event goes to an endpoint in this process, which checks
//! its signatures, and the delivery log must say 200. Then lines to paste are printed, and the node goes on serving.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::client::{Client, Created};
use crate::clock;
use crate::config::Config;
use crate::domain::EventType;
use crate::receiver::Receiver;
use crate::serve::Addresses;
use crate::token::{self, Bearer};

/// The file in the data directory that keeps the token secret.
const SECRET_FILE: &str = "jwt-secret";
/// The longest wait for the delivery, and again for its row in the log.
const DEADLINE: Duration = Duration::from_secs(15);
/// How often the log is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How long the printed token is good.
const TOKEN_TTL: Duration = Duration::from_secs(30 * 86_400);
/// What the tokens may do: manage webhooks and publish.
const SCOPES: &str = "webhooks:read webhooks:write events:publish";
/// The event that is tried, when the catalogue has it.
const EVENT: &str = "lead.created";

/// The token secret kept in `data_dir`, made when there is none.
///
/// # Errors
/// The directory or the file cannot be made or read.
pub fn secret(data_dir: &Path) -> io::Result<String> {
    let file = data_dir.join(SECRET_FILE);
    match fs::read_to_string(&file) {
        Ok(secret) => Ok(secret.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => make_secret(data_dir, &file),
        Err(error) => Err(error),
    }
}

/// The token secret kept in `data_dir` by a node; never makes one, because a token signed with a secret that no node has
/// is good for nothing.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn kept_secret(data_dir: &Path) -> io::Result<String> {
    match fs::read_to_string(data_dir.join(SECRET_FILE)) {
        Ok(secret) => Ok(secret.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(io::Error::new(
            ErrorKind::NotFound,
            "the first start of the node (make run) makes it: start it, or call this in the directory where it was \
             started",
        )),
        Err(error) => Err(error),
    }
}

/// The token secret kept in `data_dir`, or any: for looking at the settings, which writes nothing.
///
/// # Errors
/// There is one and it cannot be read.
pub fn secret_or_any(data_dir: &Path) -> io::Result<String> {
    match kept_secret(data_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(new_secret()),
        found => found,
    }
}

fn new_secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

fn make_secret(data_dir: &Path, file: &Path) -> io::Result<String> {
    let secret = new_secret();
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    // Written beside and renamed: a crash leaves no half secret.
    let beside = file.with_extension(std::process::id().to_string());
    let mut made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    writeln!(made, "{secret}")?;
    made.sync_all()?;
    fs::rename(&beside, file)?;
    Ok(secret)
}

/// Proves that the node at `addresses` delivers, then prints how to use it.
///
/// # Errors
/// The event did not arrive as it should, with what was missing.
pub async fn greet(config: &Config, addresses: Addresses) -> anyhow::Result<()> {
    let api = format!("http://{}", reachable(addresses.api));
    let event = config.catalogue.get(EVENT).or_else(|| config.catalogue.types().first());
    let event = event.context("the catalogue is empty")?;
    let elapsed =
        prove(config, &api, event).await.context("the node could not prove a delivery to itself")?;
    let management = reachable(addresses.management);
    let role = config.auth.admin_roles.first().map(String::as_str);
    let developer = Bearer { user: "developer", organization: Some("demo"), role, scope: Some(SCOPES) };
    let token = token::issue(&config.auth, &developer, clock::now(), TOKEN_TTL)?;
    let text = lines(&api, &management.to_string(), &token, event);
    let pages = if config.dashboard.enabled { sign_in_line(&api, &token) } else { String::new() };
    writeln!(
        io::stdout(),
        "delivered, signature verified, 200 in {} ms\n\n{text}{pages}",
        elapsed.as_millis()
    )?;
    Ok(())
}

/// The address that a client on this machine connects to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Sends one event the whole way; how long it took from the publish to the arrival.
async fn prove(config: &Config, api: &str, event: &EventType) -> anyhow::Result<Duration> {
    let itself = Bearer { user: "self-test", scope: Some(SCOPES), ..Bearer::default() };
    let token = token::issue(&config.auth, &itself, clock::now(), Duration::from_secs(300))?;
    let client = Client::new(api, &token)?;
    let mut receiver = Receiver::start((Ipv4Addr::LOCALHOST, 0).into())?;
    let events = [event.event.clone()];
    let webhook = client.create_webhook("self-test", &receiver.url(), &events).await.context(
        "a webhook to 127.0.0.1 was refused (development needs 127.0.0.0/8 in delivery.allowed_networks)",
    )?;
    let delivered = deliver(&client, &mut receiver, &webhook, event).await;
    client.delete_webhook(&webhook.id).await?;
    delivered
}

async fn deliver(
    client: &Client,
    receiver: &mut Receiver,
    webhook: &Created,
    event: &EventType,
) -> anyhow::Result<Duration> {
    let published = clock::monotonic();
    let id = client.publish(&event.event, &event.sample).await?;
    let received =
        tokio::time::timeout(DEADLINE, receiver.next()).await.context("nothing arrived in time")?;
    let received = received.context("the receiver ended")?;
    let elapsed = published.elapsed();
    received.verify(&webhook.secret)?;
    if received.id != id || received.event_type != event.event {
        bail!("another event arrived: {} {}", received.event_type, received.id);
    }
    let logged = tokio::time::timeout(DEADLINE, await_row(client, &webhook.id, &id)).await;
    logged.context("the delivery log did not say 200 in time")??;
    Ok(elapsed)
}

/// Waits until the log holds the delivery of `event_id` with a 200.
async fn await_row(client: &Client, webhook_id: &str, event_id: &str) -> anyhow::Result<()> {
    loop {
        let rows = client.deliveries(webhook_id).await?;
        if rows.iter().any(|row| row["eventId"] == event_id && row["statusCode"] == 200) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What a person pastes, in shells of any kind and without tools that may be missing.
fn lines(api: &str, management: &str, token: &str, event: &EventType) -> String {
    let program = program();
    let body = serde_json::json!({ "type": event.event, "data": event.sample });
    let body = body.to_string().replace('\'', "'\\''");
    let bearer = "-H \"Authorization: Bearer $TOKEN\"";
    let mut text = String::new();
    let written = write!(
        text,
        "ready: the API at {api}, metrics and health at http://{management}; Ctrl-C ends it\n\n\
         The token of user `developer` in organization `demo`, good for 30 days. Paste it into two more terminals:\n\n\
         export TOKEN={token}\n\n\
         In the second terminal, a receiver that verifies and prints what arrives:\n\n\
         {program} listen --token \"$TOKEN\" --url {api}\n\n\
         In the third one, publish an event:\n\n\
         curl -sS {api}/api/events {bearer} -H 'Content-Type: application/json' -d '{body}'\n\n\
         and read what became of it:\n\n\
         WEBHOOK=$(curl -sS {api}/api/webhooks {bearer} | grep -o 'wh_[0-9A-Za-z]*' | head -n 1)\n\
         curl -sS {api}/api/webhooks/$WEBHOOK/deliveries {bearer}\n"
    );
    written.expect("writing to a String does not fail");
    text
}

/// What stands behind the `#` of a link stays in the browser.
fn sign_in_line(api: &str, token: &str) -> String {
    format!(
        "\nor open the dashboard, where a button signs you in as that user:\n\n{api}/dashboard/sign-in#{token}\n"
    )
}

/// How this program is started from the current directory.
fn program() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "salesos-webhooks".into());
    let here = std::env::current_dir().unwrap_or_default();
    program.strip_prefix(&here).unwrap_or(&program).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A directory of the test's own, gone with its value.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new() -> Self {
            let name = format!("salesos-webhooks-{:016x}", rand::random::<u64>());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_alone() {
        let scratch = Scratch::new();
        let none = kept_secret(&scratch.0).expect_err("nothing made one");
        assert!(none.to_string().contains("make run"), "{none}");
        assert_eq!(secret_or_any(&scratch.0).expect("any will do").len(), 64);
        assert!(!scratch.0.exists(), "looking makes nothing");
        let made = secret(&scratch.0).expect("a scratch directory can be written");
        assert_eq!(kept_secret(&scratch.0).expect("it is there"), made);
        assert_eq!(made.len(), 64);
        assert_eq!(secret(&scratch.0).expect("it is there"), made);
        let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!((mode(&scratch.0), mode(&scratch.0.join(SECRET_FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&scratch.0).expect("it exists").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_node_on_every_network_is_reached_on_this_machine() {
        for (bound, expected) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.7:1", "10.0.0.7:1")]
        {
            let bound: SocketAddr = bound.parse().expect("an address");
            assert_eq!(reachable(bound).to_string(), expected);
        }
    }

    #[test]
    fn quotes_in_a_sample_do_not_end_the_shell_word() {
        let event = EventType {
            event: "a.b".into(),
            label: String::new(),
            description: String::new(),
            category: String::new(),
            sample: serde_json::json!({"comment": "the quarter's margin"}),
        };
        let text = lines("http://127.0.0.1:8080", "127.0.0.1:9464", "tok", &event);
        assert!(text.contains("quarter'\\''s"), "{text}");
    }
}
