//! Reads a request's body: JSON only, bounded in bytes and in time.
//!
//! What the bytes mean is checked by [`super::fields`]. A coded body (gzip) is refused: it would have to be decoded
//! before its size is known.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{FromRequest, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;

use super::error::Error;

/// The longest body of the webhooks routes, in bytes.
pub const MAX_BODY: usize = 64 * 1024;
/// The longest time that a body may take to arrive.
const DEADLINE: Duration = Duration::from_secs(30);
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A JSON body of at most [`MAX_BODY`] bytes.
#[derive(Debug)]
pub struct Body(pub Bytes);

/// As [`Body`], but there may be none.
#[derive(Debug)]
pub struct OptionalBody(pub Option<Bytes>);

impl FromRequest for Body {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = read(request, payload, MAX_BODY);
        Box::pin(async { reading.await.map(Self) })
    }
}

impl FromRequest for OptionalBody {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = read_if_any(request, payload, MAX_BODY);
        Box::pin(async { reading.await.map(Self) })
    }
}

/// As [`read`], but there may be none, whatever its type is then said to be.
///
/// # Errors
/// As [`read`].
pub fn read_if_any(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
) -> impl Future<Output = Result<Option<Bytes>, Error>> + use<> {
    let is_json = check_type(request);
    let declared = declared_length(request);
    let mut payload = payload.take();
    async move {
        let bytes = collect(&mut payload, declared, limit, DEADLINE).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        is_json.map(|()| Some(bytes))
    }
}

/// Reads a JSON body of at most `limit` bytes.
///
/// # Errors
/// 415 when it is not JSON, 413 when it is longer, 408 when it does not arrive in time, 400 when it breaks off.
pub fn read(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
) -> impl Future<Output = Result<Bytes, Error>> + use<> {
    let is_json = check_type(request);
    let declared = declared_length(request);
    let mut payload = payload.take();
    async move {
        is_json?;
        collect(&mut payload, declared, limit, DEADLINE).await
    }
}

/// Reads the fields of a form of at most `limit` bytes, as a browser writes them.
///
/// # Errors
/// As [`read`]'s, 415 for all that is no such form.
/// Source: the URL standard, section 5 (`application/x-www-form-urlencoded`).
pub fn read_form(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: usize,
) -> impl Future<Output = Result<Bytes, Error>> + use<> {
    let is_form = check_type_is(request, FORM);
    let declared = declared_length(request);
    let mut payload = payload.take();
    async move {
        is_form?;
        collect(&mut payload, declared, limit, DEADLINE).await
    }
}

fn check_type(request: &HttpRequest) -> Result<(), Error> {
    check_type_is(request, JSON)
}

fn check_type_is(request: &HttpRequest, wanted: &'static str) -> Result<(), Error> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let essence = text(CONTENT_TYPE).map(|full| full.split(';').next().unwrap_or_default().trim());
    let is_wanted = essence.is_some_and(|essence| essence.eq_ignore_ascii_case(wanted));
    let is_plain = !request.headers().contains_key(CONTENT_ENCODING)
        || text(CONTENT_ENCODING).is_some_and(|coding| coding.eq_ignore_ascii_case("identity"));
    if is_wanted && is_plain { Ok(()) } else { Err(Error::UnsupportedMediaType(wanted)) }
}

fn declared_length(request: &HttpRequest) -> Option<u64> {
    request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
}

async fn collect(
    payload: &mut Payload,
    declared: Option<u64>,
    limit: usize,
    deadline: Duration,
) -> Result<Bytes, Error> {
    if declared.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(Error::TooLarge(limit));
    }
    let reading = async {
        let mut collected = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk =
                chunk.map_err(|_| Error::Malformed("the body could not be read to its end".into()))?;
            if collected.len() + chunk.len() > limit {
                return Err(Error::TooLarge(limit));
            }
            collected.extend_from_slice(&chunk);
        }
        Ok(collected.freeze())
    };
    tokio::time::timeout(deadline, reading).await.map_err(|_| Error::TooSlow)?
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    async fn status(request: TestRequest) -> Result<usize, u16> {
        use actix_web::ResponseError;
        let (request, mut payload) = request.to_http_parts();
        let body = read(&request, &mut payload, 8).await;
        body.map(|bytes| bytes.len()).map_err(|error| error.status_code().as_u16())
    }

    #[actix_web::test]
    async fn only_plain_json_within_the_limit_is_read() {
        let post = |kind: &str, body: &'static str| {
            TestRequest::post().insert_header((CONTENT_TYPE, kind)).set_payload(body)
        };
        let cases = [
            (post("application/json", "{}"), Ok(2)),
            (post("Application/JSON; charset=utf-8", "12345678"), Ok(8)),
            (post("application/json", "123456789"), Err(413)),
            (post("application/json", "{}").insert_header((CONTENT_LENGTH, "9")), Err(413)),
            (post("application/json", "{}").insert_header((CONTENT_ENCODING, "gzip")), Err(415)),
            (post("application/json", "{}").insert_header((CONTENT_ENCODING, "identity")), Ok(2)),
            (post("text/plain", "{}"), Err(415)),
            (TestRequest::post().set_payload("{}"), Err(415)),
        ];
        for (number, (request, expected)) in cases.into_iter().enumerate() {
            assert_eq!(status(request).await, expected, "case {number}");
        }
    }

    #[actix_web::test]
    async fn a_body_that_drips_is_given_up() {
        let never = futures_util::stream::pending::<Result<Bytes, actix_web::error::PayloadError>>();
        let mut payload =
            Payload::from(Box::pin(never) as std::pin::Pin<Box<dyn futures_util::Stream<Item = _>>>);
        assert!(matches!(collect(&mut payload, None, 8, Duration::ZERO).await, Err(Error::TooSlow)));
    }
}
