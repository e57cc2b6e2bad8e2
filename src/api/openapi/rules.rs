//! What an operation can answer by rule: the errors that follow from how it is called, and the headers of each answer.
//!
//! | rule | answer |
//! |---|---|
//! | any | 414 |
//! | it needs a token | 401, 403, 429, 500, 503 |
//! | its path names a thing | 404 |
//! | it looks at parameters or at a body | 400 |
//! | it reads a body | 408, 413, 415 |
//! | it takes `If-Match` | 412 |
//! | it names conflicts | 409 |
//!
//! All but 409 are components of the document, to which operations refer.

use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};

use super::operation::{Access, Answer, Link, Operation};
use super::schemas::reference;
use crate::api::body::MAX_BODY;
use crate::api::request::LONGEST_URI;

/// A time in examples.
pub const NOW: &str = "2026-01-15T10:30:00.000Z";

/// A failing status, why it comes, and what its body may say.
struct Failure {
    /// What the component is called.
    name: &'static str,
    status: StatusCode,
    description: &'static str,
    /// The `message` of each example.
    messages: Vec<Value>,
    /// Besides those of every answer.
    header: Option<&'static str>,
}

impl Failure {
    fn new(name: &'static str, status: StatusCode, description: &'static str, messages: Vec<Value>) -> Self {
        Self { name, status, description, messages, header: None }
    }

    fn with(self, header: &'static str) -> Self {
        Self { header: Some(header), ..self }
    }
}

/// The failing answers of `operation`, by status: references to [`components`], but for 409.
pub fn failures(operation: &Operation) -> Map<String, Value> {
    let referred = |failure: &Failure| {
        let there = format!("#/components/responses/{}", failure.name);
        (failure.status.as_str().to_owned(), json!({"$ref": there}))
    };
    let mut all: Map<String, Value> = of(operation).iter().map(referred).collect();
    if !operation.conflicts.is_empty() {
        all.insert(StatusCode::CONFLICT.as_str().to_owned(), written(&conflict(operation)));
    }
    all
}

/// The failing answers that any of `operations` refers to, by name.
pub fn components(operations: &[Operation]) -> Map<String, Value> {
    operations.iter().flat_map(of).map(|failure| (failure.name.to_owned(), written(&failure))).collect()
}

fn conflict(operation: &Operation) -> Failure {
    let messages = operation.conflicts.iter().map(|reason| json!(reason)).collect();
    Failure::new("Conflict", StatusCode::CONFLICT, "The state of the thing forbids it.", messages)
}

fn of(operation: &Operation) -> Vec<Failure> {
    let mut all = vec![too_long()];
    if operation.access != Access::Public {
        all.extend(of_tokens(operation.access));
    }
    if operation.body.is_some() {
        all.extend(of_bodies());
    } else if operation.has_checked_parameters() {
        let said = vec![json!(["limit must be an integer from 0 to 100"])];
        let description = "A parameter breaks rules; every fault is told at once.";
        all.push(Failure::new("InvalidQuery", StatusCode::BAD_REQUEST, description, said));
    }
    if operation.path_parameters().next().is_some() {
        all.push(missing(operation));
    }
    if operation.is_guarded() {
        let said = vec![json!("If-Match names another version: read it again")];
        let description = "`If-Match` names another version.";
        all.push(Failure::new("VersionChanged", StatusCode::PRECONDITION_FAILED, description, said));
    }
    all
}

fn of_tokens(access: Access) -> [Failure; 5] {
    let away =
        "The store cannot be reached, or a bound is reached for now. What was asked for may have been done.";
    let limited = "A limit is reached.";
    let (expired, none) = (json!("the token has expired"), json!("a bearer token is required"));
    let unauthenticated = "There is no token, or it is not taken.";
    let fault = vec![json!("an internal error occurred")];
    [
        Failure::new("Unauthorized", StatusCode::UNAUTHORIZED, unauthenticated, vec![none, expired])
            .with("WWW-Authenticate"),
        forbidden(access),
        Failure::new(
            "TooManyRequests",
            StatusCode::TOO_MANY_REQUESTS,
            limited,
            vec![json!("too many requests, slow down")],
        )
        .with("Retry-After"),
        Failure::new("InternalError", StatusCode::INTERNAL_SERVER_ERROR, "A fault of the service.", fault),
        Failure::new(
            "Unavailable",
            StatusCode::SERVICE_UNAVAILABLE,
            away,
            vec![json!("the store cannot be reached, try again")],
        )
        .with("Retry-After"),
    ]
}

fn forbidden(access: Access) -> Failure {
    let (name, said) = match access {
        Access::Public | Access::Read | Access::ReadOrPublish => {
            ("MayNotRead", vec!["the token lacks the scope webhooks:read"])
        }
        Access::Write => {
            let of_others =
                "an administrator may read, deactivate and delete the webhooks of others, not change them";
            let role = "the token's role may only read";
            ("MayNotWrite", vec!["the token lacks the scope webhooks:write", role, of_others])
        }
        Access::Publish => {
            let elsewhere = "publishing for another organization needs the scope events:publish:any";
            let nowhere = "publishing needs the scope events:publish or a publisher role";
            ("MayNotPublish", vec![nowhere, elsewhere])
        }
    };
    let messages = said.into_iter().map(|text| json!(text)).collect();
    Failure::new(name, StatusCode::FORBIDDEN, "The token does not allow it.", messages)
}

fn missing(operation: &Operation) -> Failure {
    let is_recovery = operation.path.ends_with("/recover") && operation.method != "post";
    let (name, things) = match operation.path {
        path if path.starts_with("/events") => ("NoEvent", vec!["event"]),
        path if path.contains("{attemptId}") => ("NoAttempt", vec!["webhook", "attempt"]),
        _ if is_recovery => ("NoRecovery", vec!["webhook", "recovery"]),
        _ => ("NoWebhook", vec!["webhook"]),
    };
    let messages = things.into_iter().map(|thing| json!(format!("{thing} not found"))).collect();
    Failure::new(name, StatusCode::NOT_FOUND, "There is none, or it belongs to somebody else.", messages)
}

fn too_long() -> Failure {
    let said = json!(format!("the path with its query is longer than {LONGEST_URI} bytes"));
    let description = "The path with its query is too long.";
    Failure::new("UriTooLong", StatusCode::URI_TOO_LONG, description, vec![said])
}

fn of_bodies() -> [Failure; 4] {
    let faults = json!(["name should not be empty", "property foo should not exist"]);
    let broken = json!("the body is not valid JSON (line 1, column 17)");
    let invalid = "The input breaks rules; every fault is told at once.";
    let slow = "The body did not arrive in time.";
    let long = json!(format!("the body is longer than {MAX_BODY} bytes"));
    let foreign = vec![json!("the body must be plain application/json")];
    let not_json = "The body is not plain `application/json`.";
    [
        Failure::new("InvalidBody", StatusCode::BAD_REQUEST, invalid, vec![faults, broken]),
        Failure::new(
            "BodyTooSlow",
            StatusCode::REQUEST_TIMEOUT,
            slow,
            vec![json!("the body did not arrive in time")],
        ),
        Failure::new("BodyTooLong", StatusCode::PAYLOAD_TOO_LARGE, "The body is too long.", vec![long]),
        Failure::new("NotJson", StatusCode::UNSUPPORTED_MEDIA_TYPE, not_json, foreign),
    ]
}

fn written(failure: &Failure) -> Value {
    let example = |(number, message): (usize, &Value)| {
        let body = json!({
            "statusCode": failure.status.as_u16(), "message": message, "error": failure.status.canonical_reason(),
            "path": "/api/webhooks", "requestId": "pJ4Zr8LmQ2xWc7TnB1vKdS", "timestamp": NOW,
        });
        (format!("{}", number + 1), json!({"value": body}))
    };
    let examples: Map<String, Value> = failure.messages.iter().enumerate().map(example).collect();
    let is_nobody = failure.status == StatusCode::UNAUTHORIZED;
    let mut headers = headers_of(if is_nobody { Access::Public } else { Access::Read });
    headers.extend(failure.header.map(header));
    json!({
        "description": failure.description,
        "headers": headers,
        "content": {"application/json": {"schema": reference("Error"), "examples": examples}},
    })
}

/// The headers of any answer.
fn headers_of(access: Access) -> Map<String, Value> {
    let mut names = vec!["X-Request-Id"];
    if access != Access::Public {
        names.extend(["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]);
    }
    names.into_iter().map(header).collect()
}

/// A reference to a described header.
pub fn header(name: &str) -> (String, Value) {
    (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}))
}

/// The good answers of `operation`, by status.
pub fn answers(operation: &Operation) -> Map<String, Value> {
    let written = |answer: &Answer| {
        let mut headers = headers_of(operation.access);
        headers.extend(answer.headers.iter().map(|name| header(name)));
        let mut value = json!({"description": answer.description, "headers": headers});
        if let Some((schema, example)) = &answer.body {
            let content = json!({"schema": schema, "examples": {"answer": {"value": example}}});
            value["content"] = json!({"application/json": content});
        }
        if !answer.links.is_empty() {
            value["links"] = answer.links.iter().map(link).collect::<Map<_, _>>().into();
        }
        (answer.status.to_string(), value)
    };
    operation.answers.iter().map(written).collect()
}

fn link(link: &Link) -> (String, Value) {
    let parameters: Map<String, Value> =
        link.parameters.iter().map(|(name, from)| ((*name).to_owned(), json!(from))).collect();
    (link.operation.to_owned(), json!({"operationId": link.operation, "parameters": parameters}))
}

/// Every header that an answer may have.
pub fn headers() -> Value {
    let text = |required: bool, example: &str, description: &str| json!({"required": required, "schema": {"type": "string"}, "example": example, "description": description});
    let count = |required: bool, example: u32, description: &str| json!({"required": required, "schema": {"type": "integer", "minimum": 0}, "example": example, "description": description});
    json!({
        "X-Request-Id": text(true, "pJ4Zr8LmQ2xWc7TnB1vKdS", "Names the request in the log: the client's own (1 to 128 visible ASCII characters), else one made here."),
        "X-RateLimit-Limit": count(false, 6000, "The most requests at once, on the node that answers."),
        "X-RateLimit-Remaining": count(false, 5999, "Left at this moment."),
        "X-RateLimit-Reset": count(false, 1, "Seconds until all are left again."),
        "Retry-After": count(true, 2, "Seconds to wait."),
        "WWW-Authenticate": text(true, "Bearer", "How to authenticate (RFC 6750)."),
        "ETag": text(true, "\"1\"", "The version, for `If-Match` or `If-None-Match`."),
        "Location": text(true, "/api/webhooks/wh_0aQ7dLm2Xw9Zr4Tk8Pc1Vb6N", "Where the new webhook is."),
        "X-Total-Count": count(true, 1, "Webhooks on all pages."),
    })
}
