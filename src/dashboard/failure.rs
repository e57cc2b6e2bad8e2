//! What a visitor sees of a request that failed: what happened, what to do now, and the id under which the log has it.

use actix_web::http::header::RETRY_AFTER;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use maud::{Markup, html};

use super::page::{Section, bare};
use super::routes::{PAGES, PREFIX};
use super::sign_in;
use crate::api::Error;
use crate::api::error::About;

/// The answer. Who is not signed in is asked to, and comes back to where they wanted to go.
pub fn page(request: &HttpRequest, error: &Error, about: &About<'_>) -> HttpResponse {
    let is_look = matches!(*request.method(), Method::GET | Method::HEAD);
    if matches!(error, Error::Unauthenticated(_)) && is_look {
        return sign_in::instead_of(request, PAGES.token(request.headers()).is_some());
    }
    let (title, advice) = words(error);
    let body = html! {
        h1 { (title) }
        (messages(error))
        p { (advice) }
        p { a.button href=(PREFIX) { "To the overview" } }
        p.muted { "Request " code { (about.request_id) } ", " (about.now) }
    };
    let mut response = bare(error.status_code(), title, Section::None, &body);
    if let Some(wait) = error.retry_after() {
        let seconds = wait.as_secs().max(1);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn messages(error: &Error) -> Markup {
    let told = error.messages();
    html! {
        @if told.len() == 1 { p.problem { (told[0]) } }
        @else { ul.problem { @for text in &told { li { (text) } } } }
    }
}

/// A heading, and what to do now.
fn words(error: &Error) -> (&'static str, &'static str) {
    match error.status_code() {
        StatusCode::UNAUTHORIZED => {
            ("You are not signed in", "Nothing was changed. Sign in, then do it again.")
        }
        StatusCode::FORBIDDEN => (
            "That is not allowed",
            "Nothing was changed. If you sent a form, open its page again and send it once more; else your token does not allow this: ask whoever gave it to you.",
        ),
        StatusCode::NOT_FOUND => {
            ("There is no such page", "It may have been deleted, or belong to somebody else.")
        }
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => {
            ("Something else came first", "Go back and look at how it stands now.")
        }
        StatusCode::TOO_MANY_REQUESTS => ("Too many requests", "Wait a moment, then load the page again."),
        StatusCode::SERVICE_UNAVAILABLE => {
            ("The service cannot answer now", "Wait a moment, then try again. What is queued is not lost.")
        }
        status if status.is_client_error() => {
            ("That could not be read", "Go back and look at what was sent.")
        }
        _ => (
            "Something went wrong here",
            "It is not your fault. If it stays, tell whoever runs the service the id below.",
        ),
    }
}
