//! Every route on one page.
//!
//! All of them answer below `/api`, and once more below `<server.base_path>/api`: the published reference joins a base
//! URL that ends in `/api` with paths that begin with it.

use actix_web::web::{self, ServiceConfig};

use super::error::Error;

/// Mounts the routes twice, the longer prefix first: `/api` is also a prefix of `/api/api`.
pub fn configure(routes: &mut ServiceConfig, base_path: &str) {
    if !base_path.is_empty() {
        routes.service(web::scope(&format!("{base_path}/api")).configure(api));
    }
    routes.service(web::scope("/api").configure(api));
    routes.default_service(web::to(not_found));
}

/// A fixed name stands before a pattern that would match it too.
fn api(_routes: &mut ServiceConfig) {}

async fn not_found() -> Result<&'static str, Error> {
    Err(Error::NotFound("route"))
}
