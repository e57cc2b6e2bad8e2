//! What a test came to, in plain words. Pure.

use maud::{Markup, html};

use crate::api::trial::Report;
use crate::dashboard::deliveries::result::status_line;
use crate::dashboard::explain::explain;
use crate::dashboard::pretty::pretty;
use crate::dashboard::routes::of_webhook;
use crate::dashboard::when::count;
use crate::domain::WebhookId;

/// How advice about deliveries begins that are tried again by themselves, as a test is not.
const BY_ITSELF: &str = "You need not do anything";
/// What advice says of deliveries, and what of a test.
const AGAIN: (&str, &str) = ("retry this delivery", "send the test again");

/// The card. Of an answer so many bytes are kept at most as `kept`.
pub(super) fn card(webhook: &WebhookId, report: &Report, kept: usize) -> Markup {
    let log = format!("/deliveries?eventId={}", report.event_id);
    html! {
        section.card.trial-result aria-labelledby="result" {
            div.head {
                h2 #result { @if report.success { "The endpoint took the test" } @else { "The test failed" } }
                @if report.success { span.badge.ok { "Delivered" } } @else { span.badge.fail { "Failed" } }
            }
            @if !report.success { (failure(report)) }
            dl.facts {
                dt { "Event" } dd { code { (report.event) } " " span.muted { code { (report.event_id) } } }
                dt { "Answer" } dd { @match report.status_code { Some(code) => strong { (status_line(code)) }, None => span.muted { "None came" } } }
                dt { "Time taken" } dd { (count(report.response_time_ms.into())) " ms" }
            }
            @if let Some(body) = &report.response_body { (answer(body, kept)) }
            p.row { a.button href=(of_webhook(webhook, &log)) { "See it in the log" } }
        }
    }
}

fn answer(body: &str, kept: usize) -> Markup {
    html! {
        h3 { "What the endpoint wrote" }
        @if body.is_empty() { p.muted { "Nothing: its answer has no body. That is fine." } }
        @else {
            pre tabindex="0" role="region" aria-label="What the endpoint wrote" { (pretty(body)) }
            @if body.len() >= kept { p.hint { "Only the beginning is kept." } }
        }
    }
}

/// What went wrong and what to do.
fn failure(report: &Report) -> Markup {
    let message = report.error.as_deref().unwrap_or_default();
    let Some(kind) = report.error_kind else { return html! { p.problem { (message) } } };
    let explained = explain(kind, message, report.status_code);
    html! {
        p.problem { (explained.what) }
        h3 { "What to do" }
        ul { @for line in &explained.advice { li { (of_a_test(line)) } } }
    }
}

/// Advice on a delivery as advice on a test.
fn of_a_test(line: &str) -> String {
    if line.starts_with(BY_ITSELF) {
        return "Send the test again in a moment.".to_owned();
    }
    line.replace(AGAIN.0, AGAIN.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ErrorKind;

    const KEPT: usize = 64;

    fn report(status: Option<u16>, body: Option<&str>, failed: Option<(ErrorKind, &str)>) -> Report {
        Report {
            success: failed.is_none(),
            message: String::new(),
            event: "lead.created".into(),
            event_id: "evt_1".parse().unwrap(),
            status_code: status,
            response_time_ms: 1234,
            response_body: body.map(str::to_owned),
            error: failed.map(|(_, message)| message.to_owned()),
            error_kind: failed.map(|(kind, _)| kind),
        }
    }

    fn shown(report: &Report) -> String {
        card(&"wh_00aaaaaaaaaaaaaaaaaaaaaa".parse().unwrap(), report, KEPT).into_string()
    }

    #[test]
    fn a_success_tells_status_time_and_answer_and_leads_to_the_log() {
        let page = shown(&report(Some(204), Some(""), None));
        for words in [
            ">The endpoint took the test<",
            "badge ok\">Delivered<",
            "<strong>204 No Content</strong>",
            "1,234 ms",
            "its answer has no body",
            "href=\"/dashboard/webhooks/wh_00aaaaaaaaaaaaaaaaaaaaaa/deliveries?eventId=evt_1\"",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(!page.contains("problem") && !page.contains("<pre"), "{page}");
    }

    #[test]
    fn an_answer_is_laid_out_if_it_is_json_and_never_leaves_its_place() {
        let json = shown(&report(Some(200), Some(r#"{"ok":true}"#), None));
        assert!(json.contains("{\n  &quot;ok&quot;: true\n}</pre>"), "{json}");
        assert!(!json.contains("Only the beginning"));
        let html = format!("</pre><script>alert(1)</script>{}", "x".repeat(KEPT));
        let page = shown(&report(Some(200), Some(&html), None));
        assert!(page.contains("&lt;/pre&gt;&lt;script&gt;") && !page.contains("<script"), "{page}");
        assert!(page.contains("Only the beginning is kept."), "{page}");
    }

    #[test]
    fn a_failure_says_what_happened_and_what_to_do() {
        let (kind, message) = (ErrorKind::HttpStatus, "the endpoint answered 500");
        let page = shown(&report(Some(500), Some("boom"), Some((kind, message))));
        for words in [
            ">The test failed<",
            "badge fail\">Failed<",
            "problem\">The endpoint answered 500.<",
            "When it is repaired, send the test again.",
            "<strong>500 Internal Server Error</strong>",
            ">boom</pre>",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        let refused = (ErrorKind::Connect, "the connection was refused");
        let page = shown(&report(None, None, Some(refused)));
        assert!(page.contains("None came") && !page.contains("What the endpoint wrote"), "{page}");
    }

    #[test]
    fn no_advice_speaks_of_a_delivery_that_is_tried_again() {
        let messages =
            ["", "the connection was refused", "the certificate has expired", "the proxy of the service"];
        for kind in ErrorKind::ALL {
            for message in messages {
                for status in [None, Some(404), Some(500), Some(503)] {
                    let page = shown(&report(status, None, Some((kind, message))));
                    assert!(!page.contains("retry this delivery"), "{kind:?} {message}: {page}");
                    assert!(!page.contains("by itself while retries"), "{kind:?} {message}: {page}");
                }
            }
        }
    }
}
