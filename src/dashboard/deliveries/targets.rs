//! The webhooks that an event went to, and what became of it at each: what needs looking at first. Pure.

use maud::{Markup, html};

use crate::api::events::Target;
use crate::dashboard::explain::explain;
use crate::dashboard::routes::of_webhook;
use crate::dashboard::when::{ago, count};
use crate::domain::{EventId, Millis};

/// Webhooks that are shown.
pub const MOST: usize = 100;

/// A webhook with its name; `None` = it was deleted meanwhile.
#[derive(Debug)]
pub struct Named {
    /// Its name.
    pub name: Option<String>,
    /// What became of the event there.
    pub target: Target,
}

/// What failed first, then what waits, then the rest.
pub fn in_order(targets: &mut [Target]) {
    targets.sort_by_key(|target| match target.status {
        "failed" => 0,
        "pending" => 1,
        "dropped" => 2,
        "skipped" => 3,
        _ => 4,
    });
}

/// The table.
pub fn targets(named: &[Named], event: &EventId, now: Millis) -> Markup {
    html! {
        table.cards.targets {
            caption.unseen { "What became of the event at each webhook" }
            thead { tr {
                th scope="col" { "Webhook" }
                th scope="col" { "State" }
                th.number scope="col" { "Attempts" }
                th scope="col" { "What happened" }
                th scope="col" { "Look closer" }
            } }
            tbody { @for named in named { (row(named, event, now)) } }
        }
    }
}

fn row(Named { name, target }: &Named, event: &EventId, now: Millis) -> Markup {
    let log = of_webhook(&target.webhook_id, &format!("/deliveries?eventId={event}"));
    html! {
        tr {
            td {
                @match name {
                    Some(name) => a href=(of_webhook(&target.webhook_id, "")) { (name) },
                    None => { "A deleted webhook " code.small { (target.webhook_id) } }
                }
            }
            td data-label="State" { (badge(target.status)) }
            td.number data-label="Attempts" { @match target.attempts { Some(number) => (count(number.into())), None => span.muted { "–" } } }
            td data-label="What happened" { div { (happened(target, now)) } }
            td data-label="Look closer" {
                @if name.is_some() {
                    @match target.last_attempt_id {
                        Some(id) => a href=(of_webhook(&target.webhook_id, &format!("/deliveries/{id}"))) { "Last attempt" },
                        None => a href=(log) { "Its attempts" },
                    }
                }
            }
        }
    }
}

fn badge(status: &str) -> Markup {
    let (class, word) = match status {
        "delivered" => ("badge ok", "Delivered"),
        "pending" => ("badge warn", "Waiting"),
        "failed" => ("badge fail", "Failed for good"),
        "dropped" => ("badge off", "Dropped"),
        "skipped" => ("badge off", "Not sent"),
        other => ("badge off", other),
    };
    html! { span class=(class) { (word) } }
}

fn happened(target: &Target, now: Millis) -> Markup {
    let time = |text: &Option<String>| text.as_deref().and_then(Millis::parse_rfc3339);
    let error = target.last_error.as_ref();
    let error = error
        .map(|error| explain(error.kind, error.message.as_deref().unwrap_or_default(), error.status_code));
    html! {
        @if let Some(error) = error { p { (error.what) } }
        @if let Some(reason) = target.reason { p { (because(reason)) } }
        @if let Some(until) = time(&target.paused_until) { p { "Nothing is sent to it before then: " (ago(until, now)) "." } }
        @if let Some(next) = time(&target.next_retry_at) { p { "Next attempt " (ago(next, now)) "." } }
        @if let Some(ended) = time(&target.ended_at) { p.muted { (ago(ended, now)) } }
    }
}

/// Why it was not sent, or waits.
fn because(reason: &str) -> &str {
    match reason {
        "inactive" => "The webhook is paused.",
        "disabled" => "The webhook was switched off by the service.",
        "filtered" => "The webhook's filter leaves this event out.",
        "paused" => "The webhook keeps failing, or its endpoint asked for a pause.",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::events::LastError;
    use crate::dashboard::deliveries::testing::{NOW, SCRIPT, webhook_id};
    use crate::domain::ErrorKind;

    fn target(status: &'static str) -> Target {
        Target {
            webhook_id: webhook_id(),
            status,
            reason: None,
            paused_until: None,
            attempts: Some(2),
            next_retry_at: None,
            last_attempt_id: None,
            last_error: None,
            ended_at: None,
        }
    }

    #[test]
    fn what_needs_looking_at_comes_first() {
        let mut all = ["delivered", "skipped", "pending", "failed", "dropped"].map(target);
        in_order(&mut all);
        assert_eq!(all.map(|target| target.status), ["failed", "pending", "dropped", "skipped", "delivered"]);
    }

    #[test]
    fn a_failure_is_explained_and_nothing_of_it_is_markup() {
        let last_error = LastError {
            kind: ErrorKind::HttpStatus,
            message: Some(SCRIPT.into()),
            status_code: Some(500),
            at: NOW.to_string(),
        };
        let failed = Target { last_error: Some(last_error), ..target("failed") };
        let paused = Target {
            reason: Some("paused"),
            paused_until: Some((NOW + std::time::Duration::from_secs(90)).to_string()),
            ..target("pending")
        };
        let named =
            [Named { name: Some(SCRIPT.into()), target: failed }, Named { name: None, target: paused }];
        let text = targets(&named, &"evt_1".parse().unwrap(), NOW).into_string();
        assert!(!text.contains("<script") && text.contains("&quot;&gt;&lt;script&gt;alert(1)"), "{text}");
        assert!(text.contains("Failed for good") && text.contains("A deleted webhook"), "{text}");
        assert!(text.contains("keeps failing") && text.contains(">in 1 min<"), "{text}");
        assert!(text.contains("/deliveries?eventId=evt_1\">Its attempts"), "{text}");
    }
}
