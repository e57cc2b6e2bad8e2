//! Which failed deliveries are to be sent again, as the form says. Pure.

use std::time::Duration;

use super::span;
use crate::api::deliveries::pattern_of;
use crate::dashboard::form::Form;
use crate::domain::{Millis, Pattern};
use crate::store::recoveries::Span;

/// How far back the form looks unless it is told otherwise.
const BACK: Duration = Duration::from_secs(24 * 3600);
/// The longest name of an event type.
const LONGEST_EVENT: usize = 255;

/// What the fields say, as they were typed where they could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The start.
    pub since: String,
    /// The end; empty = now.
    pub until: String,
    /// An event type or a family; empty = all.
    pub event: String,
    /// What is wrong, by the name of the field.
    pub faults: Vec<(&'static str, String)>,
    times: (Millis, Option<Millis>),
}

impl Wanted {
    /// What the form says; where it says nothing of a start, the last day.
    pub fn of(form: &Form, now: Millis) -> Self {
        let text = |name: &str| form.filled(name).unwrap_or_default().to_owned();
        let since = if form.has("since") { text("since") } else { span::written(now.minus(BACK)) };
        let mut wanted = Self {
            since,
            until: text("until"),
            event: text("event"),
            faults: Vec::new(),
            times: (Millis::default(), None),
        };
        wanted.read_times();
        if wanted.event.len() > LONGEST_EVENT {
            wanted.faults.push(("event", "Choose an event of the list".into()));
        }
        wanted
    }

    fn read_times(&mut self) {
        let read = [("since", span::read("Start", &self.since)), ("until", span::read("End", &self.until))];
        let [since, until] = read.map(|(field, read)| {
            read.unwrap_or_else(|fault| {
                self.faults.push((field, fault));
                None
            })
        });
        if self.since.is_empty() {
            self.faults.push(("since", "Fill in a start".into()));
        }
        self.faults.extend(span::order(since, until).map(|fault| ("until", fault)));
        self.times = (since.unwrap_or_default(), until);
    }

    /// What is wrong with a field.
    pub fn fault(&self, field: &str) -> Option<&str> {
        self.faults.iter().find(|(of, _)| *of == field).map(|(_, fault)| fault.as_str())
    }

    /// The same for the store; means nothing while there are faults.
    pub fn span(&self) -> Span {
        let event: Option<Pattern> =
            Some(&self.event).filter(|event| !event.is_empty()).map(|event| pattern_of(event));
        let (since, until) = self.times;
        Span { since, until, event }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_768_473_000_000);

    fn wanted(query: &str) -> Wanted {
        Wanted::of(&Form::parse(query.as_bytes()), NOW)
    }

    #[test]
    fn the_last_day_is_meant_where_nothing_is_said() {
        let none = wanted("");
        assert_eq!(
            (none.since.as_str(), none.until.as_str(), none.faults.len()),
            ("2026-01-14T10:30", "", 0)
        );
        assert_eq!(none.span(), Span { since: NOW.minus(BACK), until: None, event: None });
        let all = wanted("since=2026-01-15T09:30&until=2026-01-15T10:30&event=lead.*");
        let event = Some(Pattern::Family("lead".into()));
        assert_eq!(all.span(), Span { since: NOW.minus(BACK / 24), until: Some(NOW), event });
    }

    #[test]
    fn each_fault_stands_with_its_field() {
        let long = format!("event={}", "x".repeat(256));
        for (query, field) in [
            ("since=", "since"),
            ("since=soon", "since"),
            ("until=later", "until"),
            ("since=2026-01-15T10:30&until=2026-01-15T10:30", "until"),
            (long.as_str(), "event"),
        ] {
            let wanted = wanted(query);
            assert_eq!(wanted.faults.len(), 1, "{query}: {:?}", wanted.faults);
            assert!(wanted.fault(field).is_some(), "{query}");
        }
    }
}
