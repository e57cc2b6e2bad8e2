//! Every route on one page.
//!
//! All of them answer below `/api`, and once more below `<server.base_path>/api`: the published reference joins a base
//! URL that ends in `/api` with paths that begin with it.

use std::sync::LazyLock;

use actix_web::HttpRequest;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig, resource};

use super::error::Error;
use super::webhooks::{handlers as webhooks, secrets};
use super::{audit, deliveries, docs, events, filter_test, openapi, publish, recover, request, stats, trial};
use crate::telemetry::events::Action;
use crate::telemetry::metrics::Route;

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
        pub(super) const TABLE: &[(&str, &str)] = &[$($((stringify!($method), $path)),+),*];

        fn api(routes: &mut ServiceConfig) {
            $(routes.service(
                resource($path).app_data(Taken($path))$(.wrap(from_fn($layer)))?$(.$method($handler))+
            );)*
        }
    };
}

/// The path below `/api` of the resource that takes a request, among that resource's data: asking the framework for it
/// makes a text of it for each request.
struct Taken(&'static str);

// A fixed name stands before a pattern that would match it too. Each path is one resource, so that a wrong method is
// answered with 405 and the right ones. They are tried one after another, patterns by a regular expression, so
// the busiest come first.
table! {
    "/events" via request::traced => { post: publish::one }
    "/events/batch" via request::traced => { post: publish::batch }
    "/events/{id}" => { get: events::show }
    "/webhooks" => { get: webhooks::list, post: webhooks::create }
    "/webhooks/events" => { get: webhooks::catalogue }
    "/webhooks/stats" => { get: stats::show }
    "/webhooks/{id}" => { get: webhooks::show, patch: webhooks::update, delete: webhooks::delete }
    "/webhooks/{id}/regenerate-secret" => { post: secrets::regenerate }
    "/webhooks/{id}/test" via request::traced => { post: trial::run }
    "/webhooks/{id}/stats" => { get: stats::of_webhook }
    "/webhooks/{id}/filter-test" => { post: filter_test::run }
    "/webhooks/{id}/deliveries" => { get: deliveries::list }
    "/webhooks/{id}/deliveries/{attemptId}" => { get: deliveries::show }
    "/webhooks/{id}/deliveries/{attemptId}/retry" => { post: deliveries::retry }
    "/webhooks/{id}/recover" => { post: recover::begin, get: recover::show, delete: recover::cancel }
    "/webhooks/{id}/activate" => { post: webhooks::switch_on }
    "/webhooks/{id}/deactivate" => { post: webhooks::switch_off }
    "/webhooks/{id}/reset-failures" => { post: webhooks::reset_failures }
    "/openapi.json" => { get: openapi::show }
    "/docs" => { get: docs::page }
    "/docs/" => { get: docs::without_slash }
    "/docs/{asset}" => { get: docs::asset }
}

/// In the order of [`TABLE`].
static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    // Texts are made once for the whole process, as the labels of metrics want it.
    let route = |(method, path): &(&str, &str)| {
        Route::new(method.to_uppercase().leak(), format!("/api{path}").leak())
    };
    TABLE.iter().map(route).collect()
});

/// Makes the series of all routes, at 0.
pub fn expect() {
    LazyLock::force(&ROUTES);
    Route::unmatched();
}

/// Every route: its method, in small letters, and its path below `/api`.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.iter().copied()
}

/// What the route that took a request changes.
pub fn action_of(request: &HttpRequest) -> Option<Action> {
    let Taken(path) = request.app_data::<Taken>()?;
    let method = request.method().as_str();
    let is_it = |(known, of): &&(&str, &str)| of == path && known.eq_ignore_ascii_case(method);
    TABLE.iter().find(is_it).and_then(|(method, path)| audit::action(method, path))
}

/// The route that took a request, whichever prefix it was asked at.
pub fn of(request: &HttpRequest) -> &'static Route {
    let method = request.method().as_str();
    let path = request.app_data::<Taken>().map(|Taken(path)| *path);
    let is_it = |(known, of): &(&str, &str)| path == Some(*of) && known.eq_ignore_ascii_case(method);
    TABLE.iter().position(is_it).map_or_else(Route::unmatched, |place| &ROUTES[place])
}

async fn not_found() -> Result<&'static str, Error> {
    Err(Error::NotFound("route"))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use crate::api::testing::{Client, config};

    #[actix_web::test]
    async fn a_route_is_told_by_its_pattern_whichever_prefix_it_was_asked_at() {
        let mut config = config();
        config.server.base_path = "/hooks".into();
        let client = Client::alone(config).await;
        for (path, route) in [
            ("/api/webhooks/1", "/api/webhooks/{id}"),
            ("/hooks/api/webhooks/1", "/api/webhooks/{id}"),
            ("/hooks/api/webhooks/stats", "/api/webhooks/stats"),
            ("/api/events", "unmatched"),
            ("/api/nothing", "unmatched"),
        ] {
            assert_eq!(client.send(TestRequest::get().uri(path)).await.route, route, "{path}");
        }
    }
}
