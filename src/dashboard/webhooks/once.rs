//! Forms that are sent once, and the page that answers them with a secret.
//!
//! A secret stands in the answer to the form itself, in no address and no store. Loading that answer again sends the form
//! again; so does a second press of its button. Each form therefore holds an id of its own, which the first sending claims
//! (`store::forms`); every later one gets the form back with the warning, and a new id. What was refused without being done gives
//! its id back, for those who go back in their browser.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, html};

use crate::api::{App, Error};
use crate::dashboard::form::Form;
use crate::dashboard::page::{Page, Section};
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::Visit;
use crate::domain::{Secret, Webhook};
use crate::store::forms::{self, Claim};

/// The field that holds a form's id.
pub const FORM: &str = "form";
/// Bytes of an id.
const ID_BYTES: usize = 18;

/// A new id, in a hidden field.
pub fn form_id() -> Markup {
    let id = URL_SAFE_NO_PAD.encode(rand::random::<[u8; ID_BYTES]>());
    html! { input type="hidden" name=(FORM) value=(id); }
}

/// Claims the id of a form that was sent. One without an id counts as sent before.
///
/// # Errors
/// Those of the store.
pub async fn claim(app: &App, visit: &Visit, form: &Form) -> Result<Claim, Error> {
    let Some(id) = id_of(form) else { return Ok(Claim::Repeated) };
    let whose = (&visit.tenant, &visit.user);
    Ok(forms::claim(&app.redis, (&app.keys, &app.layout), whose, id).await?)
}

/// Gives the id of a form back that was refused.
///
/// # Errors
/// Those of the store.
pub async fn release(app: &App, visit: &Visit, form: &Form) -> Result<(), Error> {
    let Some(id) = id_of(form) else { return Ok(()) };
    let whose = (&visit.tenant, &visit.user);
    Ok(forms::release(&app.redis, (&app.keys, &app.layout), whose, id).await?)
}

fn id_of(form: &Form) -> Option<&str> {
    form.one(FORM).filter(|id| URL_SAFE_NO_PAD.decode(id).is_ok_and(|bytes| bytes.len() == ID_BYTES))
}

/// The page that shows a secret, once: `title` and `told` say what was done.
pub fn shown(
    visit: &Visit,
    status: StatusCode,
    webhook: &Webhook,
    secret: &Secret,
    (title, told): (&str, &Markup),
) -> HttpResponse {
    let body = html! {
        h1 { (title) }
        p.notice role="status" { (told) }
        (secret_card(secret))
        (next_steps(webhook))
    };
    let (all, own) = (format!("{}/webhooks", crate::dashboard::routes::PREFIX), of_webhook(&webhook.id, ""));
    let trail = [("Webhooks", all.as_str()), (webhook.settings.name.as_str(), own.as_str())];
    Page { title, section: Section::Webhooks, trail: &trail, scripts: &["copy.js"], body }
        .answer_with(status, visit)
}

fn secret_card(secret: &Secret) -> Markup {
    html! {
        div.card {
            h2 { "Its signing secret" }
            p.advice { strong { "Store it now: it is shown this once. " } "If it gets lost, you can make a new one." }
            div.secret {
                code #secret-value { (secret.0) }
                button type="button" data-copy="secret-value" hidden { "Copy" }
            }
            p.hint { "Keep it where your endpoint can read it and nobody else can. With it your endpoint checks that a request \
                      comes from here and was not altered on its way." }
        }
    }
}

fn next_steps(webhook: &Webhook) -> Markup {
    html! {
        div.card {
            h2 { "What to do next" }
            ol {
                li { "Put the secret into your endpoint's settings." }
                li { "Let your endpoint check the signatures: " a href=(of_webhook(&webhook.id, "/verify")) { "how to verify" } "." }
                li { "See whether it arrives: " a href=(of_webhook(&webhook.id, "/test")) { "send a test" } "." }
            }
            p { a.button.primary href=(of_webhook(&webhook.id, "")) { "Go to the webhook" } }
        }
    }
}
