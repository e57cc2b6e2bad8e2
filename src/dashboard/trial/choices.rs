//! The event types to choose a test from: the plain one, then those that the webhook subscribes to, then the others by
//! category. Pure.

use maud::{Markup, html};

use crate::api::trial::TEST;
use crate::domain::{EventType, Pattern};

/// The heading of the types that the webhook subscribes to, where there are others too.
const SUBSCRIBED: &str = "This webhook subscribes to";

/// Types under one heading, in the order of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group<'a> {
    name: &'a str,
    types: Vec<&'a EventType>,
}

/// The groups of `types`, none of them empty, each type in one of them.
pub(super) fn groups<'a>(types: &'a [EventType], subscribed: &[Pattern]) -> Vec<Group<'a>> {
    let is_subscribed = |one: &&EventType| subscribed.iter().any(|pattern| pattern.matches(&one.event));
    let (own, others): (Vec<&EventType>, Vec<&EventType>) = types.iter().partition(is_subscribed);
    if own.is_empty() || others.is_empty() {
        return by_category(types);
    }
    let mut groups = vec![Group { name: SUBSCRIBED, types: own }];
    groups.extend(by_category(others));
    groups
}

/// Categories in the order in which they are met.
fn by_category<'a>(types: impl IntoIterator<Item = &'a EventType>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for one in types {
        match groups.iter_mut().find(|group| group.name == one.category) {
            Some(group) => group.types.push(one),
            None => groups.push(Group { name: &one.category, types: vec![one] }),
        }
    }
    groups
}

/// The options of a list in which `chosen` is selected.
pub(super) fn options(groups: &[Group<'_>], chosen: &str) -> Markup {
    let option = |value: &str, label: &str| {
        html! { option value=(value) selected[value == chosen] { (value) " – " (label) } }
    };
    html! {
        (option(TEST, "a plain test event"))
        @for Group { name, types } in groups {
            optgroup label=(name) { @for one in types { (option(&one.event, &one.label)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn types(list: &[(&str, &str)]) -> Vec<EventType> {
        let one = |(event, category): &(&str, &str)| EventType {
            event: (*event).to_owned(),
            label: format!("The {event}"),
            description: String::new(),
            category: (*category).to_owned(),
            sample: json!({}),
        };
        list.iter().map(one).collect()
    }

    fn names<'a>(groups: &[Group<'a>]) -> Vec<(&'a str, Vec<&'a str>)> {
        groups.iter().map(|group| (group.name, group.types.iter().map(|one| &*one.event).collect())).collect()
    }

    fn patterns(list: &[&str]) -> Vec<Pattern> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_subscribed_to_comes_first_and_nothing_comes_twice() {
        let all = types(&[("a.one", "A"), ("b.one", "B"), ("a.two", "A"), ("c.one", "C")]);
        let by_category = [("A", vec!["a.one", "a.two"]), ("B", vec!["b.one"]), ("C", vec!["c.one"])];
        for everything in [&["*"][..], &["a.*", "b.one", "c.*"], &["gone.type"]] {
            assert_eq!(names(&groups(&all, &patterns(everything))), by_category, "{everything:?}");
        }
        let some = groups(&all, &patterns(&["c.one", "a.two"]));
        let expected = [(SUBSCRIBED, vec!["a.two", "c.one"]), ("A", vec!["a.one"]), ("B", vec!["b.one"])];
        assert_eq!(names(&some), expected);
    }

    #[test]
    fn the_plain_test_leads_and_one_option_is_selected() {
        let all = types(&[("a.one", "A & <b>"), ("a.two", "A & <b>")]);
        let found = options(&groups(&all, &[]), "a.two").into_string();
        assert!(found.starts_with("<option value=\"test\">"), "{found}");
        assert!(found.contains("<optgroup label=\"A &amp; &lt;b&gt;\">"), "{found}");
        assert!(found.contains("<option value=\"a.two\" selected>a.two – The a.two</option>"), "{found}");
        assert_eq!(found.matches(" selected").count(), 1, "{found}");
        assert!(options(&[], TEST).into_string().contains("<option value=\"test\" selected>"));
    }
}
