//! The grammar of a webhook's `filter` (`docs/filters.md`) as schemas.
//!
//! What they cannot say: how many conditions and values a filter has in all, how deep it nests, and how long it is; the
//! description says it.

use serde_json::{Map, Value, json};

use super::schemas::reference;
use crate::domain::filter::{MAX_BYTES, MAX_CONDITIONS, MAX_DEPTH, MAX_NAMES, MAX_TEXT, MAX_VALUES};

/// The three schemas of a filter.
pub fn schemas() -> Map<String, Value> {
    let all = [("Filter", filter()), ("FilterCondition", condition()), ("FilterValue", value())];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn filter() -> Value {
    let description = format!(
        "Which events pass, by their `data`; all members must hold. A name is a field of `data`, dots lead into objects, a \
         backslash takes the next character as it is. At most {MAX_BYTES} bytes of JSON with {MAX_CONDITIONS} conditions and \
         {MAX_VALUES} values, `all`, `any` and `not` nested {MAX_DEPTH} deep."
    );
    json!({
        "type": "object",
        "description": description,
        "minProperties": 1,
        "maxProperties": MAX_CONDITIONS,
        "propertyNames": {"pattern": path(), "maxLength": MAX_TEXT},
        "properties": {
            "all": list("Filter", "Each of these holds."),
            "any": list("Filter", "At least one of these holds."),
            "not": {"allOf": [reference("Filter")], "description": "This does not hold."},
        },
        "additionalProperties": reference("FilterCondition"),
        "examples": [example()],
    })
}

/// Names with dots between them; what a backslash escapes may be anything.
fn path() -> String {
    let name = r"(?:[^.\\]|\\[\s\S])+";
    format!(r"^{name}(?:\.{name}){{0,{}}}\\?$", MAX_NAMES - 1)
}

fn condition() -> Value {
    let scalar = || reference("FilterValue");
    let bound = || json!({"type": ["number", "string"], "maxLength": MAX_TEXT});
    let values = || json!({"type": "array", "minItems": 1, "maxItems": MAX_VALUES, "items": scalar()});
    let operators = json!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": false,
        "properties": {
            "eq": scalar(), "ne": scalar(), "in": values(), "nin": values(),
            "gt": bound(), "gte": bound(), "lt": bound(), "lte": bound(),
            "exists": {"type": "boolean"},
            "startsWith": {"type": "string", "maxLength": MAX_TEXT},
            "all": list("FilterCondition", "The field meets each of these."),
            "any": list("FilterCondition", "The field meets at least one of these."),
            "not": {"allOf": [reference("FilterCondition")], "description": "The field does not meet this."},
        },
    });
    json!({
        "description": "What must hold of a field: a value that it equals, or operators that all hold.",
        "anyOf": [scalar(), operators],
        "examples": [{"gte": 1000, "lt": 50_000}, "won"],
    })
}

fn value() -> Value {
    json!({"type": ["string", "number", "boolean", "null"], "maxLength": MAX_TEXT, "description": "What a field is compared with."})
}

fn list(of: &str, description: &str) -> Value {
    json!({
        "type": "array", "minItems": 1, "maxItems": MAX_CONDITIONS, "items": reference(of), "description": description,
    })
}

/// A filter that uses most of the grammar.
pub fn example() -> Value {
    json!({
        "amount": {"gte": 1000, "lt": 50_000},
        "owner.region": {"in": ["EU", "UK"]},
        "any": [{"tags": "vip"}, {"score": {"gt": 0.9}}],
    })
}
