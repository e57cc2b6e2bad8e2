//! `POST /api/webhooks/{id}/filter-test`: would this `data` pass? Changes nothing and sends nothing.

use actix_web::web::{Data, Json};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::App;
use super::access::{Id, Purpose, find};
use super::auth::Reader;
use super::body::Body;
use super::error::Error;
use super::fields::{Fields, quoted, string_of};
use super::publish::read_data;
use super::webhooks::rules;
use crate::domain::{Filter, Webhook};
use crate::policy::filter::{Failing, data_of, failing};

/// Whether data passes a filter.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FilterVerdict)]
pub struct Verdict {
    /// Whether the filter lets the data pass; true without a filter.
    matches: bool,
    /// Whether the webhook subscribes to the event type; null when only data was given.
    subscribed: Option<bool>,
    /// What was tried: the filter of the body, else the webhook's.
    filter: Option<Filter>,
    /// What keeps the data from passing.
    failed: Vec<Failed>,
}

/// One part of the filter that does not hold.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FailedCondition)]
struct Failed {
    /// The field, or `any` or `not`.
    field: String,
    /// The first values that were found there, long ones cut; none where it is not there.
    found: Vec<Value>,
}

/// The handler. The body: `data` (an object) or `event` (its sample is tried), and `filter` to try another one than the
/// webhook's (null = none).
pub async fn run(app: Data<App>, caller: Reader, id: Id, body: Body) -> Result<Json<Verdict>, Error> {
    let webhook = find(&app, &caller, &id.0, Purpose::Read).await?;
    let mut fields = Fields::parse(&body.0)?;
    let given = [fields.has("data"), fields.has("event")];
    if given[0] == given[1] {
        fields.fault("exactly one of data and event should be given".into());
    }
    let data = data(&mut fields);
    let event = event(&app, &mut fields);
    let filter = fields.nullable("filter", rules::filter);
    fields.finish()?;
    let (subscribed, data) = match event {
        Some((name, sample)) => (Some(is_subscribed(&webhook, &name)), sample),
        None => (None, data.unwrap_or_default()),
    };
    let filter = filter.unwrap_or(webhook.settings.filter);
    let failed: Vec<Failed> =
        filter.iter().flat_map(|filter| failing(filter, &data)).map(Failed::of).collect();
    Ok(Json(Verdict { matches: failed.is_empty(), subscribed, failed, filter }))
}

/// The `data` of the body, as an event's is looked at.
fn data(fields: &mut Fields<'_>) -> Option<Value> {
    let data = fields.has("data").then(|| read_data(fields)).flatten()?;
    Some(data_of(format!("{{\"data\":{data}}}").as_bytes()))
}

/// The event type of the body and its sample.
fn event(app: &App, fields: &mut Fields<'_>) -> Option<(String, Value)> {
    let name = string_of(fields.take("event")?).unwrap_or_default();
    let Some(known) = app.config.catalogue.get(&name) else {
        fields.fault(format!("event: unknown event type \"{}\"", quoted(&name)));
        return None;
    };
    Some((name, known.sample.clone()))
}

fn is_subscribed(webhook: &Webhook, event_type: &str) -> bool {
    webhook.settings.events.iter().any(|pattern| pattern.matches(event_type))
}

/// A value as it is, or the beginning of its text where it is long.
fn shown(value: &Value) -> Value {
    /// In characters.
    const LONGEST: usize = 100;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => Value::String(format!("{}…", &text[..end])),
        None => value.clone(),
    }
}

impl Failed {
    fn of(Failing { field, found }: Failing<'_>) -> Self {
        /// Values shown of one field.
        const MOST: usize = 5;
        Self { field: field.to_owned(), found: found.into_iter().take(MOST).map(shown).collect() }
    }
}
