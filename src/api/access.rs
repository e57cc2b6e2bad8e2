//! Which webhooks a caller may reach.
//!
//! A webhook belongs to a user of a tenant. To everybody else it does not exist: 404, never 403. Administrators of the
//! tenant see it too, and may switch it off and delete it; for any other change they are told that it is not theirs.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, IF_MATCH};
use actix_web::{FromRequest, HttpRequest};

use super::App;
use super::auth::Caller;
use super::error::Error;
use crate::domain::{Webhook, WebhookId};
use crate::store::webhooks::Webhooks;

/// The answer wherever there is no webhook for this caller.
pub const NO_WEBHOOK: Error = Error::NotFound("webhook");

/// What a caller wants with a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Look at it, its log, its attempts.
    Read,
    /// Deactivate or delete it.
    Stop,
    /// Anything else.
    Change,
}

/// The `{id}` of a route. What is no webhook id names no webhook: 404.
#[derive(Clone, Debug)]
pub struct Id(pub WebhookId);

impl FromRequest for Id {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let given = request.match_info().get("id").unwrap_or_default();
        ready(given.parse().map(Self).map_err(|_| NO_WEBHOOK))
    }
}

/// The store's view of the caller's tenant.
pub fn webhooks_of<'a>(app: &'a App, caller: &'a Caller) -> Webhooks<'a> {
    let App { redis, keys, layout, keyring, .. } = app;
    Webhooks { redis, keys, layout, keyring, tenant: &caller.tenant }
}

/// The webhook `id`, if `caller` may reach it for that purpose.
///
/// # Errors
/// [`NO_WEBHOOK`], 403 for an administrator who wants more than reading and stopping, or the store's.
pub async fn find(app: &App, caller: &Caller, id: &WebhookId, purpose: Purpose) -> Result<Webhook, Error> {
    let webhook = webhooks_of(app, caller).get(id).await?.ok_or(NO_WEBHOOK)?;
    check(caller, &webhook, purpose).map(|()| webhook)
}

/// Whether `caller` may reach `webhook` for that purpose.
///
/// # Errors
/// As [`find`], but for the store's.
pub fn check(caller: &Caller, webhook: &Webhook, purpose: Purpose) -> Result<(), Error> {
    if webhook.settings.tenant != caller.tenant {
        return Err(NO_WEBHOOK);
    }
    match (webhook.settings.owner == caller.user, caller.is_admin, purpose) {
        (true, _, _) | (false, true, Purpose::Read | Purpose::Stop) => Ok(()),
        (false, true, Purpose::Change) => Err(Error::Forbidden(
            "an administrator may read, deactivate and delete the webhooks of others, not change them",
        )),
        (false, false, _) => Err(NO_WEBHOOK),
    }
}

/// The precondition of a change: the versions that `If-Match` names.
/// Source: RFC 9110 section 13.1.1; a weak tag (`W/"3"`) never matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// No such header.
    Anything,
    /// One of these tags.
    OneOf(Vec<String>),
}

impl IfMatch {
    /// The header's meaning. `*` is met by any webhook that is there.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut tags = Vec::new();
        for line in headers.get_all(IF_MATCH) {
            for tag in line.to_str().unwrap_or_default().split(',').map(str::trim) {
                if tag == "*" {
                    return Self::Anything;
                }
                tags.push(tag.to_owned());
            }
        }
        if headers.contains_key(IF_MATCH) { Self::OneOf(tags) } else { Self::Anything }
    }

    /// Whether `webhook` is one that the client means.
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`]
    pub fn check(&self, webhook: &Webhook) -> Result<(), Error> {
        match self {
            Self::Anything => Ok(()),
            Self::OneOf(tags) if tags.contains(&etag(webhook)) => Ok(()),
            Self::OneOf(_) => Err(Error::PreconditionFailed),
        }
    }
}

impl FromRequest for IfMatch {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request.headers())))
    }
}

/// The `ETag` of a webhook: its version. The figures shown with it change without it.
pub fn etag(webhook: &Webhook) -> String {
    format!("\"{}\"", webhook.version)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn if_match_compares_strongly() {
        let cases: [(&[&str], &[&str]); 6] = [
            (&[], &["\"1\"", "\"2\""]),
            (&["*"], &["\"1\"", "\"2\""]),
            (&["\"2\""], &["\"2\""]),
            (&["\"1\", \"2\""], &["\"1\"", "\"2\""]),
            (&["\"9\"", "\"2\""], &["\"2\""]),
            (&["W/\"2\", 2, nonsense"], &[]),
        ];
        for (lines, met) in cases {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_MATCH, HeaderValue::from_str(line).unwrap());
            }
            let condition = IfMatch::of(&headers);
            for tag in ["\"1\"", "\"2\""] {
                let holds = match &condition {
                    IfMatch::Anything => true,
                    IfMatch::OneOf(tags) => tags.iter().any(|named| named == tag),
                };
                assert_eq!(holds, met.contains(&tag), "{lines:?} {tag}");
            }
        }
    }
}
