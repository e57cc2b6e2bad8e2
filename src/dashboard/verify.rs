//! `/dashboard/webhooks/{id}/verify`: how the endpoint of a webhook tells that a request is genuine: what comes with every request,
//! programs to copy, where the secret is, and what is easily forgotten.
//!
//! The names of headers come from where requests are signed, the programs from [`snippets`]. One program shows at a time, chosen
//! by radio buttons and the style sheet alone. A secret is never on this page.

use actix_web::HttpResponse;
use actix_web::web::Data;
use maud::{Markup, html};

use super::heading::{Tab, heading};
use super::page::{Page, Section};
use super::routes::{PREFIX, of_webhook};
use super::snippets::{HeaderNames, Snippet, snippets};
use super::visit::Visit;
use super::when::at;
use crate::api::access::{Id, Purpose, find, webhooks_of};
use crate::api::{App, Error};
use crate::domain::{Millis, Webhook};
use crate::store::webhooks::Figures;

/// `GET …/verify`
///
/// # Errors
/// 404, or the store's.
pub async fn show(app: Data<App>, visit: Visit, id: Id) -> Result<HttpResponse, Error> {
    let webhook = find(&app, &visit, &id.0, Purpose::Read).await?;
    let figures = webhooks_of(&app, &visit).figures([&webhook.id]).await?;
    let (list, summary) = (format!("{PREFIX}/webhooks"), of_webhook(&webhook.id, ""));
    let page = Page {
        title: "Verify",
        section: Section::Webhooks,
        trail: &[("Webhooks", &list), (&webhook.settings.name, &summary)],
        scripts: &["copy.js"],
        body: body(&visit, &webhook, figures.into_iter().next().unwrap_or_default()),
    };
    Ok(page.answer(&visit))
}

fn body(visit: &Visit, webhook: &Webhook, figures: Figures) -> Markup {
    let names = HeaderNames::with_own(webhook.settings.headers.keys());
    html! {
        (heading(visit, webhook, figures, Some(Tab::Verify)))
        p { "Anybody can send a request to your endpoint. Every request of this webhook carries a signature, made with a secret that only you \
             and this service know: check it, and you know that the request is genuine and that nobody changed it." }
        div.two.verify-top {
            (checklist(&names))
            (secret(visit, webhook))
        }
        (programs(&names))
        (headers(&names))
        section.card.head.verify-try aria-labelledby="try" {
            div { h2 #try { "Try it" } p { "Send the endpoint a test, and see at once whether it takes it." } }
            a.button.primary href=(of_webhook(&webhook.id, "/test")) { "Send a test" }
        }
    }
}

fn checklist(names: &HeaderNames) -> Markup {
    html! {
        section.card aria-labelledby="checklist" {
            h2 #checklist { "What your endpoint has to do" }
            ol.verify-steps {
                li { strong { "Take the body as it came. " } "Compute the signature over the raw bytes, before anything parses or rewrites them." }
                li { strong { "Compare in constant time. " } "Use your language's own function for it, as the programs below do, not ==." }
                li { strong { "Refuse what is old. " } "More than 5 minutes between " code { (names.timestamp) } " and your clock: somebody may be sending a recorded request again." }
                li { strong { "Answer fast. " } "Store the event, answer 204, and do the work afterwards: an answer that takes too long counts as a failure." }
                li { strong { "Expect repeats. " } "The same event may come more than once: remember " code { (names.id) } " and skip what you have." }
            }
        }
    }
}

fn secret(visit: &Visit, webhook: &Webhook) -> Markup {
    let may_change = webhook.settings.owner == visit.user && visit.may_write();
    html! {
        section.card aria-labelledby="secret" {
            h2 #secret { "Where the secret is" }
            p { "It begins with " code { "whsec_" } " and was shown once, when the webhook was created or got a new secret. \
                 Keep it where your endpoint keeps its passwords. It cannot be shown again." }
            (former(webhook, visit.now))
            @if may_change {
                p { "Lost it, or somebody may have seen it? Make a new one." }
                p { a.button href=(of_webhook(&webhook.id, "/secret")) { "New secret" } }
            } @else {
                p.muted { "Whoever owns the webhook can make a new one." }
            }
        }
    }
}

/// The overlap of secrets: what there is of it now, or how it will be.
fn former(webhook: &Webhook, now: Millis) -> Markup {
    let lasting = webhook.settings.former_secrets.iter().map(|(_, end)| *end).filter(|end| now < *end);
    match lasting.max() {
        Some(end) => html! {
            p.advice { "The secret was replaced. Until " (at(end)) " every request is signed with the former secret too: \
                        give your endpoint the new one by then." }
        },
        None => html! {
            p { "When you make a new one, the former can go on signing beside it for a while, so that you can replace it in your endpoint \
                 without losing a request." }
        },
    }
}

fn programs(names: &HeaderNames) -> Markup {
    let programs = snippets(names);
    html! {
        section.card aria-labelledby="programs" {
            h2 #programs { "A program to begin with" }
            p { "Each is complete and needs no package: save it, put your secret in " code { "WEBHOOK_SECRET" } ", and run it." }
            fieldset.languages {
                legend.unseen { "Language" }
                @for (place, program) in programs.iter().enumerate() {
                    input type="radio" name="language" id={ "language-" (place) } checked[place == 0] autocomplete="off";
                    label for={ "language-" (place) } { (program.language) }
                }
                @for (place, program) in programs.iter().enumerate() { (listing(place, program)) }
            }
        }
    }
}

fn listing(place: usize, Snippet { language, file_name, code }: &Snippet) -> Markup {
    let id = format!("program-{place}");
    html! {
        div.program {
            div.head {
                h3 { (language) " " span.muted { code { (file_name) } } }
                button.small type="button" data-copy=(id) hidden { "Copy" }
            }
            pre id=(id) tabindex="0" role="region" aria-label={ "Program in " (language) } { (code) }
        }
    }
}

/// What each header is for.
fn headers(names: &HeaderNames) -> Markup {
    let rows = [
        (names.id, "The event's id, the same on every attempt. Tells repeats apart."),
        (names.timestamp, "When this attempt was signed, in seconds since 1970. Tells its age."),
        (
            names.signature,
            "The signature to check: v1, a comma and base64 of HMAC-SHA256 over id.timestamp.body. The key is what follows whsec_ in the \
             secret, base64-decoded. While a former secret still signs there are several, with a space between: one must be right.",
        ),
        (
            names.hex_signature,
            "A simpler one over the body alone: hex of HMAC-SHA256, the key is the whole secret as text. It tells nothing of \
             the age, and is made with the newest secret only.",
        ),
    ];
    html! {
        section.card aria-labelledby="headers" {
            h2 #headers { "What comes with every request" }
            table.verify-headers {
                caption.unseen { "Headers that matter for checking a request" }
                thead { tr { th scope="col" { "Header" } th scope="col" { "What it is for" } } }
                tbody {
                    @for (name, text) in rows { tr { th scope="row" { code { (name) } } td { (text) } } }
                }
            }
            (own(names))
        }
    }
}

fn own(names: &HeaderNames) -> Markup {
    html! {
        @if names.own.is_empty() {
            p.muted.small { "This webhook sends no headers of its own." }
        } @else {
            p.small { "This webhook also sends headers of its own, which are not signed: "
                @for (place, name) in names.own.iter().enumerate() { @if place > 0 { ", " } code { (name) } } "." }
        }
    }
}

#[cfg(test)]
mod tests;
