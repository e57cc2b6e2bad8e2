//! Where a request comes from: the connection's other end, or what the proxies in front of the API say of it.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;

use super::App;
use crate::policy::forwarded;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address, as far as `server.trusted_proxies` can be believed; `None` = the connection has none.
pub fn client_address(request: &HttpRequest, app: &App) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let trusted = &app.config.server.trusted_proxies;
    if trusted.is_empty() {
        return Some(peer.to_canonical());
    }
    // A line that is no text is no address either, and ends the walk.
    let lines: Vec<&str> =
        request.headers().get_all(X_FORWARDED_FOR).map(|line| line.to_str().unwrap_or_default()).collect();
    Some(forwarded::client(peer, lines.into_iter(), trusted))
}
