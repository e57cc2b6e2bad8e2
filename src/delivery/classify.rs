//! What came of an attempt, decided from facts: status codes and the types of errors, never the text of a message.
//!
//! Messages are for the endpoint's owner: plain words, no address, no URL, nothing of this service's inside.
//!
//! Sources: RFC 9110, sections 10.2.3 (`Retry-After`) and 15 (status codes); RFC 6585, section 4 (429).

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use http::StatusCode;
use hyper_util::client::legacy;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use super::client::Unreached;
use super::dial::NoSocket;
use super::proxy;
use super::resolver::Refusal;
use super::stream::TooLong;
use crate::domain::{AttemptResult, ErrorKind, Failure, Millis};
use crate::policy::address;
use crate::policy::retry::MAX_DELAY;

/// How much of a success's answer is kept: nobody looks for the reason of a success.
const SUCCESS_BODY_BYTES: usize = 256;

/// The most errors in a chain of causes that are looked at. Real chains have about six.
const MAX_CAUSES: usize = 32;

/// What was heard of the endpoint's answer before the attempt ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The status, once the head of the answer is complete.
    pub status: Option<StatusCode>,
    /// The `Retry-After` header as it came.
    pub retry_after: Option<String>,
    /// The captured start of the body.
    pub body: Vec<u8>,
}

/// Why there is no complete answer.
#[derive(Debug)]
pub enum Trouble {
    /// The URL is one that is not requested.
    Blocked(address::Fault),
    /// The webhook's timeout ran out.
    TimedOut(Duration),
    /// HTTP has no way to write the URL.
    Unwritable,
    /// The proxy took the request and refused it.
    Proxy(proxy::Fault),
    /// The client could not send.
    Unsent(legacy::Error),
    /// The client could not receive the body of the answer.
    Broken(hyper::Error),
}

/// Puts an attempt's outcome together.
///
/// A refusing status counts however its body ends: it says more than "the connection broke" does. A 2xx counts once the
/// body (or as much as is kept of it) is there.
pub fn result(at: Millis, elapsed: Duration, answer: Answer, ended: Result<(), Trouble>) -> AttemptResult {
    let failure = match (answer.status, ended) {
        (Some(status), Ok(())) if status.is_success() => None,
        (Some(status), _) if !status.is_success() => Some(refused(status)),
        (_, Err(trouble)) => Some(trouble.into_failure()),
        (_, Ok(())) => Some(failure(ErrorKind::Protocol, "the endpoint gave no answer")),
    };
    let kept = if failure.is_none() { SUCCESS_BODY_BYTES } else { usize::MAX };
    AttemptResult {
        at,
        elapsed,
        status: answer.status.map(|status| status.as_u16()),
        response_body: answer.status.map(|_| text(&answer.body, kept)),
        retry_after: retry_after(&answer, at + elapsed),
        failure,
    }
}

impl Trouble {
    fn into_failure(self) -> Failure {
        match self {
            Self::Blocked(fault) => failure(ErrorKind::BlockedAddress, &fault.to_string()),
            Self::TimedOut(limit) => {
                failure(ErrorKind::Timeout, &format!("no complete answer within {} s", limit.as_secs()))
            }
            Self::Unwritable => failure(ErrorKind::Protocol, "the request could not be written as HTTP"),
            Self::Proxy(fault) => proxy_failure(fault),
            Self::Unsent(error) => first_known(&error, error.is_connect()).unwrap_or_else(|| {
                if error.is_connect() {
                    failure(ErrorKind::Connect, "no connection could be made")
                } else {
                    invalid_answer()
                }
            }),
            Self::Broken(error) => first_known(&error, false).unwrap_or_else(invalid_answer),
        }
    }
}

fn failure(kind: ErrorKind, message: &str) -> Failure {
    Failure { kind, message: message.to_owned() }
}

fn invalid_answer() -> Failure {
    failure(ErrorKind::Protocol, "the answer was not valid HTTP")
}

/// An answer that is not 2xx.
fn refused(status: StatusCode) -> Failure {
    let code = status.as_str();
    let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    if status.is_redirection() {
        let message = format!("the endpoint answered {code}{reason}: redirects are not followed");
        return failure(ErrorKind::Redirect, &message);
    }
    failure(ErrorKind::HttpStatus, &format!("the endpoint answered {code}{reason}"))
}

/// The failure that an error stands for: the first cause of a known type decides.
fn first_known(error: &(dyn StdError + 'static), connecting: bool) -> Option<Failure> {
    causes(error).find_map(|cause| known(cause, connecting))
}

/// `error` and what caused it, outermost first.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause| cause_of(*cause)).take(MAX_CAUSES)
}

/// The error below `error`. An `io::Error` made from another one gives that one's source as its own and skips the
/// other itself.
fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// The failure that one cause stands for, if its type says so.
fn known(cause: &(dyn StdError + 'static), connecting: bool) -> Option<Failure> {
    if let Some(refusal) = cause.downcast_ref::<Refusal>() {
        let kind = if *refusal == Refusal::Blocked { ErrorKind::BlockedAddress } else { ErrorKind::Dns };
        return Some(failure(kind, &refusal.to_string()));
    }
    if let Some(unreached) = cause.downcast_ref::<Unreached>() {
        return Some(failure(ErrorKind::Timeout, &unreached.to_string()));
    }
    if let Some(fault) = cause.downcast_ref::<proxy::Fault>() {
        return Some(proxy_failure(*fault));
    }
    if let Some(ours) = cause.downcast_ref::<NoSocket>() {
        return Some(failure(ErrorKind::Cancelled, &ours.to_string()));
    }
    if let Some(long) = cause.downcast_ref::<TooLong>() {
        let during_handshake = failure(ErrorKind::Tls, "the TLS handshake is too long");
        return Some(if connecting {
            during_handshake
        } else {
            failure(ErrorKind::Protocol, &long.to_string())
        });
    }
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(failure(ErrorKind::Tls, &tls_message(tls)));
    }
    if let Some(http) = cause.downcast_ref::<hyper::Error>() {
        return http_failure(http);
    }
    cause.downcast_ref::<io::Error>().and_then(|io| io_failure(io, connecting))
}

/// What is wrong with the proxy itself is a fault of the service and tells nothing of the endpoint.
fn proxy_failure(fault: proxy::Fault) -> Failure {
    let kind = match fault {
        proxy::Fault::Unreached | proxy::Fault::Unauthenticated => ErrorKind::Cancelled,
        proxy::Fault::Refused => ErrorKind::Connect,
    };
    failure(kind, &fault.to_string())
}

fn http_failure(error: &hyper::Error) -> Option<Failure> {
    let (kind, message) = if error.is_parse() {
        // hyper does not say which to those who use its client alone.
        (ErrorKind::Protocol, "the head of the answer is not valid HTTP, or too long")
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        (ErrorKind::Connect, "the connection was closed before an answer")
    } else {
        // The others wrap what happened below.
        return None;
    };
    Some(failure(kind, message))
}

/// `None` for an error that only wraps another one, or tells nothing.
fn io_failure(error: &io::Error, connecting: bool) -> Option<Failure> {
    use io::ErrorKind as Io;
    if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>() || inner.is::<io::Error>()) {
        return None;
    }
    let (kind, message) = match error.kind() {
        Io::ConnectionRefused => (ErrorKind::Connect, "the connection was refused"),
        Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::NotConnected => {
            (ErrorKind::Connect, "the connection was reset")
        }
        Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown | Io::AddrNotAvailable => {
            (ErrorKind::Connect, "the host could not be reached")
        }
        Io::TimedOut => (ErrorKind::Timeout, "the connection timed out"),
        // While connecting only the TLS handshake reads anything.
        Io::UnexpectedEof if connecting => {
            (ErrorKind::Tls, "the connection was closed during the TLS handshake")
        }
        Io::UnexpectedEof => (ErrorKind::Protocol, "the answer broke off before its end"),
        Io::InvalidData | Io::InvalidInput => (ErrorKind::Protocol, "the answer was not valid HTTP"),
        _ => return None,
    };
    Some(failure(kind, message))
}

fn tls_message(error: &rustls::Error) -> Cow<'static, str> {
    match error {
        rustls::Error::InvalidCertificate(fault) => certificate_message(fault),
        rustls::Error::InvalidMessage(_) => "the endpoint does not speak TLS on this port".into(),
        rustls::Error::PeerIncompatible(_) => "the endpoint supports no common TLS version or cipher".into(),
        rustls::Error::AlertReceived(_) => "the endpoint refused the TLS handshake".into(),
        _ => "the TLS connection failed".into(),
    }
}

fn certificate_message(fault: &CertificateError) -> Cow<'static, str> {
    use CertificateError as Cert;
    let words = match fault {
        Cert::ExpiredContext { not_after, .. } => {
            return format!("the certificate expired on {}", date_of(*not_after)).into();
        }
        Cert::NotValidYetContext { not_before, .. } => {
            return format!("the certificate is not valid before {}", date_of(*not_before)).into();
        }
        Cert::Expired => "the certificate has expired",
        Cert::NotValidYet => "the certificate is not valid yet",
        Cert::NotValidForName | Cert::NotValidForNameContext { .. } => {
            "the certificate is for another host name"
        }
        Cert::UnknownIssuer => "the certificate was issued by an unknown authority",
        Cert::Revoked => "the certificate has been revoked",
        _ => "the certificate was refused",
    };
    words.into()
}

/// The day, in UTC.
fn date_of(time: UnixTime) -> String {
    let text = Millis(time.as_secs().saturating_mul(1000)).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// How long the endpoint asked to be left alone, if its status gives the question a meaning, at most a day. What is no
/// number of seconds and no date, and a date that is over, is as good as not said.
fn retry_after(answer: &Answer, now: Millis) -> Option<Duration> {
    let asks = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status?);
    let value = answer.retry_after.as_deref().filter(|_| asks)?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // Digits fail only by being too many: longer than anything.
        value.parse().map_or(MAX_DELAY, Duration::from_secs)
    } else {
        let until = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
        (Millis(0) + until).since(now)
    };
    (!wait.is_zero()).then_some(wait.min(MAX_DELAY))
}

/// The first `limit` bytes as text: what is not UTF-8 becomes U+FFFD, but a character that the cut halves is dropped.
fn text(bytes: &[u8], limit: usize) -> String {
    let kept = &bytes[..bytes.len().min(limit)];
    let halved = |start: &usize| {
        std::str::from_utf8(&kept[*start..])
            .is_err_and(|fault| fault.valid_up_to() == 0 && fault.error_len().is_none())
    };
    // The longest beginning of a character has three bytes.
    let end = (kept.len().saturating_sub(3)..kept.len()).find(halved).unwrap_or(kept.len());
    String::from_utf8_lossy(&kept[..end]).into_owned()
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_768_473_000_000);

    fn answer(status: u16, retry_after: Option<&str>) -> Answer {
        let status = StatusCode::from_u16(status).ok();
        Answer { status, retry_after: retry_after.map(Into::into), body: b"hello".to_vec() }
    }

    fn kind(status: u16) -> Option<ErrorKind> {
        result(NOW, Duration::ZERO, answer(status, None), Ok(())).failure.map(|failure| failure.kind)
    }

    #[test]
    fn the_status_decides() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(kind(status), None, "{status}");
        }
        for status in [300, 301, 302, 303, 304, 307, 308] {
            assert_eq!(kind(status), Some(ErrorKind::Redirect), "{status}");
        }
        for status in [101, 400, 401, 404, 410, 418, 429, 500, 503, 599, 999] {
            assert_eq!(kind(status), Some(ErrorKind::HttpStatus), "{status}");
        }
    }

    #[test]
    fn a_refusal_is_one_however_its_body_ends_and_a_success_must_be_whole() {
        let late = || Err(Trouble::TimedOut(Duration::from_secs(30)));
        let refused = result(NOW, Duration::ZERO, answer(410, None), late());
        assert_eq!(refused.status, Some(410));
        assert_eq!(refused.failure.map(|f| f.message).as_deref(), Some("the endpoint answered 410 Gone"));
        let halved = result(NOW, Duration::ZERO, answer(200, None), late());
        assert_eq!((halved.status, halved.response_body.as_deref()), (Some(200), Some("hello")));
        let expected = failure(ErrorKind::Timeout, "no complete answer within 30 s");
        assert_eq!(halved.failure, Some(expected));
        let nothing = result(NOW, Duration::ZERO, Answer::default(), late());
        assert_eq!((nothing.status, nothing.response_body), (None, None));
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_only_where_it_means_something() {
        let secs = |secs| Some(Duration::from_secs(secs));
        for (status, value, expected) in [
            (429, "120", secs(120)),
            (503, " 120 ", secs(120)),
            (503, "Thu, 15 Jan 2026 10:31:30 GMT", secs(90)),
            (503, "Thursday, 15-Jan-26 10:31:30 GMT", secs(90)),
            (503, "Thu Jan 15 10:31:30 2026", secs(90)),
            (429, "86401", secs(86_400)),
            (429, "Fri, 31 Dec 9999 23:59:59 GMT", secs(86_400)),
            (429, "Thu, 15 Jan 2026 10:29:59 GMT", None),
            (429, "0", None),
            (429, "-5", None),
            (429, "+5", None),
            (429, "1.5", None),
            (429, "99999999999999999999999", secs(86_400)),
            (429, "000000000000000000000000", None),
            (429, "00000000000000000000000060", secs(60)),
            (503, "Thursday, 15-Jan-26 10:29:59 GMT", None),
            (503, "Thu Jan 15 10:29:59 2026", None),
            (503, "Thu, 01 Jan 1970 00:00:00 GMT", None),
            (503, "Fri, 31 Dec 99999 23:59:59 GMT", None),
            (503, "2026-01-15T10:31:30Z", None),
            (503, "120, 240", None),
            (429, "soon", None),
            (429, "", None),
            (500, "120", None),
            (200, "120", None),
            (302, "120", None),
        ] {
            let found = result(NOW, Duration::ZERO, answer(status, Some(value)), Ok(())).retry_after;
            assert_eq!(found, expected, "{status} {value:?}");
        }
    }

    #[test]
    fn bodies_are_text_and_short_for_a_success() {
        let body = |status, bytes: &[u8]| {
            let answer = Answer { body: bytes.to_vec(), ..answer(status, None) };
            result(NOW, Duration::ZERO, answer, Ok(())).response_body
        };
        assert_eq!(body(200, &[b'x'; 300]), Some("x".repeat(256)));
        assert_eq!(body(500, &[b'x'; 300]), Some("x".repeat(300)));
        assert_eq!(body(200, "é".repeat(128).as_bytes()), Some("é".repeat(128)));
        assert_eq!(
            body(200, format!("x{}", "é".repeat(128)).as_bytes()),
            Some(format!("x{}", "é".repeat(127)))
        );
        assert_eq!(body(500, b"a\0\xff\xfeb\xc3"), Some("a\0\u{fffd}\u{fffd}b".into()));
        assert_eq!(body(204, b""), Some(String::new()));
    }

    #[test]
    fn a_certificate_out_of_its_time_is_told_with_the_day_where_that_is_known() {
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let time = at(NOW.as_secs());
        let expired = |secs| CertificateError::ExpiredContext { time, not_after: at(secs) };
        let early = |secs| CertificateError::NotValidYetContext { time, not_before: at(secs) };
        for (fault, words) in [
            // The last second of a day, and the first of the next.
            (expired(1_768_435_199), "the certificate expired on 2026-01-14"),
            (expired(1_768_435_200), "the certificate expired on 2026-01-15"),
            (early(32_472_144_000), "the certificate is not valid before 2999-01-01"),
            (early(u64::MAX), "the certificate is not valid before 9999-12-31"),
            (CertificateError::Expired, "the certificate has expired"),
            (CertificateError::NotValidYet, "the certificate is not valid yet"),
        ] {
            assert_eq!(certificate_message(&fault), words);
        }
    }

    #[test]
    fn wrapped_errors_are_known_by_type() {
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, expired));
        let found = first_known(&wrapped, true);
        assert_eq!(found, Some(failure(ErrorKind::Tls, "the certificate has expired")));
        let refused = io::Error::other(Refusal::Blocked);
        let found = first_known(&refused, true).map(|failure| failure.kind);
        assert_eq!(found, Some(ErrorKind::BlockedAddress));
        let through_proxy = |fault| first_known(&io::Error::other(fault), true).map(|failure| failure.kind);
        assert_eq!(through_proxy(proxy::Fault::Unreached), Some(ErrorKind::Cancelled));
        assert_eq!(through_proxy(proxy::Fault::Refused), Some(ErrorKind::Connect));
        assert!(first_known(&io::Error::other("anything"), true).is_none());
    }
}
