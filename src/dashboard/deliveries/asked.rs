//! Which attempts of a log are asked for: what the filters of the page say, out of its address and back into it. Pure.

use std::time::Duration;

use url::form_urlencoded::Serializer;

use super::span;
use crate::api::deliveries::pattern_of;
use crate::dashboard::form::Form;
use crate::domain::{EventId, Millis, Pattern};
use crate::store::attempts::Filter;

/// Attempts on a page.
pub const ROWS: u32 = 25;
/// The last page: no log is longer.
const LAST_PAGE: u32 = 1_000_000;

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal, $label:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$of])* $variant),* }

        impl $name {
            /// All of them, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its word in an address.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// What a person reads.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),* }
            }

            fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|choice| choice.as_str() == word)
            }
        }
    };
}

choices! {
    /// Which results.
    Outcome {
        /// Whatever came of it.
        All = "", "All results";
        /// The endpoint took it.
        Delivered = "delivered", "Delivered";
        /// It did not.
        Failed = "failed", "Failed";
        /// It did not, and that was the last attempt.
        ForGood = "for-good", "Failed for good";
        /// It did not, and another attempt follows or has followed.
        Retried = "retried", "Failed, with a retry";
    }
}

choices! {
    /// Which times.
    Time {
        /// All that is kept.
        Any = "", "Any time";
        /// The last hour.
        Hour = "1h", "Last hour";
        /// The last day.
        Day = "24h", "Last 24 hours";
        /// The last week.
        Week = "7d", "Last 7 days";
        /// The last month.
        Month = "30d", "Last 30 days";
        /// From one time to another.
        Own = "own", "From … to …";
    }
}

impl Time {
    fn back(self) -> Option<Duration> {
        let hours = match self {
            Self::Any | Self::Own => return None,
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::Month => 30 * 24,
        };
        Some(Duration::from_secs(hours * 3600))
    }
}

/// What is asked for, as it was typed where it could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// By result.
    pub outcome: Outcome,
    /// By time.
    pub time: Time,
    /// By event type: a name or a family; empty = all.
    pub event: String,
    /// By event; empty = all.
    pub event_id: String,
    /// The start of [`Time::Own`].
    pub since: String,
    /// Its end.
    pub until: String,
    /// Counts from 1.
    pub page: u32,
    /// Whether new attempts are to show up by themselves.
    pub is_live: bool,
    /// What is wrong, by the name of the field.
    pub faults: Vec<(&'static str, String)>,
    pattern: Option<Pattern>,
    times: (Option<Millis>, Option<Millis>),
}

impl Asked {
    /// What the fields of an address say.
    pub fn of(form: &Form) -> Self {
        let text = |name: &str| form.filled(name).unwrap_or_default().to_owned();
        let (outcome, time) = (Outcome::named(&text("result")), Time::named(&text("time")));
        let mut asked = Self {
            outcome: outcome.unwrap_or(Outcome::All),
            time: time.unwrap_or(Time::Any),
            event: text("event"),
            event_id: text("eventId"),
            since: text("since"),
            until: text("until"),
            page: text("page").parse().unwrap_or(1).clamp(1, LAST_PAGE),
            is_live: form.one("live") == Some("1"),
            faults: Vec::new(),
            pattern: None,
            times: (None, None),
        };
        asked.pattern = Some(&asked.event).filter(|event| !event.is_empty()).map(|event| pattern_of(event));
        asked.note(outcome.is_none(), "result", "Choose a result of the list");
        asked.note(time.is_none(), "time", "Choose a time of the list");
        let is_id = asked.event_id.is_empty() || asked.event_id.parse::<EventId>().is_ok();
        asked.note(
            !is_id,
            "eventId",
            "An event's id has up to 64 letters, digits, - and _, such as evt_019a…",
        );
        if asked.time == Time::Own {
            asked.read_times();
        }
        asked
    }

    fn note(&mut self, is_wrong: bool, field: &'static str, fault: &str) {
        if is_wrong {
            self.faults.push((field, fault.to_owned()));
        }
    }

    fn read_times(&mut self) {
        self.note(
            self.since.is_empty() && self.until.is_empty(),
            "since",
            "Fill in a start, an end, or both",
        );
        let read = [("since", span::read("Start", &self.since)), ("until", span::read("End", &self.until))];
        let [since, until] = read.map(|(field, read)| {
            read.unwrap_or_else(|fault| {
                self.faults.push((field, fault));
                None
            })
        });
        self.times = (since, until);
        self.faults.extend(span::order(since, until).map(|fault| ("until", fault)));
    }

    /// What is wrong with a field.
    pub fn fault(&self, field: &str) -> Option<&str> {
        self.faults.iter().find(|(of, _)| *of == field).map(|(_, fault)| fault.as_str())
    }

    /// The same for the store, at that time.
    pub fn filter(&self, now: Millis) -> Filter<'_> {
        let (success, is_final) = match self.outcome {
            Outcome::All => (None, None),
            Outcome::Delivered => (Some(true), None),
            Outcome::Failed => (Some(false), None),
            Outcome::ForGood => (Some(false), Some(true)),
            Outcome::Retried => (Some(false), Some(false)),
        };
        let (since, until) = self.times;
        Filter {
            success,
            is_final,
            event: self.pattern.as_ref(),
            event_id: Some(self.event_id.as_str()).filter(|id| !id.is_empty()),
            since: self.time.back().map(|back| now.minus(back)).or(since),
            until,
        }
    }

    /// Whether anything is left out.
    pub fn is_narrow(&self) -> bool {
        self.outcome != Outcome::All
            || self.time != Time::Any
            || !(self.event.is_empty() && self.event_id.is_empty())
    }

    /// The query of this page with another number: what is as it is anyway is left out.
    pub fn query(&self, page: u32) -> String {
        let is_own = self.time == Time::Own;
        let number = if page > 1 { page.to_string() } else { String::new() };
        let fields = [
            ("result", self.outcome.as_str()),
            ("event", &self.event),
            ("time", self.time.as_str()),
            ("since", if is_own { &self.since } else { "" }),
            ("until", if is_own { &self.until } else { "" }),
            ("eventId", &self.event_id),
            ("page", &number),
            ("live", if self.is_live { "1" } else { "" }),
        ];
        let mut query = Serializer::new(String::new());
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        query.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_768_473_000_000);

    fn asked(query: &str) -> Asked {
        Asked::of(&Form::parse(query.as_bytes()))
    }

    #[test]
    fn an_address_says_what_is_asked_for() {
        let none = asked("");
        assert!(none.filter(NOW).is_open() && !none.is_narrow() && none.page == 1 && !none.is_live);
        let all = asked("result=for-good&event=lead.*&time=24h&eventId=evt_1&page=3&live=1");
        let filter = all.filter(NOW);
        assert_eq!(
            (filter.success, filter.is_final, filter.event_id),
            (Some(false), Some(true), Some("evt_1"))
        );
        assert_eq!(filter.event, Some(&Pattern::Family("lead".into())));
        assert_eq!(filter.since, Some(NOW.minus(Duration::from_secs(86_400))));
        assert!(all.is_narrow() && all.page == 3 && all.is_live);
        for (word, success, is_final) in [
            ("delivered", Some(true), None),
            ("failed", Some(false), None),
            ("retried", Some(false), Some(false)),
        ] {
            let filter = asked(&format!("result={word}"));
            let filter = filter.filter(NOW);
            assert_eq!((filter.success, filter.is_final), (success, is_final), "{word}");
        }
    }

    #[test]
    fn own_times_are_read_where_they_are_asked_for() {
        let own = asked("time=own&since=2026-01-15T10:30&until=2026-01-15T11:30");
        assert_eq!(own.filter(NOW).since, Some(NOW));
        assert_eq!(own.filter(NOW).until, Some(NOW + Duration::from_secs(3600)));
        assert!(asked("since=2026-01-15T10:30&until=nonsense").filter(NOW).is_open(), "not asked for");
    }

    #[test]
    fn each_fault_stands_with_its_field() {
        for (query, field) in [
            ("result=lost", "result"),
            ("time=1y", "time"),
            ("eventId=a%20b", "eventId"),
            ("time=own", "since"),
            ("time=own&since=soon", "since"),
            ("time=own&until=late", "until"),
            ("time=own&since=2026-01-15T10:30&until=2026-01-15T10:30", "until"),
        ] {
            let asked = asked(query);
            assert_eq!(asked.faults.len(), 1, "{query}: {:?}", asked.faults);
            assert!(asked.fault(field).is_some() && asked.fault("event").is_none(), "{query}");
        }
        assert_eq!(asked("result=x&time=y&eventId=%22").faults.len(), 3, "all at once");
        assert_eq!(asked("page=x").page, 1);
        assert_eq!(asked("page=99999999").page, LAST_PAGE);
    }

    #[test]
    fn what_is_asked_for_survives_its_address() {
        for query in [
            "",
            "result=failed&event=lead.created",
            "time=own&since=2026-01-15T10%3A30&eventId=e-1&live=1",
            "event=%22%3E%3Cscript%3E&time=7d",
        ] {
            let first = asked(query);
            assert_eq!(asked(&first.query(1)), first, "{query}");
            assert_eq!(asked(&first.query(7)).page, 7);
        }
        assert_eq!(asked("page=1&result=&since=2026-01-15T10%3A30").query(1), "");
    }
}
