//! What stands on top of every page of a webhook: its name, its state, where it sends to, and the way to its other pages.

use maud::{Markup, html};

use super::routes::of_webhook;
use super::visit::Visit;
use super::when::ago;
use crate::api::webhooks::view::{paused_until, status_of};
use crate::domain::{DisabledReason, Status, Webhook};
use crate::store::webhooks::Figures;

/// The pages of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// How it does.
    Summary,
    /// Its log.
    Deliveries,
    /// Send it a test.
    Test,
    /// How its endpoint verifies what it gets.
    Verify,
    /// Its settings.
    Settings,
}

impl Tab {
    const ALL: [Self; 5] = [Self::Summary, Self::Deliveries, Self::Test, Self::Verify, Self::Settings];

    fn name(self) -> &'static str {
        match self {
            Self::Summary => "Summary",
            Self::Deliveries => "Deliveries",
            Self::Test => "Test",
            Self::Verify => "Verify",
            Self::Settings => "Settings",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Summary => "",
            Self::Deliveries => "/deliveries",
            Self::Test => "/test",
            Self::Verify => "/verify",
            Self::Settings => "/edit",
        }
    }
}

/// The heading of a webhook's page; `here` is the page's own tab, `None` on a page below one.
pub fn heading(visit: &Visit, webhook: &Webhook, figures: Figures, here: Option<Tab>) -> Markup {
    let is_own = webhook.settings.owner == visit.user;
    html! {
        div.head {
            h1 { (webhook.settings.name) }
            div.row { (badge(webhook, figures)) }
        }
        p.muted.endpoint { "Sends to " code { (webhook.settings.url) } @if !is_own { " · owned by " (webhook.settings.owner.0) } }
        nav.tabs aria-label="Pages of this webhook" {
            @for tab in Tab::ALL {
                a href=(of_webhook(&webhook.id, tab.path())) aria-current=[(here == Some(tab)).then_some("page")] { (tab.name()) }
            }
        }
        @if let Some(note) = note(visit, webhook, figures) { (note) }
    }
}

/// The webhook's state as a word.
pub fn badge(webhook: &Webhook, figures: Figures) -> Markup {
    let (class, word) = match status_of(webhook, figures) {
        Status::Active => ("badge ok", "Active"),
        Status::Failing => ("badge fail", "Failing"),
        Status::Inactive => ("badge off", "Paused"),
        Status::Disabled => ("badge warn", "Switched off by the service"),
    };
    html! { span class=(class) { (word) } }
}

/// Why nothing is sent, where that is so.
fn note(visit: &Visit, webhook: &Webhook, figures: Figures) -> Option<Markup> {
    let waiting = "Nothing new is queued for it; what was queued waits. ";
    if webhook.locked.is_some() {
        return Some(
            html! { p.problem { "Its secret cannot be decrypted by this node, so nothing is sent: what is queued waits. \
            Whoever runs the service can restore the key, or you give it a new secret on its settings page." } },
        );
    }
    match webhook.disabled_reason {
        Some(DisabledReason::Gone) => {
            return Some(
                html! { p.problem { "The service switched it off: the endpoint answered 410 Gone, which asks for no more events. " (waiting) } },
            );
        }
        Some(DisabledReason::Failing) => {
            return Some(
                html! { p.problem { "The service switched it off: every attempt had failed for days. " (waiting) } },
            );
        }
        None if !webhook.is_active => return Some(html! { p.advice { "It is paused. " (waiting) } }),
        None => {}
    }
    let until = paused_until(webhook, figures, visit.now)?;
    Some(
        html! { p.advice { "It keeps failing, or the endpoint asked for a pause: the next attempt is made " (ago(until, visit.now)) ". Nothing that waits is lost." } },
    )
}
