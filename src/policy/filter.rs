//! Whether an event passes a webhook's filter.
//!
//! Pure. A path is followed through objects by name; where it meets an array, a number names one element and any other name
//! is looked for in each. A field that is an array is compared by its elements: a condition holds when it holds of one of them,
//! `ne` and `nin` when `eq` and `in` do not, so those also hold of a field that is not there. Numbers are compared as numbers (`1`
//! equals `1.0`), texts by their code points (so times in RFC 3339 with one offset compare as times); values of different kinds
//! are never equal, and neither above nor below each other. `null` equals a `null` that is there.
//!
//! What one evaluation may cost is bounded: [`MOST_VALUES`] of a field are looked at and [`MOST_STEPS`] taken to find them.

use serde::Deserialize;
use serde_json::{Number, Value};
use std::cmp::Ordering;

use crate::domain::Filter;
use crate::domain::filter::{Clause, Condition, Path, Scalar, Side};

/// Values of one field that are compared, where arrays make it several.
pub const MOST_VALUES: usize = 100;
/// Objects and elements that are looked into on the way to one field.
pub const MOST_STEPS: usize = 1000;

/// Whether an event with that `data` passes.
pub fn passes(filter: &[Clause], data: &Value) -> bool {
    hold(filter, data)
}

/// What of a filter does not hold, for a person to see.
#[derive(Clone, Debug, PartialEq)]
pub struct Failing<'a> {
    /// The field, or `any` or `not`.
    pub field: &'a str,
    /// The values of the field that were looked at; none where it is not there.
    pub found: Vec<&'a Value>,
}

/// The fields and combinations that keep an event from passing, behind `any` what of it does not hold; empty when it passes.
pub fn failing<'a>(filter: &'a Filter, data: &'a Value) -> Vec<Failing<'a>> {
    let mut found = Vec::new();
    collect(filter.clauses(), data, &mut found);
    found
}

fn collect<'a>(clauses: &'a [Clause], data: &'a Value, found: &mut Vec<Failing<'a>>) {
    for clause in clauses.iter().filter(|clause| !holds(clause, data)) {
        match clause {
            Clause::Field(path, _) => found.push(Failing { field: &path.text, found: values_at(path, data) }),
            Clause::All(parts) => parts.iter().for_each(|part| collect(part, data, found)),
            Clause::Any(parts) => {
                found.push(Failing { field: "any", found: Vec::new() });
                parts.iter().for_each(|part| collect(part, data, found));
            }
            Clause::Not(_) => found.push(Failing { field: "not", found: Vec::new() }),
        }
    }
}

fn hold(clauses: &[Clause], data: &Value) -> bool {
    clauses.iter().all(|clause| holds(clause, data))
}

fn holds(clause: &Clause, data: &Value) -> bool {
    match clause {
        Clause::Field(path, conditions) => all_meet(conditions, &values_at(path, data)),
        Clause::All(parts) => parts.iter().all(|part| hold(part, data)),
        Clause::Any(parts) => parts.iter().any(|part| hold(part, data)),
        Clause::Not(clauses) => !hold(clauses, data),
    }
}

/// The values of a field: the field itself, and if it is an array what it holds.
fn values_at<'a>(path: &Path, data: &'a Value) -> Vec<&'a Value> {
    let (mut found, mut steps) = (Vec::new(), MOST_STEPS);
    follow(&path.names, data, &mut found, &mut steps);
    found
}

fn follow<'a>(names: &[String], value: &'a Value, found: &mut Vec<&'a Value>, steps: &mut usize) {
    if *steps == 0 || found.len() >= MOST_VALUES {
        return;
    }
    *steps -= 1;
    match (names, value) {
        ([], Value::Array(elements)) => {
            found.push(value);
            found.extend(elements.iter().take(MOST_VALUES - found.len()));
        }
        ([], _) => found.push(value),
        ([name, rest @ ..], Value::Object(members)) => {
            if let Some(value) = members.get(name) {
                follow(rest, value, found, steps);
            }
        }
        ([name, rest @ ..], Value::Array(elements)) => match name.parse::<usize>() {
            Ok(index) => elements.get(index).into_iter().for_each(|value| follow(rest, value, found, steps)),
            Err(_) => {
                for value in elements {
                    // Also on the way up: the bound is on what is looked at, not on what is found.
                    if *steps == 0 || found.len() >= MOST_VALUES {
                        break;
                    }
                    follow(names, value, found, steps);
                }
            }
        },
        _ => {}
    }
}

fn all_meet(conditions: &[Condition], values: &[&Value]) -> bool {
    conditions.iter().all(|condition| meets(condition, values))
}

fn meets(condition: &Condition, values: &[&Value]) -> bool {
    let any_equals = |scalar: &Scalar| values.iter().any(|value| equals(value, scalar));
    match condition {
        Condition::Eq(scalar) => any_equals(scalar),
        Condition::Ne(scalar) => !any_equals(scalar),
        Condition::In(scalars) => scalars.iter().any(any_equals),
        Condition::Nin(scalars) => !scalars.iter().any(any_equals),
        Condition::Compare(side, bound) => values.iter().any(|value| lies(value, *side, bound)),
        Condition::Exists(wanted) => values.is_empty() != *wanted,
        Condition::StartsWith(start) => {
            values.iter().any(|value| value.as_str().is_some_and(|text| text.starts_with(start.as_str())))
        }
        Condition::All(parts) => parts.iter().all(|part| all_meet(part, values)),
        Condition::Any(parts) => parts.iter().any(|part| all_meet(part, values)),
        Condition::Not(conditions) => !all_meet(conditions, values),
    }
}

fn equals(value: &Value, scalar: &Scalar) -> bool {
    match (value, scalar) {
        (Value::Null, Scalar::Null) => true,
        (Value::Bool(value), Scalar::Bool(wanted)) => value == wanted,
        _ => compare(value, scalar) == Some(Ordering::Equal),
    }
}

fn lies(value: &Value, side: Side, bound: &Scalar) -> bool {
    compare(value, bound).is_some_and(|ordering| match side {
        Side::Above => ordering.is_gt(),
        Side::AtLeast => ordering.is_ge(),
        Side::Below => ordering.is_lt(),
        Side::AtMost => ordering.is_le(),
    })
}

/// `None` for what has no order.
fn compare(value: &Value, scalar: &Scalar) -> Option<Ordering> {
    match (value, scalar) {
        (Value::Number(value), Scalar::Number(bound)) => compare_numbers(value, bound),
        (Value::String(value), Scalar::Text(bound)) => Some(value.as_str().cmp(bound)),
        _ => None,
    }
}

/// Whole numbers exactly, others as doubles.
fn compare_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// The `data` of an event's stored body. What no parser of ours can hold (a number beyond a double, half a surrogate pair) is
/// replaced by what comes nearest; `null` when the body is none of ours.
pub fn data_of(body: &[u8]) -> Value {
    #[derive(Deserialize)]
    struct Whole {
        data: Value,
    }
    let read = |body: &[u8]| serde_json::from_slice::<Whole>(body).ok();
    let whole = read(body).or_else(|| read(tamed(std::str::from_utf8(body).ok()?).as_bytes()));
    whole.map_or(Value::Null, |whole| whole.data)
}

/// JSON text of which every token can be held: one walk over it, for it may be long.
fn tamed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => rest
                .find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9'))
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        match first {
            '"' => push_tamed_string(&mut out, token),
            '-' | '0'..='9' if token.parse::<f64>().is_ok_and(f64::is_infinite) => {
                out.push_str(if first == '-' { "-1.7976931348623157e308" } else { "1.7976931348623157e308" });
            }
            _ => out.push_str(token),
        }
        rest = after;
    }
    out
}

/// The length of the string that `text` begins with, its quotes included.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// The only escapes of a stored body that write a surrogate are of half a pair (`policy::json`).
fn push_tamed_string(out: &mut String, token: &str) {
    let mut rest = token;
    while let Some(at) = rest.find("\\") {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let is_half = escape.get(1..4).is_some_and(|start| {
            let start = start.as_bytes();
            start[0] == b'u'
                && start[1].eq_ignore_ascii_case(&b'd')
                && matches!(start[2], b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F')
        });
        let length = if is_half { 6 } else { 2 };
        let (escape, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        out.push_str(if is_half { "\\ufffd" } else { escape });
        rest = after;
    }
    out.push_str(rest);
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(filter: &str, data: &Value) -> bool {
        let filter = Filter::parse(filter).expect(filter);
        let passes = passes(filter.clauses(), data);
        assert_eq!(failing(&filter, data).is_empty(), passes, "{filter:?}");
        passes
    }

    #[test]
    fn each_operator_says_what_it_means() {
        let data = json!({
            "amount": 1500, "rate": 0.5, "stage": "won", "at": "2026-01-15T10:30:00.000Z", "open": false, "lost": null,
            "owner": { "region": "EU", "id": 9_007_199_254_740_993_u64 }, "tags": ["vip", "new"], "empty": [],
            "items": [{ "sku": "a", "n": 1 }, { "sku": "b", "n": 20 }], "a.b": 1, "any": 2,
        });
        let cases = [
            (r#"{"amount":1500}"#, true),
            (r#"{"amount":1500.0}"#, true),
            (r#"{"amount":"1500"}"#, false),
            (r#"{"amount":{"gte":1500,"lt":2000}}"#, true),
            (r#"{"amount":{"gt":1500}}"#, false),
            (r#"{"amount":{"gt":1499.9}}"#, true),
            (r#"{"amount":{"lte":1500}}"#, true),
            (r#"{"amount":{"gt":"a"}}"#, false),
            (r#"{"rate":{"lt":1}}"#, true),
            (r#"{"owner.id":9007199254740993}"#, true),
            (r#"{"owner.id":9007199254740992}"#, false),
            (r#"{"stage":{"eq":"won"}}"#, true),
            (r#"{"stage":{"ne":"won"}}"#, false),
            (r#"{"stage":{"in":["won","lost"]}}"#, true),
            (r#"{"stage":{"nin":["won","lost"]}}"#, false),
            (r#"{"stage":{"startsWith":"w"}}"#, true),
            (r#"{"amount":{"startsWith":"1"}}"#, false),
            (r#"{"at":{"gte":"2026-01-01","lt":"2027"}}"#, true),
            (r#"{"open":false}"#, true),
            (r#"{"open":{"ne":true}}"#, true),
            (r#"{"open":0}"#, false),
            (r#"{"lost":null}"#, true),
            (r#"{"lost":{"exists":true}}"#, true),
            (r#"{"missing":null}"#, false),
            (r#"{"missing":{"exists":false}}"#, true),
            (r#"{"missing":{"ne":1}}"#, true),
            (r#"{"missing":{"nin":[1]}}"#, true),
            (r#"{"missing":{"lt":1}}"#, false),
            (r#"{"owner.region":{"in":["EU"]}}"#, true),
            (r#"{"owner.region.x":1}"#, false),
            (r#"{"owner":{"exists":true}}"#, true),
            (r#"{"tags":"vip"}"#, true),
            (r#"{"tags":{"ne":"vip"}}"#, false),
            (r#"{"tags":{"ne":"old"}}"#, true),
            (r#"{"tags.1":"new"}"#, true),
            (r#"{"tags.2":{"exists":true}}"#, false),
            (r#"{"empty":{"exists":true}}"#, true),
            (r#"{"items.sku":"b"}"#, true),
            (r#"{"items.n":{"gt":19}}"#, true),
            (r#"{"items.0.n":{"gt":19}}"#, false),
            (r#"{"a\\.b":1}"#, true),
            (r#"{"a.b":1}"#, false),
            (r#"{"\\any":2}"#, true),
            (r#"{"any":[{"stage":"lost"},{"amount":1500}]}"#, true),
            (r#"{"any":[{"stage":"lost"},{"amount":1}]}"#, false),
            (r#"{"all":[{"stage":"won"},{"amount":1}]}"#, false),
            (r#"{"not":{"stage":"won","amount":1}}"#, true),
            (r#"{"not":{"stage":"won"}}"#, false),
            (r#"{"amount":{"not":{"gt":1000}}}"#, false),
            (r#"{"amount":{"any":[{"lt":10},{"gt":1000}]}}"#, true),
            (r#"{"amount":{"all":[{"lt":10},{"gt":1000}]}}"#, false),
            (r#"{"amount":1500,"stage":"lost"}"#, false),
        ];
        for (filter, passes) in cases {
            assert_eq!(check(filter, &data), passes, "{filter}");
        }
    }

    #[test]
    fn what_fails_is_named_with_what_was_found() {
        let data = json!({ "amount": 5, "tags": ["a"] });
        let filter =
            Filter::parse(r#"{"amount":{"gt":9},"stage":"won","all":[{"tags":"b"}],"not":{"amount":5}}"#)
                .unwrap();
        let found: Vec<_> = failing(&filter, &data)
            .into_iter()
            .map(|failing| (failing.field, json!(failing.found)))
            .collect();
        let expected =
            [("amount", json!([5])), ("stage", json!([])), ("tags", json!([["a"], "a"])), ("not", json!([]))];
        assert_eq!(found, expected);
    }

    #[test]
    fn no_data_makes_an_evaluation_long() {
        let wide = json!({ "a": vec![json!({ "b": vec![json!({ "c": 1 }); 1000] }); 100] });
        assert!(check(r#"{"a.b.c":1}"#, &wide));
        let path = Path { text: String::new(), names: ["a", "b", "none"].map(str::to_owned).to_vec() };
        let (mut found, mut steps) = (Vec::new(), MOST_STEPS);
        follow(&path.names, &wide, &mut found, &mut steps);
        assert_eq!((found.len(), steps), (0, 0), "it is given up");
        // Arrays in arrays, each with many more elements behind the first.
        let mut deep = json!(1);
        for _ in 0..60 {
            let mut elements = vec![json!(7); 1000];
            elements[0] = deep;
            deep = Value::Array(elements);
        }
        let deep = json!({ "a": deep });
        assert!(!check(r#"{"a.x":1}"#, &deep));
        assert_eq!(
            values_at(&Path { text: String::new(), names: vec!["x".into()] }, &json!({ "x": vec![1; 500] }))
                .len(),
            MOST_VALUES
        );
    }

    #[test]
    fn the_data_of_any_body_can_be_looked_at() {
        assert_eq!(data_of(br#"{"id":"e","data":{"a":[1]}}"#), json!({ "a": [1] }));
        let odd =
            data_of(br#"{"id":"e","data":{"a":1e999,"b":-1e999,"c":"x\ud800","d":[{"e":1e999}],"f":7}}"#);
        assert!(
            check(
                r#"{"a":{"gt":1e300},"b":{"lt":-1e300},"c":{"startsWith":"x"},"d.e":{"gt":1},"f":7}"#,
                &odd
            ),
            "{odd}"
        );
        let keys =
            data_of(br#"{"id":"e","data":{"\ud800":1,"x\\\uDFFFy":"\\ud800 \u0001","amount":-0.5e3}}"#);
        assert!(
            check(r#"{"amount":-500,"\ufffd":1,"x\\\\\ufffdy":{"startsWith":"\\ud800 "}}"#, &keys),
            "{keys}"
        );
        assert_eq!(data_of(b"nonsense"), Value::Null);
        for text in ["\"", "\"\\", "\"\\u", "\"\\ud8", "\"\\ud80\u{e9}", "-", "1e"] {
            tamed(text);
        }
    }
}
