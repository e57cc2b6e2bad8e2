//! A new webhook: its form, and what comes of it. The secret is shown in the answer to the form itself.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use maud::{Markup, html};

use super::draft::Draft;
use super::faults::Faults;
use super::fields::{Field, Kind};
use super::form::{self, PREVIEW, SCRIPTS, Sheet};
use super::once::{claim, form_id, release, shown};
use crate::api::audit::Trail;
use crate::api::auth::Caller;
use crate::api::fields::Fields;
use crate::api::webhooks::handlers::{created, new_webhook};
use crate::api::webhooks::secrets::new_secret;
use crate::api::{App, Error};
use crate::dashboard::page::{Page, Section, mark};
use crate::dashboard::visit::{Change, Visit};
use crate::domain::Shard;

const LIST: &str = "/dashboard/webhooks";
const PATH: &str = "/dashboard/webhooks/new";
const REPEATED: &str = "This form was sent before, so a webhook may have been created by it: look at the list of webhooks first. \
                        If it is there, make it a new secret on its settings page, as the first one is not shown again. If it is \
                        not, or you want another one, press \"Create webhook\" again.";

/// What whoever may only look is told.
pub const ONLY_LOOK: Error = Error::Forbidden("your token may look at webhooks, not change them");

/// `GET`: the form.
///
/// # Errors
/// 403 for those who may not create any.
pub async fn ask(app: web::Data<App>, visit: Visit) -> Result<HttpResponse, Error> {
    if !visit.may_write() {
        return Err(ONLY_LOOK);
    }
    Ok(asked(&app, &visit, StatusCode::OK, &defaults(&visit), &Faults::default()))
}

/// `POST`: creates the webhook and shows its secret, or shows the form with its faults.
///
/// # Errors
/// Those of the API but for faults of the form.
pub async fn create(app: web::Data<App>, change: Change, trail: Trail) -> Result<HttpResponse, Error> {
    let (visit, draft) = (&change.visit, Draft::of_form(&change.form));
    let again = |status, faults: &Faults| Ok(asked(&app, visit, status, &draft, faults));
    if change.form.has(PREVIEW) {
        return again(StatusCode::OK, &Faults::default());
    }
    if let Some(told) = claim(&app, visit, &change.form).await?.fault(REPEATED) {
        return again(StatusCode::CONFLICT, &Faults::of_all(told.into()));
    }
    let made = async { created(&app, &change, &trail, Fields::parse(&draft.body())?).await }.await;
    if let Err(error) = &made {
        release(&app, visit, &change.form, error).await;
    }
    let refused = match made {
        Ok(webhook) => {
            let told = html! { strong { (webhook.settings.name) } " was created." };
            let words = ("Webhook created", &told);
            return Ok(shown(visit, StatusCode::CREATED, &webhook, &webhook.settings.secret, words));
        }
        Err(Error::Invalid(told)) => (StatusCode::BAD_REQUEST, Faults::new(told, &draft.filter)),
        Err(Error::Conflict(why)) => (StatusCode::CONFLICT, Faults::of_all(why.into_owned())),
        Err(other) => return Err(other),
    };
    again(refused.0, &refused.1)
}

/// A new webhook's settings.
pub fn defaults(caller: &Caller) -> Draft {
    Draft::of_webhook(&new_webhook(caller, Shard(0), new_secret()))
}

fn asked(app: &App, visit: &Visit, status: StatusCode, draft: &Draft, faults: &Faults) -> HttpResponse {
    let defaults = defaults(visit);
    let sheet = Sheet { draft, defaults: &defaults, faults, catalogue: &app.config.catalogue };
    let hidden = html! { (mark(visit)) (form_id(visit)) };
    let last = own_secret(draft, faults);
    let body = html! {
        h1 { "New webhook" }
        p.muted { "A webhook tells one of your systems what happens in SalesOS: each event is sent to an address of yours as soon as it happens." }
        (faults.summary())
        form method="post" action=(PATH) novalidate { (form::body(sheet, &hidden, &last, "Create webhook", LIST)) }
    };
    let page = Page {
        title: "New webhook",
        section: Section::Webhooks,
        trail: &[("Webhooks", LIST)],
        scripts: SCRIPTS,
        body,
    };
    page.answer_with(status, visit)
}

fn own_secret(draft: &Draft, faults: &Faults) -> Markup {
    html! {
        details.card open[!draft.secret.is_empty() || faults.concern(&["secret"])] {
            summary { "Use a signing secret of your own" }
            (secret_field(&draft.secret).with(faults))
        }
    }
}

/// The secret that somebody chooses.
pub fn secret_field(value: &str) -> Field<'_> {
    Field {
        name: "secret",
        label: "Secret",
        hint: "Only if another system already has one: whsec_ and the base64 of 24 to 64 bytes. Empty = a good one is made for you.",
        kind: Kind::Hidden,
        value,
    }
}
