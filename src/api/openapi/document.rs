//! Puts the document together, and answers with it.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::examples::Examples;
use super::operation::{Access, Operation, Optional, TAGS};
use super::rules::{self, answers, failures, headers};
use super::schemas::{self, reference};
use super::{operations, outgoing};
use crate::api::files::{self, File};
use crate::api::{App, Error};
use crate::config::Config;
use crate::domain::Catalogue;

/// What the document depends on.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The event types that there are.
    pub catalogue: &'a Catalogue,
    /// `api.max_event_bytes`
    pub max_event_bytes: usize,
    /// `api.rate_limit_per_minute`
    pub rate_limit_per_minute: u32,
}

impl<'a> Subject<'a> {
    /// What a node with these settings describes.
    pub fn of(config: &'a Config) -> Self {
        Self {
            catalogue: &config.catalogue,
            max_event_bytes: config.api.max_event_bytes,
            rate_limit_per_minute: config.api.rate_limit_per_minute,
        }
    }
}

/// `GET /api/openapi.json`, without a token.
///
/// # Errors
/// None but 500, when there is no event type at all, which the settings refuse.
pub async fn show(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Error> {
    Ok(files::answer(&request, &app.document))
}

/// The document as a file to serve.
pub fn file(config: &Config) -> File {
    File::new("application/json", document(Subject::of(config)).to_string().into_bytes())
}

/// The document.
pub fn document(subject: Subject<'_>) -> Value {
    let Some(examples) = Examples::of(subject.catalogue) else { return json!({}) };
    let mut paths: Map<String, Value> = Map::new();
    let operations = operations::all(examples);
    for operation in &operations {
        let path = format!("/api{}", operation.path);
        let item = paths.entry(path).or_insert_with(|| json!({"parameters": path_parameters(operation)}));
        item[operation.method] = described(operation);
    }
    let tags = TAGS.map(|(name, description)| json!({"name": name, "description": description}));
    json!({
        "openapi": "3.1.0",
        "info": info(subject),
        "servers": [{"url": "..", "description": "Relative to where this document was read; a client made from the file must be told the host."}],
        "tags": tags,
        "security": [{"bearer": []}],
        "paths": paths,
        "webhooks": outgoing::webhooks(examples),
        "components": components(subject.catalogue, &operations),
    })
}

fn info(subject: Subject<'_>) -> Value {
    let Subject { max_event_bytes, rate_limit_per_minute, .. } = subject;
    let description = include_str!("description.md")
        .replace("{rate}", &rate_limit_per_minute.to_string())
        .replace("{bytes}", &max_event_bytes.to_string());
    json!({
        "title": "SalesOS Webhooks",
        "summary": "Every published event reaches every matching endpoint: signed, at least once, in time.",
        "version": env!("CARGO_PKG_VERSION"),
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        "description": description,
    })
}

fn path_parameters(operation: &Operation) -> Vec<Value> {
    let schema = |name| match name {
        "attemptId" => ("AttemptId", "The attempt."),
        _ if operation.path.starts_with("/events") => ("EventId", "The event."),
        _ => ("WebhookId", "The webhook."),
    };
    let parameter = |name| {
        let (schema, description) = schema(name);
        json!({"name": name, "in": "path", "required": true, "schema": reference(schema), "description": description})
    };
    operation.path_parameters().map(parameter).collect()
}

fn described(operation: &Operation) -> Value {
    let mut responses = answers(operation);
    responses.extend(failures(operation));
    let mut value = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": format!("{}{}", operation.description, needed(operation.access)),
        "responses": responses,
    });
    if operation.access == Access::Public {
        value["security"] = json!([]);
    }
    if !operation.parameters.is_empty() {
        value["parameters"] = operation.parameters.clone().into();
    }
    if let Some(body) = &operation.body {
        let example = |(title, body): &(&str, Value)| ((*title).to_owned(), json!({"value": body}));
        let examples: Map<String, Value> = body.examples.iter().map(example).collect();
        let content = json!({"schema": reference(body.schema), "examples": examples});
        value["requestBody"] = json!({
            "required": body.optional == Optional::No, "content": {"application/json": content},
        });
    }
    value
}

/// What a token needs, in words.
fn needed(access: Access) -> &'static str {
    match access {
        Access::Public => "",
        Access::Read => "\n\nScope: `webhooks:read`, where the token has scopes.",
        Access::Write => {
            "\n\nScope: `webhooks:write`, where the token has scopes; not with a read-only role."
        }
        Access::Publish => "\n\nNeeds the scope `events:publish` or a publisher's role.",
        Access::ReadOrPublish => {
            "\n\nScope: `webhooks:read` or `events:publish`, where the token has scopes."
        }
    }
}

fn components(catalogue: &Catalogue, operations: &[Operation]) -> Value {
    let mut all = schemas::all(catalogue);
    all.insert("SentEvent".into(), outgoing::sent_event());
    all.insert("Document".into(), json!({"type": "object", "required": ["openapi", "info"]}));
    let if_match = json!({
        "name": "If-Match", "in": "header", "required": false, "schema": {"type": "string"}, "example": "\"3\"",
        "description": "Only if the webhook still has this `ETag`, or one of these; else 412.",
    });
    json!({
        "schemas": all,
        "headers": headers(),
        "responses": rules::components(operations),
        "parameters": {"IfMatch": if_match},
        "securitySchemes": {"bearer": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "A token with `sub` (the user) and `exp`; `organizationId`, `role` and `scope` are optional.",
        }},
    })
}
