//! The text of one row, and what a filter needs of it without reading it all into memory.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Filter;
use crate::domain::{AttemptRow, EntryId, Millis};

/// The longest answer body that rides in its row, in bytes: what the log keeps of a success (contract, section 6).
const SHORT_BODY: usize = 256;

/// The text to store for `row` with `response_body` (already cut to what the log keeps), and the body when it lies
/// beside the row. `row.response_body` and `row.body_beside` are set here, whatever they were.
///
/// A success keeps its first 256 bytes only.
pub fn encode(mut row: AttemptRow, response_body: Option<String>) -> (String, Option<String>) {
    let body = response_body.map(|mut body| {
        if row.success() {
            cut(&mut body, SHORT_BODY);
        }
        body
    });
    let (short, beside) = match body {
        Some(body) if body.len() > SHORT_BODY => (None, Some(body)),
        short => (short, None),
    };
    row.response_body = short;
    row.body_beside = beside.is_some();
    (serde_json::to_string(&row).expect("a row is plain data with text keys"), beside)
}

/// Cuts `text` to at most `bytes`, between characters.
fn cut(text: &mut String, bytes: usize) {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
}

/// The row stored as `text` under `id`; `None` when it is not one of ours.
pub fn decode(id: EntryId, text: &str) -> Option<AttemptRow> {
    let row: AttemptRow = serde_json::from_str(text).ok()?;
    Some(AttemptRow { id: Some(id), ..row })
}

/// What the filters look at; the rest of the row is skipped, not built.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(rename = "t", borrow)]
    event_type: Cow<'a, str>,
    #[serde(rename = "e", borrow)]
    event_id: Cow<'a, str>,
    #[serde(rename = "k", default)]
    error_kind: Option<IgnoredAny>,
    #[serde(rename = "a")]
    at: Millis,
    #[serde(rename = "r", default)]
    next_retry_at: Option<IgnoredAny>,
}

impl Filter<'_> {
    /// Whether it lets every row through.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it lets the row stored as `text` through; what cannot be read does not pass a filter.
    pub(super) fn matches(&self, text: &str) -> bool {
        if self.is_open() {
            return true;
        }
        // Most rows are of other events. An id's characters stand for themselves in JSON, so its row holds it as it is.
        if self.event_id.is_some_and(|wanted| !text.contains(wanted)) {
            return false;
        }
        let Ok(row) = serde_json::from_str::<Glance>(text) else { return false };
        self.success.is_none_or(|wanted| wanted == row.error_kind.is_none())
            && self.event.is_none_or(|wanted| wanted.matches(&row.event_type))
            && self.event_id.is_none_or(|wanted| wanted == row.event_id)
            && self.since.is_none_or(|since| since <= row.at)
            && self.until.is_none_or(|until| row.at < until)
            && self.is_final.is_none_or(|wanted| wanted == row.next_retry_at.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ErrorKind, Pattern};

    fn row(kind: Option<ErrorKind>) -> AttemptRow {
        AttemptRow {
            id: None,
            event_id: "evt_1".parse().unwrap(),
            event_type: "lead.created".into(),
            url: "https://example.com/\"hook\"".into(),
            at: Millis(17),
            attempt: 2,
            elapsed_ms: 40,
            status: Some(200),
            error_kind: kind,
            error_message: kind.map(|_| "HTTP 500".into()),
            next_retry_at: None,
            response_body: None,
            body_beside: false,
            custom_headers: vec!["X-Team".into()],
            is_test: false,
        }
    }

    #[test]
    fn a_short_answer_rides_in_the_row_and_a_long_one_lies_beside() {
        let failed = Some(ErrorKind::HttpStatus);
        let cases = [
            (failed, 0, false),
            (failed, 256, false),
            (failed, 257, true),
            (None, 256, false),
            (None, 257, false),
        ];
        for (kind, length, lies_beside) in cases {
            let body = "x".repeat(length);
            let (text, beside) = encode(row(kind), Some(body.clone()));
            let read = decode(EntryId { ms: 5, seq: 1 }, &text).unwrap();
            assert_eq!(read.id, Some(EntryId { ms: 5, seq: 1 }));
            assert_eq!(beside, lies_beside.then_some(body), "{kind:?} {length}");
            assert_eq!(read.body_beside, lies_beside);
            let in_row = (!lies_beside).then_some(length.min(256));
            assert_eq!(read.response_body.map(|body| body.len()), in_row, "{kind:?} {length}");
        }
        assert_eq!(encode(row(None), None).1, None);
    }

    #[test]
    fn a_success_is_cut_between_characters() {
        let (text, _) = encode(row(None), Some("ü".repeat(200) + "x"));
        assert_eq!(decode(EntryId::ZERO, &text).unwrap().response_body.unwrap(), "ü".repeat(128));
        let (text, _) = encode(row(None), Some("x".to_owned() + &"ü".repeat(200)));
        assert_eq!(decode(EntryId::ZERO, &text).unwrap().response_body.unwrap().len(), 255);
    }

    #[test]
    fn filters_let_through_what_they_say() {
        let (success, _) = encode(row(None), Some("{\"k\":1,\"t\":\"other\"}".into()));
        let (failure, _) = encode(row(Some(ErrorKind::Timeout)), None);
        let cases = [
            (None, None, true, true),
            (Some(true), None, true, false),
            (Some(false), None, false, true),
            (None, Some("lead.created"), true, true),
            (None, Some("lead.updated"), false, false),
            (Some(true), Some("lead.created"), true, false),
            (Some(true), Some("other"), false, false),
            (None, Some("lead.*"), true, true),
            (None, Some("quote.*"), false, false),
        ];
        for (wanted, event, takes_success, takes_failure) in cases {
            let event: Option<Pattern> = event.map(|event: &str| event.parse().unwrap());
            let filter = Filter { success: wanted, event: event.as_ref(), ..Filter::default() };
            assert_eq!(filter.matches(&success), takes_success, "{filter:?}");
            assert_eq!(filter.matches(&failure), takes_failure, "{filter:?}");
        }
        assert!(!Filter { success: Some(true), ..Filter::default() }.matches("nonsense"));
        for (event_id, takes) in [("evt_1", true), ("evt_2", false)] {
            let filter = Filter { event_id: Some(event_id), ..Filter::default() };
            assert_eq!(filter.matches(&success), takes, "{event_id}");
        }
        // It was made at 17.
        let (again, _) =
            encode(AttemptRow { next_retry_at: Some(Millis(20)), ..row(Some(ErrorKind::Dns)) }, None);
        let at = |ms| Some(Millis(ms));
        for (since, until, is_final, takes_last, takes_other) in [
            (at(17), None, None, true, true),
            (at(18), None, None, false, false),
            (None, at(17), None, false, false),
            (None, at(18), None, true, true),
            (None, None, Some(true), true, false),
            (at(1), at(18), Some(false), false, true),
        ] {
            let filter = Filter { since, until, is_final, ..Filter::default() };
            assert_eq!(
                [filter.matches(&failure), filter.matches(&again)],
                [takes_last, takes_other],
                "{filter:?}"
            );
        }
    }
}
