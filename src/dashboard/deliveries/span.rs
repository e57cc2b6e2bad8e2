//! Times as a browser's field for date and time writes them, read as UTC. Pure.
//!
//! Source: the HTML standard, "valid local date and time string".

use crate::domain::Millis;

/// What a time in such a field looks like.
const LENGTH: usize = "2026-01-15T10:30".len();

/// The time in a field; `None` when it is none. Seconds may be there.
pub fn parse(text: &str) -> Option<Millis> {
    let seconds = if text.len() == LENGTH { ":00Z" } else { "Z" };
    Millis::parse_rfc3339(&format!("{text}{seconds}")).filter(|_| text.as_bytes().get(10) == Some(&b'T'))
}

/// The same for a field, whole minutes.
pub fn written(at: Millis) -> String {
    let mut text = at.to_string();
    text.truncate(LENGTH);
    text
}

/// What a field for a time is filled with: a browser takes nothing else, and complains of it.
pub fn field(text: &str) -> Option<&str> {
    read("", text).ok().flatten().map(|_| text)
}

/// The time in a field that may be empty, or what is wrong with it.
pub fn read(name: &str, text: &str) -> Result<Option<Millis>, String> {
    let fault = || format!("{name} must be a date and a time in UTC, such as 2026-01-15T10:30");
    if text.is_empty() { Ok(None) } else { parse(text).map(Some).ok_or_else(fault) }
}

/// What is wrong with a span; an end that is not there is now.
pub fn order(since: Option<Millis>, until: Option<Millis>) -> Option<String> {
    let is_empty = since.zip(until).is_some_and(|(since, until)| until <= since);
    is_empty.then(|| "The end must be later than the start".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_filled_with_what_it_can_hold() {
        assert_eq!(field("2026-01-15T10:30"), Some("2026-01-15T10:30"));
        assert_eq!((field("yesterday"), field("")), (None, None));
    }

    #[test]
    fn fields_are_read_with_seconds_or_without() {
        let at = Millis(1_768_473_000_000);
        for (text, found) in [
            ("2026-01-15T10:30", Some(at)),
            ("2026-01-15T10:30:00", Some(at)),
            ("2026-01-15T10:30:00.000", Some(at)),
            ("2026-01-15 10:30", None),
            ("2026-01-15T10:30Z", None),
            ("2026-01-15", None),
            ("2026-02-30T10:30", None),
            ("1960-01-01T00:00", None),
            ("ää-01-15T10:30:0", None),
            ("", None),
        ] {
            assert_eq!(parse(text), found, "{text}");
        }
        assert_eq!(written(at), "2026-01-15T10:30");
        assert_eq!(parse(&written(at)), Some(at));
    }

    #[test]
    fn an_empty_field_is_no_fault_and_nonsense_is() {
        assert_eq!(read("Start", ""), Ok(None));
        assert!(read("Start", "soon").is_err_and(|fault| fault.starts_with("Start must be a date")));
        let (early, late) = (Some(Millis(1)), Some(Millis(2)));
        assert_eq!((order(early, late), order(None, late), order(early, None)), (None, None, None));
        assert!(order(late, early).is_some() && order(early, early).is_some());
    }
}
