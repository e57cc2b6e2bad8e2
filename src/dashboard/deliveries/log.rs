//! `/dashboard/webhooks/{id}/deliveries`: every attempt, newest first, and a way to find the one that matters.
//!
//! With `part=1` the rows alone are given, for the script that shows new ones as they come.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};

use super::asked::{Asked, ROWS};
use super::filters::filters;
use super::rows::{Shown, rows};
use super::seen::{Seen, WEBHOOKS, seen};
use crate::api::access::Id;
use crate::api::query::Page as Place;
use crate::api::{App, Error, deliveries};
use crate::dashboard::form::Form;
use crate::dashboard::heading::{Tab, heading};
use crate::dashboard::page::{Page, Section, part};
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::Visit;

/// `GET`
///
/// # Errors
/// 404 for somebody else's webhook, or the store's. Faults of the filters stand on the page, with 400.
pub async fn show(app: Data<App>, visit: Visit, id: Id, request: HttpRequest) -> Result<HttpResponse, Error> {
    let seen = seen(&app, &visit, &id.0).await?;
    let form = Form::parse(request.query_string().as_bytes());
    let asked = Asked::of(&form);
    if !asked.faults.is_empty() {
        return Ok(whole(&app, &visit, &seen, &asked, html! {}).answer_with(StatusCode::BAD_REQUEST, &visit));
    }
    let place = Place { page: asked.page, limit: ROWS };
    let found = deliveries::newest(&app, &seen.webhook, asked.filter(visit.now), place).await?;
    let shown =
        Shown { seen: &seen, asked: &asked, rows: &found.rows, has_more: found.has_more, now: visit.now };
    if form.has("part") {
        return Ok(part(rows(&shown)));
    }
    Ok(whole(&app, &visit, &seen, &asked, found_part(&shown)).answer(&visit))
}

/// What was found, and the ways to see newer attempts: a link, or with scripts a switch.
fn found_part(shown: &Shown<'_>) -> Markup {
    let here = of_webhook(&shown.seen.webhook.id, "/deliveries");
    let address = format!("{here}?{}", shown.asked.query(shown.asked.page));
    html! {
        div.row.over {
            h2 { "Attempts" }
            div.row {
                @if shown.asked.page == 1 {
                    span.muted.small #tail-state role="status" aria-live="polite" {}
                    button.small type="button" aria-pressed=(if shown.asked.is_live { "true" } else { "false" }) data-tail="rows" hidden { "Follow live" }
                }
                a.button.small href=(address) { "Refresh" }
            }
        }
        div #rows data-part={ (here) "?part=1&" (shown.asked.query(1)) } { (rows(shown)) }
    }
}

fn whole<'a>(app: &App, visit: &Visit, seen: &'a Seen, asked: &Asked, found: Markup) -> Page<'a> {
    let here = of_webhook(&seen.webhook.id, "/deliveries");
    let body = html! {
        (heading(visit, &seen.webhook, seen.figures, Some(Tab::Deliveries)))
        (filters(asked, &app.config.catalogue, &here))
        (found)
        @if seen.may_change {
            p.muted.after { "Was the endpoint down for a while? " a href=(of_webhook(&seen.webhook.id, "/recover")) { "Send again what failed for good" } "." }
        }
    };
    Page {
        title: &seen.webhook.settings.name,
        section: Section::Webhooks,
        trail: &[("Webhooks", WEBHOOKS)],
        scripts: &["deliveries.js"],
        body,
    }
}

#[cfg(test)]
mod tests;
