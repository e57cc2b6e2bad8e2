//! `smoke-test`: whether an installation that runs really delivers, asked through its public API alone.
//!
//! It makes a webhook, publishes an event and looks for the attempt in the log; the webhook is deleted at the end. With
//! nowhere to receive, the webhook points to a name that never resolves (RFC 2606, `.invalid`): the attempt fails, and
//! its row proves that publishing, matching, the queue and the log work without anything being opened. With
//! [`Options::receive`], the event must arrive here and both its signatures must be right.
//!
//! It also proves that the address guard is up: a webhook to the metadata service of clouds must be refused.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::client::{Client, Created, Error};
use crate::clock;
use crate::config::Config;
use crate::domain::{ErrorKind, EventType};
use crate::receiver::Receiver;
use crate::token::{self, Bearer};

/// Whom the token speaks for: an organization of its own, so that no customer's webhook gets the event.
const BEARER: Bearer<'static> = Bearer {
    user: "smoke-test",
    organization: Some("smoke-test"),
    role: None,
    scope: Some("webhooks:read webhooks:write events:publish"),
};
/// What never resolves.
const NOWHERE: &str = "https://smoke-test.invalid/";
/// The metadata service of clouds, which no webhook should reach.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// How the attempt to nowhere may end; the second where a resolver makes up private addresses.
const NOWHERE_ENDS: [ErrorKind; 2] = [ErrorKind::Dns, ErrorKind::BlockedAddress];
/// How often an answer is asked for again.
const POLL: Duration = Duration::from_millis(200);

/// What to test, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The base URL of the API.
    pub api: String,
    /// The base URL of the management port; without it, readiness is not asked for.
    pub management: Option<String>,
    /// An address of this machine that the nodes reach, to receive at; without it the event goes nowhere.
    pub receive: Option<IpAddr>,
    /// The longest wait for readiness, and again for the attempt.
    pub limit: Duration,
}

/// Runs the test and prints a line for each step that holds. Needs an actix system around it.
///
/// # Errors
/// The first step that does not hold.
pub async fn run(config: &Config, options: Options) -> anyhow::Result<()> {
    if let Some(management) = &options.management {
        await_ready(&Client::new(management, "")?, options.limit).await?;
        say("ready      redis answers")?;
    }
    let token = token::issue(&config.auth, &BEARER, clock::now(), options.limit * 2 + POLL * 300)?;
    let client = Client::new(&options.api, &token)?;
    say(&check_guard(&client, config).await?)?;
    let receiver = options.receive.map(start).transpose()?;
    let url = receiver.as_ref().map_or_else(|| NOWHERE.into(), Receiver::url);
    let event = config.catalogue.types().first().context("the catalogue is empty")?;
    let webhook = create(&client, &url, event).await.context("the webhook was not created")?;
    say(&format!("webhook    {}", webhook.id))?;
    let delivered = deliver(&client, &webhook, event, receiver, options.limit).await;
    let deleted = client.delete_webhook(&webhook.id).await;
    delivered?;
    deleted.with_context(|| format!("the webhook {} could not be deleted", webhook.id))?;
    say("ok         webhook deleted")
}

fn start(address: IpAddr) -> anyhow::Result<Receiver> {
    Receiver::start((address, 0).into()).with_context(|| format!("cannot listen on {address}"))
}

async fn await_ready(management: &Client, limit: Duration) -> anyhow::Result<()> {
    let deadline = clock::monotonic() + limit;
    loop {
        match management.is_ready().await {
            Ok(()) => return Ok(()),
            Err(error) if clock::monotonic() >= deadline => {
                return Err(error).context("no node was ready in time");
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// A webhook to the metadata service must be refused, unless the settings allow it.
async fn check_guard(client: &Client, config: &Config) -> anyhow::Result<String> {
    if config.delivery.allowed_networks.iter().any(|network| network.contains(&IpAddr::from(METADATA))) {
        return Ok("guard      not tested: delivery.allowed_networks allows link-local addresses".into());
    }
    let url = format!("https://{METADATA}/");
    match client.create(&settings(&url, "*")).await {
        Err(Error::Refused { status, .. }) if status.as_u16() == 400 => {
            Ok(format!("guard      a webhook to {METADATA} is refused"))
        }
        Err(error) => Err(error).context("the address guard could not be tested"),
        Ok(created) => {
            client.delete_webhook(&created.id).await?;
            bail!("a webhook to {METADATA} was accepted: the address guard is not up")
        }
    }
}

async fn create(client: &Client, url: &str, event: &EventType) -> Result<Created, Error> {
    client.create(&settings(url, &event.event)).await
}

fn settings(url: &str, events: &str) -> Value {
    json!({ "name": "smoke-test", "url": url, "events": [events], "retryAttempts": 0 })
}

async fn deliver(
    client: &Client,
    webhook: &Created,
    event: &EventType,
    receiver: Option<Receiver>,
    limit: Duration,
) -> anyhow::Result<()> {
    let published = clock::monotonic();
    let id = client.publish(&event.event, &event.sample).await.context("the event was not taken")?;
    say(&format!("published  {id} {}", event.event))?;
    let receives = receiver.is_some();
    if let Some(receiver) = receiver {
        let arrived = tokio::time::timeout(limit, await_arrival(receiver, webhook, &id)).await;
        // The log knows better than "nothing arrived" why it did not.
        if let Ok(arrived) = arrived {
            arrived?;
            say(&format!(
                "received   both signatures verified, after {} ms",
                published.elapsed().as_millis()
            ))?;
        }
    }
    let row = tokio::time::timeout(limit, await_row(client, &webhook.id, &id)).await;
    let row = row.context("the log did not show an attempt in time: does any node own the partitions?")??;
    say(&verdict(&row, receives)?)
}

async fn await_arrival(mut receiver: Receiver, webhook: &Created, id: &str) -> anyhow::Result<()> {
    let received = receiver.next().await.context("the receiver ended")?;
    received.verify(&webhook.secret)?;
    ensure!(received.id == id, "another event arrived: {}", received.id);
    Ok(())
}

async fn await_row(client: &Client, webhook: &str, event: &str) -> Result<Value, Error> {
    loop {
        let rows = client.deliveries(webhook).await?;
        if let Some(row) = rows.into_iter().find(|row| row["eventId"] == event) {
            return Ok(row);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What the row of the attempt says of the installation.
fn verdict(row: &Value, receives: bool) -> anyhow::Result<String> {
    let kind = row["errorKind"].as_str().unwrap_or_default();
    match row["statusCode"].as_u64() {
        Some(200) if receives => Ok("attempted  200".into()),
        None if !receives && NOWHERE_ENDS.iter().any(|expected| expected.as_str() == kind) => {
            Ok(format!("attempted  {kind}, as it must: the webhook points to a name that does not exist"))
        }
        Some(status) => bail!("the attempt ended with {status} {kind}, which is not expected here"),
        None => bail!(
            "the attempt failed with {kind}, which is not expected here: {}",
            row["errorMessage"].as_str().unwrap_or("no message")
        ),
    }
}

/// `println!` would panic when nobody reads any more.
fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_depends_on_whether_something_was_to_arrive() {
        let row = |status: Value, kind: Value| json!({ "statusCode": status, "errorKind": kind });
        for (status, kind, receives, good) in [
            (json!(200), Value::Null, true, true),
            (json!(200), Value::Null, false, false),
            (json!(503), json!("http_status"), true, false),
            (Value::Null, json!("dns"), false, true),
            (Value::Null, json!("blocked_address"), false, true),
            (Value::Null, json!("timeout"), false, false),
            (Value::Null, json!("dns"), true, false),
        ] {
            let row = row(status, kind);
            assert_eq!(verdict(&row, receives).is_ok(), good, "{row} {receives}");
        }
    }
}
