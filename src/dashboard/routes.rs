//! Every page on one page.

use actix_web::HttpResponse;
use actix_web::http::header::LOCATION;

use super::deliveries::{event, log, one, recover};
use super::webhooks::{edit, list, new, preview, secret, stop};
use super::{assets, cluster, failure, overview, sign_in, summary, trial, verify};
use crate::api::pages::Pages;
use crate::api::request;
use crate::api::routes::table;
use crate::domain::WebhookId;
use crate::telemetry::events::Action;

/// Where the pages lie.
pub const PREFIX: &str = "/dashboard";
/// The cookie that holds the visitor's token.
pub const SESSION: &str = "salesos_webhooks_session";

/// The pages, for the server.
pub static PAGES: Pages =
    Pages { prefix: PREFIX, cookie: SESSION, table: &TABLE, mount, present: failure::page };

/// The longest form but for a test's, in bytes as it is sent: a webhook's settings, where each byte may take three.
const LONGEST_FORM: usize = 256 * 1024;
/// What a test's form may hold beside the data of its event, in bytes as it is sent.
const BESIDE_DATA: usize = 64 * 1024;
/// Bytes that a browser sends for one of a text, at most (`%2C`).
const SENT_FOR_ONE: usize = 3;

// A fixed name stands before a pattern that would match it too. What changes something is a POST, and takes a
// `visit::Change` as its argument, which is its guard.
table! {
    /// The pages' routes.
    pub(super) TABLE below "/dashboard", changes by action, mounted by mount;
    "" => { get: overview::show }
    "/" => { get: without_slash }
    "/sign-in" => { get: sign_in::ask, post: sign_in::enter }
    "/sign-out" => { post: sign_in::leave }
    "/assets/{name}" => { get: assets::file }
    "/webhooks" => { get: list::show }
    "/webhooks/new" => { get: new::ask, post: new::create }
    "/webhooks/preview" => { get: preview::of_query }
    "/webhooks/{id}" => { get: summary::show }
    "/webhooks/{id}/edit" => { get: edit::ask, post: edit::save }
    "/webhooks/{id}/pause" => { get: stop::ask_to_pause, post: stop::pause }
    "/webhooks/{id}/resume" => { post: stop::resume }
    "/webhooks/{id}/reset-failures" => { post: stop::reset_failures }
    "/webhooks/{id}/delete" => { get: stop::ask_to_delete, post: stop::delete }
    "/webhooks/{id}/secret" => { get: secret::ask, post: secret::regenerate }
    "/webhooks/{id}/deliveries" => { get: log::show }
    "/webhooks/{id}/deliveries/{attemptId}" => { get: one::show }
    "/webhooks/{id}/deliveries/{attemptId}/retry" => { post: one::retry }
    "/webhooks/{id}/recover" => { get: recover::show, post: recover::begin }
    "/webhooks/{id}/recover/cancel" => { post: recover::cancel }
    "/events/{id}" => { get: event::show }
    "/cluster" => { get: cluster::show }
    "/webhooks/{id}/test" via request::traced => { get: trial::show, post: trial::send }
    "/webhooks/{id}/verify" => { get: verify::show }
}

/// The address of a webhook's page, or with `rest` (empty, or a slash first) of one below it.
pub fn of_webhook(id: &WebhookId, rest: &str) -> String {
    format!("{PREFIX}/webhooks/{id}{rest}")
}

/// The longest form that a path takes, in bytes as it is sent, where an event has at most `max_event_bytes`.
pub fn longest_form(path: &str, max_event_bytes: usize) -> usize {
    if path.ends_with("/test") { SENT_FOR_ONE * max_event_bytes + BESIDE_DATA } else { LONGEST_FORM }
}

/// What a route changes, by its method in small letters and its path below `/dashboard`: the audit log's word for it.
pub fn action(method: &str, path: &str) -> Option<Action> {
    Some(match (method, path) {
        ("post", "/webhooks/new") => Action::CreateWebhook,
        ("post", "/webhooks/{id}/edit") => Action::UpdateWebhook,
        ("post", "/webhooks/{id}/pause") => Action::DeactivateWebhook,
        ("post", "/webhooks/{id}/resume") => Action::ActivateWebhook,
        ("post", "/webhooks/{id}/reset-failures") => Action::ResetFailures,
        ("post", "/webhooks/{id}/delete") => Action::DeleteWebhook,
        ("post", "/webhooks/{id}/secret") => Action::RegenerateSecret,
        ("post", "/webhooks/{id}/deliveries/{attemptId}/retry") => Action::RetryDelivery,
        ("post", "/webhooks/{id}/recover") => Action::BeginRecovery,
        ("post", "/webhooks/{id}/recover/cancel") => Action::CancelRecovery,
        ("post", "/webhooks/{id}/test") => Action::TestWebhook,
        _ => return None,
    })
}

/// Addresses are told to people, who add slashes.
async fn without_slash() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, PREFIX)).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `POST`s that change nothing of a webhook.
    const NO_CHANGES: [&str; 2] = ["/sign-in", "/sign-out"];

    #[test]
    fn every_post_is_a_change_or_is_known_to_be_none() {
        for (method, path) in TABLE.rows() {
            let is_none = method == "get" || NO_CHANGES.contains(&path);
            assert_eq!(action(method, path).is_none(), is_none, "{method} {path}");
        }
    }
}
