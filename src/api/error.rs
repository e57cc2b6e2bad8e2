//! Every way in which a request can fail, and the only place that turns one into HTTP.
//!
//! Handlers return an [`Error`]; [`super::request`] writes it with [`Error::response`], which adds what only the request
//! knows (path, request id). No answer holds a stack, an internal address or a secret: what a client may read is written
//! here, what went wrong inside is kept as the source and goes to the log alone.
//! Sources: RFC 9110 section 15 (status codes), section 10.2.3 (`Retry-After`), RFC 6750 section 3 (`WWW-Authenticate`).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::Millis;
use crate::store;

/// What a client is told to wait when Redis cannot be reached: reconnecting takes about that long.
const REDIS_PAUSE: Duration = Duration::from_secs(2);

/// Why a request was not done.
#[derive(Debug)]
pub enum Error {
    /// 400: the input breaks rules; one entry a fault, all of them at once.
    Invalid(Vec<String>),
    /// 400: the request cannot even be read.
    Malformed(Cow<'static, str>),
    /// 401: no token, or one that is not taken; the text never tells more than the holder may know.
    Unauthenticated(&'static str),
    /// 403: the token is good, but not for this.
    Forbidden(&'static str),
    /// 404: there is none, or it is none of the caller's business. Names the thing, such as `webhook`.
    NotFound(&'static str),
    /// 408: the body did not arrive in time.
    TooSlow,
    /// 409: the state of the thing forbids it.
    Conflict(Cow<'static, str>),
    /// 412: `If-Match` names another version.
    PreconditionFailed,
    /// 413: the body is longer than this many bytes.
    TooLarge(usize),
    /// 414: the path with its query is longer than this many bytes.
    UriTooLong(usize),
    /// 415: the body is not `application/json`.
    UnsupportedMediaType(&'static str),
    /// 429: come back after that time.
    TooManyRequests(Cow<'static, str>, Duration),
    /// 503: a bound of ours is reached for now; nothing was stored, unless the text says so.
    Busy(Cow<'static, str>, Duration),
    /// 503: Redis cannot be reached or takes nothing now; what was asked for may have been stored.
    Unavailable(store::Error),
    /// 500: a fault of ours.
    Internal(Cow<'static, str>, Option<store::Error>),
    /// What the HTTP layer itself refuses, such as 405.
    Protocol(StatusCode),
}

/// What whoever changes or tests a webhook is told whose secrets cannot be decrypted.
pub const LOCKED: &str = "the webhook's secret and the values of its headers cannot be decrypted: until they can, it can \
                          be switched on and off, be deleted, or be given new ones with regenerate-secret, and nothing else";

/// What an error's body says of the request.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The path, without the query.
    pub path: &'a str,
    /// The `X-Request-Id` of the answer.
    pub request_id: &'a str,
    /// The time of the answer.
    pub now: Millis,
}

/// The body of every error (contract, section 2).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Error)]
pub(super) struct Body<'a> {
    status_code: u16,
    message: Message<'a>,
    /// The name of the status.
    error: &'a str,
    path: &'a str,
    /// The `X-Request-Id` of the answer.
    request_id: &'a str,
    #[schema(format = DateTime)]
    timestamp: String,
}

/// One text, or every fault of the input.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ErrorMessage)]
enum Message<'a> {
    One(Cow<'a, str>),
    All(&'a [String]),
}

impl Error {
    /// The one place that fixes status and message of every variant.
    fn parts(&self) -> (StatusCode, Message<'_>) {
        use Message::{All, One};
        match self {
            Self::Invalid(faults) => (StatusCode::BAD_REQUEST, All(faults)),
            Self::Malformed(why) => (StatusCode::BAD_REQUEST, One(why.as_ref().into())),
            Self::Unauthenticated(why) => (StatusCode::UNAUTHORIZED, One((*why).into())),
            Self::Forbidden(why) => (StatusCode::FORBIDDEN, One((*why).into())),
            Self::NotFound(what) => (StatusCode::NOT_FOUND, One(format!("{what} not found").into())),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, One("the body did not arrive in time".into())),
            Self::Conflict(why) => (StatusCode::CONFLICT, One(why.as_ref().into())),
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, One("If-Match names another version: read it again".into()))
            }
            Self::TooLarge(limit) => {
                (StatusCode::PAYLOAD_TOO_LARGE, One(format!("the body is longer than {limit} bytes").into()))
            }
            Self::UriTooLong(limit) => (
                StatusCode::URI_TOO_LONG,
                One(format!("the path with its query is longer than {limit} bytes").into()),
            ),
            Self::UnsupportedMediaType(wanted) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, One(format!("the body must be plain {wanted}").into()))
            }
            Self::TooManyRequests(why, _) => (StatusCode::TOO_MANY_REQUESTS, One(why.as_ref().into())),
            Self::Busy(why, _) => (StatusCode::SERVICE_UNAVAILABLE, One(why.as_ref().into())),
            Self::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, One("the store cannot be reached, try again".into()))
            }
            Self::Internal(..) => {
                (StatusCode::INTERNAL_SERVER_ERROR, One("an internal error occurred".into()))
            }
            Self::Protocol(status) => (*status, One(reason(*status).into())),
        }
    }

    /// What is told to the client: one text, or one for each fault of its input.
    pub fn messages(&self) -> Vec<String> {
        match self.parts().1 {
            Message::One(text) => vec![text.into_owned()],
            Message::All(faults) => faults.to_vec(),
        }
    }

    /// How long the client should wait, for the statuses that say so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests(_, wait) | Self::Busy(_, wait) => Some(*wait),
            Self::Unavailable(_) => Some(REDIS_PAUSE),
            _ => None,
        }
    }

    /// The complete answer.
    pub fn response(&self, about: About<'_>) -> HttpResponse {
        let (status, message) = self.parts();
        self.head(status).json(Body {
            status_code: status.as_u16(),
            message,
            error: reason(status),
            path: about.path,
            request_id: about.request_id,
            timestamp: about.now.to_string(),
        })
    }

    fn head(&self, status: StatusCode) -> HttpResponseBuilder {
        let mut head = HttpResponse::build(status);
        if status == StatusCode::UNAUTHORIZED {
            head.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(wait) = self.retry_after() {
            head.insert_header((RETRY_AFTER, whole_seconds(wait)));
        }
        head
    }

    /// What happened inside, for the log: never sent to a client.
    pub fn cause(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(cause) | Self::Internal(_, Some(cause)) => Some(cause),
            _ => None,
        }
    }
}

/// At least 1: `Retry-After: 0` invites a storm.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

impl From<store::Error> for Error {
    /// A write that can lose a race maps [`store::Error::Changed`] itself; here it is a conflict.
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unanswered(_) | store::Error::Refused(_) => Self::Unavailable(error),
            store::Error::Changed => Self::Conflict("it was changed meanwhile, read it again".into()),
            store::Error::Locked(_) => Self::Conflict(LOCKED.into()),
            store::Error::Fenced
            | store::Error::NoScript
            | store::Error::Malformed(_)
            | store::Error::Rejected(_) => Self::Internal("store".into(), Some(error)),
        }
    }
}

/// For the log; the client's text is in [`Error::response`].
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internal(what, _) => write!(f, "internal error: {what}"),
            other => f.write_str(reason(other.parts().0)),
        }
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        self.parts().0
    }

    /// A stand-in without a body: [`super::request`] puts [`Error::response`] in its place.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;

    const ABOUT: About<'_> =
        About { path: "/api/webhooks", request_id: "r1", now: Millis(1_768_473_000_000) };

    async fn body_of(error: Error) -> (HttpResponse, Value) {
        let response = error.response(ABOUT);
        let head = HttpResponse::build(response.status()).finish();
        let mut head = head;
        for (name, value) in response.headers() {
            head.headers_mut().insert(name.clone(), value.clone());
        }
        let bytes = to_bytes(response.into_body()).await.unwrap();
        (head, serde_json::from_slice(&bytes).unwrap())
    }

    #[actix_web::test]
    async fn an_error_has_the_contract_s_shape() {
        let (head, body) = body_of(Error::Invalid(vec!["name should not be empty".into()])).await;
        assert_eq!(head.headers().get("content-type").unwrap(), "application/json");
        let expected = json!({
            "statusCode": 400, "message": ["name should not be empty"], "error": "Bad Request",
            "path": "/api/webhooks", "requestId": "r1", "timestamp": "2026-01-15T10:30:00.000Z",
        });
        assert_eq!(body, expected);
    }

    #[actix_web::test]
    async fn headers_say_what_to_do_next() {
        let (head, _) = body_of(Error::Unauthenticated("no token")).await;
        assert_eq!(head.headers().get("www-authenticate").unwrap(), "Bearer");
        let (head, _) = body_of(Error::TooManyRequests("slow".into(), Duration::from_millis(1200))).await;
        assert_eq!(head.headers().get("retry-after").unwrap(), "2");
        let (head, _) = body_of(Error::TooManyRequests("slow".into(), Duration::ZERO)).await;
        assert_eq!(head.headers().get("retry-after").unwrap(), "1");
    }

    #[actix_web::test]
    async fn what_went_wrong_inside_is_not_told() {
        let secret = redis::RedisError::from((redis::ErrorKind::AuthenticationFailed, "at 10.0.0.7:6379"));
        let (head, body) = body_of(store::Error::Rejected(secret).into()).await;
        assert_eq!(head.status(), 500);
        assert!(!body.to_string().contains("10.0.0.7"), "{body}");
        let cut = std::io::Error::other("10.0.0.7");
        let (head, body) = body_of(store::Error::Unanswered(cut.into()).into()).await;
        assert_eq!((head.status().as_u16(), head.headers().contains_key("retry-after")), (503, true));
        assert!(!body.to_string().contains("10.0.0.7"), "{body}");
    }
}
