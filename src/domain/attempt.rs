//! One HTTP request to an endpoint, and what the log keeps of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EntryId, EventId, Millis};

/// What came of one attempt. A failed attempt is data, not an error of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptResult {
    /// When the request was signed.
    pub at: Millis,
    /// From the first byte of work to the end of the captured answer.
    pub elapsed: Duration,
    /// The answer's status code, if one came.
    pub status: Option<u16>,
    /// The captured start of the answer's body, as text.
    pub response_body: Option<String>,
    /// `None` is success: a 2xx answer in time.
    pub failure: Option<Failure>,
    /// How long the endpoint asked to be left alone (429 and 503 only), at most 24 h.
    pub retry_after: Option<Duration>,
}

impl AttemptResult {
    /// Whether the endpoint took the event.
    pub fn success(&self) -> bool {
        self.failure.is_none()
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For programs.
    pub kind: ErrorKind,
    /// For people; names no internal address, no secret and no full URL.
    pub message: String,
}

/// The kinds of failure (contract, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// No complete answer within the webhook's timeout.
    Timeout,
    /// The host name could not be resolved.
    Dns,
    /// No connection could be made, or it was reset before an answer.
    Connect,
    /// The TLS handshake or the certificate was refused.
    Tls,
    /// An answer other than 2xx.
    HttpStatus,
    /// The address guard refused the host or port.
    BlockedAddress,
    /// An answer 3xx: redirects are not followed.
    Redirect,
    /// The answer was not HTTP.
    Protocol,
    /// The attempt was given up by us (shutdown, deletion), or a fault of the service prevented it (its proxy).
    Cancelled,
    /// The delivery was older than `delivery.max_age_days`.
    Expired,
    /// The webhook's queue was full.
    Overflow,
}

impl ErrorKind {
    /// Every kind, for counters that start at 0.
    pub const ALL: [Self; 11] = [
        Self::Timeout,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::HttpStatus,
        Self::BlockedAddress,
        Self::Redirect,
        Self::Protocol,
        Self::Cancelled,
        Self::Expired,
        Self::Overflow,
    ];

    /// Whether the cause lies with us: it tells nothing of the endpoint.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Cancelled | Self::Expired | Self::Overflow)
    }

    /// The word for it in the API, the log and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::HttpStatus => "http_status",
            Self::BlockedAddress => "blocked_address",
            Self::Redirect => "redirect",
            Self::Protocol => "protocol",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Overflow => "overflow",
        }
    }
}

/// What recording an outcome came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It is recorded, by this call.
    Recorded,
    /// The delivery waits no more where the attempt took it from: it has been recorded before, or dropped.
    Gone,
    /// There is no such webhook (any more).
    NoWebhook,
}

/// One row of a webhook's log, as stored: the JSON text of this struct with one-letter keys.
///
/// Rows are many and scanned whole by the filters, so what is rare is left out and a long answer body lies beside
/// the row (`store::attempts`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// The row's place in its log: its stream id, not part of the text.
    #[serde(skip)]
    pub id: Option<EntryId>,
    /// The event.
    #[serde(rename = "e")]
    pub event_id: EventId,
    /// The event's type; `test` for a test.
    #[serde(rename = "t")]
    pub event_type: String,
    /// Where it was sent.
    #[serde(rename = "u")]
    pub url: String,
    /// When it was sent.
    #[serde(rename = "a")]
    pub at: Millis,
    /// Counts from 1.
    #[serde(rename = "n")]
    pub attempt: u32,
    /// Milliseconds the attempt took.
    #[serde(rename = "d")]
    pub elapsed_ms: u32,
    /// The answer's status code.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// `None` is success.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<ErrorKind>,
    /// The failure in words.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// When the next attempt is due.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<Millis>,
    /// The answer's body, when it is short.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub response_body: Option<String>,
    /// The body is long and lies beside the row.
    #[serde(rename = "l", default, skip_serializing_if = "std::ops::Not::not")]
    pub body_beside: bool,
    /// The names of the webhook's own headers that were sent.
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    pub custom_headers: Vec<String>,
    /// It was a test, whatever type of event it sent: counted nowhere, and made once.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_test: bool,
}

impl AttemptRow {
    /// Whether the endpoint took the event.
    pub fn success(&self) -> bool {
        self.error_kind.is_none()
    }
}
