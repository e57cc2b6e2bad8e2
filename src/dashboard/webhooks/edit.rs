//! The settings of a webhook: their form for its owner, and a list of them for everybody else who may look.
//!
//! The form holds the version that it shows. Where the stored one is another by then, nothing is written: both are shown, and
//! the form goes on from the present one. Only what differs from what is stored is sent on.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use maud::{Markup, html};

use super::draft::Draft;
use super::faults::Faults;
use super::form::{self, PREVIEW, SCRIPTS, Sheet};
use super::new::defaults;
use super::standing::{all, beside};
use super::stop::{may_change, others};
use crate::api::access::{Id, IfMatch, NO_WEBHOOK, Purpose, find, webhooks_of};
use crate::api::audit::Trail;
use crate::api::webhooks::handlers::updated;
use crate::api::{App, Error};
use crate::dashboard::form::Form;
use crate::dashboard::heading::{Tab, heading};
use crate::dashboard::notice::Notice;
use crate::dashboard::page::{Page, Section, mark, to_with};
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::{Change, Visit};
use crate::domain::{Webhook, WebhookId};
use crate::store::webhooks::Figures;

/// The field that holds the version.
const VERSION: &str = "version";

/// `GET`: the settings.
///
/// # Errors
/// Those of [`find`].
pub async fn ask(app: web::Data<App>, visit: Visit, id: Id) -> Result<HttpResponse, Error> {
    let (webhook, figures) = with_figures(&app, &visit, &id.0).await?;
    let body = html! {
        (heading(&visit, &webhook, figures, Some(Tab::Settings)))
        @if may_change(&visit, &webhook) && webhook.locked.is_none() {
            (sheet(&app, &visit, &webhook, webhook.version, &Draft::of_webhook(&webhook), &Faults::default()))
        } @else {
            (read_only(&visit, &webhook))
        }
        (others(&visit, &webhook, figures))
    };
    Ok(page(&visit, &webhook, StatusCode::OK, body))
}

/// `POST`: saves what differs, or shows the form again.
///
/// # Errors
/// Those of the API but for faults of the form and another version.
pub async fn save(app: web::Data<App>, change: Change, trail: Trail, id: Id) -> Result<HttpResponse, Error> {
    let visit = &change.visit;
    let webhook = find(&app, visit, &id.0, Purpose::Change).await?;
    if webhook.locked.is_some() {
        return shut(&app, visit, &id.0).await;
    }
    let draft = Draft::of_form(&change.form);
    let version = version_of(&change.form);
    if change.form.has(PREVIEW) {
        return again(&app, visit, &id.0, StatusCode::OK, version, (&draft, &Faults::default())).await;
    }
    let condition = IfMatch::OneOf(vec![format!("\"{version}\"")]);
    if condition.check(&webhook).is_err() {
        return overtaken(&app, visit, &id.0, &draft).await;
    }
    let body = draft.changes(&Draft::of_webhook(&webhook));
    let (status, faults) = match updated(&app, &change, &trail, &id.0, &condition, &body).await {
        Ok(_) => return Ok(to_with(&of_webhook(&id.0, ""), Notice::Saved)),
        Err(Error::PreconditionFailed) => return overtaken(&app, visit, &id.0, &draft).await,
        Err(Error::Invalid(told)) => (StatusCode::BAD_REQUEST, Faults::new(told, &draft.filter)),
        Err(Error::Conflict(why)) => (StatusCode::CONFLICT, Faults::of_all(why.into_owned())),
        Err(other) => return Err(other),
    };
    again(&app, visit, &id.0, status, version, (&draft, &faults)).await
}

/// Of one whose secrets cannot be read nothing can be saved: as when the page is opened, with the reason.
async fn shut(app: &App, visit: &Visit, id: &WebhookId) -> Result<HttpResponse, Error> {
    let (webhook, figures) = with_figures(app, visit, id).await?;
    let body = html! {
        (heading(visit, &webhook, figures, Some(Tab::Settings)))
        p.problem role="alert" { "Nothing was saved." }
        (read_only(visit, &webhook))
        (others(visit, &webhook, figures))
    };
    Ok(page(visit, &webhook, StatusCode::CONFLICT, body))
}

async fn again(
    app: &App,
    visit: &Visit,
    id: &WebhookId,
    status: StatusCode,
    version: u64,
    (draft, faults): (&Draft, &Faults),
) -> Result<HttpResponse, Error> {
    let (webhook, figures) = with_figures(app, visit, id).await?;
    let body = html! {
        (heading(visit, &webhook, figures, Some(Tab::Settings)))
        (sheet(app, visit, &webhook, version, draft, faults))
    };
    Ok(page(visit, &webhook, status, body))
}

/// Somebody else was quicker: nothing is written, and the form goes on from what is stored now.
async fn overtaken(app: &App, visit: &Visit, id: &WebhookId, draft: &Draft) -> Result<HttpResponse, Error> {
    let (webhook, figures) = with_figures(app, visit, id).await?;
    let stored = Draft::of_webhook(&webhook);
    let body = html! {
        (heading(visit, &webhook, figures, Some(Tab::Settings)))
        div.problem #faults role="alert" tabindex="-1" autofocus {
            p { strong { "Somebody else changed this webhook while you were at it. Nothing of yours was saved." } }
            p { "What you typed is still in the form below. Saving it now puts it in the place of what is stored. To keep what is \
                 stored, " a href=(of_webhook(id, "/edit")) { "start again from that" } "." }
            (beside(draft, &stored))
        }
        (sheet(app, visit, &webhook, webhook.version, draft, &Faults::default()))
    };
    Ok(page(visit, &webhook, StatusCode::PRECONDITION_FAILED, body))
}

fn version_of(form: &Form) -> u64 {
    // No webhook has the version 0: a form without one is an old one.
    form.one(VERSION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A webhook that may be looked at, and its figures.
///
/// # Errors
/// Those of [`find`].
pub async fn with_figures(app: &App, visit: &Visit, id: &WebhookId) -> Result<(Webhook, Figures), Error> {
    let webhook = find(app, visit, id, Purpose::Read).await?;
    let figures = webhooks_of(app, visit).figures([id]).await?;
    Ok((webhook, figures.first().copied().ok_or(NO_WEBHOOK)?))
}

fn sheet(
    app: &App,
    visit: &Visit,
    webhook: &Webhook,
    version: u64,
    draft: &Draft,
    faults: &Faults,
) -> Markup {
    let defaults = defaults(visit);
    let sheet = Sheet { draft, defaults: &defaults, faults, catalogue: &app.config.catalogue };
    let hidden = html! { (mark(visit)) input type="hidden" name=(VERSION) value=(version); };
    let (path, back) = (of_webhook(&webhook.id, "/edit"), of_webhook(&webhook.id, ""));
    html! {
        (faults.summary())
        form method="post" action=(path) novalidate {
            (form::body(sheet, &hidden, &html! {}, "Save changes", &back))
        }
    }
}

fn read_only(visit: &Visit, webhook: &Webhook) -> Markup {
    html! {
        p.muted {
            @if webhook.settings.owner != visit.user { "It belongs to somebody else: only they can change its settings." }
            @else if !visit.may_write() { "Your token may look at webhooks, not change them." }
            @else { "Its settings can be changed again once it has a new secret." }
        }
        div.card { h2 { "Settings" } (all(&Draft::of_webhook(webhook))) }
    }
}

fn page(visit: &Visit, webhook: &Webhook, status: StatusCode, body: Markup) -> HttpResponse {
    let own = of_webhook(&webhook.id, "");
    let trail = [("Webhooks", "/dashboard/webhooks"), (webhook.settings.name.as_str(), own.as_str())];
    Page { title: "Settings", section: Section::Webhooks, trail: &trail, scripts: SCRIPTS, body }
        .answer_with(status, visit)
}
