//! The first page: how deliveries go, and what needs looking at.

use actix_web::HttpResponse;
use maud::html;

use super::page::{Page, Section};
use super::visit::Visit;

/// `GET /dashboard`
pub async fn show(visit: Visit) -> HttpResponse {
    let body = html! {
        h1 { "Overview" }
    };
    Page { title: "Overview", section: Section::Overview, trail: &[], scripts: &[], body }.answer(&visit)
}
