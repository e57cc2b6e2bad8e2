//! A client of the service's own API, as small as `listen`, the smoke test, the proof of `make run` and the demo need it.
//!
//! It talks to one node, follows no redirect, uses no proxy, and reads no more of an answer than [`MOST_ANSWER_BYTES`].

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::{Value, json};

use crate::domain::Secret;

/// The longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The most of an answer that is read.
const MOST_ANSWER_BYTES: usize = 1 << 20;

/// Why a request to the API came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// That is no place to ask. It is not repeated: a password may be in it.
    #[error("the base URL must be http or https with a host, and hold no user and no password")]
    Base,
    /// Nobody answered: is the service running?
    #[error("no answer from {base}")]
    Unreachable {
        /// Where it was looked for.
        base: String,
        /// The client's word.
        source: reqwest::Error,
    },
    /// The service said no, and why.
    #[error("the service answered {status}: {message}")]
    Refused {
        /// The status code.
        status: StatusCode,
        /// Its message.
        message: String,
    },
    /// It is some other service.
    #[error("the answer of {base} is not one of SalesOS Webhooks")]
    Foreign {
        /// Who answered.
        base: String,
    },
}

impl Error {
    /// Whether the same request may succeed a moment later, or at another node.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Base | Self::Foreign { .. } => false,
        }
    }
}

/// A webhook that was just created: its id and its secret, which is shown this once.
#[derive(Debug)]
pub struct Created {
    /// `wh_…`
    pub id: String,
    /// Verifies what it receives.
    pub secret: Secret,
}

/// Speaks to the API at one base URL with one token.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// A client of the API under `base` (`http://127.0.0.1:8080`), with or without a slash at its end.
    ///
    /// # Errors
    /// `base` is none, or the HTTP client cannot be set up (no TLS roots on this machine).
    pub fn new(base: &str, token: &str) -> Result<Self, Error> {
        let is_plain = |url: &Url| url.username().is_empty() && url.password().is_none() && url.has_host();
        if !Url::parse(base).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && is_plain(&url)) {
            return Err(Error::Base);
        }
        let base = base.trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()
            .map_err(|source| Error::Unreachable { base: base.clone(), source: source.without_url() })?;
        Ok(Self { http, base, token: token.to_owned() })
    }

    /// Creates a webhook.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_webhook(&self, name: &str, url: &str, events: &[String]) -> Result<Created, Error> {
        self.create(&json!({ "name": name, "url": url, "events": events })).await
    }

    /// Creates a webhook with any settings that the API takes.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create(&self, settings: &Value) -> Result<Created, Error> {
        let answer = self.call(Method::POST, "/api/webhooks", Some(settings)).await?;
        match (answer["id"].as_str(), answer["secret"].as_str()) {
            (Some(id), Some(secret)) => Ok(Created { id: id.into(), secret: Secret(secret.into()) }),
            _ => Err(Error::Foreign { base: self.base.clone() }),
        }
    }

    /// Deletes a webhook and what is queued for it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_webhook(&self, id: &str) -> Result<(), Error> {
        self.call(Method::DELETE, &format!("/api/webhooks/{id}"), None).await.map(drop)
    }

    /// Publishes an event and gives its id.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn publish(&self, event_type: &str, data: &Value) -> Result<String, Error> {
        self.publish_event(&json!({ "type": event_type, "data": data })).await
    }

    /// Publishes an event with any fields that the API takes, and gives its id. With an `id` of its own it can be
    /// repeated, at any node, until it is taken: it is sent once.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn publish_event(&self, event: &Value) -> Result<String, Error> {
        let answer = self.call(Method::POST, "/api/events", Some(event)).await?;
        answer["id"].as_str().map(str::to_owned).ok_or_else(|| Error::Foreign { base: self.base.clone() })
    }

    /// The caller's statistics.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn statistics(&self) -> Result<Value, Error> {
        self.call(Method::GET, "/api/webhooks/stats", None).await
    }

    /// The newest rows of a webhook's log, newest first, as the API gives them.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn deliveries(&self, id: &str) -> Result<Vec<Value>, Error> {
        let mut answer = self.call(Method::GET, &format!("/api/webhooks/{id}/deliveries"), None).await?;
        match answer["logs"].take() {
            Value::Array(rows) => Ok(rows),
            _ => Err(Error::Foreign { base: self.base.clone() }),
        }
    }

    /// Whether the node whose management port this client speaks to takes work.
    ///
    /// # Errors
    /// It does not, or see [`Error`].
    pub async fn is_ready(&self) -> Result<(), Error> {
        self.call(Method::GET, "/health/ready", None).await.map(drop)
    }

    /// One request; an empty answer is `null`.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = answer.status();
        let bytes = self.read(answer).await?;
        let answer = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
        match answer {
            Ok(answer) if status.is_success() => Ok(answer),
            Ok(answer) => Err(Error::Refused { status, message: message_of(&answer) }),
            Err(_) => Err(Error::Foreign { base: self.base.clone() }),
        }
    }

    async fn read(&self, mut answer: Response) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|source| self.unreachable(source))? {
            if bytes.len() + chunk.len() > MOST_ANSWER_BYTES {
                return Err(Error::Foreign { base: self.base.clone() });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable { base: self.base.clone(), source: source.without_url() }
    }
}

/// The `message` of an error body: one text, or one for each fault; the `status` of a node that is not ready.
fn message_of(answer: &Value) -> String {
    match &answer["message"] {
        Value::String(message) => message.clone(),
        Value::Array(messages) => messages.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
        // The health routes have a state instead.
        _ => answer["status"].as_str().unwrap_or("no message").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_error_body_is_read() {
        assert_eq!(message_of(&json!({"message": "no"})), "no");
        assert_eq!(message_of(&json!({"message": ["a is bad", "b too"]})), "a is bad; b too");
        assert_eq!(message_of(&json!({"status": "draining"})), "draining");
        assert_eq!(message_of(&Value::Null), "no message");
    }
}
