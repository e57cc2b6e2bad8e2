//! JSON laid out for reading. Pure.
//!
//! White space between tokens is all that changes: the order of members, how numbers are spelled (forty digits survive) and
//! every byte of every string stay, so that what is read is what was sent. What is not JSON stays as it is, whole.
//!
//! Takes time in proportion to what it writes, and no stack, however deep the text is nested. Lines are indented by two
//! spaces a level, those deeper than [`MOST_LEVELS`] by as much as that. The result is at most [`MOST_ADDED`] bytes longer than
//! the text; a text that would need more stays as it is.
//!
//! Source: RFC 8259, section 2 (insignificant white space).

use serde::de::IgnoredAny;

/// The deepest level that is indented further than the one above it.
pub const MOST_LEVELS: usize = 32;

/// The most that laying out adds to a text, in bytes.
pub const MOST_ADDED: usize = 4 * 1024 * 1024;

const INDENT: &str = "  ";

/// `json` with a line for each member and element, empty objects and arrays on one line.
pub fn pretty(json: &str) -> String {
    // Passing over a value takes no recursion in serde_json, unlike reading it.
    if serde_json::from_str::<IgnoredAny>(json).is_err() {
        return json.to_owned();
    }
    laid_out(json).unwrap_or_else(|| json.to_owned())
}

/// Lays out what is JSON; `None` when that takes too much room.
fn laid_out(json: &str) -> Option<String> {
    let mut out = String::with_capacity(json.len().saturating_mul(2));
    let mut depth = 0_usize;
    let mut rest = json.trim_matches(is_white);
    while let Some(first) = rest.chars().next() {
        let token = token(rest);
        let (written, after) = rest.split_at(token);
        rest = after.trim_start_matches(is_white);
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => {
                out.push_str(&format!("{first}{}", &rest[..1]));
                rest = rest[1..].trim_start_matches(is_white);
            }
            '{' | '[' => {
                depth += 1;
                out.push(first);
                new_line(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(first);
            }
            ',' => {
                out.push(first);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push_str(written),
        }
        if out.len() > json.len().saturating_add(MOST_ADDED) {
            return None;
        }
    }
    Some(out)
}

/// How long the token is that `text` begins with: a string, a word or number, or one sign.
fn token(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b'"') => string(bytes),
        Some(b'{' | b'}' | b'[' | b']' | b',' | b':') => 1,
        _ => text.find(|c| is_white(c) || "{}[],:\"".contains(c)).unwrap_or(text.len()).max(1),
    }
}

/// How long the string is that `bytes` begin with, its quotes included.
fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        match bytes[at + found] {
            b'"' => return at + found + 1,
            _backslash => at += found + 2,
        }
    }
    bytes.len()
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(INDENT, depth.min(MOST_LEVELS)));
}

fn is_white(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    use super::properties::without_white_space;

    #[test]
    fn members_and_elements_have_a_line_each() {
        let json = r#"{"id":"evt_1", "data":{"n":[1,2.50,{}],"empty":[ ],"none":null},"z":true}"#;
        let expected = "{\n  \"id\": \"evt_1\",\n  \"data\": {\n    \"n\": [\n      1,\n      2.50,\n      {}\n    ],\n    \
                        \"empty\": [],\n    \"none\": null\n  },\n  \"z\": true\n}";
        assert_eq!(pretty(json), expected);
        assert_eq!(pretty(expected), expected);
        assert_eq!(pretty(" 1e3 "), "1e3");
    }

    #[test]
    fn numbers_strings_and_order_stay_as_they_are() {
        let number = "1234567890123456789012345678901234567890.10E+5";
        let json = format!(r#"{{"b":{number},"a":"\u00e9\n {{}}[],: \" \\","b":-0}}"#);
        assert_eq!(without_white_space(&pretty(&json)), without_white_space(&json));
        assert!(pretty(&json).contains(&format!("\"b\": {number},\n")));
        assert!(pretty(&json).contains(r#""a": "\u00e9\n {}[],: \" \\","#));
    }

    #[test]
    fn what_is_not_json_stays_as_it_is() {
        for text in
            ["", " ", "<html>", "{\"a\":1", "[1,]", "{a:1}", "01", "\"", "{} {}", "[1] x", "nul", "{]", "[}"]
        {
            assert_eq!(pretty(text), text);
        }
    }

    #[test]
    fn a_deep_text_needs_no_stack_and_is_indented_up_to_a_limit() {
        let depth = 30_000;
        let json = "[".repeat(depth) + &"]".repeat(depth);
        let out = pretty(&json);
        assert_eq!(out.lines().count(), 2 * depth - 1);
        assert_eq!(out.lines().map(|line| line.len() - line.trim_start().len()).max(), Some(2 * MOST_LEVELS));
        assert_eq!(without_white_space(&out), json);
    }

    #[test]
    fn a_text_that_would_grow_too_much_stays_as_it_is() {
        let json = "[".repeat(100) + &"1,".repeat(100_000) + "1" + &"]".repeat(100);
        assert_eq!(pretty(&json), json);
    }
}
