//! `GET /log-level` and `PUT /log-level` on the management port: how much the node logs, until it ends.
//!
//! The body of both is `{"level":"info"}`, with what `telemetry.log_level` may be.

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde_json::json;

use super::body;
use super::error::Error;
use super::fields::Fields;
use crate::telemetry::events::{self as facts, Action, Changed, Ending};
use crate::telemetry::logging::{self, Unchanged};

/// The longest body, in bytes.
const MAX_BODY: usize = 2048;
/// The longest level that is looked at; which are too long is for the check of levels to say.
const LONGEST_LEVEL: usize = MAX_BODY;

/// The routes.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes.service(web::resource("/log-level").get(show).put(change));
}

async fn show() -> HttpResponse {
    match logging::level() {
        Some(level) => answer(StatusCode::OK, &json!({ "level": level })),
        None => refusal(StatusCode::SERVICE_UNAVAILABLE, &[Unchanged::NoLog.to_string()]),
    }
}

async fn change(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let peer = request.peer_addr();
    let read = body::read(&request, &mut payload.into_inner(), MAX_BODY).await;
    let level = match read.and_then(|body| level_of(&body)) {
        Ok(level) => level,
        Err(Error::Malformed(fault)) => return refusal(StatusCode::BAD_REQUEST, &[fault.into_owned()]),
        Err(Error::Invalid(faults)) => return refusal(StatusCode::BAD_REQUEST, &faults),
        Err(error) => return refusal(error.status_code(), &[error.to_string()]),
    };
    match logging::set_level(&level) {
        Ok(()) => {
            let source = peer.map(|address| address.ip());
            let change = Changed { source, ..Changed::default() };
            facts::changed(Action::ChangeLogLevel, Ending::Done, &change);
            answer(StatusCode::OK, &json!({ "level": level }))
        }
        Err(fault @ Unchanged::NoLevel) => refusal(StatusCode::BAD_REQUEST, &[fault.to_string()]),
        Err(fault @ Unchanged::NoLog) => refusal(StatusCode::SERVICE_UNAVAILABLE, &[fault.to_string()]),
    }
}

fn level_of(body: &[u8]) -> Result<String, Error> {
    let mut fields = Fields::parse(body)?;
    fields.require(&["level"]);
    let level = fields.string("level", 1..=LONGEST_LEVEL);
    fields.finish()?;
    level.ok_or_else(|| Error::Invalid(vec![Unchanged::NoLevel.to_string()]))
}

fn answer(status: StatusCode, body: &serde_json::Value) -> HttpResponse {
    HttpResponse::build(status).insert_header((CACHE_CONTROL, "no-store")).json(body)
}

fn refusal(status: StatusCode, faults: &[String]) -> HttpResponse {
    answer(status, &json!({ "statusCode": status.as_u16(), "message": faults }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_a_level_and_nothing_else() {
        assert_eq!(
            level_of(br#"{"level":"info,salesos_webhooks=debug"}"#).unwrap(),
            "info,salesos_webhooks=debug"
        );
        for bad in
            [&b"info"[..], b"{}", br#"{"level":7}"#, br#"{"level":""}"#, br#"{"level":"info","for":"1h"}"#]
        {
            assert!(level_of(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
