//! What holds of every filter, every event, and every text that is given for either.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::arbitrary::{config, damaged, damaged_text, objects, values};
use crate::domain::filter::{MAX_BYTES, MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES};
use crate::domain::{EventId, Millis};
use crate::policy::json::{compact, event_body};

/// Names of fields and operators alike, so that filters and events meet.
const NAMES: &[&str] = &[
    "a",
    "b",
    "a.b",
    "0",
    "all",
    "any",
    "not",
    "eq",
    "ne",
    "in",
    "nin",
    "gt",
    "gte",
    "lt",
    "lte",
    "exists",
    "startsWith",
];

fn scalars() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0..3_i64).prop_map(Value::from),
        Just(json!(1.0)),
        prop::sample::select(&["", "a", "ab"][..]).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ]
}

/// Filters that are well formed.
fn filters() -> impl Strategy<Value = Value> {
    let operators = prop_oneof![
        scalars().prop_map(|value| json!({"eq": value})),
        scalars().prop_map(|value| json!({"ne": value})),
        prop::collection::vec(scalars(), 1..3).prop_map(|values| json!({"in": values})),
        prop::collection::vec(scalars(), 1..3).prop_map(|values| json!({"nin": values})),
        (0..3_i64).prop_map(|bound| json!({"gt": bound})),
        (0..3_i64).prop_map(|bound| json!({"lte": bound})),
        any::<bool>().prop_map(|wanted| json!({"exists": wanted})),
        Just(json!({"startsWith": "a"})),
        scalars(),
    ];
    let field = (prop::sample::select(&["a", "b", "a.b"][..]), operators)
        .prop_map(|(name, operator)| json!({name: operator}));
    field.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"all": parts})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| json!({"any": parts})),
            inner.prop_map(|part| json!({"not": part})),
        ]
    })
}

fn parsed(filter: &Value) -> Option<Filter> {
    Filter::parse(&filter.to_string()).ok()
}

fn depth(clauses: &[Clause]) -> usize {
    let below = |parts: &[Vec<Clause>]| parts.iter().map(|part| depth(part)).max().unwrap_or(0);
    let one = |clause: &Clause| match clause {
        Clause::Field(..) => 0,
        Clause::All(parts) | Clause::Any(parts) => 1 + below(parts),
        Clause::Not(clauses) => 1 + depth(clauses),
    };
    clauses.iter().map(one).max().unwrap_or(0)
}

/// Conditions, and the values that they compare with.
fn sizes(conditions: &[Condition]) -> (usize, usize) {
    let within = |parts: &[Vec<Condition>]| {
        parts.iter().map(|part| sizes(part)).fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    };
    let one = |condition: &Condition| match condition {
        Condition::In(values) | Condition::Nin(values) => (1, values.len()),
        Condition::All(parts) | Condition::Any(parts) => within(parts),
        Condition::Not(conditions) => sizes(conditions),
        _ => (1, 1),
    };
    conditions.iter().map(one).fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
}

fn fields(clauses: &[Clause]) -> Vec<&[Condition]> {
    let mut found = Vec::new();
    for clause in clauses {
        match clause {
            Clause::Field(_, conditions) => found.push(&conditions[..]),
            Clause::All(parts) | Clause::Any(parts) => {
                parts.iter().for_each(|part| found.extend(fields(part)))
            }
            Clause::Not(clauses) => found.extend(fields(clauses)),
        }
    }
    found
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_taken_is_bounded_and_kept_as_it_was_written(filter in prop_oneof![objects(NAMES), filters()]) {
        let text = filter.to_string();
        match Filter::parse(&text) {
            Ok(filter) => {
                let all: Vec<_> = fields(filter.clauses()).into_iter().map(sizes).collect();
                prop_assert!(all.iter().map(|(conditions, _)| conditions).sum::<usize>() <= MAX_CONDITIONS);
                prop_assert!(all.iter().map(|(_, values)| values).sum::<usize>() <= MAX_VALUES + MAX_CONDITIONS);
                prop_assert!(depth(filter.clauses()) <= MAX_DEPTH && text.len() <= MAX_BYTES);
                prop_assert_eq!(serde_json::to_string(&filter).expect("it is JSON"), text.clone());
                prop_assert_eq!(&serde_json::from_str::<Filter>(&text).expect("it is a filter"), &filter);
            }
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                prop_assert!(faults.iter().all(|fault| fault.starts_with("filter")), "{faults:?}");
            }
        }
    }

    #[test]
    fn text_that_is_no_filter_is_refused_in_words(text in damaged_text(r#"{"a":{"gte":1.5,"in":["x"]},"any":[{"b":null}]}"#.into())) {
        if let Err(faults) = Filter::parse(&text) {
            prop_assert!(faults.iter().all(|fault| fault.starts_with("filter")), "{faults:?}");
        }
    }

    #[test]
    fn not_all_and_any_are_what_their_names_say(one in filters(), two in filters(), data in values(NAMES)) {
        let passes = |filter: &Value| parsed(filter).map(|filter| passes(filter.clauses(), &data));
        let (Some(first), Some(second)) = (passes(&one), passes(&two)) else { return Ok(()) };
        let of = |filter: Value| passes(&filter);
        prop_assert_eq!(of(json!({"not": &one})).unwrap_or(!first), !first);
        prop_assert_eq!(of(json!({"all": [&one, &two]})).unwrap_or(first && second), first && second);
        prop_assert_eq!(of(json!({"any": [&one, &two]})).unwrap_or(first || second), first || second);
    }

    #[test]
    fn an_event_passes_exactly_where_nothing_fails(filter in filters(), data in values(NAMES)) {
        if let Some(filter) = parsed(&filter) {
            prop_assert_eq!(failing(&filter, &data).is_empty(), passes(filter.clauses(), &data));
        }
    }

    #[test]
    fn opposite_operators_never_agree(value in scalars(), data in values(NAMES)) {
        for (one, other) in [("eq", "ne"), ("in", "nin")] {
            let wanted = if one == "eq" { value.clone() } else { json!([&value]) };
            let holds = |operator: &str| {
                let filter = parsed(&json!({"a": {operator: &wanted}})).expect("well formed");
                passes(filter.clauses(), &data)
            };
            prop_assert_ne!(holds(one), holds(other));
        }
    }

    #[test]
    fn the_data_that_is_looked_at_is_the_data_that_is_sent(data in objects(NAMES)) {
        let id: EventId = "evt_1".parse().expect("an id");
        let written = compact(&data.to_string()).expect("shallow");
        let body = event_body(&id, "lead.created", Millis(5), Some("acme"), &written);
        // The parser reads some doubles a last place off; what matters is that both are read alike.
        let data: Value = serde_json::from_str(&data.to_string()).expect("JSON");
        prop_assert_eq!(data_of(body.as_bytes()), data);
    }

    #[test]
    fn bodies_that_are_none_of_ours_are_looked_at_all_the_same(
        body in damaged(br#"{"id":"e","data":{"a":1e999,"b":"\ud800x\n","c":[-1.5E+3,"\\"]}}"#.to_vec()),
    ) {
        let data = data_of(&body);
        prop_assert!(data.is_null() || std::str::from_utf8(&body).is_ok());
    }
}
