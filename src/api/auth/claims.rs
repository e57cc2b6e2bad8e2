//! What a token whose signature is good says: whose it is, and when it is good.
//!
//! `exp` and `sub` are required; `iss` and `aud` when they are configured. Other claims than those of contract §1 are
//! ignored. A claim that stands there twice is refused, since two readers could take it differently.
//! Source: RFC 7519 section 4.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::{Caller, Denied};
use crate::api::verified::Term;
use crate::config;
use crate::domain::{Refusal, Tenant, UserId};

/// The longest `sub` and `organizationId`, in bytes: they are stored with every webhook.
pub(super) const LONGEST_NAME: usize = 255;
/// The scopes that mean something here. Others are not kept: a token may have thousands, and its holder is remembered.
const SCOPES: [&str; 4] = ["webhooks:read", "webhooks:write", "events:publish", "events:publish:any"];
/// How far the clocks of the issuer and of this node may differ, in seconds.
pub(super) const LEEWAY_SECONDS: u64 = 30;

/// What is demanded of the claims of a token that is signed with `algorithm`, and of that alone.
pub(super) fn validation(settings: &config::Auth, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    let mut required = vec!["exp", "sub"];
    validation.leeway = LEEWAY_SECONDS;
    validation.validate_nbf = true;
    // Without a configured audience a token may name any; the crate would refuse it.
    validation.validate_aud = settings.audience.is_some();
    if let Some(audience) = &settings.audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    if let Some(issuer) = &settings.issuer {
        validation.set_issuer(&[issuer]);
        // The crate compares `iss` only when there is one.
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    validation
}

/// The claims that matter; others are ignored. Whatever they are: what is wrong with one is said by its name.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Claims {
    sub: Value,
    #[serde(rename = "organizationId")]
    organization_id: Value,
    role: Value,
    scope: Value,
    exp: Value,
    nbf: Value,
}

/// A claim that may be absent or null.
fn text<'a>(claim: &'a Value, words: &'static str) -> Result<Option<&'a str>, Denied> {
    match claim {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Denied::new(Refusal::Claim, words)),
    }
}

impl Claims {
    /// When a good token with these claims is good; `None` = it cannot be told here.
    pub(super) fn term(&self) -> Option<Term> {
        // Fractions are rounded as the crate does it.
        let seconds = |claim: &Value| claim.as_u64().or_else(|| Some(claim.as_f64()?.round() as u64));
        let until = seconds(&self.exp)?.saturating_add(LEEWAY_SECONDS);
        let from = if self.nbf.is_null() { 0 } else { seconds(&self.nbf)?.saturating_sub(LEEWAY_SECONDS) };
        Some(Term { from, until })
    }
}

/// What the roles of a token mean.
pub(super) struct Roles {
    read_only: Vec<String>,
    publisher: Vec<String>,
    admin: Vec<String>,
}

impl Roles {
    pub(super) fn new(settings: &config::Auth) -> Self {
        Self {
            read_only: settings.read_only_roles.clone(),
            publisher: settings.publisher_roles.clone(),
            admin: settings.admin_roles.clone(),
        }
    }

    /// The holder of a good token with these claims.
    pub(super) fn caller_of(&self, claims: Claims) -> Result<Caller, Denied> {
        let wrong = |words| Err(Denied::new(Refusal::Claim, words));
        let sub = claims.sub.as_str().unwrap_or_default();
        if sub.is_empty() || sub.len() > LONGEST_NAME {
            return wrong("the token's sub must be a text of 1 to 255 bytes");
        }
        let user = UserId(sub.into());
        let tenant = match text(&claims.organization_id, "the token's organizationId must be a text")? {
            None => Tenant::User(user.0.clone()),
            Some(id) if id.is_empty() || id.len() > LONGEST_NAME => {
                return wrong("the token's organizationId must be a text of 1 to 255 bytes");
            }
            Some(id) if id.starts_with("user:") => {
                return wrong("the token's organizationId must not begin with user:");
            }
            Some(id) => Tenant::Organization(id.into()),
        };
        let role = text(&claims.role, "the token's role must be a text")?;
        let scope = text(&claims.scope, "the token's scope must be a text, its words separated by spaces")?;
        let has = |roles: &[String]| role.is_some_and(|role| roles.iter().any(|known| known == role));
        Ok(Caller {
            tenant,
            user,
            is_read_only: has(&self.read_only),
            is_publisher: has(&self.publisher),
            is_admin: has(&self.admin),
            scopes: scope.map(known_scopes),
        })
    }
}

fn known_scopes(claim: &str) -> Arc<[String]> {
    let is_named = |scope: &&&str| claim.split_ascii_whitespace().any(|named| named == **scope);
    SCOPES.iter().filter(is_named).map(|scope| (*scope).to_owned()).collect()
}
