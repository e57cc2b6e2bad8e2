//! What all pages look like, and the rules that their browsers keep.
//!
//! Nothing is loaded from elsewhere, nothing runs or dresses inline, no other site may show a page in a frame. The referrer
//! stays within the site, not `no-referrer`: with that browsers would not say where a form comes from.
//! Sources: Content Security Policy Level 3; Fetch, "append a request Origin header".

use actix_web::http::StatusCode;
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    X_FRAME_OPTIONS,
};
use actix_web::{HttpResponse, HttpResponseBuilder};
use maud::{DOCTYPE, Markup, html};

use super::notice::{self, Notice};
use super::routes::PREFIX;
use super::visit::{MARK, Visit};
use crate::domain::Tenant;

/// What a page may load and do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const PRODUCT: &str = "SalesOS Webhooks";

/// The part of the dashboard that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The first page.
    Overview,
    /// Webhooks and their deliveries.
    Webhooks,
    /// The nodes.
    Cluster,
    /// Pages outside of all.
    None,
}

/// One page.
#[derive(Debug)]
pub struct Page<'a> {
    /// What it is about; in the tab.
    pub title: &'a str,
    /// Where it belongs.
    pub section: Section,
    /// The way to it: pages above it with their addresses, topmost first.
    pub trail: &'a [(&'a str, &'a str)],
    /// The scripts that it is handier with, by their names among the assets.
    pub scripts: &'a [&'a str],
    /// What stands on it; begins with its `h1`.
    pub body: Markup,
}

impl Page<'_> {
    /// The answer to a visitor.
    pub fn answer(self, visit: &Visit) -> HttpResponse {
        self.answer_with(StatusCode::OK, visit)
    }

    /// The same with another status: 400 for a form whose faults are on it.
    pub fn answer_with(self, status: StatusCode, visit: &Visit) -> HttpResponse {
        let content = html! {
            @if !self.trail.is_empty() {
                nav.trail aria-label="Where this page is" {
                    @for (name, address) in self.trail { a href=(address) { (name) } " " span aria-hidden="true" { "›" } " " }
                    span aria-current="page" { (self.title) }
                }
            }
            @if let Some(notice) = visit.notice { (told(notice)) }
            (self.body)
        };
        let sheet = sheet(self.title, self.section, self.scripts, Some(visit), &content);
        html_response(status, sheet)
    }
}

/// A page for somebody who is not signed in, or of whom nothing is known, and the scripts that it is handier with.
pub fn bare(status: StatusCode, title: &str, scripts: &[&str], body: &Markup) -> HttpResponse {
    html_response(status, sheet(title, Section::None, scripts, None, body))
}

/// A part of a page, for a script that puts it in place.
pub fn part(body: Markup) -> HttpResponse {
    html_response(StatusCode::OK, body)
}

/// What a visitor is told of the change just made.
pub fn told(notice: Notice) -> Markup {
    html! { p.notice role="status" { (notice.text()) } }
}

/// To another page, after a change: loading that again repeats nothing.
pub fn to(address: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, address)).finish()
}

/// As [`to`], with what was done told there.
pub fn to_with(address: &str, notice: Notice) -> HttpResponse {
    let joint = if address.contains('?') { '&' } else { '?' };
    to(&format!("{address}{joint}{}={}", notice::PARAMETER, notice.as_str()))
}

/// What every form that changes something holds.
pub fn mark(visit: &Visit) -> Markup {
    html! { input type="hidden" name=(MARK) value=(visit.mark); }
}

fn html_response(status: StatusCode, body: Markup) -> HttpResponse {
    let mut response = HttpResponseBuilder::new(status);
    let rules: [(HeaderName, &'static str); 4] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        // For browsers that do not know `frame-ancestors`.
        (X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in rules {
        response.insert_header((name, HeaderValue::from_static(value)));
    }
    response.body(body.into_string())
}

fn sheet(title: &str, section: Section, scripts: &[&str], visit: Option<&Visit>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (PRODUCT) }
                link rel="icon" type="image/svg+xml" href={ (PREFIX) "/assets/icon.svg" };
                link rel="stylesheet" href={ (PREFIX) "/assets/style.css" };
                @for script in scripts { script src={ (PREFIX) "/assets/" (script) } defer {} }
            }
            body {
                a.skip href="#content" { "To the content" }
                (header(section, visit))
                main #content tabindex="-1" { (content) }
                footer { (PRODUCT) " " (env!("CARGO_PKG_VERSION")) " · times are UTC · " a href="/api/docs" { "API" } }
            }
        }
    }
}

fn header(section: Section, visit: Option<&Visit>) -> Markup {
    let entry = |to: Section, name: &str, path: &str| {
        html! { a href={ (PREFIX) (path) } aria-current=[(to == section).then_some("page")] { (name) } }
    };
    html! {
        header.top {
            a.brand href=(PREFIX) { img src={ (PREFIX) "/assets/icon.svg" } width="24" height="24" alt=""; span { (PRODUCT) } }
            @if let Some(visit) = visit {
                nav aria-label="Dashboard" {
                    (entry(Section::Overview, "Overview", ""))
                    (entry(Section::Webhooks, "Webhooks", "/webhooks"))
                    @if visit.is_admin { (entry(Section::Cluster, "Cluster", "/cluster")) }
                }
                form.who method="post" action={ (PREFIX) "/sign-out" } {
                    (mark(visit))
                    span { span.name { (visit.user.0) } " " span.muted { (tenant(&visit.tenant)) } }
                    button.quiet type="submit" { "Sign out" }
                }
            }
        }
    }
}

fn tenant(tenant: &Tenant) -> String {
    match tenant.organization_id() {
        Some(organization) => format!("in {organization}"),
        None => "on their own".to_owned(),
    }
}
