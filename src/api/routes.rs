//! Every route on one page.
//!
//! All of them answer below `/api`, and once more below `<server.base_path>/api`: the published reference joins a base
//! URL that ends in `/api` with paths that begin with it.

use actix_web::web::{self, ServiceConfig, resource};

use super::error::Error;
use super::webhooks::handlers as webhooks;
use super::{deliveries, events, publish, stats, trial};

/// Mounts the routes twice, the longer prefix first: `/api` is also a prefix of `/api/api`.
pub fn configure(routes: &mut ServiceConfig, base_path: &str) {
    if !base_path.is_empty() {
        routes.service(web::scope(&format!("{base_path}/api")).configure(api));
    }
    routes.service(web::scope("/api").configure(api));
    routes.default_service(web::to(not_found));
}

/// A fixed name stands before a pattern that would match it too. Each path is one resource, so that a wrong method is
/// answered with 405 and the right ones.
fn api(routes: &mut ServiceConfig) {
    routes
        .service(resource("/webhooks").get(webhooks::list).post(webhooks::create))
        .service(resource("/webhooks/events").get(webhooks::catalogue))
        .service(resource("/webhooks/stats").get(stats::show))
        .service(
            resource("/webhooks/{id}").get(webhooks::show).patch(webhooks::update).delete(webhooks::delete),
        )
        .service(resource("/webhooks/{id}/regenerate-secret").post(webhooks::regenerate_secret))
        .service(resource("/webhooks/{id}/test").post(trial::run))
        .service(resource("/webhooks/{id}/stats").get(stats::of_webhook))
        .service(resource("/webhooks/{id}/deliveries").get(deliveries::list))
        .service(resource("/webhooks/{id}/deliveries/{attemptId}").get(deliveries::show))
        .service(resource("/webhooks/{id}/deliveries/{attemptId}/retry").post(deliveries::retry))
        .service(resource("/webhooks/{id}/activate").post(webhooks::switch_on))
        .service(resource("/webhooks/{id}/deactivate").post(webhooks::switch_off))
        .service(resource("/webhooks/{id}/reset-failures").post(webhooks::reset_failures))
        .service(resource("/events").post(publish::one))
        .service(resource("/events/batch").post(publish::batch))
        .service(resource("/events/{id}").get(events::show));
}

async fn not_found() -> Result<&'static str, Error> {
    Err(Error::NotFound("route"))
}
