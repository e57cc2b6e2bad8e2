//! Every route on one page.
//!
//! All of them answer below `/api`, and once more below `<server.base_path>/api`: the published reference joins a base
//! URL that ends in `/api` with paths that begin with it.

use std::sync::LazyLock;

use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig, resource};

use super::error::Error;
use super::webhooks::handlers as webhooks;
use super::{deliveries, events, publish, request, stats, trial};

/// Mounts the routes twice, the longer prefix first: `/api` is also a prefix of `/api/api`.
pub fn configure(routes: &mut ServiceConfig, base_path: &str) {
    if !base_path.is_empty() {
        routes.service(web::scope(&format!("{base_path}/api")).configure(api));
    }
    routes.service(web::scope("/api").configure(api));
    routes.default_service(web::to(not_found));
}

/// Mounts the table below, each route behind its layer if it has one, and lists it for the metrics.
macro_rules! table {
    ($($path:literal $(via $layer:path)? => { $($method:ident: $handler:path),+ $(,)? })*) => {
        /// Every route: its method, in small letters, and its path below `/api`.
        const TABLE: &[(&str, &str)] = &[$($((stringify!($method), $path)),+),*];

        fn api(routes: &mut ServiceConfig) {
            $(routes.service(resource($path)$(.wrap(from_fn($layer)))?$(.$method($handler))+);)*
        }
    };
}

// A fixed name stands before a pattern that would match it too. Each path is one resource, so that a wrong method is
// answered with 405 and the right ones.
table! {
    "/webhooks" => { get: webhooks::list, post: webhooks::create }
    "/webhooks/events" => { get: webhooks::catalogue }
    "/webhooks/stats" => { get: stats::show }
    "/webhooks/{id}" => { get: webhooks::show, patch: webhooks::update, delete: webhooks::delete }
    "/webhooks/{id}/regenerate-secret" => { post: webhooks::regenerate_secret }
    "/webhooks/{id}/test" via request::traced => { post: trial::run }
    "/webhooks/{id}/stats" => { get: stats::of_webhook }
    "/webhooks/{id}/deliveries" => { get: deliveries::list }
    "/webhooks/{id}/deliveries/{attemptId}" => { get: deliveries::show }
    "/webhooks/{id}/deliveries/{attemptId}/retry" => { post: deliveries::retry }
    "/webhooks/{id}/activate" => { post: webhooks::switch_on }
    "/webhooks/{id}/deactivate" => { post: webhooks::switch_off }
    "/webhooks/{id}/reset-failures" => { post: webhooks::reset_failures }
    "/events" via request::traced => { post: publish::one }
    "/events/batch" via request::traced => { post: publish::batch }
    "/events/{id}" => { get: events::show }
}

static ROUTES: LazyLock<Vec<(&'static str, &'static str)>> = LazyLock::new(|| {
    // Once for the whole process, as the labels of metrics want it.
    let label = |(method, path): &(&str, &str)| -> (&'static str, &'static str) {
        (method.to_uppercase().leak(), format!("/api{path}").leak())
    };
    TABLE.iter().map(label).collect()
});

/// Every route: its method, and its pattern below `/api` whichever prefix it was asked at.
pub fn all() -> &'static [(&'static str, &'static str)] {
    &ROUTES
}

/// The route of a request that matched `pattern`, if its method is one of the route's.
pub fn of(method: &str, pattern: &str, base_path: &str) -> Option<(&'static str, &'static str)> {
    let is = |path: &str| path == pattern || Some(path) == pattern.strip_prefix(base_path);
    ROUTES.iter().find(|(known, path)| *known == method && is(path)).copied()
}

async fn not_found() -> Result<&'static str, Error> {
    Err(Error::NotFound("route"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_told_by_its_pattern_whichever_prefix_it_was_asked_at() {
        for pattern in ["/api/webhooks/{id}", "/hooks/api/webhooks/{id}"] {
            assert_eq!(of("GET", pattern, "/hooks"), Some(("GET", "/api/webhooks/{id}")), "{pattern}");
        }
        assert_eq!(of("GET", "/api/api/events/{id}", "/api"), Some(("GET", "/api/events/{id}")));
        assert_eq!(of("PUT", "/api/webhooks/{id}", "/api"), None, "no such method");
        assert_eq!(of("GET", "/api/nothing", ""), None);
    }
}
