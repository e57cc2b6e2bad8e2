//! A new signing secret: the form that explains what becomes of the former one, and the answer that shows the new one once.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use maud::{Markup, html};

use super::draft::{header_rows, object, pairs, raw};
use super::edit::with_figures;
use super::faults::{Faults, beside};
use super::fields::headers;
use super::new::{ONLY_LOOK, secret_field};
use super::once::{claim, form_id, release, shown};
use super::stop::may_change;
use crate::api::access::{Id, Purpose, find};
use crate::api::audit::Trail;
use crate::api::fields::Fields;
use crate::api::webhooks::secrets::{DEFAULT_GRACE, MAX_GRACE, Regenerated, regenerated};
use crate::api::{App, Error};
use crate::dashboard::form::Form;
use crate::dashboard::heading::heading;
use crate::dashboard::page::{Page, Section, mark};
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::{Change, Visit};
use crate::dashboard::when::at;
use crate::domain::{Webhook, WebhookId};

const GRACE: &str = "gracePeriodSeconds";
const REPEATED: &str = "This form was sent before, so the webhook may have a new secret already, which was shown then. If you did not \
                        store it, press \"Make a new secret\" again.";

/// What the form holds.
struct Wish {
    grace: String,
    secret: String,
    /// Of a webhook whose headers cannot be read.
    headers: Vec<(String, String)>,
}

impl Wish {
    fn of_form(form: &Form) -> Self {
        let text = |name| form.one(name).unwrap_or_default().trim().to_owned();
        Self { grace: text(GRACE), secret: text("secret"), headers: header_rows(form) }
    }

    /// Before anything was typed: a day of overlap, and the names of the headers that have to be given anew.
    fn fresh(webhook: &Webhook) -> Self {
        let names = webhook.settings.headers.keys().map(|name| (name.clone(), String::new()));
        Self { grace: DEFAULT_GRACE.to_string(), secret: String::new(), headers: names.collect() }
    }

    /// The body of the API. Headers are a part of it only where they cannot be read.
    fn body(&self, webhook: &Webhook) -> Vec<u8> {
        let mut fields = Vec::new();
        if webhook.locked.is_some() {
            fields.push(("headers", pairs(&self.headers)));
        } else {
            fields.push((
                GRACE,
                self.grace.parse::<u64>().map_or_else(|_| raw(&self.grace), |grace| raw(&grace)),
            ));
        }
        if !self.secret.is_empty() {
            fields.push(("secret", raw(&self.secret)));
        }
        object(&fields)
    }
}

/// `GET …/secret`: the form.
///
/// # Errors
/// Those of [`find`], 403 for those who may not.
pub async fn ask(app: web::Data<App>, visit: Visit, id: Id) -> Result<HttpResponse, Error> {
    let webhook = find(&app, &visit, &id.0, Purpose::Change).await?;
    if !may_change(&visit, &webhook) {
        return Err(ONLY_LOOK);
    }
    asked(&app, &visit, &id.0, StatusCode::OK, (&Wish::fresh(&webhook), &Faults::default())).await
}

/// `POST …/secret`: makes it and shows it, or shows the form with its faults.
///
/// # Errors
/// Those of the API but for faults of the form.
pub async fn regenerate(
    app: web::Data<App>,
    change: Change,
    trail: Trail,
    id: Id,
) -> Result<HttpResponse, Error> {
    let (visit, wish) = (&change.visit, Wish::of_form(&change.form));
    let webhook = find(&app, visit, &id.0, Purpose::Change).await?;
    if let Some(told) = claim(&app, visit, &change.form).await?.fault(REPEATED) {
        let faults = Faults::of_all(told.into());
        return asked(&app, visit, &id.0, StatusCode::CONFLICT, (&wish, &faults)).await;
    }
    let body = wish.body(&webhook);
    let made = async { regenerated(&app, &change, &trail, &id.0, Fields::parse(&body)?).await }.await;
    if let Err(error) = &made {
        release(&app, visit, &change.form, error).await;
    }
    let (status, faults) = match made {
        Ok(renewed) => return Ok(told(visit, &renewed)),
        Err(Error::Invalid(told)) => (StatusCode::BAD_REQUEST, Faults::new(told, "")),
        Err(Error::Conflict(why)) => (StatusCode::CONFLICT, Faults::of_all(why.into_owned())),
        Err(other) => return Err(other),
    };
    asked(&app, visit, &id.0, status, (&wish, &faults)).await
}

fn told(visit: &Visit, renewed: &Regenerated) -> HttpResponse {
    let goes_on = !renewed.webhook.settings.former_secrets.is_empty();
    let words = html! {
        "The new secret is in use. "
        @if goes_on {
            "Until " (at(renewed.previous_secret_expires_at)) " the header webhook-signature also carries a signature made with the former one; \
            X-Webhook-Signature is made with the new one from now on."
        } @else {
            "Nothing is signed with a former one any more."
        }
    };
    shown(visit, StatusCode::OK, &renewed.webhook, &renewed.secret, ("New secret", &words))
}

async fn asked(
    app: &App,
    visit: &Visit,
    id: &WebhookId,
    status: StatusCode,
    (wish, faults): (&Wish, &Faults),
) -> Result<HttpResponse, Error> {
    let (webhook, figures) = with_figures(app, visit, id).await?;
    let body = html! {
        (heading(visit, &webhook, figures, None))
        (faults.summary())
        form.card.question method="post" action=(of_webhook(id, "/secret")) novalidate {
            (mark(visit))
            (form_id(visit))
            h2 { "New signing secret" }
            @if webhook.locked.is_some() { (anew(wish, faults)) } @else { (overlap(wish, faults)) }
            (secret_field(&wish.secret).with(faults))
            div.row { button.primary type="submit" { "Make a new secret" } a.button.quiet href=(of_webhook(id, "/edit")) { "Cancel" } }
        }
    };
    let own = of_webhook(id, "");
    let trail = [("Webhooks", "/dashboard/webhooks"), (webhook.settings.name.as_str(), own.as_str())];
    let page = Page {
        title: "New secret",
        section: Section::Webhooks,
        trail: &trail,
        scripts: &["webhook-form.js"],
        body,
    };
    Ok(page.answer_with(status, visit))
}

/// Of a webhook whose secret can be read: the former one may go on signing beside the new one.
fn overlap(wish: &Wish, faults: &Faults) -> Markup {
    let week = MAX_GRACE.to_string();
    let choices = [
        (
            "0",
            "Not at all",
            "The former secret has leaked: your endpoint refuses everything until it has the new one.",
        ),
        ("3600", "For an hour", ""),
        ("86400", "For a day", "Enough time to put the new one in place."),
        (week.as_str(), "For 7 days", ""),
    ];
    let told = faults.of(GRACE);
    html! {
        p { "The new secret is shown once, and signs everything from the moment it is made." }
        fieldset id=(GRACE) tabindex="-1" {
            legend { "Should the former one go on signing beside it?" }
            p.hint { "Then the header " code { "webhook-signature" } " carries both signatures, and endpoints that check it notice nothing. "
                     code { "X-Webhook-Signature" } " holds one alone, made with the new secret: who checks that needs the new secret at once." }
            @for (seconds, label, about) in choices {
                label.check {
                    input type="radio" name=(GRACE) value=(seconds) checked[wish.grace == seconds];
                    span { span.what { (label) } @if !about.is_empty() { span.muted.small.about { (about) } } }
                }
            }
            (beside(GRACE, &told))
        }
    }
}

/// Of a webhook whose secret cannot be read any more: there is nothing to overlap with, and its headers are gone too.
fn anew(wish: &Wish, faults: &Faults) -> Markup {
    let hint = "What is sent without them would be refused, so give all that it shall have. Clear a row to leave one out.";
    html! {
        p { "Its secret, and the values of its headers, cannot be decrypted any more. With a new secret, deliveries go on; the former one signs nothing." }
        (headers(&wish.headers, hint, faults))
    }
}
