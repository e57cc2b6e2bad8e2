//! `/dashboard/webhooks/{id}/deliveries/{attemptId}`: one attempt. Why it failed and what to do comes first, then what was tried
//! before and after, then what was sent and what came back.
//!
//! With `part=1` the attempts of the event alone are given, for the script that follows them.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::delivery::{Delivery, address, attempts, body};
use super::seen::{Seen, WEBHOOKS, seen};
use crate::api::access::Id;
use crate::api::audit::Trail;
use crate::api::deliveries::{Attempt, headers_of, of_event, one, resent};
use crate::api::{App, Error};
use crate::dashboard::form::Form;
use crate::dashboard::notice::Notice;
use crate::dashboard::page::{Page, Section, part, to_with};
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::{Change, Visit};
use crate::dashboard::webhooks::once::{FORM, Sent, claim, release};
use crate::domain::AttemptId;

const TOO_LATE: &str = "its page had been open for more than an hour, press the button once more";

/// `GET`
///
/// # Errors
/// 404 for somebody else's webhook or an attempt that is not in its log (any more), or the store's.
pub async fn show(
    app: Data<App>,
    visit: Visit,
    id: Id,
    attempt: Attempt,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let seen = seen(&app, &visit, &id.0).await?;
    let form = Form::parse(request.query_string().as_bytes());
    let mut delivery = read(&app, &visit, seen, attempt.0).await?;
    // Whoever has just had it sent again waits for what comes of it.
    delivery.is_live = form.one("live") == Some("1") || visit.notice == Some(Notice::Retried);
    if form.has("part") {
        return Ok(part(attempts(&delivery)));
    }
    Ok(answer(&visit, &delivery, StatusCode::OK, None))
}

/// `POST …/retry`: queues the event again, and goes back to the attempt, where the next one shows up.
///
/// # Errors
/// Those of [`resent`]; where the event cannot be sent again that stands on the page, with 409.
pub async fn retry(
    change: Change,
    app: Data<App>,
    trail: Trail,
    id: Id,
    attempt: Attempt,
) -> Result<HttpResponse, Error> {
    let seen = seen(&app, &change.visit, &id.0).await?;
    match if change.form.has(FORM) { claim(&app, &change.visit, &change.form).await? } else { Sent::First } {
        Sent::First => {}
        // A second press: the first one has done it.
        Sent::Again => return Ok(to_with(&address(&seen.webhook.id, attempt.0), Notice::Retried)),
        Sent::TooLate => return refused(&app, &change.visit, seen, attempt.0, TOO_LATE).await,
    }
    match resent(&app, &change, &trail, &seen.webhook, attempt.0).await {
        Ok(_) => Ok(to_with(&address(&seen.webhook.id, attempt.0), Notice::Retried)),
        Err(error) => {
            release(&app, &change.visit, &change.form, &error).await;
            let Error::Conflict(why) = &error else { return Err(error) };
            refused(&app, &change.visit, seen, attempt.0, why).await
        }
    }
}

/// The page of the attempt, with why it was not sent again.
async fn refused(
    app: &App,
    visit: &Visit,
    seen: Seen,
    attempt: AttemptId,
    why: &str,
) -> Result<HttpResponse, Error> {
    let delivery = read(app, visit, seen, attempt).await?;
    let problem = format!("It was not sent again: {why}.");
    Ok(answer(visit, &delivery, StatusCode::CONFLICT, Some(&problem)))
}

async fn read(app: &App, visit: &Visit, seen: Seen, attempt: AttemptId) -> Result<Delivery, Error> {
    let opened = one(app, &seen.webhook, attempt).await?;
    // A client's own id may tell any time, so that of the attempt bounds it.
    let since = opened.row.event_id.made_at().map(|made| made.min(opened.row.at));
    let all = of_event(app, &seen.webhook, &opened.row.event_id, since).await?;
    Ok(Delivery {
        headers: headers_of(&opened.row),
        attempts: all.into_iter().map(|logged| logged.row).collect(),
        retention: app.config.log.payload_retention,
        captured: app.config.delivery.response_capture_bytes,
        is_live: false,
        now: visit.now,
        seen,
        opened,
        id: attempt,
    })
}

fn answer(visit: &Visit, delivery: &Delivery, status: StatusCode, problem: Option<&str>) -> HttpResponse {
    let webhook = &delivery.seen.webhook;
    let (summary, log) = (of_webhook(&webhook.id, ""), of_webhook(&webhook.id, "/deliveries"));
    let name = webhook.settings.name.as_str();
    Page {
        title: &delivery.title(),
        section: Section::Webhooks,
        trail: &[("Webhooks", WEBHOOKS), (name, &summary), ("Deliveries", &log)],
        scripts: &["copy.js", "deliveries.js"],
        body: body(visit, delivery, problem),
    }
    .answer_with(status, visit)
}
