//! How the page of a test is written. Pure.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use maud::{Markup, html};

use super::choices::{groups, options};
use super::draft::{Draft, EVENT, told};
use super::result::card;
use crate::api::trial::{Report, header_names};
use crate::dashboard::heading::{Tab, heading};
use crate::dashboard::page::{Page, Section, mark};
use crate::dashboard::routes::{PREFIX, of_webhook};
use crate::dashboard::visit::Visit;
use crate::domain::{EventType, Webhook};
use crate::store::webhooks::Figures;

/// Whether the visitor may send this webhook a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// They may.
    Given,
    /// Their token changes nothing.
    LooksOnly,
    /// It is somebody else's.
    OfAnother,
    /// Nothing can be signed for it.
    Locked,
}

impl Permission {
    /// The visitor's. What they can do least about comes first.
    pub(super) fn of(visit: &Visit, webhook: &Webhook) -> Self {
        if webhook.settings.owner != visit.user {
            Self::OfAnother
        } else if !visit.may_write() {
            Self::LooksOnly
        } else if webhook.locked.is_some() {
            Self::Locked
        } else {
            Self::Given
        }
    }
}

/// What stands on the page.
pub(super) struct View<'a> {
    pub webhook: &'a Webhook,
    pub figures: Figures,
    pub types: &'a [EventType],
    pub draft: &'a Draft,
    /// What the test just sent came to.
    pub report: Option<&'a Report>,
    /// The most of an answer that is kept, in bytes.
    pub kept: usize,
}

impl View<'_> {
    /// The page, as the answer to a visitor.
    pub(super) fn answer(&self, status: StatusCode, visit: &Visit) -> HttpResponse {
        let webhook = self.webhook;
        let (list, summary) = (format!("{PREFIX}/webhooks"), of_webhook(&webhook.id, ""));
        let trail = [("Webhooks", list.as_str()), (webhook.settings.name.as_str(), summary.as_str())];
        let page = Page {
            title: self.title(status),
            section: Section::Webhooks,
            trail: &trail,
            scripts: &["trial.js"],
            body: self.body(visit),
        };
        page.answer_with(status, visit)
    }

    fn title(&self, status: StatusCode) -> &'static str {
        match self.report {
            Some(report) if report.success => "Test delivered",
            Some(_) => "Test failed",
            None if status == StatusCode::OK => "Test",
            None => "Test not sent",
        }
    }

    pub(super) fn body(&self, visit: &Visit) -> Markup {
        html! {
            (heading(visit, self.webhook, self.figures, Some(Tab::Test)))
            @for fault in &self.draft.faults.other { p.problem role="alert" { (fault) } }
            @if let Some(report) = self.report { (card(&self.webhook.id, report, self.kept)) }
            div.trial {
                section.card aria-labelledby="send" {
                    h2 #send { "Send a test" }
                    @match Permission::of(visit, self.webhook) {
                        Permission::Given => { (self.forms(visit)) }
                        refused => { (explanation(refused, self.webhook)) }
                    }
                }
                (what_is_sent(self.webhook))
            }
        }
    }

    fn forms(&self, visit: &Visit) -> Markup {
        let (address, event) = (of_webhook(&self.webhook.id, "/test"), &self.draft.event);
        let is_wrong = !self.draft.faults.event.is_empty();
        let described = if is_wrong { "event-hint event-fault" } else { "event-hint" };
        html! {
            form #choose method="get" action=(address) {
                label for="event" { "Event type" }
                div.trial-choice {
                    select #event name=(EVENT) autocomplete="off" aria-describedby=(described) aria-invalid=[is_wrong.then_some("true")] {
                        (options(&groups(self.types, &self.webhook.settings.events), event))
                    }
                    button type="submit" { "Load sample" }
                }
                (told("event-fault", &self.draft.faults.event))
                p.hint #event-hint role="status" { "Choose a type and load its sample." }
            }
            form method="post" action=(address) { (mark(visit)) (self.draft.fields()) }
        }
    }
}

/// Why no form is there.
fn explanation(refused: Permission, webhook: &Webhook) -> Markup {
    match refused {
        Permission::Given => html! {},
        Permission::LooksOnly => html! {
            p.advice { "You may look at this webhook, not send it a test. Ask whoever gave you your token for one that may change webhooks." }
        },
        Permission::OfAnother => html! {
            p.advice { "This webhook belongs to " strong { (webhook.settings.owner.0) } ": only they can send it a test. You can read in its log what became of the tests they sent." }
            p { a.button href=(of_webhook(&webhook.id, "/deliveries")) { "To the log" } }
        },
        Permission::Locked => html! {
            p.advice { "A test cannot be signed while the secret of this webhook cannot be read. Give it a new one first." }
            p { a.button href=(of_webhook(&webhook.id, "/secret")) { "New secret" } }
        },
    }
}

fn what_is_sent(webhook: &Webhook) -> Markup {
    html! {
        section.card aria-labelledby="sent" {
            h2 #sent { "What is sent" }
            p { "One real request, made at once and signed like every other. Your endpoint should answer with a status from 200 to 299." }
            dl.facts {
                dt { "Request" } dd { code { "POST " (webhook.settings.url) } }
                dt { "Headers" } dd { ul.trial-headers { @for name in header_names(webhook) { li { code { (name) } } } } }
                dt { "Body" } dd { "JSON: the data, and around it the event's id, type and time" }
            }
            h3 { "Good to know" }
            ul {
                li { "A test stands in the log, but is not counted in any figure." }
                li { "It is sent even while the webhook is paused, and whatever its filter asks for." }
                li { "It is one attempt: a test that fails is not tried again by itself." }
            }
            p.muted { "Not sure how to check the signature? " a href=(of_webhook(&webhook.id, "/verify")) { "How to verify requests" } }
        }
    }
}
