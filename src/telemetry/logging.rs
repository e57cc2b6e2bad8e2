//! Where log lines go: to standard error, one a line, as JSON or for people; and how much is said.
//!
//! Standard output is left to what a command was asked for (a token, a delivery), so it can be piped.
//!
//! Libraries are held to [`MOST_OF_LIBRARIES`] whatever the level says: below that they print headers, bodies and
//! addresses, which hold tokens, signatures and payloads. Our own lines hold none at any level.

use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::events as facts;
use super::line::JsonLine;
use super::writer::Lines;
use crate::config::{self, LogFormat, Telemetry};

/// What the targets of our own lines begin with.
const OURS: &str = "salesos_webhooks";
/// The most talkative level of all others.
const MOST_OF_LIBRARIES: Level = Level::INFO;
/// Says of each request that cannot be read that it is an error: whoever reaches the port could fill the log with such lines.
const SPEAKS_OF_CLIENTS: &str = "actix_http";
/// What holds of the audit log unless a filter names it: who turns the rest down does not hide what is changed.
const AUDIT_GOES_ON: &str = "salesos_webhooks::audit=info";

/// The level that holds; set once, when the log starts.
static SWITCH: OnceLock<Switch> = OnceLock::new();

struct Switch {
    lines: Lines,
    filter: reload::Handle<EnvFilter, Registry>,
    level: Mutex<String>,
}

/// Starts the log as `telemetry` says, for the whole process.
///
/// # Errors
/// It has been started before, or its thread cannot be.
pub fn start(telemetry: &Telemetry) -> Result<(), NotStarted> {
    let lines = Lines::into_sink(stderr())?;
    // Checked with the configuration; a filter that cannot be read would log errors only.
    let (filter, handle) = reload::Layer::new(EnvFilter::new(complete(&telemetry.log_level)));
    let layer = layer(telemetry.log_format, lines.clone());
    Registry::default().with(filter).with(filter_fn(may_be_said)).with(layer).try_init()?;
    let level = Mutex::new(telemetry.log_level.clone());
    // It has not been started before.
    let _ = SWITCH.set(Switch { lines, filter: handle, level });
    Ok(())
}

/// The log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// It has been started before.
    #[error(transparent)]
    Before(#[from] TryInitError),
    /// The operating system gives no thread for it.
    #[error("the thread that writes the log cannot be started")]
    Thread(#[from] std::io::Error),
}

/// Waits a moment for lines that have not been written yet; for the end of the process.
pub fn finish() {
    /// A reader that stalls is not waited for any longer.
    const MOMENT: Duration = Duration::from_secs(1);
    if let Some(switch) = SWITCH.get() {
        switch.lines.flush_within(MOMENT);
    }
}

fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(
    format: LogFormat,
    lines: Lines,
) -> Box<dyn Layer<S> + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().with_writer(move || lines.clone());
    match format {
        LogFormat::Json => layer.event_format(JsonLine).boxed(),
        LogFormat::Text => layer.with_ansi(stderr().is_terminal()).boxed(),
    }
}

/// A filter with what it does not say of the audit log; of two words about one target the last counts.
fn complete(filter: &str) -> String {
    format!("{AUDIT_GOES_ON},{filter}")
}

fn may_be_said(of: &Metadata<'_>) -> bool {
    is_of(of, OURS) || (*of.level() <= MOST_OF_LIBRARIES && !is_of(of, SPEAKS_OF_CLIENTS))
}

fn is_of(of: &Metadata<'_>, crate_name: &str) -> bool {
    of.target().strip_prefix(crate_name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The level that holds now, as it was given; `None` while there is no log.
pub fn level() -> Option<String> {
    SWITCH.get().map(|switch| switch.level.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// The level could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unchanged {
    /// It is none.
    #[error("level must be {}", config::LOG_FILTER)]
    NoLevel,
    /// There is no log to change.
    #[error("the log has not been started")]
    NoLog,
}

/// Changes the level until the process ends.
///
/// # Errors
/// See [`Unchanged`]; the former one holds on.
pub fn set_level(new: &str) -> Result<(), Unchanged> {
    if !config::is_log_filter(new) {
        return Err(Unchanged::NoLevel);
    }
    let switch = SWITCH.get().ok_or(Unchanged::NoLog)?;
    let mut level = switch.level.lock().unwrap_or_else(PoisonError::into_inner);
    // Told under the former level, or else under the new one: at least one of them may let it pass.
    let told = facts::log_level_changed(&level, new);
    let filter = EnvFilter::try_new(complete(new)).map_err(|_| Unchanged::NoLevel)?;
    switch.filter.reload(filter).map_err(|_| Unchanged::NoLog)?;
    if !told {
        facts::log_level_changed(&level, new);
    }
    new.clone_into(&mut level);
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `speak` says, in the format for people.
    pub(in crate::telemetry) fn said_as_text(speak: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        tracing::subscriber::with_default(Registry::default().with(lines), speak);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// What is said of one line of each level by us, by a library, and by one that is called nearly as we are.
    fn said(filter: &str) -> String {
        let page = Page::default();
        let writer = page.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(false);
        let log = Registry::default().with(EnvFilter::new(filter)).with(filter_fn(may_be_said)).with(lines);
        tracing::subscriber::with_default(log, || {
            tracing::trace!(target: "salesos_webhooks::store", "ours");
            tracing::trace!(target: "hyper::proto", "deep in a library");
            tracing::debug!(target: "reqwest::connect", "in a library");
            tracing::debug!(target: "salesos_webhooks_but_not_ours", "a neighbour");
            tracing::info!(target: "actix_server", "a library speaks");
            tracing::error!(target: "actix_http::h1::dispatcher", "a client sent nonsense");
        });
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn no_filter_lets_a_library_say_more_than_is_safe() {
        for filter in ["trace", "info,hyper=trace,hyper::proto=trace,reqwest=debug,salesos_webhooks=trace"] {
            let said = said(filter);
            assert!(said.contains("ours") && said.contains("a library speaks"), "{filter}: {said}");
            assert_eq!(said.lines().count(), 2, "{filter}: {said}");
        }
    }

    #[test]
    fn the_audit_log_goes_on_unless_it_is_named() {
        for (filter, goes_on) in [
            ("error", true),
            ("off", true),
            ("off,salesos_webhooks=warn", true),
            ("info,salesos_webhooks::audit=off", false),
            ("salesos_webhooks::audit=warn", false),
        ] {
            let page = Page::default();
            let writer = page.clone();
            let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
            let log = Registry::default().with(EnvFilter::new(complete(filter))).with(lines);
            tracing::subscriber::with_default(log, || {
                tracing::info!(target: "salesos_webhooks::audit", "a change");
                tracing::info!(target: "salesos_webhooks::requests", "a request");
            });
            let said = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
            assert_eq!(said.contains("a change"), goes_on, "{filter}: {said}");
            assert_eq!(said.contains("a request"), filter.starts_with("info"), "{filter}: {said}");
        }
    }

    #[test]
    fn what_is_no_level_is_refused_with_what_is() {
        let refused = set_level("verbose").unwrap_err();
        assert_eq!(refused, Unchanged::NoLevel);
        assert!(refused.to_string().contains("error, warn, info"), "{refused}");
    }
}
