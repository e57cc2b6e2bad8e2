//! What an operation can answer by rule: the errors that follow from how it is called, and the headers of each answer.
//!
//! | rule | answer |
//! |---|---|
//! | it needs a token | 401, 403, 429, 500, 503 |
//! | its path names a thing | 404 |
//! | it looks at parameters or at a body | 400 |
//! | it reads a body | 408, 413, 415 |
//! | it takes `If-Match` | 412 |
//! | it names conflicts | 409 |

use serde_json::{Map, Value, json};

use super::operation::{Access, Answer, Link, Operation};

/// A time in examples.
pub const NOW: &str = "2026-01-15T10:30:00.000Z";

/// A failing status, why it comes, and what its body may say.
struct Failure<'a> {
    status: u16,
    reason: &'static str,
    description: &'static str,
    messages: Vec<(&'static str, Value)>,
    headers: &'a [&'static str],
}

/// The failing answers of `operation`, by status.
pub fn failures(operation: &Operation) -> Map<String, Value> {
    let mut all = Vec::new();
    if operation.has_checked_parameters() || operation.body.is_some() {
        all.push(invalid(operation));
    }
    if operation.access != Access::Public {
        all.extend(of_tokens(operation.access));
    }
    if operation.path_parameters().next().is_some() {
        all.push(missing(operation));
    }
    if operation.body.is_some() {
        all.extend(of_bodies());
    }
    if !operation.conflicts.is_empty() {
        let messages = operation.conflicts.iter().map(|reason| (*reason, json!(reason))).collect();
        all.push(failure(409, "Conflict", "The state of the thing forbids it.", messages));
    }
    if operation.is_guarded() {
        let said = json!("If-Match names another version: read it again");
        all.push(failure(
            412,
            "Precondition Failed",
            "`If-Match` names another version.",
            vec![("changed", said)],
        ));
    }
    let path = operation.path;
    all.into_iter()
        .map(|failure| (failure.status.to_string(), written(&failure, path, operation.access)))
        .collect()
}

fn failure<'a>(
    status: u16,
    reason: &'static str,
    description: &'static str,
    messages: Vec<(&'static str, Value)>,
) -> Failure<'a> {
    Failure { status, reason, description, messages, headers: &[] }
}

fn invalid<'a>(operation: &Operation) -> Failure<'a> {
    let mut messages = Vec::new();
    if operation.body.is_some() {
        messages.push(("faults", json!(["name should not be empty", "property foo should not exist"])));
        messages.push(("no JSON", json!("the body is not valid JSON (line 1, column 17)")));
    } else {
        messages.push(("faults", json!(["limit must be an integer from 0 to 100"])));
    }
    failure(400, "Bad Request", "The input breaks rules; every fault is told at once.", messages)
}

fn of_tokens<'a>(access: Access) -> Vec<Failure<'a>> {
    let lacks = match access {
        Access::Public | Access::Read | Access::ReadOrPublish => "the token lacks the scope webhooks:read",
        Access::Write => "the token lacks the scope webhooks:write",
        Access::Publish => "publishing needs the scope events:publish or a publisher role",
    };
    let unauthenticated = failure(
        401,
        "Unauthorized",
        "There is no token, or it is not taken.",
        vec![("none", json!("a bearer token is required")), ("expired", json!("the token has expired"))],
    );
    let limited = failure(
        429,
        "Too Many Requests",
        "A limit is reached; `Retry-After` says how long to wait.",
        vec![("limit", json!("too many requests, slow down"))],
    );
    let away = failure(
        503,
        "Service Unavailable",
        "The store cannot be reached, or a bound is reached for now. What was asked for may have been done.",
        vec![("store", json!("the store cannot be reached, try again"))],
    );
    vec![
        Failure { headers: &["WWW-Authenticate"], ..unauthenticated },
        failure(403, "Forbidden", "The token does not allow it.", vec![("scope", json!(lacks))]),
        Failure { headers: &["Retry-After"], ..limited },
        failure(
            500,
            "Internal Server Error",
            "A fault of the service.",
            vec![("fault", json!("an internal error occurred"))],
        ),
        Failure { headers: &["Retry-After"], ..away },
    ]
}

fn missing<'a>(operation: &Operation) -> Failure<'a> {
    let mut messages = Vec::new();
    if operation.path.starts_with("/events") {
        messages.push(("event", json!("event not found")));
    } else {
        messages.push(("webhook", json!("webhook not found")));
    }
    if operation.path.ends_with("/recover") && operation.method != "post" {
        messages.push(("recovery", json!("recovery not found")));
    }
    if operation.path_parameters().any(|name| name == "attemptId") {
        messages.push(("attempt", json!("attempt not found")));
    }
    failure(404, "Not Found", "There is none, or it belongs to somebody else.", messages)
}

fn of_bodies<'a>() -> [Failure<'a>; 3] {
    [
        failure(
            408,
            "Request Timeout",
            "The body did not arrive in time.",
            vec![("slow", json!("the body did not arrive in time"))],
        ),
        failure(
            413,
            "Payload Too Large",
            "The body is too long.",
            vec![("long", json!("the body is longer than 65536 bytes"))],
        ),
        failure(
            415,
            "Unsupported Media Type",
            "The body is not plain `application/json`.",
            vec![("type", json!("the body must be plain application/json"))],
        ),
    ]
}

fn written(failure: &Failure<'_>, path: &str, access: Access) -> Value {
    let example = |(name, message): &(&str, Value)| {
        let body = json!({
            "statusCode": failure.status, "message": message, "error": failure.reason,
            "path": format!("/api{path}"), "requestId": "pJ4Zr8LmQ2xWc7TnB1vKdS", "timestamp": NOW,
        });
        ((*name).to_owned(), json!({"value": body}))
    };
    let examples: Map<String, Value> = failure.messages.iter().map(example).collect();
    let mut headers = headers_of(access, failure.status != 401);
    headers.extend(failure.headers.iter().map(|name| header(name)));
    json!({
        "description": failure.description,
        "headers": headers,
        "content": {"application/json": {"schema": super::schemas::reference("Error"), "examples": examples}},
    })
}

/// The headers of any answer.
fn headers_of(access: Access, known_caller: bool) -> Map<String, Value> {
    let mut names = vec!["X-Request-Id"];
    if access != Access::Public && known_caller {
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
        let mut headers = headers_of(operation.access, true);
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
