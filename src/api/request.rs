//! What happens around every request: its id, its answer's common headers, the body of its error, one log line, and a span
//! where an event is sent because of it.
//!
//! Line and span hold the route's pattern, never the path or the query, which carry customers' ids and whatever else a
//! client puts there.

use std::rc::Rc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpRequest, ResponseError, web};
use rand::RngExt;
use rand::distr::Alphanumeric;

use super::App;
use super::cors;
use super::error::{About, Error};
use super::pages::Pages;
use super::rate_limit::Allowance;
use super::routes;
use super::{audit, auth};
use crate::clock;
use crate::domain::{EventId, TraceContext};
use crate::telemetry::events as facts;
use crate::telemetry::traces::Open;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The longest id that is taken from a client, in characters.
const LONGEST_ID: usize = 128;
/// Of an id made here: 62^22 are enough to never meet twice.
const MADE_LENGTH: usize = 22;

/// The longest path with its query, in bytes (RFC 9110, section 4.1, asks for 8000 at least).
pub(super) const LONGEST_URI: usize = 8 * 1024;
/// How much of a path an error repeats, in bytes.
const SHOWN_OF_PATH: usize = 1024;
/// The longest method that the log repeats, in bytes. Any word may stand there.
const LONGEST_METHOD: usize = 16;

/// Names one request in its answer and in the log; in the request's extensions.
#[derive(Clone, Debug)]
pub struct RequestId(Rc<str>);

impl RequestId {
    /// The client's, when it is 1..=128 visible ASCII characters; else a random one.
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        let sane = given.filter(|id| {
            (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        });
        match sane {
            Some(id) => Self(id.into()),
            None => Self(random_text(MADE_LENGTH).into()),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `length` random letters and digits from the operating system's seed.
pub(super) fn random_text(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

/// The outermost layer of the API.
///
/// # Errors
/// None in practice: the services inside turn their errors into responses.
pub async fn around(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let started = clock::monotonic();
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let origin = origin_of(&request);
    let response = match cors::preflight(&request, &origin) {
        Some(Ok(permission)) => request.into_response(permission),
        Some(Err(refusal)) => request.error_response(refusal),
        None if is_too_long(&request) => request.error_response(Error::UriTooLong(LONGEST_URI)),
        None => {
            auth::wait_for_keys(&request).await;
            next.call(request).await?.map_into_boxed_body()
        }
    };
    audit::ends(response.request(), error_of(&response));
    let mut response = written(response, &id);
    set_headers(&mut response, &id);
    cors::say(response.headers_mut(), origin);
    tell(&response, &id, started.elapsed());
    Ok(response)
}

fn is_too_long(request: &ServiceRequest) -> bool {
    request.uri().path_and_query().is_some_and(|asked| asked.as_str().len() > LONGEST_URI)
}

fn origin_of(request: &ServiceRequest) -> cors::Verdict {
    let app = request.app_data::<web::Data<App>>();
    // Pages are for their own site.
    let app = app.filter(|app| app.pages_at(request.path()).is_none());
    app.map_or(cors::Verdict::Off, |app| cors::judge(request.headers(), &app.config.api.cors_allowed_origins))
}

/// The layer of the routes that send events (all of them `POST`): begins a span if the request is traced.
///
/// # Errors
/// Those of the services inside.
pub async fn traced(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    if request.method() == Method::POST
        && let Some(span) = Open::of_request(traceparent(request.headers()))
    {
        request.extensions_mut().insert(Traced(span));
    }
    next.call(request).await
}

/// The only one: of several none can be believed (W3C Trace Context, section 3.2).
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(TRACEPARENT);
    given.next().filter(|_| given.next().is_none())?.to_str().ok()
}

/// The span of a request, in its extensions.
struct Traced(Open);

/// The event that a request is about, in its extensions.
struct Concerns(EventId);

/// The span of a request, if it is traced.
pub fn trace_of(request: &HttpRequest) -> Option<TraceContext> {
    request.extensions().get::<Traced>().map(|Traced(span)| span.context())
}

/// Notes which event a request is about, for its line and its span.
pub fn concerns(request: &HttpRequest, event: &EventId) {
    request.extensions_mut().insert(Concerns(event.clone()));
}

/// The response with the body that the contract asks of an error. Whatever else had a failing status (the framework's own
/// refusals) gets that body too.
fn written(response: ServiceResponse<BoxBody>, id: &RequestId) -> ServiceResponse<BoxBody> {
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return response;
    }
    let pages = pages_of(response.request());
    if pages.is_some() && is_page(&response) {
        return response;
    }
    let foreign = Error::Protocol(response.status());
    let error = error_of(&response).unwrap_or(&foreign);
    let about =
        About { path: beginning_of(response.request().path()), request_id: id.as_str(), now: clock::now() };
    let mut answer = match pages {
        Some(pages) => (pages.present)(response.request(), error, &about),
        None => error.response(about),
    };
    // The framework's own refusals carry a header that belongs to the status.
    if let Some(allow) = response.headers().get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, allow.clone());
    }
    // The error stays within reach of the log line.
    let cause = cause_of(&response);
    let response = response.into_response(answer);
    if let Some(cause) = cause {
        response.request().extensions_mut().insert(Cause(cause));
    }
    response
}

/// A page tells its own faults: a form comes back with them.
fn is_page(response: &ServiceResponse<BoxBody>) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

fn pages_of(request: &HttpRequest) -> Option<&'static Pages> {
    request.app_data::<web::Data<App>>()?.pages_at(request.path())
}

fn beginning_of(path: &str) -> &str {
    let end = (0..=SHOWN_OF_PATH.min(path.len())).rev().find(|at| path.is_char_boundary(*at));
    &path[..end.unwrap_or(0)]
}

fn error_of(response: &ServiceResponse<BoxBody>) -> Option<&Error> {
    response.response().error().and_then(|error| error.as_error::<Error>())
}

/// What the log says of a failure inside.
struct Cause(String);

fn cause_of(response: &ServiceResponse<BoxBody>) -> Option<String> {
    let error = error_of(response).filter(|error| error.status_code().is_server_error())?;
    let mut text = error.to_string();
    let mut next = error.cause();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    Some(text)
}

fn set_headers(response: &mut ServiceResponse<BoxBody>, id: &RequestId) {
    let allowance = response.request().extensions().get::<Allowance>().copied();
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(id.as_str()).expect("checked to be visible ASCII");
    headers.insert(REQUEST_ID, id);
    // Answers hold secrets and change from one moment to the next, all but files, which say themselves what may be kept.
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for (name, value) in allowance.into_iter().flat_map(Allowance::headers) {
        headers.insert(name, value);
    }
}

fn tell(response: &ServiceResponse<BoxBody>, id: &RequestId, elapsed: Duration) {
    let request = response.request();
    let extensions = request.extensions();
    let answered = facts::Answered {
        method: Some(request.method().as_str())
            .filter(|name| name.len() <= LONGEST_METHOD)
            .unwrap_or("other"),
        route: routes::of(request),
        status: response.status().as_u16(),
        elapsed,
        request_id: id.as_str(),
        event: extensions.get::<Concerns>().map(|Concerns(event)| event),
        cause: extensions.get::<Cause>().map(|Cause(cause)| cause.as_str()),
    };
    // Who is not let in does not fill the queue of spans either.
    let is_let_in = ![401, 403, 429].contains(&answered.status);
    facts::answered(&answered, extensions.get::<Traced>().map(|Traced(span)| *span).filter(|_| is_let_in));
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::api::testing::{Client, config};

    #[actix_web::test]
    async fn a_uri_has_an_end_and_an_error_does_not_repeat_all_of_it() {
        let client = Client::alone(config()).await;
        let room = LONGEST_URI - "/api/x?".len();
        for (query, status) in [(room, 404), (room + 1, 414)] {
            let get = TestRequest::get().uri(&format!("/api/x?{}", "a".repeat(query)));
            let answer = client.send(get).await;
            assert_eq!((answer.status, &answer.json()["path"]), (status, &"/api/x".into()));
        }
        let answer = client.send(TestRequest::get().uri(&format!("/{}", "a".repeat(50_000)))).await;
        assert!(answer.json()["message"].as_str().unwrap().contains("8192 bytes"), "{}", answer.text);
        assert_eq!(answer.json()["path"].as_str().unwrap().len(), SHOWN_OF_PATH);
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        let longest = "x".repeat(LONGEST_ID);
        let too_long = "x".repeat(LONGEST_ID + 1);
        let cases = [("abc-1", true), (&longest, true), (&too_long, false), ("", false), ("a b", false)];
        for (given, kept) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(given).unwrap());
            let id = RequestId::of(&headers);
            assert_eq!(id.as_str() == given, kept, "{given}");
            assert!(!id.as_str().is_empty());
        }
        assert_ne!(RequestId::of(&HeaderMap::new()).as_str(), RequestId::of(&HeaderMap::new()).as_str());
    }
}
