//! Any JSON, and any text that was JSON before it was damaged.

use proptest::prelude::*;

use super::*;
use crate::domain::arbitrary;

/// Leaves white space out that is not within a string, one character after another.
pub(super) fn without_white_space(json: &str) -> String {
    let (mut within, mut escaped) = (false, false);
    let kept = |c: &char| {
        let keep = within || !is_white(*c);
        if !escaped && *c == '"' {
            within = !within;
        }
        escaped = within && !escaped && *c == '\\';
        keep
    };
    json.chars().filter(kept).collect()
}

fn texts() -> impl Strategy<Value = String> {
    let white = prop::sample::select(vec!["", " ", "\n", "\t \r\n"]);
    let value = arbitrary::values(&["a", "b\"", "\\", "[", " "]);
    (value, prop::collection::vec(white, 1..8)).prop_map(|(value, white)| {
        let json = value.to_string();
        let mut spaces = white.iter().cycle();
        let mut rest = json.as_str();
        let mut out = String::new();
        while !rest.is_empty() {
            let (token, after) = rest.split_at(token(rest));
            out.push_str(spaces.next().expect("a cycle has no end"));
            out.push_str(token);
            rest = after;
        }
        out
    })
}

proptest! {
    #![proptest_config(arbitrary::config())]

    #[test]
    fn only_white_space_between_tokens_changes(json in texts()) {
        let out = pretty(&json);
        prop_assert_eq!(without_white_space(&out), without_white_space(&json));
        prop_assert_eq!(pretty(&out), out.clone());
        let (read, again): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&json).expect("JSON"), serde_json::from_str(&out).expect("JSON"));
        prop_assert_eq!(read, again);
    }

    #[test]
    fn damaged_text_is_laid_out_only_if_it_is_json_still(
        json in texts().prop_flat_map(arbitrary::damaged_text),
    ) {
        let out = pretty(&json);
        if serde_json::from_str::<serde_json::Value>(&json).is_ok() {
            prop_assert_eq!(without_white_space(&out), without_white_space(&json));
        } else if serde_json::from_str::<IgnoredAny>(&json).is_err() {
            prop_assert_eq!(out, json);
        }
    }
}
