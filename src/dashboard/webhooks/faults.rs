//! What is wrong with a form, in the words of the API, and beside which field each of them belongs: a fault begins with the name
//! of the field that it is about (`url must …`, `events.2: …`, `headers.X-Key: …`, `filter.amount.gt must …`). Pure.

use maud::{Markup, html};

use crate::api::fields::quoted;

/// The fields that a fault can stand beside, by their names in the API: those of the form's controls too.
pub const PLACES: [&str; 17] = [
    "name",
    "description",
    "url",
    "events",
    "headers",
    "isActive",
    "retryAttempts",
    "retryDelaySeconds",
    "retryBackoff",
    "retrySchedule",
    "timeoutSeconds",
    "rateLimitPerSecond",
    "maxConcurrency",
    "ordered",
    "filter",
    "secret",
    "gracePeriodSeconds",
];

/// All that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Those that the API told of a body whose filter was typed as `filter`: a text that is no JSON could not even be sent
    /// as what it was meant to be.
    pub fn new(mut told: Vec<String>, filter: &str) -> Self {
        let broken = serde_json::from_str::<serde::de::IgnoredAny>(filter).err();
        if let Some(error) = broken.filter(|_| !filter.trim().is_empty()) {
            let place = format!("line {}, column {}", error.line(), error.column());
            for fault in told.iter_mut().filter(|fault| place_of(fault) == Some("filter")) {
                *fault = format!("filter is not valid JSON ({place})");
            }
        }
        Self(told)
    }

    /// Something that is wrong with all of it.
    pub fn of_all(text: String) -> Self {
        Self(vec![text])
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are any beside one of these fields.
    pub fn concern(&self, places: &[&str]) -> bool {
        self.0.iter().any(|fault| place_of(fault).is_some_and(|place| places.contains(&place)))
    }

    /// Those beside a field.
    pub fn of(&self, place: &str) -> Vec<&str> {
        self.0.iter().map(String::as_str).filter(|fault| place_of(fault) == Some(place)).collect()
    }

    /// Those beside the header of that name.
    pub fn of_header(&self, name: &str) -> Vec<&str> {
        let begin = format!("headers.{}:", quoted(name));
        self.0.iter().map(String::as_str).filter(|fault| fault.starts_with(&begin)).collect()
    }

    /// Those beside the headers as a whole.
    pub fn of_all_headers(&self) -> Vec<&str> {
        self.of("headers").into_iter().filter(|fault| !fault.starts_with("headers.")).collect()
    }

    /// On top of the form: all of them, each leading to its field. Takes the focus.
    pub fn summary(&self) -> Markup {
        html! {
            @if !self.is_empty() {
                div.problem #faults role="alert" tabindex="-1" autofocus {
                    p { strong { "Nothing was saved yet. " } @if self.0.len() == 1 { "One thing needs another look:" } @else { "These things need another look:" } }
                    ul {
                        @for fault in &self.0 {
                            li { @match place_of(fault) { Some(place) => a href={ "#" (place) } { (fault) }, None => (fault) } }
                        }
                    }
                }
            }
        }
    }
}

/// The id of what tells the faults of a field.
pub fn id_of(place: &str) -> String {
    format!("{place}-fault")
}

/// Beside a field.
pub fn beside(place: &str, faults: &[&str]) -> Markup {
    html! {
        @if !faults.is_empty() {
            div id=(id_of(place)) { @for fault in faults { p.fault { (fault) } } }
        }
    }
}

/// The field that a fault is about.
fn place_of(fault: &str) -> Option<&'static str> {
    let first = fault.split([' ', '.', ':']).next().unwrap_or_default();
    PLACES.into_iter().find(|place| *place == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::webhooks::testing::{HOSTILE, is_harmless};

    fn faults() -> Faults {
        let told = [
            "url must be an http or https URL",
            "events.2: unknown event type \"x\"",
            "headers.X-A: given twice (names are compared without case)",
            "headers must be at most 8192 bytes long in all",
            "filter must be an object",
            "property foo should not exist",
        ];
        Faults::new(told.map(str::to_owned).into(), "{\"a\":\n }")
    }

    #[test]
    fn a_fault_stands_beside_the_field_that_it_names() {
        let faults = faults();
        assert_eq!(faults.of("url"), ["url must be an http or https URL"]);
        assert_eq!(faults.of("events"), ["events.2: unknown event type \"x\""]);
        assert_eq!(faults.of_header("X-A").len(), 1);
        assert_eq!(faults.of_all_headers(), ["headers must be at most 8192 bytes long in all"]);
        assert_eq!(faults.of("filter"), ["filter is not valid JSON (line 2, column 2)"]);
        assert!(faults.of("name").is_empty() && faults.concern(&["name", "filter"]));
        assert!(!faults.concern(&["name", "property"]));
    }

    #[test]
    fn the_summary_tells_all_and_leads_to_the_fields() {
        let page = faults().summary().into_string();
        assert_eq!(page.matches("<li>").count(), 6);
        assert!(page.contains("<a href=\"#url\">url must be an http or https URL</a>"), "{page}");
        assert!(page.contains("<li>property foo should not exist</li>"), "{page}");
        assert!(page.contains("role=\"alert\"") && page.contains("autofocus"), "{page}");
        assert_eq!(Faults::default().summary().into_string(), "");
        let hostile = Faults::of_all(format!("headers.{HOSTILE}: not a legal header name"));
        let both = [hostile.summary(), beside("headers", &hostile.of("headers"))];
        assert!(both.into_iter().all(|part| is_harmless(&part.into_string())));
    }

    #[test]
    fn a_filter_that_is_json_keeps_the_words_of_its_fault() {
        let faults = Faults::new(vec!["filter must be an object".into()], "[]");
        assert_eq!(faults.of("filter"), ["filter must be an object"]);
    }
}
