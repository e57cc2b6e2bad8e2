//! Makes the tokens that the API takes: HS256, for the `token` command and for development.
//!
//! Sources: RFC 7519 (claims), RFC 7515 (compact form). What a claim means here is written in `api::auth`.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::config::Auth;
use crate::domain::Millis;

/// The scopes that mean something to the API; what each allows is decided in `api::auth`.
pub const SCOPES: [&str; 4] = ["webhooks:read", "webhooks:write", "events:publish", "events:publish:any"];

/// Whom a token speaks for, and what it may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bearer<'a> {
    /// `sub`: the user.
    pub user: &'a str,
    /// `organizationId`; `None` = the user's private tenant.
    pub organization: Option<&'a str>,
    /// `role`
    pub role: Option<&'a str>,
    /// `scope`, space-separated.
    pub scope: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claims<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    iat: u64,
    exp: u64,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Public keys verify tokens and make none.
    #[error(
        "auth.jwt_secret (WEBHOOKS_AUTH__JWT_SECRET) is not set, and tokens are signed with it: where only public keys are \
         configured, tokens come from the identity provider"
    )]
    NoSecret,
    /// The signature cannot be made, which no sound secret leads to.
    #[error("the token cannot be signed")]
    Unsigned(#[from] jsonwebtoken::errors::Error),
}

/// A token for `bearer`, good from `now` for `ttl`, signed with `auth.jwt_secret` and with the issuer and audience that
/// `auth` asks for.
///
/// # Errors
/// See [`Error`].
pub fn issue(auth: &Auth, bearer: &Bearer<'_>, now: Millis, ttl: Duration) -> Result<String, Error> {
    let secret = auth.jwt_secret.as_ref().ok_or(Error::NoSecret)?;
    let claims = Claims {
        sub: bearer.user,
        organization_id: bearer.organization,
        role: bearer.role,
        scope: bearer.scope,
        iss: auth.issuer.as_deref(),
        aud: auth.audience.as_deref(),
        iat: now.as_secs(),
        exp: (now + ttl).as_secs(),
    };
    let key = EncodingKey::from_secret(secret.as_bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::{Value, json};

    fn auth() -> Auth {
        Auth {
            jwt_secret: Some("0123456789abcdef0123456789abcdef".into()),
            jwt_public_key: None,
            jwks: None,
            jwks_refresh: Duration::from_secs(300),
            issuer: Some("https://login.example".into()),
            audience: None,
            read_only_roles: vec![],
            publisher_roles: vec![],
            admin_roles: vec![],
        }
    }

    #[test]
    fn a_token_carries_its_claims_and_verifies_with_the_secret() {
        let bearer = Bearer { user: "u1", organization: Some("demo"), role: None, scope: Some("a b") };
        let now = Millis(1_768_473_000_500);
        let token = issue(&auth(), &bearer, now, Duration::from_secs(60)).expect("a sound secret signs");
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        let key = DecodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("it verifies").claims;
        let expected = json!({"sub": "u1", "organizationId": "demo", "scope": "a b",
            "iss": "https://login.example", "iat": 1_768_473_000, "exp": 1_768_473_060});
        assert_eq!(claims, expected);
    }

    #[test]
    fn without_a_secret_there_is_no_token_and_the_setting_is_named() {
        let only_public = Auth { jwt_secret: None, ..auth() };
        let refused = issue(&only_public, &Bearer::default(), Millis(0), Duration::from_secs(60));
        let words = refused.expect_err("nothing to sign with").to_string();
        assert!(words.contains("auth.jwt_secret") && words.contains("identity provider"), "{words}");
    }
}
