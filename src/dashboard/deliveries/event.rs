//! `/dashboard/events/{id}`: an event, and where it stands with each webhook that it went to.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};

use super::exchange::copy;
use super::targets::{MOST, Named, in_order, targets};
use crate::api::access::webhooks_of;
use crate::api::events::{View, status};
use crate::api::{App, Error};
use crate::clock;
use crate::dashboard::page::{Page, Section};
use crate::dashboard::pretty::pretty;
use crate::dashboard::routes::PREFIX;
use crate::dashboard::visit::Visit;
use crate::dashboard::when::{at, many};
use crate::domain::{EventId, Millis};
use crate::store::webhooks::{Indexed, Whose};

/// `GET`
///
/// # Errors
/// The store's. That there is no such event for this visitor stands on the page, with 404.
pub async fn show(app: Data<App>, visit: Visit, request: HttpRequest) -> Result<HttpResponse, Error> {
    let given = request.match_info().get("id").unwrap_or_default();
    let Ok(id) = given.parse::<EventId>() else { return Ok(missing(&visit)) };
    let mut event = match status(&app, &visit, &id).await {
        Ok(event) => event,
        Err(Error::NotFound(_)) => return Ok(missing(&visit)),
        Err(other) => return Err(other),
    };
    in_order(&mut event.webhooks);
    let named = named(&app, &visit, &mut event).await?;
    let title = event.event_type.clone();
    let body = body(&event, &named, visit.now);
    Ok(page(&title, body).answer(&visit))
}

/// The targets that are shown, with the names of their webhooks.
async fn named(app: &App, visit: &Visit, event: &mut View) -> Result<Vec<Named>, Error> {
    let now = clock::now();
    let shown = event.webhooks.len().min(MOST);
    let entry = |id| Indexed { id, created_at: now };
    let entries: Vec<Indexed> =
        event.webhooks[..shown].iter().map(|target| entry(target.webhook_id.clone())).collect();
    let webhooks = webhooks_of(app, visit).read(&entries, Whose::All, now).await?;
    let name_of =
        |id| webhooks.iter().find(|webhook| webhook.id == id).map(|webhook| webhook.settings.name.clone());
    let shown = event.webhooks.drain(..shown);
    Ok(shown.map(|target| Named { name: name_of(target.webhook_id.clone()), target }).collect())
}

fn body(event: &View, named: &[Named], now: Millis) -> Markup {
    let happened = Millis::parse_rfc3339(&event.timestamp);
    html! {
        h1 { (event.event_type) }
        p.muted.endpoint { "Event " code { (event.id) } @if let Some(time) = happened { " · " (at(time)) } }
        section.card aria-labelledby="webhooks" {
            h2 #webhooks { "Where it went" }
            @if named.is_empty() {
                div.empty { p { "No webhook of yours asked for this event, or it has not been handed out yet: that takes a moment." } }
            } @else {
                (targets(named, &event.id, now))
                @if !event.webhooks.is_empty() { p.muted { "and " (many(event.webhooks.len() as u64, "more webhook", "more webhooks")) "." } }
            }
        }
        section.card aria-labelledby="data" {
            h2 #data { "What it says" }
            pre #event-data tabindex="0" { (pretty(event.data.get())) }
            (copy("event-data", "Copy"))
        }
    }
}

fn missing(visit: &Visit) -> HttpResponse {
    let body = html! {
        h1 { "This event is not here" }
        p { "Events are kept for some days after they were delivered. Older ones, tests, and those that went to nobody's webhook of yours are not shown." }
        p { a.button href={ (PREFIX) "/webhooks" } { "To the webhooks" } }
    };
    page("Event", body).answer_with(StatusCode::NOT_FOUND, visit)
}

fn page(title: &str, body: Markup) -> Page<'_> {
    Page {
        title,
        section: Section::Webhooks,
        trail: &[("Webhooks", super::seen::WEBHOOKS)],
        scripts: &["copy.js"],
        body,
    }
}

#[cfg(test)]
mod tests;
