//! The audit log of the API: which requests are changes, and what came of each.
//!
//! [`action`] says which routes change something; a test holds it to the table of routes. The check of a token opens a
//! [`Trail`] in the request, the handler makes its write through it ([`Trail::follow`]), and the layer around all requests
//! writes the line when the answer is known. A client that goes away ends its request at any point: what was under way
//! then is told by the trail's own end, so nobody changes anything unseen by hanging up.

use std::cell::{Cell, RefCell};
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use super::auth::Caller;
use super::error::Error;
use super::request::RequestId;
use super::{App, routes, source};
use crate::domain::{Tenant, UserId, WebhookId};
use crate::store;
use crate::telemetry::events::{self as facts, Action, Changed, Ending};

/// What a route changes, by its method in small letters and its path below `/api`. Publishing is no change: its traces are
/// the events themselves.
pub fn action(method: &str, path: &str) -> Option<Action> {
    Some(match (method, path) {
        ("post", "/webhooks") => Action::CreateWebhook,
        ("patch", "/webhooks/{id}") => Action::UpdateWebhook,
        ("delete", "/webhooks/{id}") => Action::DeleteWebhook,
        ("post", "/webhooks/{id}/activate") => Action::ActivateWebhook,
        ("post", "/webhooks/{id}/deactivate") => Action::DeactivateWebhook,
        ("post", "/webhooks/{id}/reset-failures") => Action::ResetFailures,
        ("post", "/webhooks/{id}/regenerate-secret") => Action::RegenerateSecret,
        ("post", "/webhooks/{id}/test") => Action::TestWebhook,
        ("post", "/webhooks/{id}/deliveries/{attemptId}/retry") => Action::RetryDelivery,
        ("post", "/webhooks/{id}/recover") => Action::BeginRecovery,
        ("delete", "/webhooks/{id}/recover") => Action::CancelRecovery,
        _ => return None,
    })
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has been done.
    Before,
    /// It may have been done.
    UnderWay,
    /// It was done.
    Done,
    /// Its line is written, or it needs none.
    Told,
}

/// One request that may change something, from the check of its token to its answer.
#[derive(Debug)]
struct Record {
    action: Action,
    tenant: Tenant,
    user: UserId,
    webhook: RefCell<Option<WebhookId>>,
    fields: RefCell<Vec<&'static str>>,
    source: Option<IpAddr>,
    request: Option<RequestId>,
    stage: Cell<Stage>,
}

impl Record {
    fn tell(&self, ending: Ending) {
        self.stage.set(Stage::Told);
        let (tenant, fields) = (self.tenant.to_string(), self.fields.borrow().join(","));
        let webhook = self.webhook.borrow();
        let change = Changed {
            tenant: Some(&tenant),
            user: Some(&self.user.0),
            webhook: webhook.as_ref(),
            fields: Some(fields.as_str()).filter(|fields| !fields.is_empty()),
            source: self.source,
            request_id: self.request.as_ref().map(RequestId::as_str),
        };
        facts::changed(self.action, ending, &change);
    }

    /// Tells what is known by now, unless that is nothing.
    fn end(&self) {
        match self.stage.get() {
            Stage::UnderWay => self.tell(Ending::Unknown),
            Stage::Done => self.tell(Ending::Done),
            Stage::Before | Stage::Told => {}
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a handler tells of its change. One of a request that changes nothing, or whose token is not taken, is empty and
/// tells nothing.
#[derive(Clone, Debug, Default)]
pub struct Trail(Option<Rc<Record>>);

impl Trail {
    /// `write` is the change itself: whatever becomes of the request, it is told what became of that. A part of it that
    /// [was done](Self::was_done) stays so, whatever fails after it.
    ///
    /// # Errors
    /// Those of `write`.
    pub async fn follow<T, E: InDoubt>(&self, write: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.set(Stage::UnderWay);
        let written = write.await;
        match &written {
            Ok(_) => self.set(Stage::Done),
            Err(error) if error.may_have_happened() => {}
            Err(_) if self.is_at(Stage::Done) => {}
            Err(_) => self.set(Stage::Before),
        }
        written
    }

    /// What matters of the write was done.
    pub fn was_done(&self) {
        self.set(Stage::Done);
    }

    /// The write changed nothing.
    pub fn nothing_was_done(&self) {
        self.set(Stage::Before);
    }

    /// It is about that webhook, whose id is not in the path.
    pub fn concerns(&self, webhook: &WebhookId) {
        if let Some(record) = &self.0 {
            record.webhook.replace(Some(webhook.clone()));
        }
    }

    /// The fields that the write changes.
    pub fn names(&self, fields: Vec<&'static str>) {
        if let Some(record) = &self.0 {
            record.fields.replace(fields);
        }
    }

    fn is_at(&self, stage: Stage) -> bool {
        self.0.as_ref().is_some_and(|record| record.stage.get() == stage)
    }

    fn set(&self, stage: Stage) {
        if let Some(record) = &self.0 {
            record.stage.set(stage);
        }
    }
}

impl FromRequest for Trail {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(request.extensions().get::<Self>().cloned().unwrap_or_default()))
    }
}

/// What tells of a failure whether it left anything behind.
pub trait InDoubt {
    /// Whether the write may have been carried out all the same.
    fn may_have_happened(&self) -> bool;
}

impl InDoubt for store::Error {
    fn may_have_happened(&self) -> bool {
        // Scripts are not repeated below here, so a version that has changed was changed by somebody else.
        !self.has_not_happened() && !matches!(self, Self::Changed)
    }
}

impl InDoubt for Error {
    fn may_have_happened(&self) -> bool {
        match self {
            Self::Unavailable(cause) | Self::Internal(_, Some(cause)) => cause.may_have_happened(),
            Self::Internal(_, None) => true,
            _ => false,
        }
    }
}

/// Opens the trail of a request whose token is good, if its route changes something.
pub fn begins(request: &HttpRequest, app: &App, caller: &Caller) {
    let Some(action) = routes::action_of(request) else { return };
    let webhook = request.match_info().get("id").and_then(|id| id.parse().ok());
    let record = Record {
        action,
        tenant: caller.tenant.clone(),
        user: caller.user.clone(),
        webhook: RefCell::new(webhook),
        fields: RefCell::default(),
        source: source::client_address(request, app),
        request: request.extensions().get::<RequestId>().cloned(),
        stage: Cell::new(Stage::Before),
    };
    request.extensions_mut().insert(Trail(Some(Rc::new(record))));
}

/// The answer of a request is known: writes the line of its change, if there is any to write.
pub fn ends(request: &HttpRequest, error: Option<&Error>) {
    let Some(Trail(Some(record))) = request.extensions_mut().remove::<Trail>() else { return };
    match error {
        Some(Error::Forbidden(_)) => record.tell(Ending::Denied),
        _ => record.end(),
    }
}

#[cfg(test)]
mod tests;
