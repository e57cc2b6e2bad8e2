//! What is taken for a filter, and what is said of what is not.

use serde_json::json;

use super::*;

fn faults(text: &str) -> Vec<String> {
    Filter::parse(text).map_or_else(|faults| faults, |_| Vec::new())
}

#[test]
fn a_filter_is_kept_as_it_was_written() {
    let text = r#"{ "amount": {"gte": 1000.50}, "stage":"won" }"#;
    let filter = Filter::parse(text).unwrap();
    assert_eq!(serde_json::to_string(&filter).unwrap(), text);
    assert_eq!(serde_json::from_str::<Filter>(text).unwrap(), filter);
    assert_eq!(filter.clauses().len(), 2);
    assert!(serde_json::from_str::<Filter>(r#"{"a":{"like":1}}"#).is_err());
}

#[test]
fn every_operator_is_read() {
    let text = json!({
        "a": { "eq": 1, "ne": null, "in": [true, "x"], "nin": [1.5], "gt": 1, "gte": "2026", "lt": 9, "lte": 9 },
        "b.c": { "exists": false, "startsWith": "x", "not": { "eq": 1 }, "any": [{ "lt": 1 }, { "gt": 5 }], "all": [7] },
        "all": [{ "x": 1 }], "any": [{ "y": 2 }, { "z": { "gt": 1 } }], "not": { "any": [{ "v": null }] },
    });
    let filter = Filter::parse(&text.to_string()).unwrap();
    let Some(Clause::Field(path, conditions)) =
        filter.clauses().iter().find(|clause| matches!(clause, Clause::Field(path, _) if path.text == "b.c"))
    else {
        panic!("{filter:?}")
    };
    assert_eq!(path.names, ["b", "c"]);
    assert_eq!(conditions.len(), 5);
}

#[test]
fn a_backslash_makes_a_name_of_what_would_be_none() {
    for (path, expected) in [
        (r"a", &["a"][..]),
        (r"a.b", &["a", "b"]),
        (r"a\.b", &["a.b"]),
        (r"\any", &["any"]),
        (r"a\\b", &[r"a\b"]),
        (r"a..b", &["a", "", "b"]),
        (r"a\", &["a"]),
    ] {
        assert_eq!(names(path), expected, "{path}");
    }
    let filter = Filter::parse(r#"{"\\any": 1}"#).unwrap();
    assert!(matches!(&filter.clauses()[0], Clause::Field(path, _) if path.names == ["any"]));
}

#[test]
fn every_fault_is_told_with_its_place() {
    let cases = [
        ("[]", "filter must be an object"),
        ("null", "filter must be an object"),
        ("{}", "filter should not be empty"),
        (
            r#"{"a":{}}"#,
            "filter.a must hold at least one of eq, ne, in, nin, gt, gte, lt, lte, exists, startsWith, all, any, not",
        ),
        (
            r#"{"a":[1]}"#,
            "filter.a must be a string, a number, true, false or null (for several of them there is in)",
        ),
        (r#"{"a":{"gt":true}}"#, "filter.a.gt must be a number or a string"),
        (r#"{"a":{"gt":null}}"#, "filter.a.gt must be a number or a string"),
        (r#"{"a":{"in":[]}}"#, "filter.a.in must be an array of 1 to 200 values"),
        (r#"{"a":{"in":"x"}}"#, "filter.a.in must be an array of 1 to 200 values"),
        (
            r#"{"a":{"in":[{}]}}"#,
            "filter.a.in.0 must be a string, a number, true, false or null (for several of them there is in)",
        ),
        (r#"{"a":{"exists":1}}"#, "filter.a.exists must be true or false"),
        (r#"{"a":{"startsWith":1}}"#, "filter.a.startsWith must be a string"),
        (r#"{"a":1e999}"#, "filter.a must be a number that a double can hold, or a valid string"),
        (r#"{"any":{}}"#, "filter.any must be an array of 1 to 32 objects"),
        (r#"{"any":[]}"#, "filter.any must be an array of 1 to 32 objects"),
        (r#"{"any":[1]}"#, "filter.any.0 must be an object"),
        (r#"{"not":{}}"#, "filter.not should not be empty"),
        (r#"{"a":1,"a":2}"#, "filter.a should not be given twice"),
        (
            r#"{"":1}"#,
            "filter.: a field must be 1 to 10 names with dots between them, 512 characters at most",
        ),
        (
            r#"{"a..b":1}"#,
            "filter.a..b: a field must be 1 to 10 names with dots between them, 512 characters at most",
        ),
        (
            r#"{"a.b.c.d.e.f.g.h.i.j.k":1}"#,
            "filter.a.b.c.d.e.f.g.h.i.j.k: a field must be 1 to 10 names with dots between them, 512 characters at most",
        ),
    ];
    for (text, fault) in cases {
        assert_eq!(faults(text), [fault], "{text}");
    }
    let nested = faults(r#"{"owner":{"region":"EU"}}"#);
    assert!(
        nested[0].starts_with("filter.owner: unknown operator \"region\", must be one of eq, "),
        "{nested:?}"
    );
    assert_eq!(faults(r#"{"a":{"gt":null,"exists":2},"b":[]}"#).len(), 3);
}

#[test]
fn a_filter_is_bounded_in_every_way() {
    let many: String = (0..33).map(|n| format!(",\"f{n}\":1")).collect();
    assert_eq!(faults(&format!("{{{}}}", &many[1..])), ["filter must hold at most 32 conditions"]);
    let values = vec!["1"; 150].join(",");
    let two = format!(r#"{{"a":{{"in":[{values}]}},"b":{{"in":[{values}]}}}}"#);
    assert_eq!(faults(&two), ["filter must compare with at most 200 values"]);
    let deep = |n: usize| format!("{}{{\"a\":1}}{}", "{\"not\":".repeat(n), "}".repeat(n));
    assert!(faults(&deep(MAX_DEPTH)).is_empty());
    assert!(faults(&deep(MAX_DEPTH + 1))[0].ends_with("may be nested 5 deep"));
    assert!(faults(&deep(1000))[0].ends_with("may be nested 5 deep"));
    assert_eq!(
        faults(&format!(r#"{{"a":"{}"}}"#, "x".repeat(513))),
        ["filter.a must be at most 512 characters long"]
    );
    assert_eq!(
        faults(&format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_BYTES))),
        ["filter must be at most 8192 bytes of JSON"]
    );
}
