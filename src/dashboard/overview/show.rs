//! Reads what stands on the page, and writes it.

use std::cmp::Reverse;

use actix_web::{HttpResponse, web};
use futures_util::future::try_join_all;
use maud::{Markup, html};

use super::attention::{self, Known, needy};
use crate::api::stats::{Account, account};
use crate::api::{App, Error, deliveries};
use crate::dashboard::figures::{
    ago_or, attempts, charts, figure, hours, last_day, rate_figure, times_figure, waiting_figure,
};
use crate::dashboard::heading::badge;
use crate::dashboard::page::{Page, Section};
use crate::dashboard::routes::{PREFIX, of_webhook};
use crate::dashboard::visit::Visit;
use crate::dashboard::when::{count, many};
use crate::domain::{AttemptRow, Millis};

/// Webhooks listed as the busiest.
const BUSIEST: usize = 5;

/// `GET /dashboard`
///
/// # Errors
/// The store's.
pub async fn show(app: web::Data<App>, visit: Visit) -> Result<HttpResponse, Error> {
    let account = account(&app, &visit).await?;
    let needy = needy(&account.webhooks);
    let shown = &needy[..needy.len().min(attention::MOST)];
    // A handful of short reads, which share the connection.
    let last = try_join_all(shown.iter().map(|(webhook, _)| deliveries::last_failed(&app, webhook))).await?;
    let troubles: Vec<(&Known, Option<AttemptRow>)> = shown.iter().copied().zip(last).collect();
    let body = body(&visit, &account, &troubles, needy.len());
    Ok(Page { title: "Overview", section: Section::Overview, trail: &[], scripts: &[], body }.answer(&visit))
}

/// The page; `troubles` are the worst of `needy` webhooks that need somebody.
pub fn body(
    visit: &Visit,
    account: &Account,
    troubles: &[(&Known, Option<AttemptRow>)],
    needy: usize,
) -> Markup {
    let hours = hours(&account.statistics.counted.timeline);
    let has_webhooks = !account.webhooks.is_empty();
    html! {
        div.head {
            h1 { "Overview" }
            @if has_webhooks && visit.may_write() { a.button.primary href={ (PREFIX) "/webhooks/new" } { "New webhook" } }
        }
        @if visit.is_admin {
            p.muted { "These are the figures of your own webhooks. Those of everybody in your organization are listed under "
                a href={ (PREFIX) "/webhooks" } { "Webhooks" } "." }
        }
        @if !has_webhooks { (nothing_yet(visit)) }
        @if has_webhooks || attempts(&hours) > 0 {
            dl.grid.figures {
                (rate_figure("Success, 7 days", &hours))
                (rate_figure("Success, 24 hours", last_day(&hours)))
                (figure("Deliveries, 24 hours", count(attempts(last_day(&hours))), &html! { "every attempt counts" }))
                (waiting_figure(account.statistics.counted.deliveries.pending))
                (failing_figure(account))
                (times_figure(&account.statistics.counted))
            }
        }
        @if has_webhooks { (attention::section(troubles, needy, visit.now)) }
        @if has_webhooks || attempts(&hours) > 0 { (charts(&hours)) }
        @if has_webhooks { (busiest(&account.webhooks, visit.now)) }
    }
}

/// How many are held back because they keep failing.
fn failing_figure(account: &Account) -> Markup {
    let counts = &account.statistics.webhooks;
    let of = many(counts.total as u64, "webhook", "webhooks");
    let note = html! { "of " (of) @if counts.inactive > 0 { "; " (counts.inactive) " switched off" } };
    figure("Failing", count(counts.failing as u64), &note)
}

fn nothing_yet(visit: &Visit) -> Markup {
    html! {
        div.card.empty {
            h2 { "You have no webhooks yet" }
            p { "A webhook sends what happens in your CRM, such as a new lead, to an address of yours the moment it happens." }
            @if visit.may_write() {
                p { a.button.primary href={ (PREFIX) "/webhooks/new" } { "Create your first webhook" } }
            } @else {
                p { "You may look at webhooks, not create them: ask for a role that may." }
            }
        }
    }
}

/// Those with most attempts.
fn busiest(webhooks: &[Known], now: Millis) -> Markup {
    let mut all: Vec<&Known> = webhooks.iter().collect();
    // Stable: among equals the newest comes first.
    all.sort_by_key(|(_, figures)| Reverse(figures.succeeded.saturating_add(figures.failed)));
    all.truncate(BUSIEST);
    html! {
        section.card aria-labelledby="busiest" {
            div.head {
                h2 #busiest { "Busiest webhooks" }
                a href={ (PREFIX) "/webhooks" } { "All " (many(webhooks.len() as u64, "webhook", "webhooks")) }
            }
            table.cards {
                caption.unseen { "The webhooks with the most attempts" }
                thead { tr {
                    th scope="col" { "Name" } th scope="col" { "State" } th.number scope="col" { "Delivered" }
                    th.number scope="col" { "Failed" } th.number scope="col" { "Waiting" } th scope="col" { "Last attempt" }
                } }
                tbody { @for known in all { (row(known, now)) } }
            }
        }
    }
}

fn row((webhook, figures): &Known, now: Millis) -> Markup {
    html! {
        tr {
            td data-label="Name" { a href=(of_webhook(&webhook.id, "")) { (webhook.settings.name) } }
            td data-label="State" { (badge(webhook, *figures)) }
            td.number data-label="Delivered" { (count(figures.succeeded)) }
            td.number data-label="Failed" { (count(figures.failed)) }
            td.number data-label="Waiting" { (count(figures.pending)) }
            td.nowrap data-label="Last attempt" { (ago_or(figures.last_at, now, "none yet")) }
        }
    }
}
