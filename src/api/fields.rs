//! Checks a JSON object field by field and collects every fault.
//!
//! The body is first split into `(name, unparsed value)` pairs, in order, so a name given twice is seen and a value is
//! looked at once, by the rule that it must meet. Each reading method takes its field out; what is left at
//! [`Fields::finish`] is unknown and refused. A reading method that finds a fault notes it and returns `None`.
//! Source: RFC 8259 (section 4: names should be unique; which of two counts is not defined, hence the refusal).

use std::ops::RangeInclusive;

use serde_json::value::RawValue;

use super::error::Error;
use crate::domain::Millis;
use crate::domain::json::{Members, elements, members};

/// Faults told at once; a body with more is not helped by the rest.
const MAX_FAULTS: usize = 100;
/// Of a text that a client sent, this many characters are repeated in a fault.
const LONGEST_QUOTE: usize = 64;

/// An object being checked.
#[derive(Debug)]
pub struct Fields<'a> {
    pairs: Members<'a>,
    faults: Vec<String>,
}

impl<'a> Fields<'a> {
    /// Splits `body`.
    ///
    /// # Errors
    /// It is not JSON, or not an object.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let all = members(body).map_err(|error| fault_of(body, &error))?;
        let mut fields = Self { pairs: Vec::with_capacity(all.len()), faults: Vec::new() };
        for (name, value) in all {
            if fields.has(&name) {
                fields.fault(format!("property {} should not be given twice", quoted(&name)));
            } else {
                fields.pairs.push((name, value));
            }
        }
        Ok(fields)
    }

    /// An object without members: the meaning of an absent body.
    pub fn empty() -> Self {
        Self { pairs: Vec::new(), faults: Vec::new() }
    }

    /// Whether `name` is given and not yet taken.
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(given, _)| given == name)
    }

    /// Takes `name` out, unparsed.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let index = self.pairs.iter().position(|(given, _)| given == name)?;
        Some(self.pairs.remove(index).1)
    }

    /// Notes a fault.
    pub fn fault(&mut self, text: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(text);
        }
    }

    /// Whether no fault has been noted.
    pub fn is_faultless(&self) -> bool {
        self.faults.is_empty()
    }

    /// Notes each of `names` that is not given.
    pub fn require(&mut self, names: &[&str]) {
        for name in names {
            if !self.has(name) {
                self.fault(format!("{name} should not be empty"));
            }
        }
    }

    /// Reads a field that may be null: `Some(None)` clears it, `None` leaves it alone.
    pub fn nullable<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<Option<T>> {
        let is_null = self.pairs.iter().any(|(given, value)| given == name && value.get() == "null");
        if is_null {
            self.take(name);
            return Some(None);
        }
        read(self, name).map(Some)
    }

    /// A text whose length in characters is within `lengths`.
    pub fn string(&mut self, name: &str, lengths: RangeInclusive<usize>) -> Option<String> {
        let value = self.take(name)?;
        let Some(text) = string_of(value) else {
            self.fault(format!("{name} must be a string"));
            return None;
        };
        let length = text.chars().count();
        if lengths.contains(&length) {
            return Some(text);
        }
        self.fault(match length {
            0 => format!("{name} should not be empty"),
            _ => format!("{name} must be at most {} characters long", lengths.end()),
        });
        None
    }

    /// A time in RFC 3339, as a text.
    pub fn time(&mut self, name: &str) -> Option<Millis> {
        let time = string_of(self.take(name)?).and_then(|text| Millis::parse_rfc3339(&text));
        if time.is_none() {
            self.fault(format!("{name} must be an RFC 3339 date-time, such as 2026-01-15T10:30:00.000Z"));
        }
        time
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.take(name)?.get() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.fault(format!("{name} must be a boolean"));
                None
            }
        }
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, name: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let value = self.take(name)?;
        let found = integer_of(value).filter(|number| range.contains(number));
        if found.is_none() {
            self.fault(format!("{name} must be an integer from {} to {}", range.start(), range.end()));
        }
        found
    }

    /// The unparsed elements of an array.
    pub fn array(&mut self, name: &str) -> Option<Vec<&'a RawValue>> {
        let value = self.take(name)?;
        let found = elements(value);
        if found.is_none() {
            self.fault(format!("{name} must be an array"));
        }
        found
    }

    /// The members of an object, in order, names possibly repeated.
    pub fn object(&mut self, name: &str) -> Option<Members<'a>> {
        let value = self.take(name)?;
        let pairs = Some(value)
            .filter(|value| value.get().starts_with('{'))
            .and_then(|value| members(value.get().as_bytes()).ok());
        if pairs.is_none() {
            self.fault(format!("{name} must be an object"));
        }
        pairs
    }

    /// Ends the check.
    ///
    /// # Errors
    /// Every fault noted, and one for each field that nobody took.
    pub fn finish(mut self) -> Result<(), Error> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            self.fault(format!("property {} should not exist", quoted(&name)));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Error::Invalid(self.faults)) }
    }
}

/// A JSON string's text; `None` when it is no string, or half a surrogate pair makes it no text.
pub fn string_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A JSON number that is whole (`3`, `3.0`, `3e0`: one number to JavaScript) and not negative.
pub fn integer_of(value: &RawValue) -> Option<u32> {
    let text = value.get();
    if let Ok(number) = text.parse::<u32>() {
        return Some(number);
    }
    let number: f64 = serde_json::from_str(text).ok()?;
    let whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    // Exact: a whole number within the range of u32.
    whole.then_some(number as u32)
}

/// What a client sent, short enough to be repeated.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Where the JSON breaks; the parser's own words could repeat what was sent.
fn malformed(error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    Error::Malformed(format!("the body is not valid JSON (line {line}, column {column})").into())
}

/// What is wrong with a body that is no object.
fn fault_of(body: &[u8], error: &serde_json::Error) -> Error {
    match serde_json::from_slice::<&RawValue>(body) {
        Ok(value) if !value.get().starts_with('{') => {
            Error::Invalid(vec!["the body must be a JSON object".into()])
        }
        Ok(_) => malformed(error),
        Err(error) => malformed(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: &str, read: impl FnOnce(&mut Fields<'_>)) -> Vec<String> {
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        read(&mut fields);
        match fields.finish() {
            Ok(()) => Vec::new(),
            Err(Error::Invalid(faults)) => faults,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let body =
            r#"{"name": "", "on": "yes", "n": 21, "list": {}, "map": [], "foo": 1, "foo": 2, "bar": null}"#;
        let found = faults(body, |fields| {
            fields.require(&["name", "url"]);
            fields.string("name", 1..=255);
            fields.boolean("on");
            fields.integer("n", 0..=20);
            fields.array("list");
            fields.object("map");
        });
        let expected = [
            "property foo should not be given twice",
            "url should not be empty",
            "name should not be empty",
            "on must be a boolean",
            "n must be an integer from 0 to 20",
            "list must be an array",
            "map must be an object",
            "property foo should not exist",
            "property bar should not exist",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn strings_are_counted_in_characters() {
        for (value, good) in [
            (r#""äöü""#, true),
            (r#""äöü€""#, false),
            (r#""\ud83d\ude00""#, true),
            (r#""\ud83d""#, false),
            ("7", false),
            ("null", false),
        ] {
            let found = faults(&format!(r#"{{"s": {value}}}"#), |fields| {
                fields.string("s", 0..=3);
            });
            assert_eq!(found.is_empty(), good, "{value} {found:?}");
        }
    }

    #[test]
    fn whole_numbers_are_integers_however_they_are_written() {
        for (value, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("3.0", Some(3)),
            ("2e1", Some(20)),
            ("3.5", None),
            ("-1", None),
            ("1e400", None),
            ("99999999999", None),
            (r#""3""#, None),
            ("true", None),
        ] {
            let raw: &RawValue = serde_json::from_str(value).unwrap_or_else(|_| panic!("{value}"));
            assert_eq!(integer_of(raw), expected, "{value}");
        }
    }

    #[test]
    fn null_clears_a_nullable_field_only() {
        let mut fields = Fields::parse(br#"{"a": null, "b": "x"}"#).unwrap();
        let text = |fields: &mut Fields<'_>, name: &str| fields.string(name, 0..=9);
        assert_eq!(fields.nullable("a", text), Some(None));
        assert_eq!(fields.nullable("b", text), Some(Some("x".to_owned())));
        assert_eq!(fields.nullable("c", text), None);
        assert!(fields.finish().is_ok());
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for body in ["", "{", "{]", "nul", "{\"a\":1}x", "\u{feff}{}", "{\"\\ud800\":1}", "\u{1}"] {
            assert!(matches!(Fields::parse(body.as_bytes()), Err(Error::Malformed(_))), "{body:?}");
        }
        assert!(matches!(Fields::parse(b"{\"a\":\"\xff\"}"), Err(Error::Malformed(_))));
        for body in ["[]", "1", "null", "\"{}\""] {
            assert!(matches!(Fields::parse(body.as_bytes()), Err(Error::Invalid(_))), "{body}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
        assert!(Fields::parse(deep.as_bytes()).is_ok(), "unparsed values are walked without recursion");
    }

    #[test]
    fn a_flood_of_faults_and_long_names_are_cut() {
        let names: Vec<String> = (0..200).map(|n| format!("\"{n}{}\":1", "x".repeat(100))).collect();
        let found = faults(&format!("{{{}}}", names.join(",")), |_| ());
        assert_eq!(found.len(), MAX_FAULTS);
        assert!(found.iter().all(|fault| fault.chars().count() < 100));
    }
}
