//! The event types that may be published and subscribed to.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One kind of event, as `GET /api/webhooks/events` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CatalogueEntry)]
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
    #[schema(value_type = Object)]
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
        most_alike(name, self.types.iter().map(|known| known.event.as_str()))
    }

    /// The known family most like `family`, if any is like it at all.
    pub fn closest_family(&self, family: &str) -> Option<&str> {
        let families = self.types.iter().filter_map(|known| known.event.split_once('.'));
        most_alike(family, families.map(|(head, _)| head))
    }
}

fn most_alike<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this Jaro-Winkler similarity a suggestion puzzles more than it helps.
    const ALIKE: f64 = 0.8;
    /// Longer input is no slip of the keyboard, and comparing it would cost.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let scored = known.map(|known| (strsim::jaro_winkler(&lower, known), known));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}
