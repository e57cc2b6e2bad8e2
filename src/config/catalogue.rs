//! The event types as a file writes them (`config/events.toml`), checked into a [`Catalogue`].

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value as Json};
use toml::Value;

use super::Fault;
use crate::domain::{Catalogue, EventType};

/// The catalogue that is built in.
pub(super) const EMBEDDED: &str = include_str!("../../config/events.toml");
/// The longest name of an event type, in bytes.
const LONGEST_NAME: usize = 64;
/// The most event types: matching keeps a table of them.
const MOST_TYPES: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "type", default)]
    types: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    event: String,
    label: String,
    description: String,
    category: String,
    sample: toml::Table,
}

/// The catalogue of `text`, or everything that is wrong with it; `origin` names it in faults.
pub(super) fn parse(origin: &str, text: &str) -> Result<Catalogue, Vec<Fault>> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        vec![Fault::new(format!("{origin}, line {line}"), error.message())]
    })?;
    let faults = faults_of(origin, &file.types);
    if faults.is_empty() {
        Ok(Catalogue::new(file.types.into_iter().map(event_type).collect()))
    } else {
        Err(faults)
    }
}

fn faults_of(origin: &str, entries: &[Entry]) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !(1..=MOST_TYPES).contains(&entries.len()) {
        let problem = format!("has {} event types; expected 1 to {MOST_TYPES}", entries.len());
        faults.push(Fault::new(origin, problem));
    }
    let mut names = BTreeSet::new();
    for entry in entries {
        let subject = format!("{origin}, event {:?}", entry.event);
        if !is_event_name(&entry.event) {
            let problem =
                "expected <family>.<what happened>: lower-case letters, digits and _, at most 64 in all";
            faults.push(Fault::new(&subject, problem));
        }
        if !names.insert(&entry.event) {
            faults.push(Fault::new(&subject, "stands in the file more than once"));
        }
        let texts =
            [("label", &entry.label), ("description", &entry.description), ("category", &entry.category)];
        for (field, _) in texts.iter().filter(|(_, text)| text.trim().is_empty()) {
            faults.push(Fault::new(&subject, format!("{field} is empty")));
        }
    }
    faults
}

fn is_event_name(name: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    name.len() <= LONGEST_NAME
        && name.split_once('.').is_some_and(|(family, what)| word(family) && word(what))
}

fn event_type(entry: Entry) -> EventType {
    EventType {
        event: entry.event,
        label: entry.label,
        description: entry.description,
        category: entry.category,
        sample: json_of(Value::Table(entry.sample)),
    }
}

/// TOML as JSON: a date becomes its text, and a number that JSON cannot write (NaN) becomes null.
fn json_of(value: Value) -> Json {
    match value {
        Value::String(text) => Json::String(text),
        Value::Integer(number) => Json::from(number),
        Value::Float(number) => Json::from(number),
        Value::Boolean(truth) => Json::Bool(truth),
        Value::Datetime(date) => Json::String(date.to_string()),
        Value::Array(entries) => entries.into_iter().map(json_of).collect(),
        Value::Table(table) => {
            Json::Object(table.into_iter().map(|(key, value)| (key, json_of(value))).collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "[[type]]\nevent = \"lead.created\"\nlabel = \"L\"\ndescription = \"D\"\ncategory = \"C\"\n";

    #[test]
    fn the_embedded_catalogue_is_the_documented_one() {
        let expected = "lead.created lead.updated lead.deleted lead.converted lead.assigned contact.created \
            contact.updated contact.deleted account.created account.updated account.deleted opportunity.created \
            opportunity.updated opportunity.deleted opportunity.stage_changed opportunity.won opportunity.lost \
            quote.created quote.sent quote.approved quote.accepted quote.rejected quote.expired order.created \
            order.completed meeting.scheduled meeting.completed activity.created activity.completed task.created \
            task.completed task.overdue user.created user.updated form.submitted";
        let catalogue = parse("events.toml", EMBEDDED).expect("the embedded catalogue has no faults");
        let names: Vec<&str> = catalogue.types().iter().map(|known| known.event.as_str()).collect();
        assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn every_sample_is_an_object_that_names_its_record() {
        let catalogue = parse("events.toml", EMBEDDED).expect("the embedded catalogue has no faults");
        for known in catalogue.types() {
            assert!(known.sample["id"].is_string(), "{}", known.event);
            let size = known.sample.to_string().len();
            assert!((60..4096).contains(&size), "{}: {size} bytes", known.event);
        }
    }

    #[test]
    fn every_fault_of_a_catalogue_is_reported() {
        let text = format!(
            "{ONE}sample = {{}}\n{ONE}sample = {{}}\n[[type]]\nevent = \"Lead\"\nlabel = \" \"\n\
             description = \"\"\ncategory = \"C\"\nsample = {{}}\n"
        );
        let faults = parse("mine.toml", &text).expect_err("it has faults");
        let subjects: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(subjects.len(), 4, "{subjects:#?}");
        assert!(subjects[0].contains("\"lead.created\": stands in the file more than once"));
        assert!(subjects[1].contains("expected <family>.<what happened>"));
    }

    #[test]
    fn an_empty_or_broken_catalogue_is_refused() {
        for (text, expected) in [
            ("", "has 0 event types"),
            ("[[type]]\nevent = 5", "line 2"),
            (ONE, "sample"),
            (&format!("{ONE}sample = {{}}\ncolour = 1"), "colour"),
        ] {
            let faults = parse("mine.toml", text).expect_err("it has faults");
            assert!(faults[0].to_string().contains(expected), "{} lacks {expected}", faults[0]);
        }
    }

    #[test]
    fn names_have_a_family_and_one_dot() {
        for good in ["lead.created", "opportunity.stage_changed", "a1.b2"] {
            assert!(is_event_name(good), "{good}");
        }
        for bad in ["", "test", "lead.", ".created", "Lead.created", "a.b.c", "a.*", "a.1b", &"x".repeat(65)]
        {
            assert!(!is_event_name(bad), "{bad}");
        }
    }

    #[test]
    fn dates_and_nested_values_become_json() {
        let table: toml::Table =
            "at = 2026-01-15\nin = { list = [1, 2.5, true] }".parse().expect("it is TOML");
        let expected = serde_json::json!({"at": "2026-01-15", "in": {"list": [1, 2.5, true]}});
        assert_eq!(json_of(Value::Table(table)), expected);
    }
}
