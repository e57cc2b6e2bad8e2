//! Where log lines go: to standard error, one a line, as JSON or for people.
//!
//! Standard output is left to what a command was asked for (a token, a delivery), so it can be piped.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

use crate::config::{LogFormat, Telemetry};

/// Starts the log as `telemetry` says, for the whole process.
///
/// # Errors
/// It has been started before.
pub fn start(telemetry: &Telemetry) -> Result<(), TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt;
    // Checked with the configuration; a filter that cannot be read would log errors only.
    let filter = EnvFilter::new(&telemetry.log_level);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match telemetry.log_format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).finish().try_init(),
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).finish().try_init(),
    }
}
