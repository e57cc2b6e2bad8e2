//! `listen`: a receiver for trying things out. It creates a webhook for itself, verifies and prints what arrives, and
//! deletes the webhook when it is stopped.
//!
//! What it prints comes from the network: control characters are taken out, so that nobody writes to the terminal
//! through it, and a long body is cut.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;

use crate::client::{Client, Created};
use crate::receiver::{Received, Receiver};
use crate::stop::Stop;

/// The longest body that is printed whole, in characters.
const LONGEST_PRINTED: usize = 4000;

/// What to listen to, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// A token that may manage webhooks.
    pub token: String,
    /// The event types to subscribe to.
    pub events: Vec<String>,
    /// The base URL of the API.
    pub api: String,
    /// Where to receive.
    pub bind: SocketAddr,
}

/// Listens until SIGINT (Ctrl-C), SIGTERM or SIGHUP (a terminal that is closed). After a `kill -9` the webhook is left
/// behind; removing such webhooks at the next start would need to know that no other machine listens for them.
///
/// # Errors
/// The address is taken, or the API cannot be reached or refuses the webhook.
pub async fn listen(options: Options) -> anyhow::Result<()> {
    // Caught from here on: a webhook that was created is deleted, however soon the stop comes.
    let mut stop = Stop::listen()?;
    let receiver =
        Receiver::start(options.bind).with_context(|| format!("cannot listen on {}", options.bind))?;
    let client = Client::new(&options.api, &options.token)?;
    let name = format!("listen on {}", receiver.address());
    let webhook = client.create_webhook(&name, &receiver.url(), &options.events).await?;
    let printed = print_all(receiver, &webhook, &options, &mut stop).await;
    client
        .delete_webhook(&webhook.id)
        .await
        .with_context(|| format!("the webhook {} could not be deleted", webhook.id))?;
    printed?;
    // The terminal may be gone, and there is nobody else to tell.
    let _ = say("webhook deleted");
    Ok(())
}

async fn print_all(
    mut receiver: Receiver,
    webhook: &Created,
    options: &Options,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let events = options.events.join(", ");
    say(&format!("listening on {} as webhook {} for {events}; Ctrl-C ends it", receiver.url(), webhook.id))?;
    loop {
        tokio::select! {
            received = receiver.next() => match received {
                Some(received) => say(&block(&received, webhook))?,
                None => anyhow::bail!("the receiver has ended"),
            },
            () = stop.told() => return Ok(()),
        }
    }
}

/// One delivery in words.
fn block(received: &Received, webhook: &Created) -> String {
    let Received { at, event_type, id, attempt, .. } = received;
    let verified = match received.verify(&webhook.secret) {
        Ok(()) => "verified: yes".into(),
        Err(reason) => format!("verified: NO, {reason}"),
    };
    let head = printable(&format!("{at}  {event_type}  {id}  attempt {attempt}  {verified}"));
    format!("\n{head}\n  {}", printable(&String::from_utf8_lossy(&received.body)))
}

/// `text` without control characters, and cut when it is long.
fn printable(text: &str) -> String {
    let mut characters = text.chars().filter(|c| !c.is_control());
    let mut shown: String = characters.by_ref().take(LONGEST_PRINTED).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// `println!` would panic when nobody reads any more (`listen | head`).
fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_printed() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{9b}d"), "a[2Jbcd");
        assert_eq!(printable(&"x".repeat(LONGEST_PRINTED)).chars().count(), LONGEST_PRINTED);
        assert!(printable(&"x".repeat(LONGEST_PRINTED + 1)).ends_with("x…"));
    }
}
