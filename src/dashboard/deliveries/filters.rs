//! The form above a log that says which attempts are shown. It is sent as an address, so that what is found can be told to
//! somebody else.

use maud::{Markup, html};

use super::asked::{Asked, Outcome, Time};
use super::span;
use crate::api::trial::TEST;
use crate::domain::Catalogue;

/// The form; `action` is the page's own address without its query.
pub fn filters(asked: &Asked, catalogue: &Catalogue, action: &str) -> Markup {
    html! {
        form.card.filters.aligned method="get" action=(action) aria-label="Which deliveries are shown" {
            div {
                label for="result" { "Result" }
                select #result name="result" aria-invalid=[invalid(asked, "result")] aria-describedby=[described(asked, "result")] {
                    @for choice in Outcome::ALL {
                        option value=(choice.as_str()) selected[*choice == asked.outcome] { (choice.label()) }
                    }
                }
                (fault(asked, "result"))
            }
            div {
                label for="event" { "Event" }
                select #event name="event" { (events(&asked.event, catalogue)) }
            }
            div {
                label for="time" { "Time" }
                select #time name="time" aria-invalid=[invalid(asked, "time")] aria-describedby=[described(asked, "time")] {
                    @for choice in Time::ALL {
                        option value=(choice.as_str()) selected[*choice == asked.time] { (choice.label()) }
                    }
                }
                (fault(asked, "time"))
            }
            (own_time(asked, "since", "From (UTC)", &asked.since))
            (own_time(asked, "until", "To (UTC)", &asked.until))
            div {
                label for="eventId" { "Event ID" }
                input #eventId name="eventId" value=(asked.event_id) autocomplete="off" spellcheck="false" placeholder="evt_…"
                    aria-invalid=[invalid(asked, "eventId")] aria-describedby=[described(asked, "eventId")];
                (fault(asked, "eventId"))
            }
            @if asked.is_live { input type="hidden" name="live" value="1"; }
            div.actions {
                button.primary type="submit" { "Show" }
                @if asked.is_narrow() || !asked.faults.is_empty() { a.button.quiet href=(action) { "Clear" } }
            }
        }
    }
}

/// All types, by family. One that the catalogue does not know stays chosen: the address may come from elsewhere.
pub fn events(chosen: &str, catalogue: &Catalogue) -> Markup {
    let families = families(catalogue);
    let is_known = chosen.is_empty()
        || chosen == TEST
        || catalogue.get(chosen).is_some()
        || families.iter().any(|family| chosen.strip_suffix(".*") == Some(*family));
    let option =
        |value: &str, text: &str| html! { option value=(value) selected[value == chosen] { (text) } };
    html! {
        (option("", "All events"))
        @if !is_known { (option(chosen, chosen)) }
        @for family in families {
            optgroup label=(family) {
                (option(&format!("{family}.*"), &format!("All of {family}")))
                @for known in catalogue.types().iter().filter(|known| family_of(&known.event) == family) {
                    (option(&known.event, &known.event))
                }
            }
        }
        (option(TEST, "Tests"))
    }
}

/// In the order in which the catalogue first names them.
fn families(catalogue: &Catalogue) -> Vec<&str> {
    let mut families = Vec::new();
    for known in catalogue.types() {
        let family = family_of(&known.event);
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families
}

fn family_of(event: &str) -> &str {
    event.split_once('.').map_or(event, |(family, _)| family)
}

fn own_time(asked: &Asked, name: &str, label: &str, value: &str) -> Markup {
    html! {
        div.own {
            label for=(name) { (label) }
            input id=(name) type="datetime-local" name=(name) value=[span::field(value)]
                aria-invalid=[invalid(asked, name)] aria-describedby=[described(asked, name)];
            (fault(asked, name))
        }
    }
}

fn invalid(asked: &Asked, field: &str) -> Option<&'static str> {
    asked.fault(field).map(|_| "true")
}

fn described(asked: &Asked, field: &str) -> Option<String> {
    asked.fault(field).map(|_| format!("{field}-fault"))
}

fn fault(asked: &Asked, field: &str) -> Markup {
    html! { @if let Some(fault) = asked.fault(field) { p.fault id={ (field) "-fault" } { (fault) } } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::config;
    use crate::dashboard::form::Form;

    fn written(query: &str) -> String {
        let asked = Asked::of(&Form::parse(query.as_bytes()));
        filters(&asked, &config().catalogue, "/here").into_string()
    }

    #[test]
    fn what_was_chosen_stays_chosen_even_what_nobody_knows() {
        let form = written("result=failed&event=lead.*&time=7d");
        for chosen in [r#"value="failed" selected"#, r#"value="lead.*" selected"#, r#"value="7d" selected"#] {
            assert!(form.contains(chosen), "{chosen}: {form}");
        }
        assert!(form.contains(r#"<optgroup label="opportunity">"#) && form.contains(">Clear</a>"));
        assert!(!written("").contains(">Clear</a>"));
        let strange = written("event=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&eventId=%22%3E%3Cb%3E");
        assert!(!strange.contains("<script") && !strange.contains("<b>"), "{strange}");
        assert!(strange.contains("&quot;&gt;&lt;script&gt;alert(1)"), "{strange}");
    }

    #[test]
    fn faults_stand_with_their_fields() {
        let form = written("time=own&since=soon");
        assert!(form.contains(r#"aria-invalid="true" aria-describedby="since-fault""#), "{form}");
        assert!(form.contains(r#"id="since-fault">Start must be a date"#), "{form}");
        assert!(!form.contains("until-fault"));
    }
}
