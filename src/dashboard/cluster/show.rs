//! Reads the cluster. With `part=1` the answer is what changes of the page alone, for the script that keeps it fresh.

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::join;
use maud::html;

use super::write::changing;
use crate::api::stats::of_cluster;
use crate::api::{App, Error, cluster};
use crate::dashboard::form::Form;
use crate::dashboard::page::{Page, Section, part};
use crate::dashboard::routes::PREFIX;
use crate::dashboard::visit::Visit;

const NOT_FOR_YOU: Error = Error::Forbidden("the cluster's page is for administrators");

/// `GET /dashboard/cluster`
///
/// # Errors
/// 403 for all but administrators, or the store's.
pub async fn show(app: web::Data<App>, visit: Visit, request: HttpRequest) -> Result<HttpResponse, Error> {
    if !visit.is_admin {
        return Err(NOT_FOR_YOU);
    }
    let live = app.live.borrow().clone();
    let cluster = cluster::read(&app.redis, &app.keys, app.layout.partitions, &live);
    let (cluster, minute) = join(cluster, of_cluster(&app, &visit)).await;
    let changing = changing(&cluster?, minute.as_ref(), visit.now);
    if Form::parse(request.query_string().as_bytes()).has("part") {
        return Ok(part(changing));
    }
    let body = html! {
        div.head {
            h1 { "Cluster" }
            a.button href={ (PREFIX) "/cluster" } { "Refresh" }
        }
        div data-refresh={ (PREFIX) "/cluster?part=1" } { (changing) }
    };
    let scripts = &["refresh.js"];
    Ok(Page { title: "Cluster", section: Section::Cluster, trail: &[], scripts, body }.answer(&visit))
}
