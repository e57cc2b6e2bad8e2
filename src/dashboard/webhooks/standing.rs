//! What a webhook's settings are, written down for people: where they may not be changed, and where somebody else changed them
//! meanwhile. Values of headers are not shown. Pure.

use maud::{Markup, html};

use super::draft::Draft;

/// What people call a field, by its name in the API.
fn label(name: &str) -> &'static str {
    match name {
        "name" => "Name",
        "description" => "Description",
        "url" => "Endpoint",
        "events" => "Events",
        "headers" => "Headers of its own",
        "isActive" => "Active",
        "retryAttempts" => "Retries",
        "retryDelaySeconds" => "Wait before a retry (s)",
        "retryBackoff" => "How the wait grows",
        "retrySchedule" => "Schedule of retries (s)",
        "timeoutSeconds" => "Timeout (s)",
        "rateLimitPerSecond" => "Attempts a second",
        "maxConcurrency" => "Attempts at the same time",
        "ordered" => "One at a time, in order",
        "filter" => "Filter",
        _ => "Other",
    }
}

/// What stands in a field; `None` = nothing.
fn text(draft: &Draft, name: &str) -> Option<String> {
    let yes_or_no = |is_so| if is_so { "yes" } else { "no" }.to_owned();
    let text = match name {
        "name" => draft.name.clone(),
        "description" => draft.description.clone(),
        "url" => draft.url.clone(),
        "events" => draft.events.join(", "),
        "headers" => {
            draft.headers.iter().map(|(name, _)| format!("{name}: •••")).collect::<Vec<_>>().join(", ")
        }
        "isActive" => yes_or_no(draft.is_active),
        "retryAttempts" => draft.retry_attempts.clone(),
        "retryDelaySeconds" => draft.retry_delay_seconds.clone(),
        "retryBackoff" => draft.retry_backoff.clone(),
        "retrySchedule" => draft.retry_schedule.clone(),
        "timeoutSeconds" => draft.timeout_seconds.clone(),
        "rateLimitPerSecond" => draft.rate_limit_per_second.clone(),
        "maxConcurrency" => draft.max_concurrency.clone(),
        "ordered" => yes_or_no(draft.ordered),
        "filter" => draft.filter.clone(),
        _ => String::new(),
    };
    Some(text).filter(|text| !text.is_empty())
}

fn value(draft: &Draft, name: &str) -> Markup {
    match text(draft, name) {
        Some(text) if name == "filter" => html! { pre { (text) } },
        Some(text) => html! { (text) },
        None => html! { span.muted { "none" } },
    }
}

/// All settings.
pub fn all(stored: &Draft) -> Markup {
    html! {
        dl.facts { @for name in stored.names() { dt { (label(name)) } dd { (value(stored, name)) } } }
    }
}

/// The fields in which what was typed is not what is stored now, side by side.
pub fn beside(typed: &Draft, stored: &Draft) -> Markup {
    let differing: Vec<&str> =
        stored.names().into_iter().filter(|name| typed.differs(stored, name)).collect();
    html! {
        @if differing.is_empty() {
            p { "What you typed is what is stored now." }
        } @else {
            table.cards {
                caption.unseen { "What differs from what you typed" }
                thead { tr { th scope="col" { "Field" } th scope="col" { "Stored now" } th scope="col" { "In this form" } } }
                tbody {
                    @for name in differing {
                        tr {
                            td data-label="Field" { (label(name)) }
                            td data-label="Stored now" { span { (value(stored, name)) @if name == "headers" { (values_note()) } } }
                            td data-label="In this form" { span { (value(typed, name)) } }
                        }
                    }
                }
            }
        }
    }
}

fn values_note() -> Markup {
    html! { " " span.muted.small { "(values are not shown here)" } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::webhooks::testing::{HOSTILE, is_harmless, webhook};

    #[test]
    fn settings_are_told_without_the_values_of_headers() {
        let mut hostile = webhook();
        hostile.settings.name = HOSTILE.into();
        hostile.settings.description = Some(HOSTILE.into());
        hostile.settings.url = format!("https://example.com/{HOSTILE}");
        hostile.settings.headers.insert(HOSTILE.into(), "topsecret".into());
        let page = all(&Draft::of_webhook(&hostile)).into_string();
        assert!(page.contains("X-Key: •••"), "{page}");
        assert!(!page.contains("hidden") && !page.contains("topsecret"), "{page}");
        assert!(is_harmless(&page), "{page}");
        assert!(!page.contains("<dt>Other"), "every field has a name for people");
    }

    #[test]
    fn only_what_differs_stands_side_by_side() {
        let stored = Draft::of_webhook(&webhook());
        let typed = Draft { timeout_seconds: "7".into(), name: HOSTILE.into(), ..stored.clone() };
        let page = beside(&typed, &stored).into_string();
        assert!(page.contains("Timeout (s)") && page.contains("<span>30</span>"), "{page}");
        assert!(!page.contains("Endpoint") && is_harmless(&page), "{page}");
        assert!(beside(&stored, &stored).into_string().contains("is what is stored now"));
    }
}
