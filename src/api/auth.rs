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
use super::error::Error;
use super::rate_limit::Allowance;
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
        let source = request.peer_addr().map(|address| address.ip());
        match app.rate_limits.failed_authentication(source) {
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
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn settings() -> config::Auth {
        config::Auth {
            jwt_secret: SECRET.into(),
            issuer: None,
            audience: None,
            read_only_roles: vec!["VIEWER".into()],
            publisher_roles: vec!["service".into()],
            admin_roles: vec!["ADMIN".into(), "admin".into()],
        }
    }

    fn seconds(ahead: i64) -> i64 {
        i64::try_from(crate::clock::now().as_secs()).unwrap() + ahead
    }

    fn signed(header: &Header, claims: &Value, secret: &str) -> String {
        encode(header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn token(claims: Value) -> String {
        signed(&Header::default(), &claims, SECRET)
    }

    fn caller(claims: Value) -> Result<Caller, &'static str> {
        let mut all = json!({"sub": "u1", "exp": seconds(60)});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        Authenticator::new(&settings()).caller(&token(all))
    }

    #[test]
    fn the_tenant_is_the_organization_or_the_user_alone() {
        let cases = [
            (json!({"organizationId": "acme"}), Ok("org:acme")),
            (json!({"organizationId": null}), Ok("user:u1")),
            (json!({}), Ok("user:u1")),
            (json!({"organizationId": ""}), Err(())),
            (json!({"organizationId": 7}), Err(())),
            (json!({"organizationId": "user:u2"}), Err(())),
            (json!({"organizationId": "x".repeat(256)}), Err(())),
            (json!({"sub": ""}), Err(())),
            (json!({"sub": null}), Err(())),
            (json!({"sub": 7}), Err(())),
            (json!({"role": ["admin"]}), Err(())),
        ];
        for (claims, expected) in cases {
            let found = caller(claims.clone()).map(|caller| caller.tenant.to_string()).map_err(|_| ());
            assert_eq!(found, expected.map(str::to_owned), "{claims}");
        }
    }

    #[test]
    fn the_times_of_a_token_are_looked_at_whenever_it_is_used() {
        let authenticator = Authenticator::new(&settings());
        let now = clock::now().as_secs();
        for (claims, from, until) in [
            (json!({"sub": "u1", "exp": now + 60}), 0, now + 90),
            (json!({"sub": "u1", "exp": now as f64 + 60.4, "nbf": now - 5}), now - 35, now + 90),
        ] {
            let token = token(claims);
            let caller = authenticator.caller(&token).unwrap();
            assert_eq!(authenticator.caller(&token).as_ref(), Ok(&caller), "again");
            let at = |second| authenticator.verified.get(&TokenName::of(&token), second);
            assert_eq!([from, now, until].map(at), std::array::from_fn(|_| Some(caller.clone())));
            assert_eq!(at(until + 1), None);
            assert!(from == 0 || at(from - 1).is_none());
            assert_eq!(authenticator.verified.get(&TokenName::of(&format!("{token}x")), now), None);
        }
    }

    #[test]
    fn time_bounds_have_a_leeway_and_an_expiry_is_required() {
        let cases = [
            (json!({"exp": seconds(-20)}), true),
            (json!({"exp": seconds(-40)}), false),
            (json!({"exp": null}), false),
            (json!({"exp": "tomorrow"}), false),
            (json!({"nbf": seconds(20)}), true),
            (json!({"nbf": seconds(60)}), false),
        ];
        for (claims, good) in cases {
            assert_eq!(caller(claims.clone()).is_ok(), good, "{claims}");
        }
    }

    #[test]
    fn only_tokens_of_our_key_and_algorithm_are_taken() {
        let authenticator = Authenticator::new(&settings());
        let claims = json!({"sub": "u1", "exp": seconds(60)});
        let good = token(claims.clone());
        let (head, rest) = good.split_once('.').unwrap();
        let body = rest.split_once('.').unwrap().0;
        // {"alg":"none","typ":"JWT"} and the same without a signature.
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
        let critical = Header { crit: Some(vec!["exp".into()]), ..Header::default() };
        let cases = [
            (good.clone(), true),
            (signed(&Header::new(Algorithm::HS384), &claims, SECRET), false),
            (signed(&Header::default(), &claims, "another secret of 32 bytes length"), false),
            (signed(&critical, &claims, SECRET), false),
            (none, false),
            (format!("{head}.{body}."), false),
            (format!("{good}x"), false),
            (String::new(), false),
            ("x".repeat(LONGEST_TOKEN + 1), false),
        ];
        for (number, (token, taken)) in cases.into_iter().enumerate() {
            assert_eq!(authenticator.caller(&token).is_ok(), taken, "case {number}");
        }
    }

    #[test]
    fn issuer_and_audience_count_only_when_configured() {
        let strict = config::Auth { issuer: Some("us".into()), audience: Some("api".into()), ..settings() };
        let cases = [
            (json!({"iss": "us", "aud": "api"}), true, true),
            (json!({"iss": "us", "aud": ["x", "api"]}), true, true),
            (json!({"iss": "them", "aud": "api"}), false, true),
            (json!({"iss": "us", "aud": "x"}), false, true),
            (json!({"iss": "us"}), false, true),
            (json!({"aud": "api"}), false, true),
        ];
        for (claims, with, without) in cases {
            let mut all = json!({"sub": "u1", "exp": seconds(60)});
            all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
            let token = token(all);
            assert_eq!(Authenticator::new(&strict).caller(&token).is_ok(), with, "{claims}");
            assert_eq!(Authenticator::new(&settings()).caller(&token).is_ok(), without, "{claims}");
        }
    }

    #[test]
    fn roles_and_scopes_decide_what_is_allowed() {
        // role, scope, may read, may write, may publish
        let cases = [
            (json!(null), json!(null), true, true, false),
            (json!("VIEWER"), json!(null), true, false, false),
            (json!("viewer"), json!(null), true, true, false),
            (json!("service"), json!(null), true, true, true),
            (json!("VIEWER"), json!("events:publish"), false, false, false),
            (json!(null), json!(""), false, false, false),
            (json!(null), json!("webhooks:read"), true, false, false),
            (json!(null), json!("webhooks:read webhooks:write"), true, true, false),
            (json!(null), json!("webhooks:readx"), false, false, false),
            (json!(null), json!("events:publish"), false, false, true),
            (json!(null), json!("events:publish:any"), false, false, false),
            (json!("service"), json!("webhooks:read"), true, false, true),
        ];
        for (role, scope, read, write, publish) in cases {
            let caller = caller(json!({"role": role, "scope": scope})).unwrap();
            let found = [caller.check_read(), caller.check_write(), caller.check_publish()]
                .map(|checked| checked.is_ok());
            assert_eq!(found, [read, write, publish], "{role} {scope}");
        }
    }
}
