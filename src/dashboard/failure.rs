//! What a visitor sees of a request that failed: what happened, what to do now, and the id under which the log has it.

use actix_web::http::header::RETRY_AFTER;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use maud::{Markup, html};

use super::page::bare;
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
    let is_out = matches!(error, Error::Unauthenticated(_));
    let body = html! {
        h1 { (title) }
        (messages(error))
        p { (advice) }
        @if is_out {
            p { a.button.primary href=(sign_in::address(&shown_at(request.path()), false)) { "Sign in" } }
        } @else {
            p { a.button href=(PREFIX) { "To the overview" } }
        }
        p.muted { "Request " code { (about.request_id) } ", " (about.now) }
    };
    let mut response = bare(error.status_code(), title, &[], &body);
    if let Some(wait) = error.retry_after() {
        let seconds = wait.as_secs().max(1);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// The page that holds the form which is sent to `path`: at the same address, else the webhook's.
fn shown_at(path: &str) -> String {
    let below = path.strip_prefix(PREFIX).unwrap_or_default();
    let parts: Vec<&str> = below.split('/').skip(1).collect();
    match parts[..] {
        ["webhooks", id, "deliveries", attempt, "retry"] => {
            format!("{PREFIX}/webhooks/{id}/deliveries/{attempt}")
        }
        ["webhooks", id, "recover", "cancel"] => format!("{PREFIX}/webhooks/{id}/recover"),
        ["webhooks", id, "resume" | "reset-failures"] => format!("{PREFIX}/webhooks/{id}"),
        ["sign-out"] => PREFIX.to_owned(),
        _ => path.to_owned(),
    }
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
        StatusCode::UNAUTHORIZED => (
            "You are not signed in",
            "Nothing was changed. If your browser lets you go back, what you typed is still there: copy it first. Then sign in \
                 and fill in the form anew, as the former one belongs to the session that ended.",
        ),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::routes::TABLE;

    #[test]
    fn every_form_is_shown_at_a_page_that_can_be_opened() {
        for (_, path) in TABLE.rows().filter(|(method, _)| *method == "post") {
            let shown = shown_at(&format!("{PREFIX}{path}"));
            let opens =
                TABLE.rows().any(|(method, page)| method == "get" && shown == format!("{PREFIX}{page}"));
            assert!(opens, "{path}: {shown}");
        }
    }
}
