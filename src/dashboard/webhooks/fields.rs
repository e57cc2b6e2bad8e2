//! The controls of the forms: each with its label, its hint and its faults, tied together for those who hear a page. Pure.

use maud::{Markup, html};

use super::faults::{Faults, beside, id_of};

/// What can be typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A line of so many characters.
    Line(usize),
    /// A line for an address.
    Url,
    /// A whole number.
    Number,
    /// Several lines for people.
    Text,
    /// Several lines of JSON.
    Json,
    /// A line that nobody shall read over a shoulder.
    Hidden,
}

/// One control.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its name in the form, its id, and the field of the API that it is.
    pub name: &'static str,
    /// What it is.
    pub label: &'a str,
    /// What to type; empty = nothing to say.
    pub hint: &'a str,
    /// How it is typed.
    pub kind: Kind,
    /// What stands in it.
    pub value: &'a str,
}

impl Field<'_> {
    /// The control with what belongs to it.
    pub fn with(&self, faults: &Faults) -> Markup {
        let told = faults.of(self.name);
        html! {
            div.field {
                label for=(self.name) { (self.label) }
                @if !self.hint.is_empty() { p.hint id=(hint_id(self.name)) { (self.hint) } }
                (self.control(&told))
                (beside(self.name, &told))
            }
        }
    }

    fn control(&self, told: &[&str]) -> Markup {
        let described = described(self.name, self.hint, told);
        let invalid = (!told.is_empty()).then_some("true");
        let (kind, mode, longest) = match self.kind {
            Kind::Line(longest) => ("text", None, Some(longest)),
            Kind::Url => ("url", None, None),
            Kind::Number => ("text", Some("numeric"), Some(10)),
            Kind::Hidden => ("password", None, None),
            Kind::Text => return self.area("prose", &described, invalid),
            Kind::Json => return self.area("json", &described, invalid),
        };
        html! {
            input id=(self.name) name=(self.name) type=(kind) inputmode=[mode] maxlength=[longest] value=(self.value)
                autocomplete="off" spellcheck="false" aria-describedby=[described] aria-invalid=[invalid];
        }
    }

    fn area(&self, class: &str, described: &Option<String>, invalid: Option<&str>) -> Markup {
        // A line break at the very beginning belongs to the markup, not to the text.
        html! {
            textarea id=(self.name) name=(self.name) class=(class) rows="3" spellcheck=[(class == "json").then_some("false")]
                aria-describedby=[described] aria-invalid=[invalid] { "\n" (self.value) }
        }
    }
}

/// A box to tick.
pub fn tick(name: &'static str, is_ticked: bool, label: &str, hint: &str, faults: &Faults) -> Markup {
    let told = faults.of(name);
    html! {
        div.field {
            label.check {
                input type="checkbox" id=(name) name=(name) checked[is_ticked] aria-describedby=[described(name, hint, &told)];
                span { strong { (label) } }
            }
            @if !hint.is_empty() { p.hint.under id=(hint_id(name)) { (hint) } }
            (beside(name, &told))
        }
    }
}

/// Rows of headers, the last two of them empty.
pub fn headers(rows: &[(String, String)], hint: &str, faults: &Faults) -> Markup {
    let empty = (String::new(), String::new());
    let all = faults.of_all_headers();
    html! {
        fieldset #headers tabindex="-1" aria-describedby=[described("headers", hint, &all)] {
            legend { "Headers of your own" }
            p.hint id=(hint_id("headers")) { (hint) }
            div #header-rows {
                @for (place, (name, value)) in rows.iter().chain([&empty, &empty]).enumerate() {
                    (header_row(place + 1, name, value, faults))
                }
            }
            div.reserved { button.small #add-header type="button" hidden { "Add a row" } }
            (beside("headers", &all))
        }
    }
}

fn header_row(number: usize, name: &str, value: &str, faults: &Faults) -> Markup {
    let is_blank = name.is_empty() && value.is_empty();
    let told = if is_blank { Vec::new() } else { faults.of_header(name) };
    let (name_id, value_id) = (format!("header-name-{number}"), format!("header-value-{number}"));
    let place = format!("header-{number}");
    let described = (!told.is_empty()).then(|| id_of(&place));
    let invalid = described.is_some().then_some("true");
    html! {
        div.header-row {
            div {
                label.small for=(name_id) { "Name " span.unseen { "of header " (number) } }
                input id=(name_id) name="headerName" value=(name) autocomplete="off" spellcheck="false"
                    aria-describedby=[&described] aria-invalid=[invalid];
            }
            div {
                label.small for=(value_id) { "Value " span.unseen { "of header " (number) } }
                input id=(value_id) name="headerValue" type="password" value=(value) autocomplete="off" spellcheck="false"
                    aria-describedby=[&described] aria-invalid=[invalid];
            }
            button.small.quiet type="button" data-reveal=(value_id) aria-pressed="false" hidden { "Show" span.unseen { " the value of header " (number) } }
            (beside(&place, &told))
        }
    }
}

/// The id of a control's hint.
pub fn hint_id(name: &str) -> String {
    format!("{name}-hint")
}

/// What else is said of a control, by id.
pub fn described(name: &str, hint: &str, told: &[&str]) -> Option<String> {
    let hint = (!hint.is_empty()).then(|| hint_id(name));
    let fault = (!told.is_empty()).then(|| id_of(name));
    let ids: Vec<String> = hint.into_iter().chain(fault).collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::webhooks::testing::{HOSTILE, is_harmless};

    fn faults(told: &str) -> Faults {
        Faults::new(vec![told.into()], "")
    }

    #[test]
    fn a_fault_is_tied_to_its_control() {
        let field = Field { name: "url", label: "Endpoint", hint: "Where to", kind: Kind::Url, value: "x" };
        let page = field.with(&faults("url must be an http or https URL")).into_string();
        assert!(page.contains("aria-describedby=\"url-hint url-fault\" aria-invalid=\"true\""), "{page}");
        assert!(page.contains("id=\"url-fault\""), "{page}");
        let fine = field.with(&faults("name should not be empty")).into_string();
        assert!(!fine.contains("aria-invalid") && fine.contains("aria-describedby=\"url-hint\""), "{fine}");
    }

    #[test]
    fn a_header_has_its_fault_beside_it_and_two_rows_stay_free() {
        let rows = [("X-A".to_owned(), "1".to_owned()), ("a b".to_owned(), "2".to_owned())];
        let page = headers(&rows, "hint", &faults("headers.a b: not a legal header name")).into_string();
        assert_eq!(page.matches("name=\"headerName\"").count(), 4);
        assert!(page.contains("id=\"header-2-fault\"") && !page.contains("id=\"header-1-fault\""), "{page}");
        assert_eq!(page.matches("aria-invalid").count(), 2);
    }

    #[test]
    fn nothing_that_was_typed_runs() {
        let rows = [(HOSTILE.to_owned(), HOSTILE.to_owned())];
        assert!(is_harmless(&headers(&rows, "", &faults("headers must be small")).into_string()));
        for kind in [Kind::Line(9), Kind::Text, Kind::Json, Kind::Hidden, Kind::Url, Kind::Number] {
            let field = Field { name: "name", label: "Name", hint: "", kind, value: HOSTILE };
            assert!(is_harmless(&field.with(&Faults::default()).into_string()), "{kind:?}");
        }
    }
}
