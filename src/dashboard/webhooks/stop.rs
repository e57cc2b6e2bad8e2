//! Pausing, resuming and deleting a webhook, and forgetting its failures. What stops something asks first, and says what
//! becomes of what is queued.

use actix_web::{HttpResponse, web};
use maud::{Markup, html};

use super::edit::with_figures;
use super::new::ONLY_LOOK;
use crate::api::access::{Id, IfMatch, Purpose, check};
use crate::api::audit::Trail;
use crate::api::webhooks::handlers::{deleted, failures_reset, switched_off, switched_on};
use crate::api::{App, Error};
use crate::dashboard::heading::heading;
use crate::dashboard::notice::Notice;
use crate::dashboard::page::{Page, Section, mark, to_with};
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::{Change, Visit};
use crate::dashboard::when::{count, many};
use crate::domain::Webhook;
use crate::store::webhooks::Figures;

/// Whether the visitor may change its settings.
pub fn may_change(visit: &Visit, webhook: &Webhook) -> bool {
    visit.may_write() && check(visit, webhook, Purpose::Change).is_ok()
}

/// Whether the visitor may pause and delete it.
pub fn may_stop(visit: &Visit, webhook: &Webhook) -> bool {
    visit.may_write() && check(visit, webhook, Purpose::Stop).is_ok()
}

/// Whether forgetting its failures has it tried at once: one that is off stays off, of a locked one nothing is sent.
pub fn may_forget(webhook: &Webhook, figures: Figures) -> bool {
    webhook.is_active && webhook.locked.is_none() && figures.standing.failures > 0
}

/// `GET …/pause`: asks.
///
/// # Errors
/// Those of [`find`](crate::api::access::find), 403 for those who may not.
pub async fn ask_to_pause(app: web::Data<App>, visit: Visit, id: Id) -> Result<HttpResponse, Error> {
    let (webhook, figures) = with_figures(&app, &visit, &id.0).await?;
    let words = html! {
        p { "While it is paused:" }
        ul {
            li { "nothing new is queued for it: events that happen meanwhile never reach it;" }
            li { "what is queued waits (" (deliveries(figures.pending)) " now), and goes out when you resume it, unless that takes longer than the service keeps it;" }
            li { "an attempt that is on its way ends as it ends." }
        }
    };
    let button = html! { button.primary type="submit" { "Pause this webhook" } };
    asked(&visit, &webhook, figures, ("Pause", "/pause"), &words, &button)
}

/// `POST …/pause`
///
/// # Errors
/// Those of the API.
pub async fn pause(app: web::Data<App>, change: Change, trail: Trail, id: Id) -> Result<HttpResponse, Error> {
    switched_off(&app, &change, &trail, &id.0, &IfMatch::Anything).await?;
    Ok(to_with(&of_webhook(&id.0, ""), Notice::Paused))
}

/// `POST …/resume`
///
/// # Errors
/// Those of the API.
pub async fn resume(
    app: web::Data<App>,
    change: Change,
    trail: Trail,
    id: Id,
) -> Result<HttpResponse, Error> {
    switched_on(&app, &change, &trail, &id.0, &IfMatch::Anything).await?;
    Ok(to_with(&of_webhook(&id.0, ""), Notice::Resumed))
}

/// `POST …/reset-failures`
///
/// # Errors
/// Those of the API.
pub async fn reset_failures(
    app: web::Data<App>,
    change: Change,
    trail: Trail,
    id: Id,
) -> Result<HttpResponse, Error> {
    failures_reset(&app, &change, &trail, &id.0, &IfMatch::Anything).await?;
    Ok(to_with(&of_webhook(&id.0, ""), Notice::FailuresReset))
}

/// `GET …/delete`: asks.
///
/// # Errors
/// Those of [`find`](crate::api::access::find), 403 for those who may not.
pub async fn ask_to_delete(app: web::Data<App>, visit: Visit, id: Id) -> Result<HttpResponse, Error> {
    let (webhook, figures) = with_figures(&app, &visit, &id.0).await?;
    let words = html! {
        p { strong { "This cannot be undone." } " What is lost:" }
        ul {
            li { "what is queued for it: " (deliveries(figures.pending)) " now;" }
            li { "its log (" (many(figures.succeeded + figures.failed, "attempt", "attempts")) " made so far), with what failed and could be recovered;" }
            li { "its settings and its secret." }
        }
        p {
            @if webhook.is_active { "To stop it for a while, " a href=(of_webhook(&webhook.id, "/pause")) { "pause it instead" } ". " }
            "What it did stays in your totals."
        }
    };
    let button = html! { button.danger type="submit" { "Delete this webhook" } };
    asked(&visit, &webhook, figures, ("Delete", "/delete"), &words, &button)
}

/// `POST …/delete`
///
/// # Errors
/// Those of the API.
pub async fn delete(
    app: web::Data<App>,
    change: Change,
    trail: Trail,
    id: Id,
) -> Result<HttpResponse, Error> {
    deleted(&app, &change, &trail, &id.0, &IfMatch::Anything).await?;
    Ok(to_with("/dashboard/webhooks", Notice::Deleted))
}

fn deliveries(pending: u64) -> String {
    if pending == 0 { "nothing".to_owned() } else { many(pending, "delivery", "deliveries") }
}

/// A question, answered by one button.
fn asked(
    visit: &Visit,
    webhook: &Webhook,
    figures: Figures,
    (title, path): (&str, &str),
    words: &Markup,
    button: &Markup,
) -> Result<HttpResponse, Error> {
    if !may_stop(visit, webhook) {
        return Err(ONLY_LOOK);
    }
    let own = of_webhook(&webhook.id, "");
    let body = html! {
        (heading(visit, webhook, figures, None))
        div.card.question {
            h2 { (title) " this webhook?" }
            (words)
            form method="post" action=(of_webhook(&webhook.id, path)) {
                (mark(visit))
                div.row { (button) a.button.quiet href=(of_webhook(&webhook.id, "/edit")) { "Keep it as it is" } }
            }
        }
    };
    let trail = [("Webhooks", "/dashboard/webhooks"), (webhook.settings.name.as_str(), own.as_str())];
    Ok(Page { title, section: Section::Webhooks, trail: &trail, scripts: &[], body }.answer(visit))
}

/// What else can be done with a webhook, below its settings: what the visitor may do, and nothing that would be refused.
pub fn others(visit: &Visit, webhook: &Webhook, figures: Figures) -> Markup {
    let (may_change, may_stop) = (may_change(visit, webhook), may_stop(visit, webhook));
    let failures = u64::from(figures.standing.failures);
    html! {
        @if may_change || may_stop {
            section.card.others aria-labelledby="others" {
                h2 #others { "Other things to do" }
                @if may_change {
                    (other("Signing secret", "Give it a new one, when the old one is lost or got out.", &link(webhook, "/secret", "New secret")))
                }
                @if may_change && may_forget(webhook, figures) {
                    (other("Failures in a row", &format!("{} so far. Forget them, and it is tried at once.", count(failures)), &button(visit, webhook, "/reset-failures", "Forget failures")))
                }
                @if may_change && !webhook.is_active {
                    (other("Paused", "Queue events for it again, and send what waits.", &button(visit, webhook, "/resume", "Resume")))
                }
                @if may_stop && webhook.is_active {
                    (other("Pause", "Send nothing for a while; what is queued waits.", &link(webhook, "/pause", "Pause")))
                }
                @if may_stop {
                    (other("Delete", "Remove it with its log and what is queued.", &html! { a.button.danger href=(of_webhook(&webhook.id, "/delete")) { "Delete" } }))
                }
            }
        }
    }
}

fn other(name: &str, words: &str, control: &Markup) -> Markup {
    html! {
        div.other { div { h3 { (name) } p.muted { (words) } } (control) }
    }
}

fn link(webhook: &Webhook, path: &str, label: &str) -> Markup {
    html! { a.button href=(of_webhook(&webhook.id, path)) { (label) } }
}

fn button(visit: &Visit, webhook: &Webhook, path: &str, label: &str) -> Markup {
    html! {
        form method="post" action=(of_webhook(&webhook.id, path)) { (mark(visit)) button type="submit" { (label) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::webhooks::testing::webhook;
    use crate::domain::Lock;
    use crate::domain::webhook::DisabledReason;

    #[test]
    fn failures_are_forgotten_only_where_it_is_tried_at_once() {
        let mut figures = Figures::default();
        let active = webhook();
        assert!(!may_forget(&active, figures), "there are none");
        figures.standing.failures = 3;
        assert!(may_forget(&active, figures));
        let off = Webhook { is_active: false, disabled_reason: Some(DisabledReason::Failing), ..webhook() };
        assert!(!may_forget(&off, figures), "it would stay off");
        assert!(
            !may_forget(&Webhook { locked: Some(Lock::Broken), ..webhook() }, figures),
            "nothing can be sent"
        );
    }
}
