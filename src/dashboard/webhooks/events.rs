//! Which events a webhook gets, as boxes to tick: everything, a family, or single types, in the groups of the catalogue. What a
//! stored webhook holds and the catalogue no longer has stands in a group of its own, so that saving does not drop it. Pure.

use maud::{Markup, html};

use super::faults::{Faults, beside};
use super::fields::{described, hint_id};
use crate::dashboard::when::many;
use crate::domain::{Catalogue, EventType};

const EVERYTHING: &str = "*";
const HINT: &str = "Tick single events, or a whole group: a group also brings what is added to it later.";

/// The boxes; `ticked` are the patterns of the webhook.
pub fn choices(ticked: &[String], catalogue: &Catalogue, faults: &Faults) -> Markup {
    let told = faults.of("events");
    let unknown = unknown(ticked, catalogue);
    html! {
        fieldset.events #events tabindex="-1" aria-describedby=[described("events", HINT, &told)] {
            legend { "Events" }
            p.hint id=(hint_id("events")) { (HINT) }
            (beside("events", &told))
            (choice(ticked, EVERYTHING, "All events", "Everything that happens, and what is added later."))
            div.categories {
                @for group in groups(catalogue) {
                    (category(ticked, &group))
                }
                @if !unknown.is_empty() {
                    fieldset.category {
                        legend { "No longer offered" }
                        p.hint { "The webhook holds these, but no such event exists any more. Untick them when you change the events." }
                        @for pattern in unknown { (choice(ticked, pattern, pattern, "")) }
                    }
                }
            }
        }
    }
}

/// Its families, and its types in a part that is open where one of them is ticked.
fn category(ticked: &[String], group: &Group<'_>) -> Markup {
    let holds = |pattern: &str| ticked.iter().any(|known| known == pattern);
    let count = u64::try_from(group.types.len()).unwrap_or(u64::MAX);
    let is_open = group.families.is_empty() || group.types.iter().any(|kind| holds(&kind.event));
    html! {
        fieldset.category {
            legend { (group.name) }
            @for family in &group.families {
                (choice(ticked, &format!("{family}.*"), "All of these", ""))
            }
            details open[is_open] {
                summary { (many(count, "single event", "single events")) }
                @for kind in &group.types { (choice(ticked, &kind.event, &kind.label, &kind.description)) }
            }
        }
    }
}

fn choice(ticked: &[String], pattern: &str, label: &str, description: &str) -> Markup {
    let is_ticked = ticked.iter().any(|known| known == pattern);
    html! {
        label.check {
            input type="checkbox" name="events" value=(pattern) checked[is_ticked];
            span {
                span.what { (label) }
                @if pattern != label { " " code.muted { (pattern) } }
                @if !description.is_empty() { span.muted.small.about { (prose(description)) } }
            }
        }
    }
}

/// A description, with what stands between backticks in it as code.
fn prose(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// The types of one category.
struct Group<'a> {
    name: &'a str,
    /// Those whose first type is in it.
    families: Vec<&'a str>,
    types: Vec<&'a EventType>,
}

/// In the order of the catalogue.
fn groups(catalogue: &Catalogue) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for kind in catalogue.types() {
        let family = kind.event.split_once('.').map(|(family, _)| family);
        let family = family.filter(|family| !groups.iter().any(|group| group.families.contains(family)));
        let group = match groups.iter_mut().find(|group| group.name == kind.category) {
            Some(group) => group,
            None => {
                groups.push(Group { name: &kind.category, families: Vec::new(), types: Vec::new() });
                groups.last_mut().expect("one was pushed")
            }
        };
        group.families.extend(family);
        group.types.push(kind);
    }
    groups
}

/// Patterns that no box of the catalogue stands for.
fn unknown<'a>(ticked: &'a [String], catalogue: &Catalogue) -> Vec<&'a str> {
    let is_known = |pattern: &str| {
        let family = pattern.strip_suffix(".*");
        pattern == EVERYTHING
            || catalogue.get(pattern).is_some()
            || family.is_some_and(|family| catalogue.has_family(family))
    };
    ticked.iter().map(String::as_str).filter(|pattern| !is_known(pattern)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::dashboard::webhooks::testing::{HOSTILE, is_harmless};

    fn catalogue() -> Catalogue {
        let kind = |(event, category): (&str, &str)| EventType {
            event: event.into(),
            label: format!("label of {event}"),
            description: HOSTILE.into(),
            category: category.into(),
            sample: Value::Null,
        };
        let types =
            [("lead.created", "Leads"), ("task.done", "Work"), ("lead.won", "Work"), ("ping", "Work")];
        Catalogue::new(types.into_iter().map(kind).collect())
    }

    fn page(ticked: &[&str]) -> String {
        let ticked: Vec<String> = ticked.iter().map(|pattern| (*pattern).to_owned()).collect();
        choices(&ticked, &catalogue(), &Faults::default()).into_string()
    }

    #[test]
    fn each_family_has_one_box_in_the_group_of_its_first_type() {
        let page = page(&["lead.*", "ping"]);
        for pattern in ["*", "lead.*", "lead.created", "task.*", "task.done", "lead.won", "ping"] {
            assert_eq!(page.matches(&format!("value=\"{pattern}\"")).count(), 1, "{pattern}");
        }
        assert_eq!(page.matches(" checked").count(), 2);
        assert!(page.find("value=\"lead.*\"") < page.find("<legend>Work"), "{page}");
        assert!(!page.contains("No longer offered"));
    }

    #[test]
    fn a_group_is_open_where_single_events_of_it_are_ticked() {
        assert_eq!(page(&["lead.*"]).matches("<details open").count(), 0);
        assert_eq!(page(&["task.done"]).matches("<details open").count(), 1);
        assert_eq!(prose("`a` and `<b>`").into_string(), "<code>a</code> and <code>&lt;b&gt;</code>");
    }

    #[test]
    fn what_the_catalogue_lost_is_kept_ticked() {
        let page = page(&["gone.away", "old.*", HOSTILE]);
        assert!(page.contains("No longer offered") && page.contains("value=\"gone.away\" checked"), "{page}");
        assert!(page.contains("value=\"old.*\" checked"), "{page}");
        assert!(is_harmless(&page), "{page}");
    }
}
