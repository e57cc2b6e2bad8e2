//! Tokens for the nodes of a benchmark.

use std::time::Duration;

use salesos_webhooks::clock;
use salesos_webhooks::config::Auth;
use salesos_webhooks::token::{self, Bearer};

/// What tokens for it are signed with.
pub const SECRET: &str = "only-the-benchmark-signs-with-this-secret";
/// How long they are good.
const TOKEN_LIFE: Duration = Duration::from_secs(4 * 3600);

/// A token that may manage webhooks and publish.
pub fn token(user: &str, organization: &str) -> String {
    let scope = Some("webhooks:read webhooks:write events:publish");
    let bearer = Bearer { user, organization: Some(organization), role: None, scope };
    let auth = Auth {
        jwt_secret: Some(SECRET.into()),
        jwt_public_key: None,
        jwks: None,
        jwks_refresh: Duration::from_secs(300),
        issuer: None,
        audience: None,
        read_only_roles: vec![],
        publisher_roles: vec![],
        admin_roles: vec![],
    };
    token::issue(&auth, &bearer, clock::now(), TOKEN_LIFE).expect("a token")
}
