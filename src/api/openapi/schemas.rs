//! The schemas of what is answered: derived from the structs that are serialised, so that they cannot differ from it.
//!
//! Every member of an answer is always there, except for the few of [`SOMETIMES`]; null stands for what is unknown. Names
//! of things (ids, event patterns) serialise by hand and are described by hand.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{bodies, filters};
use crate::api::webhooks::view;
use crate::api::{deliveries, error, events, filter_test, publish, recover, stats, trial};
use crate::domain::{AttemptId, Catalogue, EventId, EventType, Filter, Pattern, Secret, WebhookId};

/// Members that are left out where they have nothing to say.
const SOMETIMES: [&str; 5] = ["ownerId", "payloadTruncated", "secret", "secretUnreadable", "test"];

/// A reference to a schema of the document.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// All schemas of the document, by name.
pub fn all(catalogue: &Catalogue) -> Map<String, Value> {
    let mut schemas = derived();
    schemas.extend(names());
    schemas.extend(filters::schemas());
    schemas.extend(bodies::schemas(catalogue));
    let secret = json!({"allOf": [reference("Webhook"), {"type": "object", "required": ["secret"]}]});
    schemas.insert("CreatedWebhook".into(), secret);
    schemas
}

fn derived() -> Map<String, Value> {
    let mut found = Vec::new();
    add::<error::Body<'_>>(&mut found);
    add::<view::View<'_>>(&mut found);
    add::<view::NewSecret<'_>>(&mut found);
    add::<EventType>(&mut found);
    add::<stats::Statistics>(&mut found);
    add::<stats::WebhookStatistics>(&mut found);
    add::<trial::Report>(&mut found);
    add::<filter_test::Verdict>(&mut found);
    add::<deliveries::Listing>(&mut found);
    add::<deliveries::Whole>(&mut found);
    add::<deliveries::Queued<'_>>(&mut found);
    add::<recover::Answer>(&mut found);
    add::<recover::View>(&mut found);
    add::<publish::Taken>(&mut found);
    add::<publish::TakenBatch>(&mut found);
    add::<events::View>(&mut found);
    let json = |(name, schema)| {
        let mut value = serde_json::to_value(schema).expect("a schema is JSON");
        require_all(&mut value);
        (name, value)
    };
    found.into_iter().map(json).collect()
}

fn add<T: ToSchema>(found: &mut Vec<(String, RefOr<Schema>)>) {
    found.push((T::name().into_owned(), T::schema()));
    T::schemas(found);
}

/// Names every member as required that is always there.
fn require_all(schema: &mut Value) {
    if let Some(parts) = schema.get_mut("allOf").and_then(Value::as_array_mut) {
        parts.iter_mut().for_each(require_all);
    }
    let Some(members) = schema.get("properties").and_then(Value::as_object) else { return };
    let always: Vec<Value> =
        members.keys().filter(|name| !SOMETIMES.contains(&name.as_str())).map(|name| json!(name)).collect();
    schema["required"] = always.into();
}

fn names() -> Map<String, Value> {
    let text = |pattern: &str, example: &str, description: &str| json!({"type": "string", "pattern": pattern, "examples": [example], "description": description});
    let webhook = format!("^wh_[0-9a-f]{{2}}[0-9A-Za-z]{{{}}}$", WebhookId::RANDOM_LENGTH);
    let event = format!("^[0-9A-Za-z_-]{{1,{}}}$", EventId::MAX_LENGTH);
    let all = [
        ("WebhookId", text(&webhook, "wh_0aQ7dLm2Xw9Zr4Tk8Pc1Vb6N", "Names a webhook.")),
        (
            "EventId",
            text(
                &event,
                "evt_019bc1452c28f3a9d04b7e61c25a8d90",
                "Names an event: made by the service, or given by its publisher.",
            ),
        ),
        (
            "AttemptId",
            text("^att_[0-9]+_[0-9]+_[0-9A-Za-z]{6}$", "att_1768473000123_0_Pc1Vb6", "Names an attempt."),
        ),
        (
            "EventPattern",
            text("^.+$", "lead.*", "An event type, a family of them (`lead.*`), or `*` for every type."),
        ),
        (
            "Secret",
            text(
                "^whsec_[0-9A-Za-z+/]+=*$",
                "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD5xJc0hnpyuA=",
                "Signs what is sent: base64 of the key behind `whsec_`. Shown once.",
            ),
        ),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// Types that are described by hand, under this name.
macro_rules! by_hand {
    ($($type:ty => $name:literal),+ $(,)?) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                RefOr::Ref(Ref::from_schema_name($name))
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                $name.into()
            }
        }
    )+};
}
by_hand! {
    WebhookId => "WebhookId",
    EventId => "EventId",
    AttemptId => "AttemptId",
    Pattern => "EventPattern",
    Filter => "Filter",
    Secret => "Secret",
}
