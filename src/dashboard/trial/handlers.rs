//! Opens the page of a test, and sends one.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::draft::{Draft, EVENT, Faults, sentence};
use super::page::View;
use crate::api::access::{Id, Purpose, find, webhooks_of};
use crate::api::audit::Trail;
use crate::api::fields::Fields;
use crate::api::trial::{Report, TEST, sample, tested};
use crate::api::{App, Error};
use crate::dashboard::form::Form;
use crate::dashboard::page::part;
use crate::dashboard::visit::{Change, Visit};
use crate::domain::Webhook;

/// The query parameter that asks for the fields alone, for a script.
const PART: &str = "part";
const NO_SUCH_TYPE: &str = "There is no such event type. Choose one from the list.";

/// `GET …/test?event=`: the form, with the sample of that type.
///
/// # Errors
/// 404, or the store's.
pub async fn show(app: Data<App>, visit: Visit, id: Id, request: HttpRequest) -> Result<HttpResponse, Error> {
    let webhook = find(&app, &visit, &id.0, Purpose::Read).await?;
    let query = Form::parse(request.query_string().as_bytes());
    let draft = wanted(&app, &webhook, query.filled(EVENT).unwrap_or(TEST));
    if query.has(PART) {
        return Ok(part(draft.fields()));
    }
    answer((&app, &visit, &webhook), StatusCode::OK, &draft, None).await
}

/// The sample of a type; the plain one, and a fault, where there is no such type.
fn wanted(app: &App, webhook: &Webhook, event: &str) -> Draft {
    if let Some(data) = sample(app, webhook, event) {
        return Draft::of_sample(event, &data);
    }
    let data = sample(app, webhook, TEST).unwrap_or_default();
    let faults = Faults { event: vec![NO_SUCH_TYPE.to_owned()], ..Faults::default() };
    Draft { faults, ..Draft::of_sample(TEST, &data) }
}

/// `POST …/test`: one attempt at once; what it came to stands on the page that answers, and so does what is wrong with
/// what was typed.
///
/// # Errors
/// 403, 404, or the store's.
pub async fn send(
    app: Data<App>,
    change: Change,
    trail: Trail,
    id: Id,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let webhook = find(&app, &change, &id.0, Purpose::Change).await?;
    let draft = Draft::of_form(&change.form, |event| sample(&app, &webhook, event));
    let of = (&**app, &change.visit, &webhook);
    let body = match draft.body() {
        Ok(body) => body,
        Err(faults) => return refused(of, StatusCode::BAD_REQUEST, draft, faults).await,
    };
    match tested(&app, &webhook, &request, &trail, Fields::parse(body.as_bytes())?).await {
        Ok(report) => answer(of, StatusCode::OK, &draft, Some(&report)).await,
        Err(Error::Invalid(messages)) => {
            refused(of, StatusCode::BAD_REQUEST, draft, Faults::of(messages)).await
        }
        // That nothing can be signed for it stands on its pages anyway, in the words of people.
        Err(Error::Conflict(_)) if webhook.locked.is_some() => {
            answer(of, StatusCode::CONFLICT, &draft, None).await
        }
        Err(Error::Conflict(why)) => {
            let told = format!("{} Wait until it has ended, then send yours.", sentence(&why));
            let faults = Faults { other: vec![told], ..Faults::default() };
            refused(of, StatusCode::CONFLICT, draft, faults).await
        }
        Err(error) => Err(error),
    }
}

/// Whose page of which webhook.
type Of<'a> = (&'a App, &'a Visit, &'a Webhook);

/// The page with what was typed, and why it was not sent.
async fn refused(
    of: Of<'_>,
    status: StatusCode,
    draft: Draft,
    faults: Faults,
) -> Result<HttpResponse, Error> {
    answer(of, status, &Draft { faults, ..draft }, None).await
}

async fn answer(
    (app, visit, webhook): Of<'_>,
    status: StatusCode,
    draft: &Draft,
    report: Option<&Report>,
) -> Result<HttpResponse, Error> {
    let figures = webhooks_of(app, visit).figures([&webhook.id]).await?;
    let view = View {
        webhook,
        figures: figures.into_iter().next().unwrap_or_default(),
        types: app.config.catalogue.types(),
        draft,
        report,
        kept: app.config.delivery.response_capture_bytes,
    };
    Ok(view.answer(status, visit))
}
