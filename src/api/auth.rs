//! Who is calling, and what they may do.
//!
//! A token is an HS256 JWT made with `auth.jwt_secret`; the algorithm follows from the configured key, never from the
//! token. A handler asks for a [`Reader`], [`Writer`] or [`Publisher`]: taking that argument is the whole check, and it
//! comes first, so nobody without a token learns what exists. The same step counts the request against the caller's
//! rate limit.
//! Sources: RFC 7519 (claims), RFC 7515 section 4.1.11 (`crit`), RFC 6750 (bearer tokens), RFC 8725 (algorithms).

use std::fmt;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use serde::Deserialize;
use serde_json::Value;

use super::App;
use super::audit;
use super::error::Error;
use super::rate_limit::Allowance;
use super::source::client_address;
use super::verified::{Term, TokenName, Verified};
use crate::clock;
use crate::config;
use crate::domain::{Tenant, UserId};

/// The longest token, in bytes.
const LONGEST_TOKEN: usize = 8 * 1024;
/// The longest `sub` and `organizationId`, in bytes: they are stored with every webhook.
const LONGEST_NAME: usize = 255;
/// How far the clocks of the issuer and of this node may differ, in seconds.
const LEEWAY_SECONDS: u64 = 30;

/// Checks tokens. One per node.
pub struct Authenticator {
    key: DecodingKey,
    validation: Validation,
    read_only_roles: Vec<String>,
    publisher_roles: Vec<String>,
    admin_roles: Vec<String>,
    verified: Verified,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator(***)")
    }
}

impl Authenticator {
    /// Takes tokens as `[auth]` says.
    pub fn new(settings: &config::Auth) -> Self {
        Self {
            key: DecodingKey::from_secret(settings.jwt_secret.as_bytes()),
            validation: validation(settings),
            read_only_roles: settings.read_only_roles.clone(),
            publisher_roles: settings.publisher_roles.clone(),
            admin_roles: settings.admin_roles.clone(),
            verified: Verified::default(),
        }
    }

    /// The holder of `token`.
    ///
    /// # Errors
    /// What is wrong with it, in words fit for its holder.
    pub fn caller(&self, token: &str) -> Result<Caller, &'static str> {
        if token.len() > LONGEST_TOKEN {
            return Err("the token is too long");
        }
        let name = TokenName::of(token);
        if let Some(caller) = self.verified.get(&name, clock::now().as_secs()) {
            return Ok(caller);
        }
        let claims = self.verify(token)?;
        let term = claims.term();
        let caller = self.caller_of(claims)?;
        if let Some(term) = term {
            self.verified.put(name, term, caller.clone());
        }
        Ok(caller)
    }

    fn verify(&self, token: &str) -> Result<Claims, &'static str> {
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|error| refusal(error.kind()))?;
        if decoded.header.crit.is_some() {
            return Err("the token has critical extensions that are not supported");
        }
        Ok(decoded.claims)
    }

    fn caller_of(&self, claims: Claims) -> Result<Caller, &'static str> {
        let user = UserId(claims.sub.as_str().into());
        if claims.sub.is_empty() || claims.sub.len() > LONGEST_NAME {
            return Err("the token's sub must be 1 to 255 bytes long");
        }
        let tenant = match claims.organization_id {
            None => Tenant::User(user.0.clone()),
            Some(id) if id.is_empty() || id.len() > LONGEST_NAME => {
                return Err("the token's organizationId must be 1 to 255 bytes long");
            }
            Some(id) if id.starts_with("user:") => {
                return Err("the token's organizationId must not begin with user:");
            }
            Some(id) => Tenant::Organization(id.into()),
        };
        let has = |roles: &[String]| claims.role.as_ref().is_some_and(|role| roles.contains(role));
        Ok(Caller {
            tenant,
            user,
            is_read_only: has(&self.read_only_roles),
            is_publisher: has(&self.publisher_roles),
            is_admin: has(&self.admin_roles),
            scopes: claims.scope.map(|scope| scope.split_ascii_whitespace().map(str::to_owned).collect()),
        })
    }
}

fn validation(settings: &config::Auth) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
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

fn refusal(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks a required claim, or it has a wrong type",
        _ => "the token is not valid",
    }
}

/// The claims that matter; others are ignored.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(rename = "organizationId")]
    organization_id: Option<String>,
    role: Option<String>,
    scope: Option<String>,
    /// Whatever it is: the crate says what is wrong with it.
    #[serde(default)]
    exp: Value,
    #[serde(default)]
    nbf: Value,
}

impl Claims {
    /// When a good token with these claims is good; `None` = it cannot be told here.
    fn term(&self) -> Option<Term> {
        // Fractions are rounded as the crate does it.
        let seconds = |claim: &Value| claim.as_u64().or_else(|| Some(claim.as_f64()?.round() as u64));
        let until = seconds(&self.exp)?.saturating_add(LEEWAY_SECONDS);
        let from = if self.nbf.is_null() { 0 } else { seconds(&self.nbf)?.saturating_sub(LEEWAY_SECONDS) };
        Some(Term { from, until })
    }
}

/// The holder of a good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose webhooks and events these are.
    pub tenant: Tenant,
    /// The token's `sub`.
    pub user: UserId,
    /// Has a role of `auth.admin_roles`: may list, read, deactivate and delete all webhooks of the tenant.
    pub is_admin: bool,
    /// Has a role of `auth.publisher_roles`.
    pub is_publisher: bool,
    is_read_only: bool,
    /// `None` when the token has no `scope` claim.
    scopes: Option<Arc<[String]>>,
}

impl Caller {
    /// Whether the token may name another tenant when it publishes (`events:publish:any`).
    pub fn may_publish_for_any_tenant(&self) -> bool {
        self.was_granted("events:publish:any")
    }

    fn was_granted(&self, scope: &str) -> bool {
        self.scopes.as_ref().is_some_and(|scopes| scopes.iter().any(|granted| granted == scope))
    }

    /// A token without a `scope` claim is not narrowed.
    fn is_within_scope(&self, scope: &str) -> bool {
        self.scopes.is_none() || self.was_granted(scope)
    }

    fn check_read(&self) -> Result<(), Error> {
        if self.is_within_scope("webhooks:read") {
            Ok(())
        } else {
            Err(Error::Forbidden("the token lacks the scope webhooks:read"))
        }
    }

    fn check_write(&self) -> Result<(), Error> {
        if self.is_read_only {
            Err(Error::Forbidden("the token's role may only read"))
        } else if self.is_within_scope("webhooks:write") {
            Ok(())
        } else {
            Err(Error::Forbidden("the token lacks the scope webhooks:write"))
        }
    }

    /// Whether the token may publish events.
    pub fn may_publish(&self) -> bool {
        self.check_publish().is_ok()
    }

    /// Those who may publish see what became of it, also with a scope that holds nothing else.
    fn check_read_event(&self) -> Result<(), Error> {
        if self.may_publish() { Ok(()) } else { self.check_read() }
    }

    fn check_publish(&self) -> Result<(), Error> {
        if self.is_read_only {
            Err(Error::Forbidden("the token's role may only read"))
        } else if self.is_publisher || self.was_granted("events:publish") {
            Ok(())
        } else {
            Err(Error::Forbidden("publishing needs the scope events:publish or a publisher role"))
        }
    }
}

/// A caller who may read webhooks.
#[derive(Clone, Debug)]
pub struct Reader(pub Caller);

/// A caller who may change webhooks.
#[derive(Clone, Debug)]
pub struct Writer(pub Caller);

/// A caller who may publish events.
#[derive(Clone, Debug)]
pub struct Publisher(pub Caller);

/// A caller who may look at events: which ones, their webhooks say.
#[derive(Clone, Debug)]
pub struct EventReader(pub Caller);

macro_rules! guard {
    ($name:ident, $counted:ident, $check:ident) => {
        impl Deref for $name {
            type Target = Caller;

            fn deref(&self) -> &Caller {
                &self.0
            }
        }

        impl FromRequest for $name {
            type Error = Error;
            type Future = Ready<Result<Self, Error>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let caller = authenticated(request).and_then(|caller| {
                    audit::begins(request, app_of(request), &caller);
                    $counted(request, &caller)?;
                    caller.$check()?;
                    Ok(Self(caller))
                });
                ready(caller)
            }
        }
    };
}
guard!(Reader, count_request, check_read);
guard!(Writer, count_request, check_write);
guard!(EventReader, count_request, check_read_event);
guard!(Publisher, count_publish, check_publish);

fn app_of(request: &HttpRequest) -> &App {
    request.app_data::<web::Data<App>>().expect("the server gives every worker its App")
}

fn authenticated(request: &HttpRequest) -> Result<Caller, Error> {
    let app = app_of(request);
    bearer(request).and_then(|token| app.authenticator.caller(token)).map_err(|why| {
        match app.rate_limits.failed_authentication(client_address(request, app)) {
            Ok(_) => Error::Unauthenticated(why),
            Err(allowance) => shown(request, allowance).refusal(),
        }
    })
}

fn bearer(request: &HttpRequest) -> Result<&str, &'static str> {
    let mut given = request.headers().get_all(AUTHORIZATION);
    let header = given.next().ok_or("a bearer token is required")?;
    if given.next().is_some() {
        return Err("there must be one Authorization header");
    }
    let text = header.to_str().map_err(|_| "the token is not valid")?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err("a bearer token is required"),
    }
}

fn count_request(request: &HttpRequest, caller: &Caller) -> Result<(), Error> {
    match app_of(request).rate_limits.request(&caller.tenant, &caller.user) {
        Ok(allowance) => {
            shown(request, allowance);
            Ok(())
        }
        Err(allowance) => Err(shown(request, allowance).refusal()),
    }
}

fn count_publish(request: &HttpRequest, caller: &Caller) -> Result<(), Error> {
    match app_of(request).rate_limits.publish(&caller.tenant, &caller.user) {
        Ok(allowance) => {
            allowance.map(|allowance| shown(request, allowance));
            Ok(())
        }
        Err(allowance) => Err(shown(request, allowance).refusal()),
    }
}

/// Leaves the allowance where the answer's headers are written.
fn shown(request: &HttpRequest, allowance: Allowance) -> Allowance {
    request.extensions_mut().insert(allowance);
    allowance
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
