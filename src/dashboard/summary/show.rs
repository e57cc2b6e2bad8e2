//! Reads what stands on the page, and writes it.

use actix_web::{HttpResponse, web};
use futures_util::future::try_join4;
use maud::{Markup, html};

use super::{actions, recent, settings};
use crate::api::access::{Id, NO_WEBHOOK, Purpose, find, webhooks_of};
use crate::api::query;
use crate::api::stats::{WebhookStatistics, of_one};
use crate::api::{App, Error, deliveries};
use crate::dashboard::explain::explain;
use crate::dashboard::figures::{
    attempts, charts, figure, hours, last_day, rate_figure, times_figure, waiting_figure,
};
use crate::dashboard::heading::{Tab, heading};
use crate::dashboard::page::{Page, Section};
use crate::dashboard::routes::{PREFIX, of_webhook};
use crate::dashboard::visit::Visit;
use crate::dashboard::when::{ago, count, many};
use crate::domain::{AttemptId, AttemptRow, Millis, Webhook};
use crate::store::attempts::{Filter, Logged};
use crate::store::webhooks::Figures;

/// Deliveries shown here; the log has all.
const NEWEST: query::Page = query::Page { page: 1, limit: 5 };

/// What is known of a webhook.
#[derive(Debug)]
pub struct Known {
    /// Itself.
    pub webhook: Webhook,
    /// What is counted beside it.
    pub figures: Figures,
    /// Its hours and response times.
    pub statistics: WebhookStatistics,
    /// The newest rows of its log.
    pub newest: Vec<Logged>,
    /// The failure before now, if it is not long past.
    pub last_failed: Option<AttemptRow>,
}

/// `GET /dashboard/webhooks/{id}`
///
/// # Errors
/// 404 where there is no such webhook for this visitor, or the store's.
pub async fn show(app: web::Data<App>, visit: Visit, Id(id): Id) -> Result<HttpResponse, Error> {
    let webhook = find(&app, &visit, &id, Purpose::Read).await?;
    let store = webhooks_of(&app, &visit);
    let (mut figures, statistics, page, last_failed) = try_join4(
        async { store.figures([&id]).await.map_err(Error::from) },
        of_one(&app, &visit, &id),
        deliveries::page(&app, &webhook, Filter::default(), NEWEST),
        deliveries::last_failed(&app, &webhook),
    )
    .await?;
    let figures = figures.pop().ok_or(NO_WEBHOOK)?;
    let known = Known { webhook, figures, statistics, newest: page.rows, last_failed };
    let trail = [("Webhooks", &*format!("{PREFIX}/webhooks"))];
    let (title, body) = (known.webhook.settings.name.as_str(), body(&visit, &known));
    Ok(Page { title, section: Section::Webhooks, trail: &trail, scripts: &[], body }.answer(&visit))
}

/// The page.
pub fn body(visit: &Visit, known: &Known) -> Markup {
    let Known { webhook, figures, statistics, newest, last_failed } = known;
    let hours = hours(&statistics.counted.timeline);
    html! {
        (heading(visit, webhook, *figures, Some(Tab::Summary)))
        (actions::row(visit, webhook, *figures))
        dl.grid.figures {
            (rate_figure("Success, 7 days", &hours))
            (figure("Deliveries, 24 hours", count(attempts(last_day(&hours))), &html! { "every attempt counts" }))
            (figure("Failures in a row", count(figures.standing.failures.into()), &since(*figures, visit.now)))
            (waiting_figure(figures.pending))
            (times_figure(&statistics.counted))
            (figure("All time", count(figures.succeeded.saturating_add(figures.failed)), &all_time(*figures)))
        }
        @if let Some(row) = last_failed { (failure(webhook, *figures, row, visit.now)) }
        (charts(&hours))
        div.two {
            (recent::section(visit, webhook, newest))
            (settings::section(visit, webhook))
        }
    }
}

/// How long it has been since it succeeded.
fn since(figures: Figures, now: Millis) -> Markup {
    html! {
        @match figures.last_success_at {
            Some(at) => { "last success " (ago(at, now)) }
            None if figures.last_at.is_some() => { "no success yet" }
            None => { "no deliveries yet" }
        }
    }
}

fn all_time(figures: Figures) -> Markup {
    html! { (many(figures.succeeded, "attempt", "attempts")) " delivered, " (count(figures.failed)) " failed" }
}

/// The last failure: what happened, what to do, and the way to it.
fn failure(webhook: &Webhook, figures: Figures, row: &AttemptRow, now: Millis) -> Markup {
    let message = row.error_message.as_deref().unwrap_or_default();
    let explained = row.error_kind.map(|kind| explain(kind, message, row.status));
    html! {
        section.card aria-labelledby="last-failure" {
            div.head {
                h2 #last-failure { "The last failure" }
                span.muted.small { (ago(row.at, now)) ", of " code { (row.event_type) } }
            }
            @if let Some(explained) = &explained {
                p.what { (explained.what) }
                h3 { "What to do" }
                ul { @for line in &explained.advice { li { (line) } } }
            }
            @if figures.last_success_at.is_some_and(|at| at > row.at) { p.muted { "Deliveries have succeeded since then." } }
            @if let Some(id) = row.id {
                a.button href=(of_webhook(&webhook.id, &format!("/deliveries/{}", AttemptId::new(&webhook.id, id)))) {
                    "Look at this delivery"
                }
            }
        }
    }
}
