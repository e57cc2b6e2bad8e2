//! The event types that may be published and subscribed to.

use serde::Serialize;
use serde_json::Value;

/// One kind of event, as `GET /api/webhooks/events` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventType {
    /// The name: `<thing>.<what happened>`.
    pub event: String,
    /// A short title for people.
    pub label: String,
    /// When it is published.
    pub description: String,
    /// The thing it is about, for grouping.
    pub category: String,
    /// A realistic `data` object.
    pub sample: Value,
}

/// All event types, in the order of the catalogue file; names are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    types: Vec<EventType>,
}

impl Catalogue {
    /// The catalogue of `types`, whose names must differ (the config check sees to that).
    pub fn new(types: Vec<EventType>) -> Self {
        Self { types }
    }

    /// Every type, in catalogue order.
    pub fn types(&self) -> &[EventType] {
        &self.types
    }

    /// The type of that exact name.
    pub fn get(&self, name: &str) -> Option<&EventType> {
        self.types.iter().find(|known| known.event == name)
    }

    /// Whether `family` (the part before the dot) has any type.
    pub fn has_family(&self, family: &str) -> bool {
        self.types.iter().any(|known| known.event.split_once('.').is_some_and(|(head, _)| head == family))
    }

    /// The known name most like `name`, if any is like it at all.
    pub fn closest(&self, name: &str) -> Option<&str> {
        /// Below this Jaro-Winkler similarity a suggestion puzzles more than it helps.
        const ALIKE: f64 = 0.8;
        /// Longer input is no slip of the keyboard, and comparing it would cost.
        const LONGEST: usize = 64;
        if name.len() > LONGEST {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        let scored =
            self.types.iter().map(|known| (strsim::jaro_winkler(&lower, &known.event), known.event.as_str()));
        scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
    }
}
