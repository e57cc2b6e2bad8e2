//! What stands in the form of a test: an event type and the text of its data, and what is wrong with them. Pure.
//!
//! The data goes on as it was typed, so that no number is rounded and no field changes its place.

use maud::{Markup, html};
use serde::de::IgnoredAny;

use crate::dashboard::form::Form;
use crate::dashboard::pretty::pretty;

const EMPTY: &str = "The data is empty. Load the sample, or write a JSON object; the smallest is {}.";

/// The names of the fields.
pub(super) const EVENT: &str = "event";
pub(super) const DATA: &str = "data";

/// A test that may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draft {
    /// The type.
    pub event: String,
    /// The text of the data.
    pub data: String,
    /// Whether a person changed the sample, so that no script may put another one in its place.
    pub is_edited: bool,
    /// What is wrong.
    pub faults: Faults,
}

/// Faults, by where they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Beside the type.
    pub event: Vec<String>,
    /// Beside the data.
    pub data: Vec<String>,
    /// Above both.
    pub other: Vec<String>,
}

impl Faults {
    /// Sorts what the API says, which names the field first.
    pub(super) fn of(messages: Vec<String>) -> Self {
        let mut faults = Self::default();
        for message in messages {
            let place = match message.split([' ', ':']).next() {
                Some(EVENT) => &mut faults.event,
                Some(DATA) => &mut faults.data,
                _ => &mut faults.other,
            };
            place.push(sentence(&message));
        }
        faults
    }
}

impl Draft {
    /// The sample of a type, compact as the API gives it.
    pub(super) fn of_sample(event: &str, sample: &str) -> Self {
        Self { event: event.to_owned(), data: pretty(sample), is_edited: false, faults: Faults::default() }
    }

    /// What a person sent. `sample` is that of the type, if there is such a type.
    pub(super) fn of_form(form: &Form, sample: impl Fn(&str) -> Option<String>) -> Self {
        let (event, data) = (form.one(EVENT).unwrap_or_default().trim(), form.one(DATA).unwrap_or_default());
        let is_edited = sample(event).is_none_or(|sample| pretty(&sample) != data);
        Self { event: event.to_owned(), data: data.to_owned(), is_edited, faults: Faults::default() }
    }

    /// The body that asks the API for this test.
    ///
    /// # Errors
    /// The data is not one JSON value, so nothing could be put around it.
    pub(super) fn body(&self) -> Result<String, Faults> {
        let fault = |text: String| Faults { data: vec![text], ..Faults::default() };
        if self.data.trim().is_empty() {
            return Err(fault(EMPTY.to_owned()));
        }
        serde_json::from_str::<IgnoredAny>(&self.data).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            fault(format!("The data is not valid JSON: look at line {line}, column {column}."))
        })?;
        let event = serde_json::Value::from(self.event.as_str());
        Ok(format!("{{\"{EVENT}\":{event},\"{DATA}\":{}}}", self.data))
    }

    /// Its part of the page: the fields, and the button that says what it will send.
    pub(super) fn fields(&self) -> Markup {
        let is_wrong = !self.faults.data.is_empty();
        let described = if is_wrong { "data-hint data-fault" } else { "data-hint" };
        html! {
            div #draft {
                input type="hidden" name=(EVENT) value=(self.event);
                div.field {
                    label for="data" { "Data of " code data-event { (self.event) } }
                    p.hint #data-hint { "JSON, yours to change. It is sent as it stands here: numbers and the order of fields too." }
                    textarea #data name=(DATA) required spellcheck="false" autocapitalize="off" autocomplete="off"
                        aria-describedby=(described) aria-invalid=[is_wrong.then_some("true")]
                        data-edited[self.is_edited] { "\n" (self.data) }
                    (told("data-fault", &self.faults.data))
                }
                button.primary type="submit" { span { "Send " span data-event { (self.event) } } }
            }
        }
    }
}

/// Faults of one field.
pub(super) fn told(id: &str, faults: &[String]) -> Markup {
    html! {
        @if !faults.is_empty() {
            div id=(id) { @for fault in faults { p.fault { (fault) } } }
        }
    }
}

/// A message of the API as it stands on a page.
pub(super) fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let start: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    let end = if message.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{start}{}{end}", characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fields::Fields;

    const SAMPLE: &str = r#"{"id":1}"#;

    fn sent(event: &str, data: &str) -> Draft {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([(EVENT, event), (DATA, data)])
            .finish();
        Draft::of_form(&Form::parse(body.as_bytes()), |event| (event == "a.b").then(|| SAMPLE.to_owned()))
    }

    #[test]
    fn what_is_typed_is_asked_for_as_it_stands() {
        let data = "{\"z\": 1.50,\n \"a\": 123456789012345678901234567890, \"z2\":\"\\u00e9\"}";
        let body = sent(" a\"b ", data).body().unwrap();
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        assert_eq!(fields.string(EVENT, 0..=9), Some("a\"b".to_owned()));
        assert_eq!(fields.take(DATA).map(|raw| raw.get().to_owned()), Some(data.to_owned()));
        assert!(fields.finish().is_ok());
    }

    #[test]
    fn nothing_can_be_added_to_the_body_through_the_data() {
        for (data, says) in [
            ("", "is empty"),
            (" \n\t", "is empty"),
            ("{\"a\":1},\"event\":\"x\"", "line 1, column 8"),
            ("{\n\"a\": one}", "line 2, column 6"),
            ("1}", "line 1, column 2"),
            ("<script>", "line 1, column 1"),
        ] {
            let faults = sent("a.b", data).body().unwrap_err();
            assert!(faults.data[0].contains(says), "{data:?}: {faults:?}");
            assert_eq!((faults.event.len(), faults.other.len()), (0, 0));
        }
    }

    #[test]
    fn an_untouched_sample_is_told_from_an_edited_one() {
        let shown = Draft::of_sample("a.b", SAMPLE);
        assert_eq!(shown.data, "{\n  \"id\": 1\n}");
        assert_eq!(sent("a.b", &shown.data), shown);
        assert_eq!(sent("a.b", &shown.data.replace('\n', "\r\n")), shown, "as browsers end lines");
        assert!(sent("a.b", "{}").is_edited && sent("gone", &shown.data).is_edited);
        let has_mark = |draft: &Draft| draft.fields().into_string().contains(" data-edited");
        assert!(!has_mark(&shown) && has_mark(&sent("a.b", "{}")));
    }

    #[test]
    fn a_fault_stands_beside_its_field() {
        let told = ["event: unknown event type \"x\", did you mean \"y\"?", "data must be an object", "odd"];
        let faults = Faults::of(told.map(str::to_owned).to_vec());
        assert_eq!(faults.event, ["Event: unknown event type \"x\", did you mean \"y\"?"]);
        assert_eq!(faults.data, ["Data must be an object."]);
        assert_eq!(faults.other, ["Odd."]);
        let page = Draft { faults, ..sent("a.b", "[]") }.fields().into_string();
        assert!(page.contains("aria-describedby=\"data-hint data-fault\" aria-invalid=\"true\""), "{page}");
        assert!(
            page.contains("<div id=\"data-fault\"><p class=\"fault\">Data must be an object.</p>"),
            "{page}"
        );
        let good = sent("a.b", "[]").fields().into_string();
        assert!(!good.contains("aria-invalid") && !good.contains("data-fault"), "{good}");
    }

    #[test]
    fn nothing_typed_leaves_its_place() {
        let nasty = "</textarea>\"'><script>alert(1)</script>";
        let page = sent(nasty, nasty).fields().into_string();
        assert!(!page.contains("<script") && page.matches("</textarea>").count() == 1, "{page}");
        let led = sent("a.b", "\n{}").fields().into_string();
        assert!(led.contains("\n\n{}</textarea>"), "browsers drop one line end: {led}");
    }
}
