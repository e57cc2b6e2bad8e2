//! What was sent and what came back, as it can still be shown.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};

use super::result::{is_test, status_line};
use crate::dashboard::curl::{HIDDEN, curl};
use crate::dashboard::pretty::pretty;
use crate::dashboard::preview::in_words;
use crate::dashboard::when::{count, took};
use crate::domain::AttemptRow;
use crate::store::attempts::Payload;

/// Lines that stand open; a longer text folds.
const MOST_LINES: usize = 30;

/// One attempt, as much of it as is kept.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Its row.
    pub row: &'a AttemptRow,
    /// What was sent.
    pub payload: &'a Payload,
    /// The headers that were sent; `None` = no request was made.
    pub headers: Option<&'a BTreeMap<String, String>>,
    /// How long bodies are kept.
    pub retention: Duration,
    /// How much of an answer is kept, in bytes.
    pub captured: usize,
    /// How long the webhook lets an attempt take.
    pub timeout: Duration,
}

impl Exchange<'_> {
    fn body(&self) -> Option<&str> {
        match self.payload {
            Payload::Whole(bytes) => std::str::from_utf8(bytes).ok(),
            Payload::Gone | Payload::TooLong => None,
        }
    }
}

/// What was sent.
pub fn request(exchange: Exchange<'_>) -> Markup {
    html! {
        section.card aria-labelledby="request" {
            h2 #request { "What was sent" }
            @match exchange.headers {
                None => p { "Nothing: no request was made for this attempt." },
                Some(headers) => {
                    p.mono.line { strong { "POST" } " " span { (exchange.row.url) } }
                    (headers_table(headers))
                    (command(&exchange, headers))
                }
            }
            h3 { "Body" }
            (body(&exchange))
        }
    }
}

fn headers_table(headers: &BTreeMap<String, String>) -> Markup {
    html! {
        details {
            summary { "Headers (" (headers.len()) ")" }
            div.scroll tabindex="0" role="region" aria-label="Headers" {
                table.headers {
                    caption.unseen { "Headers of the request" }
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Value" } } }
                    tbody { @for (name, value) in headers { tr { th scope="row" { code { (name) } } td { code { (value) } } } } }
                }
            }
            p.hint {
                "The signatures were sent too, but are not shown: whoever has one could pass for this service. "
                @if headers.values().any(|value| value == HIDDEN) { "The values of your own headers stand as " code { (HIDDEN) } "." }
            }
        }
    }
}

fn command(exchange: &Exchange<'_>, headers: &BTreeMap<String, String>) -> Markup {
    html! {
        details {
            summary { "As a curl command" }
            p.hint {
                "Sends the same request from your own computer, without signatures."
                @if headers.values().any(|value| value == HIDDEN) { " Put your own values where " code { (HIDDEN) } " stands." }
            }
            pre #curl tabindex="0" { (curl(&exchange.row.url, headers, exchange.body())) }
            (copy("curl", "Copy the command"))
        }
    }
}

fn body(exchange: &Exchange<'_>) -> Markup {
    match exchange.body() {
        Some(text) => html! {
            (folded("sent", &pretty(text)))
            (copy("sent", "Copy the body"))
        },
        None if is_test(exchange.row) => html! { p.muted { "The body of a test is not kept." } },
        None => html! {
            p.muted {
                "The body is no longer kept. Bodies are kept for " (in_words(exchange.retention))
                ", that of a delivery that failed for good for 7 days. Without its body an event cannot be sent again."
            }
        },
    }
}

/// A button that copies an element's text; its room is there before the script that shows it.
pub fn copy(id: &str, label: &str) -> Markup {
    html! { p.copy { button.small type="button" data-copy=(id) hidden { (label) } } }
}

/// A text in full; a long one behind a line that says how long it is.
fn folded(id: &str, text: &str) -> Markup {
    let lines = text.lines().count();
    let pre = html! { pre id=(id) tabindex="0" { (text) } };
    html! {
        @if lines > MOST_LINES { details { summary { "Show all " (count(lines as u64)) " lines" } (pre) } }
        @else { (pre) }
    }
}

/// What came back.
pub fn response(exchange: Exchange<'_>) -> Markup {
    let row = exchange.row;
    html! {
        section.card aria-labelledby="response" {
            h2 #response { "What came back" }
            @match row.status {
                Some(status) => p.mono.line { strong { (status_line(status)) } },
                None => p { "No answer: nothing came back that could be read." },
            }
            @if exchange.headers.is_some() { (duration(row.elapsed_ms, exchange.timeout)) }
            @match row.response_body.as_deref().filter(|body| !body.is_empty()) {
                Some(body) => {
                    h3 { "Body" }
                    (folded("received", &pretty(body)))
                    p.hint { (kept(&exchange)) }
                }
                None if row.status.is_some() => p.muted { "The answer had no body." },
                None => {}
            }
        }
    }
}

fn kept(exchange: &Exchange<'_>) -> String {
    let limit = count(exchange.captured as u64);
    if exchange.row.success() {
        "Of a success only the beginning is kept.".to_owned()
    } else {
        format!("The first {limit} bytes are kept.")
    }
}

/// How long it took, beside what it may take.
fn duration(elapsed_ms: u32, timeout: Duration) -> Markup {
    let most = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1);
    let words = format!("Took {} of the {} that it may take", took(elapsed_ms.into()), took(most.into()));
    // A sliver is left of the shortest, so that there is something to see.
    let share = (u64::from(elapsed_ms) * 100 / u64::from(most)).clamp(1, 100);
    html! {
        p.duration {
            svg.bar viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                rect.whole width="100" height="4" {}
                rect.part width=(share) height="4" {}
            }
            span.small { (words) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::deliveries::testing::{SCRIPT, failed, row};
    use crate::domain::ErrorKind;

    fn exchange<'a>(
        row: &'a AttemptRow,
        payload: &'a Payload,
        headers: Option<&'a BTreeMap<String, String>>,
    ) -> Exchange<'a> {
        let (retention, timeout) = (Duration::from_secs(3 * 86_400), Duration::from_secs(30));
        Exchange { row, payload, headers, retention, captured: 4096, timeout }
    }

    #[test]
    fn what_was_sent_is_laid_out_and_escaped() {
        let headers =
            BTreeMap::from([("X-Key".to_owned(), HIDDEN.to_owned()), (SCRIPT.to_owned(), SCRIPT.to_owned())]);
        let sent =
            Payload::Whole(r#"{"id":"evt_1","data":{"note":"</pre><script>alert(1)</script>"}}"#.into());
        let row = AttemptRow { url: SCRIPT.into(), ..row("lead.created") };
        let text = request(exchange(&row, &sent, Some(&headers))).into_string();
        assert!(!text.contains("<script") && text.contains("&lt;script&gt;alert(1)"), "{text}");
        assert!(text.contains("{\n  &quot;id&quot;: &quot;evt_1&quot;"), "{text}");
        assert!(text.contains("values of your own headers") && text.contains("Copy the command"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_explained() {
        let sent =
            request(exchange(&row("lead.created"), &Payload::Gone, Some(&BTreeMap::new()))).into_string();
        assert!(sent.contains("Bodies are kept for 3 d,"), "{sent}");
        let test = request(exchange(&row("test"), &Payload::Gone, Some(&BTreeMap::new()))).into_string();
        assert!(test.contains("body of a test is not kept"), "{test}");
        let expired = failed(ErrorKind::Expired);
        let none = request(exchange(&expired, &Payload::Gone, None)).into_string();
        assert!(none.contains("no request was made") && !none.contains("curl"), "{none}");
        assert!(response(exchange(&expired, &Payload::Gone, None)).into_string().contains("No answer"));
    }

    #[test]
    fn what_came_back_is_text_whatever_it_is() {
        let body = format!("{SCRIPT}{}", "\nline".repeat(MOST_LINES));
        let row =
            AttemptRow { status: Some(500), response_body: Some(body), ..failed(ErrorKind::HttpStatus) };
        let text = response(exchange(&row, &Payload::Gone, Some(&BTreeMap::new()))).into_string();
        assert!(text.contains("500 Internal Server Error") && text.contains("Show all 31 lines"), "{text}");
        assert!(!text.contains("<script") && text.contains("The first 4,096 bytes"), "{text}");
        assert!(
            text.contains("Took 12 ms of the 30 s that it may take") && text.contains(r#"width="1""#),
            "{text}"
        );
    }
}
