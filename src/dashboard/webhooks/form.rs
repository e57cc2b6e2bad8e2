//! The form of a webhook's settings, the same for a new one and for one that is there. Pure.

use maud::{Markup, html};

use super::draft::{Draft, NO_RETRIES};
use super::events::choices;
use super::faults::{Faults, beside};
use super::fields::{Field, Kind, described, headers, hint_id, tick};
use super::preview::preview;
use crate::api::webhooks::rules::{DESCRIPTION_LENGTHS, NAME_LENGTHS};
use crate::domain::Catalogue;

/// The button that only shows the form again, with what it comes to.
pub const PREVIEW: &str = "preview";
/// The scripts that the form is handier with.
pub const SCRIPTS: &[&str] = &["webhook-form.js"];

const RARE: [&str; 6] =
    ["headers", "timeoutSeconds", "rateLimitPerSecond", "maxConcurrency", "ordered", "filter"];

/// What the form shows.
#[derive(Clone, Copy, Debug)]
pub struct Sheet<'a> {
    /// What stands in it.
    pub draft: &'a Draft,
    /// A new webhook's settings: what differs from them is shown at once.
    pub defaults: &'a Draft,
    /// What is wrong with it.
    pub faults: &'a Faults,
    /// The event types that there are.
    pub catalogue: &'a Catalogue,
}

/// All of the form but its `form` element; `hidden` are its hidden fields, `last` what stands before the buttons.
pub fn body(sheet: Sheet<'_>, hidden: &Markup, last: &Markup, save: &str, cancel: &str) -> Markup {
    let Sheet { draft, defaults, faults, catalogue } = sheet;
    html! {
        (hidden)
        div.editor {
            div {
                div.card { (basics(draft, faults)) }
                (choices(&draft.events, catalogue, faults))
                div.card { (retries(draft, faults)) }
                (rare(draft, defaults, faults))
                (last)
            }
            aside.card.preview #preview aria-live="polite" data-from="/dashboard/webhooks/preview" { (preview(draft, catalogue)) }
        }
        div.row.actions {
            button.primary type="submit" { (save) }
            button type="submit" name=(PREVIEW) value="1" { "Preview" }
            a.button.quiet href=(cancel) { "Cancel" }
        }
    }
}

fn basics(draft: &Draft, faults: &Faults) -> Markup {
    let name = Field {
        name: "name",
        label: "Name",
        hint: "So that you find it again.",
        kind: Kind::Line(*NAME_LENGTHS.end()),
        value: &draft.name,
    };
    let url = Field {
        name: "url",
        label: "Endpoint",
        hint: "The address of your system that events are sent to, such as https://example.com/webhooks.",
        kind: Kind::Url,
        value: &draft.url,
    };
    let most = DESCRIPTION_LENGTHS.end();
    let description = Field {
        name: "description",
        label: "Description",
        hint: &format!("What it is for, at most {most} characters. May stay empty."),
        kind: Kind::Text,
        value: &draft.description,
    };
    html! {
        h2 { "What and where" }
        (name.with(faults))
        (url.with(faults))
        (description.with(faults))
        (tick("isActive", draft.is_active, "Active", "While it is not, nothing is queued for it; what was queued waits.", faults))
    }
}

fn retries(draft: &Draft, faults: &Faults) -> Markup {
    let attempts = Field {
        name: "retryAttempts",
        label: "Retries",
        hint: "0 to 20.",
        kind: Kind::Number,
        value: &draft.retry_attempts,
    };
    let delay = Field {
        name: "retryDelaySeconds",
        label: "Wait",
        hint: "Seconds, 0 to 86400.",
        kind: Kind::Number,
        value: &draft.retry_delay_seconds,
    };
    let hint = format!(
        "Seconds before each retry, such as 30 60 300. Takes the place of the three above; \"{NO_RETRIES}\" is no retry."
    );
    let schedule = Field {
        name: "retrySchedule",
        label: "Or a schedule of your own",
        hint: &hint,
        kind: Kind::Line(400),
        value: &draft.retry_schedule,
    };
    html! {
        h2 { "When a delivery fails" }
        p.hint { "It is tried again, until it succeeds or these retries are used up." }
        div.fields {
            (attempts.with(faults))
            (delay.with(faults))
            (backoff(draft, faults))
        }
        (schedule.with(faults))
    }
}

fn backoff(draft: &Draft, faults: &Faults) -> Markup {
    const HINT: &str = "From retry to retry.";
    let told = faults.of("retryBackoff");
    let choices =
        [("fixed", "always the same"), ("linear", "grows evenly"), ("exponential", "doubles each time")];
    html! {
        div.field {
            label for="retryBackoff" { "The wait stays or grows" }
            p.hint id=(hint_id("retryBackoff")) { (HINT) }
            select #retryBackoff name="retryBackoff" aria-describedby=[described("retryBackoff", HINT, &told)]
                aria-invalid=[(!told.is_empty()).then_some("true")] {
                @for (word, label) in choices { option value=(word) selected[draft.retry_backoff == word] { (label) } }
            }
            (beside("retryBackoff", &told))
        }
    }
}

fn rare(draft: &Draft, defaults: &Draft, faults: &Faults) -> Markup {
    let is_open = faults.concern(&RARE) || RARE.iter().any(|name| draft.differs(defaults, name));
    let hint = "Sent with every request, such as an Authorization header that your endpoint asks for. Clear a row to remove it.";
    html! {
        details.card open[is_open] {
            summary { "More settings" }
            (headers(&draft.headers, hint, faults))
            div.fields { @for field in limits(draft) { (field.with(faults)) } }
            (tick("ordered", draft.ordered, "One at a time, in order", "Each delivery waits until the one before it has ended. One that fails holds up the rest.", faults))
            (filter(draft).with(faults))
        }
    }
}

fn limits(draft: &Draft) -> [Field<'_>; 3] {
    let field = |name, label, hint, value| Field { name, label, hint, kind: Kind::Number, value };
    [
        field("timeoutSeconds", "Timeout", "Seconds, 1 to 60.", draft.timeout_seconds.as_str()),
        field(
            "rateLimitPerSecond",
            "Attempts a second",
            "1 to 10000, or empty.",
            draft.rate_limit_per_second.as_str(),
        ),
        field("maxConcurrency", "At the same time", "Attempts, 1 to 256.", draft.max_concurrency.as_str()),
    ]
}

fn filter(draft: &Draft) -> Field<'_> {
    Field {
        name: "filter",
        label: "Filter",
        hint: "Only events whose data match are sent. As JSON, such as {\"amount\": {\"gte\": 1000}}. Empty = all.",
        kind: Kind::Json,
        value: &draft.filter,
    }
}
