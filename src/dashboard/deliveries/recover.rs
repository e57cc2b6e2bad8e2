//! `/dashboard/webhooks/{id}/recover`: sends again what failed for good in a span of time. First it is counted, so that nobody
//! floods their own endpoint unawares; then it is queued, step by step, and can be ended.
//!
//! With `part=1` the state of the recovery alone is given, for the script that follows it.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::recovery::{Recover, body, standing};
use super::seen::{Seen, WEBHOOKS, seen};
use super::wanted::Wanted;
use crate::api::access::{Id, Purpose, find};
use crate::api::audit::Trail;
use crate::api::recover::{Answer, begun, cancelled, last, surveyed};
use crate::api::{App, Error};
use crate::dashboard::form::Form;
use crate::dashboard::notice::Notice;
use crate::dashboard::page::{Page, Section, part, to, to_with};
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::{Change, Visit};
use crate::domain::WebhookId;
use crate::store::recoveries::{Recovery, Status};

/// `GET`: the form; with `count` what it asks for is counted.
///
/// # Errors
/// 404 for somebody else's webhook, 429 while another count of the organization is under way, or the store's.
pub async fn show(app: Data<App>, visit: Visit, id: Id, request: HttpRequest) -> Result<HttpResponse, Error> {
    let form = Form::parse(request.query_string().as_bytes());
    let seen = seen(&app, &visit, &id.0).await?;
    if form.has("part") {
        return Ok(part(standing(&visit, &seen, last(&app, &seen.webhook).await?.as_ref())));
    }
    let wanted = Wanted::of(&form, visit.now);
    if !form.has("count") || !seen.may_change {
        return answer(&app, &visit, &seen, &wanted, Told::Nothing).await;
    }
    if !wanted.faults.is_empty() {
        return answer(&app, &visit, &seen, &wanted, Told::Faults).await;
    }
    let counted = surveyed(&app, &seen.webhook, wanted.span()).await?;
    answer(&app, &visit, &seen, &wanted, Told::Counted(counted.into())).await
}

/// `POST`: begins to queue what was counted.
///
/// # Errors
/// As [`show`], and 403 for the webhook of somebody else. What forbids it now stands on the page, with 409.
pub async fn begin(change: Change, app: Data<App>, trail: Trail, id: Id) -> Result<HttpResponse, Error> {
    find(&app, &change, &id.0, Purpose::Change).await?;
    let visit = &change.visit;
    let seen = seen(&app, visit, &id.0).await?;
    let wanted = Wanted::of(&change.form, visit.now);
    if !wanted.faults.is_empty() {
        return answer(&app, visit, &seen, &wanted, Told::Faults).await;
    }
    match begun(&app, &trail, &seen.webhook, wanted.span()).await {
        Ok(begun) if begun.recovery.is_some() => {
            Ok(to_with(&of_webhook(&seen.webhook.id, "/recover"), Notice::Recovering))
        }
        Ok(nothing) => answer(&app, visit, &seen, &wanted, Told::Counted(nothing.into())).await,
        Err(Error::Conflict(_)) => answer(&app, visit, &seen, &wanted, Told::Refused(NOT_NOW)).await,
        Err(other) => Err(other),
    }
}

/// `POST …/cancel`: ends the one that is under way.
///
/// # Errors
/// As [`begin`].
pub async fn cancel(change: Change, app: Data<App>, trail: Trail, id: Id) -> Result<HttpResponse, Error> {
    let webhook = find(&app, &change, &id.0, Purpose::Change).await?;
    match cancelled(&app, &trail, &webhook).await {
        Ok(last) => Ok(ended(&webhook.id, &last)),
        Err(Error::NotFound(_)) => {
            let visit = &change.visit;
            let seen = seen(&app, visit, &id.0).await?;
            let wanted = Wanted::of(&Form::default(), visit.now);
            answer(&app, visit, &seen, &wanted, Told::Refused(NONE)).await
        }
        Err(other) => Err(other),
    }
}

/// Back to the page; one that came to its end by itself tells so there.
fn ended(webhook: &WebhookId, last: &Recovery) -> HttpResponse {
    let here = of_webhook(webhook, "/recover");
    match last.status {
        Status::Cancelled => to_with(&here, Notice::RecoveryEnded),
        Status::Running | Status::Completed | Status::Stopped => to(&here),
    }
}

const NOT_NOW: &str =
    "Nothing was queued: the webhook is not active, or another recovery of it is under way.";
const NONE: &str = "No recovery is under way.";

/// What came of the request.
enum Told {
    Nothing,
    Faults,
    Counted(Box<Answer>),
    Refused(&'static str),
}

async fn answer(
    app: &App,
    visit: &Visit,
    seen: &Seen,
    wanted: &Wanted,
    told: Told,
) -> Result<HttpResponse, Error> {
    let last = last(app, &seen.webhook).await?;
    let (status, counted, problem) = match &told {
        Told::Nothing => (StatusCode::OK, None, None),
        Told::Faults => (StatusCode::BAD_REQUEST, None, None),
        Told::Counted(counted) => (StatusCode::OK, Some(&**counted), None),
        Told::Refused(why) => (StatusCode::CONFLICT, None, Some(*why)),
    };
    let recover = Recover { seen, wanted, counted, last: last.as_ref(), catalogue: &app.config.catalogue };
    let webhook = &seen.webhook;
    let (summary, log) = (of_webhook(&webhook.id, ""), of_webhook(&webhook.id, "/deliveries"));
    let name = webhook.settings.name.as_str();
    let page = Page {
        title: "Send again",
        section: Section::Webhooks,
        trail: &[("Webhooks", WEBHOOKS), (name, &summary), ("Deliveries", &log)],
        scripts: &["deliveries.js"],
        body: body(visit, &recover, problem),
    };
    Ok(page.answer_with(status, visit))
}

#[cfg(test)]
mod tests;
