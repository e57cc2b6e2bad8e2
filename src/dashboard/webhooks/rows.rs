//! How the list of webhooks is written down. Pure.

use maud::{Markup, html};
use url::form_urlencoded::Serializer;

use super::list::{Asked, Listed, PAGE, Row, Scope, Shown};
use crate::dashboard::heading::badge;
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::Visit;
use crate::dashboard::when::{ago, count, many};
use crate::domain::{Millis, Pattern, Status, Webhook};
use crate::store::webhooks::Figures;

const LIST: &str = "/dashboard/webhooks";
/// Patterns that are named in a row; of the others their number is told.
const NAMED: usize = 2;

/// The page.
pub fn page(visit: &Visit, asked: &Asked, listed: &Listed) -> Markup {
    let is_new = listed.all == 0 && asked.scope == Scope::Own;
    html! {
        div.head {
            h1 { "Webhooks" }
            @if visit.may_write() && !is_new { a.button.primary href={ (LIST) "/new" } { "New webhook" } }
        }
        @if visit.is_admin { (scopes(asked)) }
        @if is_new {
            (none_yet(visit))
        } @else {
            div.card {
                (search(asked))
                (states(asked, listed))
                @if listed.counts.is_none() { (too_many(listed.all)) }
                @if listed.rows.is_empty() { (none_found(asked)) } @else { (table(listed, asked.scope, visit.now)) }
                (pages(asked, listed.found))
            }
        }
    }
}

fn scopes(asked: &Asked) -> Markup {
    let to = |scope, name: &str| {
        let other = Asked { scope, page: 1, ..asked.clone() };
        html! { a href=(address(&other)) aria-current=[(asked.scope == scope).then_some("page")] { (name) } }
    };
    html! {
        nav.tabs aria-label="Whose webhooks" { (to(Scope::Own, "Mine")) (to(Scope::Everybody, "Whole organization")) }
    }
}

fn search(asked: &Asked) -> Markup {
    html! {
        form.search action=(LIST) role="search" {
            @if asked.scope == Scope::Everybody { input type="hidden" name="all" value="true"; }
            @if asked.shown != Shown::All { input type="hidden" name="state" value=(asked.shown.word()); }
            label.unseen for="q" { "Search by name, endpoint, description, event or id" }
            input #q type="search" name="q" value=(asked.search) placeholder="Name, endpoint, event or id" autocomplete="off";
            button type="submit" { "Search" }
        }
    }
}

fn states(asked: &Asked, listed: &Listed) -> Markup {
    html! {
        nav.states aria-label="Narrow by state" {
            @for (place, shown) in Shown::ALL.into_iter().enumerate() {
                @let other = Asked { shown, page: 1, ..asked.clone() };
                a href=(address(&other)) aria-current=[(asked.shown == shown).then_some("true")] {
                    (name(shown)) @if let Some(counts) = listed.counts { " " span.muted { (counts[place]) } }
                }
            }
        }
    }
}

fn name(shown: Shown) -> &'static str {
    match shown {
        Shown::All => "All",
        Shown::Only(Status::Active) => "Active",
        Shown::Only(Status::Failing) => "Failing",
        Shown::Only(Status::Inactive) => "Paused",
        Shown::Only(Status::Disabled) => "Switched off",
    }
}

fn none_yet(visit: &Visit) -> Markup {
    html! {
        div.card.empty {
            h2 { "No webhooks yet" }
            p { "A webhook tells one of your systems what happens in SalesOS: a lead is added, a deal is won, and your system hears of it within moments." }
            @if visit.may_write() {
                p { a.button.primary href={ (LIST) "/new" } { "Create your first webhook" } }
            } @else {
                p { "Your token may look at webhooks, not create any." }
            }
        }
    }
}

fn none_found(asked: &Asked) -> Markup {
    let clear = Asked { search: String::new(), shown: Shown::All, page: 1, ..asked.clone() };
    html! {
        div.empty {
            h2 { "None found" }
            p { @if asked.search.is_empty() { "No webhook is in this state." } @else { "No webhook matches “" (asked.search) "” here." } }
            p { a.button href=(address(&clear)) { "Show all" } }
        }
    }
}

fn too_many(all: usize) -> Markup {
    html! {
        p.hint { "With " (count(all as u64)) " webhooks this list shows the newest first. To look through all of them, choose a state or search." }
    }
}

fn table(listed: &Listed, scope: Scope, now: Millis) -> Markup {
    html! {
        div.scroll {
            table.cards.webhooks {
                caption.unseen {
                    @if listed.counts.is_none() { "Webhooks, the newest first" }
                    @else { "Webhooks, those that need looking at first, then the newest" }
                }
                thead {
                    tr {
                        th scope="col" { "Name" }
                        @if scope == Scope::Everybody { th scope="col" { "Owner" } }
                        th scope="col" { "Events" }
                        th scope="col" { "State" }
                        th scope="col" { "Success" }
                        th.number scope="col" { "Waiting" }
                        th scope="col" { "Last delivery" }
                    }
                }
                tbody { @for Row { webhook, figures } in &listed.rows { (row(webhook, *figures, scope, now)) } }
            }
        }
    }
}

fn row(webhook: &Webhook, figures: Figures, scope: Scope, now: Millis) -> Markup {
    html! {
        tr {
            td.what {
                div { a href=(of_webhook(&webhook.id, "")) { (webhook.settings.name) } code.muted.to { (webhook.settings.url) } }
            }
            @if scope == Scope::Everybody { td data-label="Owner" { (webhook.settings.owner.0) } }
            td data-label="Events" { (events(&webhook.settings.events)) }
            td data-label="State" { (badge(webhook, figures)) }
            td data-label="Success" { (success(figures)) }
            td.number data-label="Waiting" { (count(figures.pending)) }
            td.nowrap data-label="Last delivery" {
                @match figures.last_at { Some(at) => (ago(at, now)), None => span.muted { "none yet" } }
            }
        }
    }
}

fn events(patterns: &[Pattern]) -> Markup {
    let more = patterns.len().saturating_sub(NAMED);
    html! {
        span {
            @if patterns.contains(&Pattern::Everything) { "all events" }
            @else {
                @for (place, pattern) in patterns.iter().take(NAMED).enumerate() { @if place > 0 { ", " } code { (pattern) } }
                @if more > 0 { " and " (more) " more" }
            }
        }
    }
}

/// How many of its attempts succeeded, or how many in a row have failed since.
fn success(figures: Figures) -> Markup {
    let (made, failures) = (figures.succeeded + figures.failed, u64::from(figures.standing.failures));
    html! {
        @if failures > 0 {
            strong.failing.nowrap { @if failures == 1 { "last one failed" } @else { (count(failures)) " failures in a row" } }
        } @else if made == 0 {
            span.muted { "–" span.unseen { "no attempt yet" } }
        } @else {
            span { (rate(figures.succeeded, made)) " of " (many(made, "attempt", "attempts")) }
        }
    }
}

/// Rounded down, so that 100 % is told of those alone that never failed.
fn rate(succeeded: u64, made: u64) -> String {
    let tenths = u128::from(succeeded) * 1000 / u128::from(made.max(1));
    if tenths % 10 == 0 { format!("{} %", tenths / 10) } else { format!("{}.{} %", tenths / 10, tenths % 10) }
}

fn pages(asked: &Asked, found: usize) -> Markup {
    let first = asked.skipped();
    let last = first.saturating_add(PAGE).min(found);
    let to = |page| address(&Asked { page, ..asked.clone() });
    html! {
        @if found > PAGE {
            nav.pages aria-label="Pages of the list" {
                @if asked.page > 1 { a.button href=(to(asked.page - 1)) { "‹ Previous" } } @else { span {} }
                @if first < found { span.muted { (first + 1) "–" (last) " of " (found) } }
                @if last < found && first < found { a.button href=(to(asked.page + 1)) { "Next ›" } } @else { span {} }
            }
        }
    }
}

/// The address that asks for this.
fn address(asked: &Asked) -> String {
    let mut query = Serializer::new(String::new());
    if !asked.search.is_empty() {
        query.append_pair("q", &asked.search);
    }
    if asked.shown != Shown::All {
        query.append_pair("state", asked.shown.word());
    }
    if asked.scope == Scope::Everybody {
        query.append_pair("all", "true");
    }
    if asked.page > 1 {
        query.append_pair("page", &asked.page.to_string());
    }
    let query = query.finish();
    if query.is_empty() { LIST.to_owned() } else { format!("{LIST}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::webhooks::testing::{HOSTILE, is_harmless, webhook};

    #[test]
    fn a_row_tells_how_a_webhook_does() {
        let figures = Figures { succeeded: 999, failed: 1, pending: 1234, ..Figures::default() };
        let page = row(&webhook(), figures, Scope::Own, Millis(9)).into_string();
        for words in ["99.9 % of 1,000 attempts", "1,234", "all events", "none yet", "Active"] {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(!page.contains("Owner"), "{page}");
        assert_eq!(rate(9_999, 10_000), "99.9 %");
        assert_eq!((rate(10, 10), rate(0, 3)), ("100 %".into(), "0 %".into()));
    }

    #[test]
    fn nothing_of_a_webhook_runs() {
        let mut hostile = webhook();
        hostile.settings.name = HOSTILE.into();
        hostile.settings.url = HOSTILE.into();
        hostile.settings.owner = HOSTILE.parse().unwrap_or(hostile.settings.owner);
        hostile.settings.events = vec![Pattern::Exact(HOSTILE.into())];
        let rows = vec![Row { webhook: hostile, figures: Figures::default() }];
        let listed = Listed { rows, all: 1, counts: None, found: 1 };
        assert!(is_harmless(&table(&listed, Scope::Everybody, Millis(9)).into_string()));
        let asked = Asked { search: HOSTILE.into(), ..Asked::of("") };
        assert!(is_harmless(&search(&asked).into_string()) && is_harmless(&none_found(&asked).into_string()));
    }

    #[test]
    fn addresses_ask_for_what_they_are_made_of() {
        for query in ["", "q=a%26b&state=failing&all=true&page=3", "state=off"] {
            let asked = Asked::of(query);
            let address = address(&asked);
            assert_eq!(Asked::of(address.split_once('?').map_or("", |(_, query)| query)), asked, "{address}");
        }
    }

    #[test]
    fn pages_lead_on_while_there_are_more() {
        assert_eq!(pages(&Asked::of(""), PAGE).into_string(), "");
        let first = pages(&Asked::of(""), 60).into_string();
        assert!(first.contains("1–25 of 60") && first.contains("page=2") && !first.contains("Previous"));
        let last = pages(&Asked::of("page=3"), 60).into_string();
        assert!(last.contains("51–60 of 60") && !last.contains("Next"), "{last}");
        let beyond = pages(&Asked::of("page=9"), 60).into_string();
        assert!(beyond.contains("Previous") && !beyond.contains("Next"), "{beyond}");
    }
}
