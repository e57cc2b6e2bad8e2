//! What each route of the webhooks resource does. What a route changes is a function of plain values (`created`,
//! `updated`, …) that its handler calls, and whoever else takes such a wish from a person: it checks who may, keeps to the
//! `condition`, and makes its write through the trail.

use actix_web::http::header::{ETAG, LOCATION};
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use url::Url;

use super::differences::differences;
use super::rules::{Changes, Rules, activate, deactivate};
use super::secrets::{chosen_secret, new_secret};
use super::view::View;
use crate::api::access::{Id, IfMatch, NO_WEBHOOK, Purpose, etag, find, webhooks_of};
use crate::api::audit::Trail;
use crate::api::auth::{Caller, Reader, Writer};
use crate::api::body::Body;
use crate::api::fields::Fields;
use crate::api::query::Query;
use crate::api::request::random_text;
use crate::api::{App, Error};
use crate::clock;
use crate::domain::webhook::Settings;
use crate::domain::{Backoff, EventType, Retries, Secret, Shard, UserId, Webhook, WebhookId};
use crate::store;
use crate::store::webhooks::{Created, Failures, Figures, Indexed, Quotas, Whose};

/// How often a change is tried anew when others change the same webhook at the same moment.
const MAX_RACES: usize = 5;

/// `GET /api/webhooks`: the caller's webhooks, newest first; `all=true` the tenant's, for administrators.
pub async fn list(app: Data<App>, caller: Reader, request: HttpRequest) -> Result<HttpResponse, Error> {
    let mut query = Query::of(&request);
    let (is_active, all) = (query.boolean("isActive"), query.boolean("all") == Some(true));
    let page = query.page_if_asked();
    query.finish()?;
    let whose = match (all, caller.is_admin) {
        (false, _) => Whose::Of(&caller.user),
        (true, true) => Whose::All,
        (true, false) => return Err(Error::Forbidden("all=true needs an administrator's role")),
    };
    let webhooks = webhooks_of(&app, &caller);
    let listed = webhooks.list(whose).await?;
    let (total, shown) = match (is_active, page) {
        // Nothing to filter: only the records of the page are read.
        (None, page) => {
            let entries: &[Indexed] = page.map_or(&listed, |page| page.slice(&listed));
            (listed.len(), webhooks.read(entries, whose, clock::now()).await?)
        }
        (Some(wanted), page) => {
            let mut matching = webhooks.read(&listed, whose, clock::now()).await?;
            matching.retain(|webhook| webhook.is_active == wanted);
            let total = matching.len();
            let shown = match page {
                Some(page) => page.slice(&matching).to_vec(),
                None => matching,
            };
            (total, shown)
        }
    };
    let figures = webhooks.figures(shown.iter().map(|webhook| &webhook.id)).await?;
    let now = clock::now();
    let view = |(webhook, figures)| {
        let view = View::of(webhook, figures, now);
        if all { view.with_owner(webhook) } else { view }
    };
    let views: Vec<View<'_>> = shown.iter().zip(figures).map(view).collect();
    Ok(HttpResponse::Ok().insert_header(("X-Total-Count", total)).json(views))
}

/// `GET /api/webhooks/events`: the event types, with samples.
pub async fn catalogue(app: Data<App>, _caller: Reader) -> Json<Vec<EventType>> {
    Json(app.config.catalogue.types().to_vec())
}

/// `POST /api/webhooks`
pub async fn create(app: Data<App>, caller: Writer, trail: Trail, body: Body) -> Result<HttpResponse, Error> {
    let webhook = created(&app, &caller, &trail, Fields::parse(&body.0)?).await?;
    let view = View::of(&webhook, Figures::default(), clock::now()).with_secret(&webhook.settings.secret);
    let location = format!("/api/webhooks/{}", webhook.id);
    Ok(tagged(HttpResponse::Created(), &webhook).insert_header((LOCATION, location)).json(view))
}

/// Creates the webhook that `fields` describe. Its secret is in it, for the one time that it is shown.
///
/// # Errors
/// [`Error::Invalid`] with every fault, 409 past a quota, or the store's.
pub async fn created(
    app: &App,
    caller: &Caller,
    trail: &Trail,
    mut fields: Fields<'_>,
) -> Result<Webhook, Error> {
    fields.require(&["name", "url", "events"]);
    let secret = chosen_secret(&mut fields);
    let changes = checked(app, fields).await?;
    let webhooks = webhooks_of(app, caller);
    let secret = secret.unwrap_or_else(new_secret);
    let mut webhook = new_webhook(caller, webhooks.next_shard().await?, secret);
    changes.apply(&mut webhook);
    let limits = &app.config.limits;
    let quotas = Quotas { per_user: limits.webhooks_per_user, per_tenant: limits.webhooks_per_tenant };
    trail.concerns(&webhook.id);
    let refused = match trail.follow(webhooks.create(&webhook, quotas)).await? {
        Created::Stored => None,
        Created::UserFull => Some(full("user", limits.webhooks_per_user)),
        Created::TenantFull => Some(full("organization", limits.webhooks_per_tenant)),
    };
    if let Some(refusal) = refused {
        trail.nothing_was_done();
        return Err(refusal);
    }
    Ok(webhook)
}

fn full(whose: &str, quota: u64) -> Error {
    Error::Conflict(format!("the {whose} has {quota} webhooks, which is the most allowed").into())
}

/// `GET /api/webhooks/{id}`
pub async fn show(app: Data<App>, caller: Reader, id: Id) -> Result<HttpResponse, Error> {
    let webhook = find(&app, &caller, &id.0, Purpose::Read).await?;
    shown(&app, &caller, &webhook).await
}

/// `PATCH /api/webhooks/{id}`: the given fields replace the stored ones.
pub async fn update(
    app: Data<App>,
    caller: Writer,
    trail: Trail,
    id: Id,
    condition: IfMatch,
    body: Body,
) -> Result<HttpResponse, Error> {
    let webhook = updated(&app, &caller, &trail, &id.0, &condition, &body.0).await?;
    shown(&app, &caller, &webhook).await
}

/// Puts the fields of `body`, a JSON object, in the place of the stored ones.
///
/// # Errors
/// Those of [`find`], [`Error::Invalid`] with every fault, 412 where `condition` does not hold, 409 while others change it.
pub async fn updated(
    app: &App,
    caller: &Caller,
    trail: &Trail,
    id: &WebhookId,
    condition: &IfMatch,
    body: &[u8],
) -> Result<Webhook, Error> {
    // Whose webhook it is comes before what is wrong with the body.
    find(app, caller, id, Purpose::Change).await?;
    let mut fields = Fields::parse(body)?;
    if fields.take("secret").is_some() {
        fields.fault("property secret should not exist here: regenerate-secret takes one".into());
    }
    let changes = checked(app, fields).await?;
    let edit = |webhook: &mut Webhook| {
        let before = webhook.clone();
        let failures = changes.apply(webhook);
        trail.names(differences(&before, webhook));
        Ok(failures)
    };
    change((app, caller, trail), id, Purpose::Change, condition, edit).await
}

/// `DELETE /api/webhooks/{id}`: what was queued for it is dropped, its log goes.
pub async fn delete(
    app: Data<App>,
    caller: Writer,
    trail: Trail,
    id: Id,
    condition: IfMatch,
) -> Result<HttpResponse, Error> {
    deleted(&app, &caller, &trail, &id.0, &condition).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Deletes a webhook; an administrator may, whosever it is.
///
/// # Errors
/// Those of [`find`], 412 where `condition` does not hold, or the store's.
pub async fn deleted(
    app: &App,
    caller: &Caller,
    trail: &Trail,
    id: &WebhookId,
    condition: &IfMatch,
) -> Result<(), Error> {
    let webhook = find(app, caller, id, Purpose::Stop).await?;
    condition.check(&webhook)?;
    Ok(trail.follow(webhooks_of(app, caller).delete(&webhook)).await?)
}

/// `POST /api/webhooks/{id}/activate`
pub async fn switch_on(
    app: Data<App>,
    caller: Writer,
    trail: Trail,
    id: Id,
    condition: IfMatch,
) -> Result<HttpResponse, Error> {
    let webhook = switched_on(&app, &caller, &trail, &id.0, &condition).await?;
    shown(&app, &caller, &webhook).await
}

/// Switches a webhook on; forgets its failures in a row, its pause, and why it was switched off.
///
/// # Errors
/// Those of [`updated`].
pub async fn switched_on(
    app: &App,
    caller: &Caller,
    trail: &Trail,
    id: &WebhookId,
    condition: &IfMatch,
) -> Result<Webhook, Error> {
    let edit = |webhook: &mut Webhook| Ok(activate(webhook));
    change((app, caller, trail), id, Purpose::Change, condition, edit).await
}

/// `POST /api/webhooks/{id}/deactivate`
pub async fn switch_off(
    app: Data<App>,
    caller: Writer,
    trail: Trail,
    id: Id,
    condition: IfMatch,
) -> Result<HttpResponse, Error> {
    let webhook = switched_off(&app, &caller, &trail, &id.0, &condition).await?;
    shown(&app, &caller, &webhook).await
}

/// Switches a webhook off: nothing more is queued for it, what is queued waits. An administrator may, whosever it is.
///
/// # Errors
/// Those of [`updated`].
pub async fn switched_off(
    app: &App,
    caller: &Caller,
    trail: &Trail,
    id: &WebhookId,
    condition: &IfMatch,
) -> Result<Webhook, Error> {
    let edit = |webhook: &mut Webhook| Ok(deactivate(webhook));
    change((app, caller, trail), id, Purpose::Stop, condition, edit).await
}

/// `POST /api/webhooks/{id}/reset-failures`: forgets the failures in a row, what they led to, and why it was switched off
/// if the service did that. Switching it on again is another matter.
pub async fn reset_failures(
    app: Data<App>,
    caller: Writer,
    trail: Trail,
    id: Id,
    condition: IfMatch,
) -> Result<HttpResponse, Error> {
    let webhook = failures_reset(&app, &caller, &trail, &id.0, &condition).await?;
    shown(&app, &caller, &webhook).await
}

/// Forgets a webhook's failures in a row, its pause, and why it was switched off, but does not switch it on.
///
/// # Errors
/// Those of [`updated`].
pub async fn failures_reset(
    app: &App,
    caller: &Caller,
    trail: &Trail,
    id: &WebhookId,
    condition: &IfMatch,
) -> Result<Webhook, Error> {
    let forget = |webhook: &mut Webhook| {
        webhook.disabled_reason = None;
        Ok(Failures::Forget)
    };
    change((app, caller, trail), id, Purpose::Change, condition, forget).await
}

/// The changes that a body asks for, all of its faults told at once.
async fn checked(app: &App, mut fields: Fields<'_>) -> Result<Changes, Error> {
    let rules = Rules {
        catalogue: &app.config.catalogue,
        guard: &app.guard,
        require_https: app.config.delivery.require_https,
    };
    let changes = Changes::read(&mut fields, rules);
    if let Some(url) = changes.url.as_deref().and_then(|text| Url::parse(text).ok())
        && let Err(fault) = app.sender.vet(&url).await
    {
        fields.fault(fault.to_string());
    }
    fields.finish().map(|()| changes)
}

/// Reads, edits and writes a webhook; begins again when somebody else wrote in between. An edit that changes nothing
/// is not written. Of a locked one everything but the settings can be changed: they could not be written again.
pub(super) async fn change(
    (app, caller, trail): (&App, &Caller, &Trail),
    id: &WebhookId,
    purpose: Purpose,
    condition: &IfMatch,
    edit: impl Fn(&mut Webhook) -> Result<Failures, Error>,
) -> Result<Webhook, Error> {
    for _ in 0..MAX_RACES {
        let current = find(app, caller, id, purpose).await?;
        condition.check(&current)?;
        let mut next = current.clone();
        let failures = edit(&mut next)?;
        if next == current && failures == Failures::Keep {
            return Ok(current);
        }
        next.version += 1;
        next.updated_at = clock::now();
        next.settings.forget_expired(next.updated_at);
        let webhooks = webhooks_of(app, caller);
        let write = async {
            if next.locked.is_some() && next.settings == current.settings {
                webhooks.switch(&next, failures).await
            } else {
                webhooks.update(&next, failures).await
            }
        };
        match trail.follow(write).await {
            Ok(()) => return Ok(next),
            Err(store::Error::Changed) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Conflict("the webhook is being changed by others, try again".into()))
}

async fn shown(app: &App, caller: &Caller, webhook: &Webhook) -> Result<HttpResponse, Error> {
    let figures = webhooks_of(app, caller).figures([&webhook.id]).await?;
    let view = View::of(webhook, figures.first().copied().ok_or(NO_WEBHOOK)?, clock::now());
    let is_own = webhook.settings.owner == caller.user;
    let view = if is_own { view } else { view.with_owner(webhook) };
    Ok(tagged(HttpResponse::Ok(), webhook).json(view))
}

pub(super) fn tagged(mut response: HttpResponseBuilder, webhook: &Webhook) -> HttpResponseBuilder {
    response.insert_header((ETAG, etag(webhook)));
    response
}

/// A webhook with the defaults of contract section 5; the required fields are still empty.
pub fn new_webhook(caller: &Caller, shard: Shard, secret: Secret) -> Webhook {
    let now = clock::now();
    Webhook {
        id: WebhookId::new(shard, &random_text(WebhookId::RANDOM_LENGTH)),
        version: 1,
        is_active: true,
        disabled_reason: None,
        updated_at: now,
        settings: Settings {
            tenant: caller.tenant.clone(),
            owner: UserId::clone(&caller.user),
            name: String::new(),
            description: None,
            url: String::new(),
            events: Vec::new(),
            headers: [].into(),
            retries: Retries { attempts: 3, delay_seconds: 60, backoff: Backoff::Fixed, schedule: None },
            timeout_seconds: 30,
            rate_limit_per_second: None,
            max_concurrency: 16,
            ordered: false,
            filter: None,
            secret,
            former_secrets: Vec::new(),
            created_at: now,
        },
        locked: None,
    }
}
