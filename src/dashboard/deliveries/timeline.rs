//! All attempts to deliver one event to one webhook, oldest first, with the time that passed between them.

use std::time::Duration;

use maud::{Markup, html};

use super::result::{Standing, badge, in_short};
use crate::dashboard::preview::in_words;
use crate::dashboard::routes::of_webhook;
use crate::dashboard::when::{ago, at, took};
use crate::domain::{AttemptId, AttemptRow, EntryId, Millis, WebhookId};

/// How an attempt came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The event was published, or older attempts are no longer in the log.
    First,
    /// The one before had failed.
    Retry,
    /// Somebody had it sent again: its attempts count from 1 anew.
    SentAgain,
}

/// One attempt among the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step<'a> {
    /// It.
    pub row: &'a AttemptRow,
    /// Why it was made.
    pub cause: Cause,
    /// From the one before to it.
    pub gap: Option<Duration>,
}

/// The steps of attempts that are given newest first, as the log gives them. Pure.
pub fn steps<'a>(newest_first: impl DoubleEndedIterator<Item = &'a AttemptRow>) -> Vec<Step<'a>> {
    let mut before: Option<&AttemptRow> = None;
    let step = |row: &'a AttemptRow| {
        let cause = match before {
            None => Cause::First,
            Some(before) if row.attempt > before.attempt => Cause::Retry,
            Some(_) => Cause::SentAgain,
        };
        let gap = before.map(|before| row.at.since(before.at));
        before = Some(row);
        Step { row, cause, gap }
    };
    newest_first.rev().map(step).collect()
}

/// The list; `opened` is the attempt whose page it stands on.
pub fn timeline(webhook: &WebhookId, steps: &[Step<'_>], opened: Option<EntryId>, now: Millis) -> Markup {
    let last = steps.last().map(|step| Standing::of(step.row, now));
    html! {
        ol.timeline {
            @for step in steps { (entry(webhook, step, opened, now)) }
            @match last {
                Some(Standing::RetryAt(due)) => li.pending { div.point { "Next attempt " (ago(due, now)) " " span.muted { "(" (at(due)) ")" } } },
                Some(Standing::Retried) => li.pending { div.point { "The next attempt is due: it is made as soon as the webhook may be sent to." } },
                _ => {}
            }
        }
    }
}

fn entry(webhook: &WebhookId, step: &Step<'_>, opened: Option<EntryId>, now: Millis) -> Markup {
    let is_opened = opened.is_some() && step.row.id == opened;
    let id = step.row.id.map(|id| AttemptId::new(webhook, id));
    let standing = Standing::of(step.row, now);
    let name = format!("Attempt {}", step.row.attempt);
    html! {
        li.opened[is_opened] {
            @if let Some(words) = between(step) { p.gap.muted.small { (words) } }
            div.point {
                @match id {
                    Some(id) if !is_opened => a href=(of_webhook(webhook, &format!("/deliveries/{id}"))) { (name) },
                    _ => strong aria-current=[is_opened.then_some("true")] { (name) },
                }
                " " (badge(standing)) " "
                span { (in_short(step.row)) } " "
                span.muted.small { (at(step.row.at)) " · took " (took(step.row.elapsed_ms.into())) }
                @if is_opened { span.small { " · this one" } }
            }
        }
    }
}

/// What lies between an attempt and the one before.
fn between(step: &Step<'_>) -> Option<String> {
    let gap = in_words(step.gap?);
    Some(match step.cause {
        Cause::First | Cause::Retry => format!("{gap} later"),
        Cause::SentAgain => format!("{gap} later it was sent again: its attempts count from 1 anew"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::deliveries::testing::{NOW, failed, webhook_id};
    use crate::domain::ErrorKind;

    fn attempt(number: u32, seconds: u64) -> AttemptRow {
        let id = Some(EntryId { ms: seconds, seq: 0 });
        AttemptRow {
            id,
            attempt: number,
            at: NOW + Duration::from_secs(seconds),
            ..failed(ErrorKind::Timeout)
        }
    }

    #[test]
    fn attempts_stand_oldest_first_with_what_lies_between() {
        let rows = [attempt(1, 700), attempt(2, 61), attempt(1, 0)];
        let steps = steps(rows.iter());
        let seen: Vec<_> = steps.iter().map(|step| (step.row.attempt, step.cause, step.gap)).collect();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            seen,
            [(1, Cause::First, None), (2, Cause::Retry, seconds(61)), (1, Cause::SentAgain, seconds(639))]
        );
        let text = timeline(&webhook_id(), &steps, rows[1].id, NOW).into_string();
        assert!(
            text.contains("1 min 1 s later<") && text.contains("10 min 39 s later it was sent again"),
            "{text}"
        );
        assert_eq!(text.matches("<a href=").count(), 2, "the opened one is no link: {text}");
        assert!(text.contains(r#"<strong aria-current="true">Attempt 2<"#), "{text}");
        assert!(super::steps([].iter()).is_empty());
    }

    #[test]
    fn what_comes_next_stands_at_the_end() {
        let pending = AttemptRow { next_retry_at: Some(NOW + Duration::from_secs(90)), ..attempt(1, 0) };
        let written =
            |now| timeline(&webhook_id(), &steps([pending.clone()].iter()), None, now).into_string();
        assert!(written(NOW).contains("Next attempt <time"), "{}", written(NOW));
        let late = written(NOW + Duration::from_secs(91));
        assert!(late.contains("The next attempt is due") && !late.contains("Next attempt <time"), "{late}");
        let ended = attempt(1, 0);
        assert!(
            !timeline(&webhook_id(), &steps([ended].iter()), None, NOW).into_string().contains("pending")
        );
    }
}
