//! What stands on the page that sends again what failed: the form, what was counted, and how far a recovery is.

use maud::{Markup, html};

use super::filters::events;
use super::seen::Seen;
use super::span;
use super::wanted::Wanted;
use crate::api::recover::Answer;
use crate::dashboard::page::mark;
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::Visit;
use crate::dashboard::when::{ago, count, many, written};
use crate::domain::Catalogue;
use crate::store::recoveries::{Recovery, Status};

/// Event types of a count that are listed.
const MOST_TYPES: usize = 50;

/// All that the page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Recover<'a> {
    /// The webhook.
    pub seen: &'a Seen,
    /// What the form says.
    pub wanted: &'a Wanted,
    /// What that comes to, once it was counted.
    pub counted: Option<&'a Answer>,
    /// The last recovery.
    pub last: Option<&'a Recovery>,
    /// The event types to choose from.
    pub catalogue: &'a Catalogue,
}

impl Recover<'_> {
    fn is_running(&self) -> bool {
        self.last.is_some_and(|last| last.status == Status::Running)
    }

    /// Why none can be begun now.
    fn obstacle(&self) -> Option<&'static str> {
        if !self.seen.may_change {
            Some("Only the owner of the webhook can send its events again.")
        } else if self.is_running() {
            Some("One recovery at a time: wait until this one has ended, or end it.")
        } else if !self.seen.webhook.is_active {
            Some("The webhook is not active, so nothing can be queued for it. Switch it on first.")
        } else {
            None
        }
    }
}

/// The whole page; `problem` is why what was asked for was not done.
pub fn body(visit: &Visit, recover: &Recover<'_>, problem: Option<&str>) -> Markup {
    let webhook = &recover.seen.webhook;
    html! {
        h1 { "Send again what failed for good" }
        p.muted.endpoint { "Webhook " a href=(of_webhook(&webhook.id, "")) { (webhook.settings.name) } " · sends to " code { (webhook.settings.url) } }
        @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
        @if recover.last.is_some() { (state(visit, recover)) }
        @match recover.obstacle() {
            Some(obstacle) => p.advice { (obstacle) },
            None => {
                (form(recover))
                @if let Some(counted) = recover.counted { (found(visit, recover, counted)) }
            }
        }
    }
}

fn state(visit: &Visit, recover: &Recover<'_>) -> Markup {
    let here = of_webhook(&recover.seen.webhook.id, "/recover");
    html! {
        section.card aria-labelledby="state" {
            div.row.over {
                h2 #state { "The last recovery" }
                @if recover.is_running() {
                    div.row {
                        span.muted.small #tail-state role="status" aria-live="polite" {}
                        button.small type="button" aria-pressed="true" data-tail="recovery" data-while="progress" hidden { "Follow live" }
                        a.button.small href=(here) { "Refresh" }
                    }
                }
            }
            div #recovery data-part={ (here) "?part=1" } { (standing(visit, recover.seen, recover.last)) }
        }
    }
}

/// How a recovery stands.
pub fn standing(visit: &Visit, seen: &Seen, last: Option<&Recovery>) -> Markup {
    let Some(last) = last else { return html! {} };
    let done = last.requeued.saturating_add(last.skipped);
    let (class, word) = word(last.status);
    html! {
        p { span class=(class) { (word) } " " (count(last.requeued)) " of " (many(last.total, "event", "events")) " queued again"
            @if last.skipped > 0 { ", " (count(last.skipped)) " passed over (delivered or queued meanwhile, or without a body)" } "." }
        @if last.status == Status::Running {
            progress.wide max=(last.total.max(1)) value=(done.min(last.total)) aria-label="Events queued again" { (done) " of " (last.total) }
        }
        p.muted.small {
            "What failed from " (written(last.span.since)) " to " (last.span.until.map_or_else(|| "then".to_owned(), written))
            @if let Some(event) = &last.span.event { ", " code { (event) } }
            " · begun " (ago(last.started_at, visit.now))
            @if let Some(ended) = last.ended_at { " · ended " (ago(ended, visit.now)) }
        }
        @if last.status == Status::Running && seen.may_change {
            form method="post" action=(of_webhook(&seen.webhook.id, "/recover/cancel")) {
                (mark(visit))
                button type="submit" { "End it" }
                span.hint.small { " What was queued stays queued." }
            }
        } @else if last.status != Status::Running {
            p { a href=(of_webhook(&seen.webhook.id, "/deliveries")) { "To the deliveries" } }
        }
    }
}

fn word(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Running => ("badge warn", "Under way"),
        Status::Completed => ("badge ok", "Done"),
        Status::Cancelled => ("badge off", "Ended early"),
        Status::Stopped => ("badge fail", "Stopped: the webhook was switched off"),
    }
}

/// The first step.
fn form(recover: &Recover<'_>) -> Markup {
    let wanted = recover.wanted;
    html! {
        section.card aria-labelledby="span" {
            h2 #span { "1. Which ones" }
            p.hint { "Every event whose delivery was given up in this time, and that has not been delivered since. Count them first: nothing is sent yet." }
            form.filters.aligned method="get" action=(of_webhook(&recover.seen.webhook.id, "/recover")) {
                (time(wanted, "since", "From (UTC)", &wanted.since, None))
                (time(wanted, "until", "To (UTC)", &wanted.until, Some("Empty means now.")))
                div {
                    label for="event" { "Event" }
                    select #event name="event" aria-invalid=[invalid(wanted, "event")] aria-describedby=[described(wanted, "event")] {
                        (events(&wanted.event, recover.catalogue))
                    }
                    (fault(wanted, "event"))
                }
                div.actions { button.primary[recover.counted.is_none()] type="submit" name="count" value="1" { "Count" } }
            }
        }
    }
}

fn time(wanted: &Wanted, name: &str, label: &str, value: &str, hint: Option<&str>) -> Markup {
    html! {
        div {
            label for=(name) { (label) @if let Some(hint) = hint { span.hint.small { " " (hint) } } }
            input id=(name) type="datetime-local" name=(name) value=[span::field(value)]
                aria-invalid=[invalid(wanted, name)] aria-describedby=[described(wanted, name)];
            (fault(wanted, name))
        }
    }
}

fn invalid(wanted: &Wanted, field: &str) -> Option<&'static str> {
    wanted.fault(field).map(|_| "true")
}

fn described(wanted: &Wanted, field: &str) -> Option<String> {
    wanted.fault(field).map(|_| format!("{field}-fault"))
}

fn fault(wanted: &Wanted, field: &str) -> Markup {
    html! { @if let Some(fault) = wanted.fault(field) { p.fault id={ (field) "-fault" } { (fault) } } }
}

/// The second step.
fn found(visit: &Visit, recover: &Recover<'_>, counted: &Answer) -> Markup {
    let wanted = recover.wanted;
    let events = many(counted.queued, "event", "events");
    // An end that is left open was now: what fails after the count is not part of what is sent again.
    let now = visit.now.to_string();
    let until = if wanted.until.is_empty() { now.trim_end_matches('Z') } else { &wanted.until };
    html! {
        section.card #found aria-labelledby="counted" {
            h2 #counted { "2. Send them again" }
            @if counted.queued == 0 {
                p { "Nothing is to be sent again: no delivery was given up in this time that could be." }
            } @else {
                p { strong { (events) } " would be queued again." }
                (by_type(counted))
            }
            @if counted.body_gone > 0 {
                p.muted { (many(counted.body_gone, "more event", "more events")) " cannot be sent again: their bodies are no longer kept." }
            }
            @if counted.queued > 0 {
                form method="post" action=(of_webhook(&recover.seen.webhook.id, "/recover")) {
                    (mark(visit))
                    @for (name, value) in [("since", wanted.since.as_str()), ("until", until), ("event", &wanted.event)] {
                        input type="hidden" name=(name) value=(value);
                    }
                    button.primary type="submit" { "Queue " (events) " again" }
                }
            }
        }
    }
}

fn by_type(counted: &Answer) -> Markup {
    html! {
        table.counts {
            caption.unseen { "Events that would be queued again, by type" }
            thead { tr { th scope="col" { "Event" } th.number scope="col" { "Events" } } }
            tbody {
                @for (event, number) in counted.by_event.iter().take(MOST_TYPES) {
                    tr { td { code { (event) } } td.number { (count(*number)) } }
                }
            }
        }
        @if counted.by_event.len() > MOST_TYPES {
            p.muted { "and " (many((counted.by_event.len() - MOST_TYPES) as u64, "more type", "more types")) "." }
        }
    }
}
