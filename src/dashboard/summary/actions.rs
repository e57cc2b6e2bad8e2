//! What a visitor can do with a webhook: only what they would not be refused. Pure.

use maud::{Markup, html};

use super::recent::is_own;
use crate::dashboard::page::mark;
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::Visit;
use crate::dashboard::webhooks::stop::may_forget;
use crate::domain::Webhook;
use crate::store::webhooks::Figures;

/// The buttons; empty for who may change nothing.
pub fn row(visit: &Visit, webhook: &Webhook, figures: Figures) -> Markup {
    if !visit.may_write() {
        return html! { p.muted { "You may look at this webhook, not change it." } };
    }
    html! {
        div.row.actions {
            @if is_own(visit, webhook) { (own(visit, webhook, figures)) }
            @else {
                @if webhook.is_active { (link(webhook, "/pause", "Pause")) }
                (delete(webhook))
                span.muted { "As an administrator you may pause and delete it." }
            }
        }
    }
}

fn own(visit: &Visit, webhook: &Webhook, figures: Figures) -> Markup {
    // Of a locked one nothing can be sent, nor its settings written.
    let is_readable = webhook.locked.is_none();
    html! {
        @if !webhook.is_active { (button(visit, webhook, "/resume", "Resume")) }
        @if is_readable { (link(webhook, "/test", "Send a test")) }
        @if webhook.is_active {
            @if may_forget(webhook, figures) {
                (button(visit, webhook, "/reset-failures", "Try again now"))
            }
            (link(webhook, "/recover", "Recover what failed"))
            (link(webhook, "/pause", "Pause"))
        }
        @if is_readable { (link(webhook, "/edit", "Change settings")) }
        (link(webhook, "/secret", "New secret"))
        (delete(webhook))
    }
}

fn link(webhook: &Webhook, rest: &str, text: &str) -> Markup {
    html! { a.button href=(of_webhook(&webhook.id, rest)) { (text) } }
}

fn delete(webhook: &Webhook) -> Markup {
    html! { a.button.risky href=(of_webhook(&webhook.id, "/delete")) { "Delete" } }
}

/// What is done at once, without a page in between.
fn button(visit: &Visit, webhook: &Webhook, rest: &str, text: &str) -> Markup {
    html! {
        form method="post" action=(of_webhook(&webhook.id, rest)) {
            (mark(visit))
            button type="submit" { (text) }
        }
    }
}
