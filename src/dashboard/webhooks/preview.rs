//! What the form's events and retries come to, shown beside it: on the page itself, and as a part that a script fetches while
//! somebody types. Nothing is stored and nothing secret is asked for.

use actix_web::{HttpRequest, HttpResponse, web};
use maud::{Markup, html};

use super::draft::Draft;
use crate::api::App;
use crate::dashboard::form::Form;
use crate::dashboard::page::part;
use crate::dashboard::preview::{RetryStep, in_words, matched, retry_times};
use crate::dashboard::visit::Visit;
use crate::dashboard::when::many;
use crate::domain::{Catalogue, Pattern};

/// `GET /dashboard/webhooks/preview`: the part, for the form in the query.
pub async fn of_query(app: web::Data<App>, _visit: Visit, request: HttpRequest) -> HttpResponse {
    let draft = Draft::of_form(&Form::parse(request.query_string().as_bytes()));
    part(preview(&draft, &app.config.catalogue))
}

/// What stands beside the form.
pub fn preview(draft: &Draft, catalogue: &Catalogue) -> Markup {
    html! {
        h2 { "What this comes to" }
        h3 { "Events" }
        (events(&draft.patterns(), catalogue))
        @if !draft.filter.trim().is_empty() { p.small.muted { "Of these, the ones that its filter lets pass." } }
        h3 { "When a delivery fails" }
        (retries(draft))
    }
}

fn events(patterns: &[Pattern], catalogue: &Catalogue) -> Markup {
    let types = matched(patterns, catalogue);
    let all = u64::try_from(catalogue.types().len()).unwrap_or(u64::MAX);
    let count = u64::try_from(types.len()).unwrap_or(u64::MAX);
    html! {
        @if types.is_empty() {
            p.muted { "No event yet: tick at least one." }
        } @else {
            p { strong { "Matches " (many(count, "type", "types")) } " of " (all) @if patterns.contains(&Pattern::Everything) { ", and what is added later" } "." }
            ul.types tabindex="0" aria-label="The types that match" { @for kind in types { li { code { (kind.event) } } } }
        }
    }
}

fn retries(draft: &Draft) -> Markup {
    let Some(retries) = draft.retries() else {
        return html! { p.muted { "Fill in whole numbers within their limits to see the times." } };
    };
    let steps = retry_times(&retries);
    let Some(last) = steps.last() else {
        return html! { p { "It is not tried again: after one attempt it is given up. You can still send it again by hand." } };
    };
    html! {
        ol.steps tabindex="0" aria-label="The retries" { @for step in &steps { li { (told(step)) } } }
        p.small { "Given up " strong { (span(last)) } " after the first attempt, and what the attempts themselves take." }
        @if last.since_first != last.latest_since_first {
            p.small.muted { "Chance adds up to a tenth to each wait, so that retries do not come all at once." }
        }
    }
}

fn told(step: &RetryStep) -> Markup {
    html! {
        strong { (ordinal(step.attempt.saturating_sub(1))) " retry after " (in_words(step.after_previous)) } " "
        span.small.muted { (span(step)) " after the first attempt" }
    }
}

/// `1 min to 1 min 6 s`, or one of them where they are told alike.
fn span(step: &RetryStep) -> String {
    let (least, most) = (in_words(step.since_first), in_words(step.latest_since_first));
    if least == most { least } else { format!("{least} to {most}") }
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (1, rest) if rest != 11 => "st",
        (2, rest) if rest != 12 => "nd",
        (3, rest) if rest != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::webhooks::testing::webhook;

    #[test]
    fn retries_are_told_with_their_times() {
        let page = retries(&Draft::of_webhook(&webhook())).into_string();
        assert!(page.contains("1st retry after 1 min"), "{page}");
        assert!(page.contains("3rd retry after 1 min") && page.contains("3 min to 3 min 18 s"), "{page}");
        let draft = |schedule: &str| Draft { retry_schedule: schedule.into(), ..Draft::default() };
        assert!(retries(&draft("none")).into_string().contains("not tried again"));
        assert!(retries(&draft("x")).into_string().contains("whole numbers"));
        assert!(retries(&draft("5")).into_string().contains("1st retry after 5 s"));
    }

    #[test]
    fn ordinals_are_english() {
        let told: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 20].map(ordinal).into();
        assert_eq!(told, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "20th"]);
    }
}
