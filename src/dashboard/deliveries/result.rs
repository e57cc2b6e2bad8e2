//! What came of an attempt, in a word and in a few. Pure.

use actix_web::http::StatusCode;
use maud::{Markup, html};

use crate::api::trial::TEST;
use crate::dashboard::when::ago;
use crate::domain::{AttemptRow, ErrorKind, Millis};

/// How a delivery stood after an attempt, as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The endpoint took it.
    Delivered,
    /// It failed, and the next attempt is made then.
    RetryAt(Millis),
    /// It failed, and the time of its next attempt has come: that was made, or something holds the webhook back.
    Retried,
    /// It failed, and no other attempt was to follow.
    GivenUp,
    /// A test that failed: tests are made once.
    TestFailed,
}

impl Standing {
    /// Of one row of the log.
    pub fn of(row: &AttemptRow, now: Millis) -> Self {
        match row.next_retry_at {
            _ if row.success() => Self::Delivered,
            Some(at) if at > now => Self::RetryAt(at),
            Some(_) => Self::Retried,
            None if is_test(row) => Self::TestFailed,
            None => Self::GivenUp,
        }
    }

    fn word(self) -> (&'static str, &'static str) {
        match self {
            Self::Delivered => ("badge ok", "Delivered"),
            Self::RetryAt(_) => ("badge warn", "Failed, will be retried"),
            Self::Retried => ("badge fail", "Failed, retry due"),
            Self::GivenUp => ("badge fail", "Failed for good"),
            Self::TestFailed => ("badge fail", "Test failed"),
        }
    }
}

/// The word with its shape.
pub fn badge(standing: Standing) -> Markup {
    let (class, word) = standing.word();
    html! { span class=(class) { (word) } }
}

/// When the next attempt is due, where one is.
pub fn next(standing: Standing, now: Millis) -> Markup {
    match standing {
        Standing::RetryAt(at) => ago(at, now),
        _ => html! { span.muted aria-hidden="true" { "–" } span.unseen { "none" } },
    }
}

/// Whether it is an attempt of a test.
pub fn is_test(row: &AttemptRow) -> bool {
    row.is_test || row.event_type == TEST
}

/// `404 Not Found`; a status without a name stays a number.
pub fn status_line(status: u16) -> String {
    let name = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    name.map_or_else(|| status.to_string(), |name| format!("{status} {name}"))
}

/// What came back, in the few words that a row has room for.
pub fn in_short(row: &AttemptRow) -> String {
    match (row.status, row.error_kind) {
        (Some(status), _) => status_line(status),
        (None, Some(kind)) => missing(kind).to_owned(),
        (None, None) => "Delivered".to_owned(),
    }
}

/// Why no answer came.
fn missing(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Timeout => "No answer in time",
        ErrorKind::Dns => "Host name not found",
        ErrorKind::Connect => "No connection",
        ErrorKind::Tls => "No secure connection",
        ErrorKind::HttpStatus => "No success",
        ErrorKind::BlockedAddress => "Address not allowed",
        ErrorKind::Redirect => "Redirect",
        ErrorKind::Protocol => "Answer not readable",
        ErrorKind::Cancelled => "Interrupted by the service",
        ErrorKind::Expired => "Waited too long",
        ErrorKind::Overflow => "Queue was full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::deliveries::testing::{NOW, failed, row};

    #[test]
    fn a_row_stands_where_its_retry_says() {
        let later = AttemptRow { next_retry_at: Some(Millis(NOW.0 + 1)), ..failed(ErrorKind::Timeout) };
        assert_eq!(Standing::of(&row("lead.created"), NOW), Standing::Delivered);
        assert_eq!(Standing::of(&later, NOW), Standing::RetryAt(Millis(NOW.0 + 1)));
        assert_eq!(Standing::of(&later, Millis(NOW.0 + 1)), Standing::Retried);
        assert_eq!(Standing::of(&failed(ErrorKind::Timeout), NOW), Standing::GivenUp);
        let test = AttemptRow { event_type: "test".into(), ..failed(ErrorKind::Timeout) };
        assert_eq!(Standing::of(&test, NOW), Standing::TestFailed);
    }

    #[test]
    fn what_came_back_is_told_in_few_words() {
        let answered = AttemptRow { status: Some(404), ..failed(ErrorKind::HttpStatus) };
        assert_eq!(in_short(&answered), "404 Not Found");
        assert_eq!(in_short(&failed(ErrorKind::Dns)), "Host name not found");
        assert_eq!((status_line(599), status_line(200)), ("599".into(), "200 OK".into()));
        for kind in ErrorKind::ALL {
            assert!((5..30).contains(&in_short(&failed(kind)).len()), "{kind:?}");
        }
    }
}
