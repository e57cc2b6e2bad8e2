//! Every route on one page.
//!
//! All of them answer below `/api`, and once more below `<server.base_path>/api`: the published reference joins a base
//! URL that ends in `/api` with paths that begin with it.

use std::sync::OnceLock;

use actix_web::HttpRequest;
use actix_web::web::{self, ServiceConfig};

use super::error::Error;
use super::pages::Pages;
use super::webhooks::{handlers as webhooks, secrets};
use super::{audit, deliveries, docs, events, filter_test, openapi, publish, recover, request, stats, trial};
use crate::telemetry::events::Action;
use crate::telemetry::metrics::Route;

/// Mounts the routes twice, the longer prefix first: `/api` is also a prefix of `/api/api`. Pages come last: the API is
/// the busier.
pub fn configure(routes: &mut ServiceConfig, base_path: &str, pages: Option<&'static Pages>) {
    if !base_path.is_empty() {
        routes.service(web::scope(&format!("{base_path}/api")).configure(api));
    }
    routes.service(web::scope("/api").configure(api));
    if let Some(pages) = pages {
        routes.service(web::scope(pages.prefix).configure(pages.mount));
    }
    routes.default_service(web::to(not_found));
}

/// The routes below one prefix.
#[derive(Debug)]
pub struct Table {
    prefix: &'static str,
    rows: &'static [(&'static str, &'static str)],
    action: fn(&str, &str) -> Option<Action>,
    series: OnceLock<Vec<Route>>,
}

impl Table {
    /// `rows` are methods, in small letters, and paths below `prefix`; `action` tells what each changes.
    pub const fn new(
        prefix: &'static str,
        rows: &'static [(&'static str, &'static str)],
        action: fn(&str, &str) -> Option<Action>,
    ) -> Self {
        Self { prefix, rows, action, series: OnceLock::new() }
    }

    /// Every route: its method, in small letters, and its path below the prefix.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.rows.iter().copied()
    }

    /// In the order of the rows. Texts are made once for the whole process, as the labels of metrics want it.
    fn series(&self) -> &[Route] {
        let route = |(method, path): &(&str, &str)| {
            Route::new(method.to_uppercase().leak(), format!("{}{path}", self.prefix).leak())
        };
        self.series.get_or_init(|| self.rows.iter().map(route).collect())
    }
}

/// Mounts a table of routes, each behind its layer if it has one, and lists it for the metrics and the audit log.
macro_rules! table {
    (
        $(#[$doc:meta])* $vis:vis $name:ident below $prefix:literal, changes by $action:path, mounted by $mount:ident;
        $($path:literal $(via $layer:path)? => { $($method:ident: $handler:path),+ $(,)? })*
    ) => {
        $(#[$doc])*
        $vis static $name: $crate::api::routes::Table =
            $crate::api::routes::Table::new($prefix, &[$($((stringify!($method), $path)),+),*], $action);

        fn $mount(routes: &mut actix_web::web::ServiceConfig) {
            $(routes.service(
                actix_web::web::resource($path)
                    .app_data($crate::api::routes::Taken { path: $path, table: &$name })
                    $(.wrap(actix_web::middleware::from_fn($layer)))?
                    $(.route(actix_web::web::$method().to($handler)))+
            );)*
        }
    };
}
pub(crate) use table;

/// The table and the path of the resource that takes a request, among that resource's data: asking the framework for it
/// makes a text of it for each request.
pub(crate) struct Taken {
    /// Below the table's prefix.
    pub path: &'static str,
    /// Where it stands.
    pub table: &'static Table,
}

impl Taken {
    /// The row of a method.
    fn row(&self, method: &str) -> Option<usize> {
        let is_it = |(known, of): &(&str, &str)| *of == self.path && known.eq_ignore_ascii_case(method);
        self.table.rows.iter().position(is_it)
    }
}

// A fixed name stands before a pattern that would match it too. Each path is one resource, so that a wrong method is
// answered with 405 and the right ones. They are tried one after another, patterns by a regular expression, so
// the busiest come first.
table! {
    /// The API's routes.
    pub(super) TABLE below "/api", changes by audit::action, mounted by api;
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

/// Makes the series of all routes, at 0.
pub fn expect(pages: Option<&'static Pages>) {
    TABLE.series();
    pages.map(|pages| pages.table.series());
    Route::unmatched();
}

/// Every route of the API: its method, in small letters, and its path below `/api`.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.rows()
}

/// What the route that took a request changes.
pub fn action_of(request: &HttpRequest) -> Option<Action> {
    let taken = request.app_data::<Taken>()?;
    let (method, path) = taken.table.rows[taken.row(request.method().as_str())?];
    (taken.table.action)(method, path)
}

/// The route that took a request, whichever prefix it was asked at.
pub fn of(request: &HttpRequest) -> &'static Route {
    let found = request.app_data::<Taken>().and_then(|taken| {
        let row = taken.row(request.method().as_str())?;
        taken.table.series().get(row)
    });
    found.unwrap_or_else(|| Route::unmatched())
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
