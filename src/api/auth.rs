//! Who is calling, and what they may do.
//!
//! A token is a JWT that one of the configured keys signed ([`keys`] chooses which may have, [`jwks`] holds those of an
//! identity provider, [`claims`] says whose the token is). A handler asks for a [`Reader`], [`Writer`] or [`Publisher`]:
//! taking that argument is the whole check, and it comes first, so nobody without a token learns what exists. The same
//! step counts the request against the caller's rate limit.
//!
//! Only a token that newer keys might verify waits, for at most [`LONGEST_WAIT`]; all others are answered at once.
//! Sources: RFC 6750 (bearer tokens), RFC 8725 (best practices).

mod claims;
mod jwks;
mod keys;
mod source;

use std::fmt;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};

use self::claims::Roles;
use self::jwks::{Current, Jwks, Newer};
use self::keys::{Head, Keys, Unverified};
use super::App;
use super::audit;
use super::error::Error;
use super::pages::Pages;
use super::rate_limit::Allowance;
use super::source::client_address;
use super::verified::{TokenName, Verified};
use crate::clock;
use crate::config;
use crate::domain::{Refusal, Tenant, UserId};
use crate::telemetry::events as facts;

/// How long a request may wait for newer keys: longer than reading them once takes. Who comes during a reading that began
/// before the key was published needs a second one, and is told to try again where both are slow.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What a client is told to wait while the keys are not there.
const KEYS_PAUSE: Duration = Duration::from_secs(5);

const TOO_MANY_WAIT: Denied =
    Denied::new(Refusal::KeysMissing, "too many requests wait for the keys that verify tokens, try again");
const NOT_FETCHED: Denied =
    Denied::new(Refusal::KeysMissing, "the keys that verify tokens have not been fetched yet, try again");
const NOT_READ: Denied =
    Denied::new(Refusal::KeysMissing, "the keys that verify tokens could not be read, try again");

/// Why a token is not taken, and what its holder is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The reason.
    pub reason: Refusal,
    /// In words fit for the holder.
    pub words: &'static str,
}

impl Denied {
    const fn new(reason: Refusal, words: &'static str) -> Self {
        Self { reason, words }
    }
}

impl From<Denied> for Error {
    fn from(Denied { reason, words }: Denied) -> Self {
        match reason {
            Refusal::KeysMissing => Self::Busy(words.into(), KEYS_PAUSE),
            _ => Self::Unauthenticated(words),
        }
    }
}

/// Checks tokens. One per node.
pub struct Authenticator {
    keys: Keys,
    jwks: Option<Jwks>,
    roles: Roles,
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
            keys: Keys::new(settings),
            jwks: settings.jwks.as_ref().map(|source| Jwks::new(source, settings)),
            roles: Roles::new(settings),
            verified: Verified::default(),
        }
    }

    /// Reads the identity provider's keys again and again; ends at once where none are configured. Run it once.
    pub async fn keep_keys_fresh(&self) {
        if let Some(jwks) = &self.jwks {
            jwks.keep_fresh().await;
        }
    }

    /// Whether there may ever be newer keys to wait for.
    fn has_provider(&self) -> bool {
        self.jwks.is_some()
    }

    /// The holder of `token` by the keys that are there now. `None` = newer keys may verify it: ask
    /// [`Self::caller_by_newer_keys`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn caller(&self, token: &str) -> Option<Result<Caller, Denied>> {
        let set = self.jwks.as_ref().map(Jwks::current);
        match self.caller_by(token, set.as_ref()) {
            Err(Unverified::NewerKeysMay) => None,
            Err(Unverified::Never(denied)) => Some(Err(denied)),
            Ok(caller) => Some(Ok(caller)),
        }
    }

    /// The holder of `token`, after a wait for newer keys if there may be any.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn caller_by_newer_keys(&self, token: &str) -> Result<Caller, Denied> {
        let patience = async {
            loop {
                let set = self.jwks.as_ref().map(Jwks::current);
                match self.caller_by(token, set.as_ref()) {
                    Ok(caller) => return Ok(caller),
                    Err(Unverified::Never(denied)) => return Err(denied),
                    Err(Unverified::NewerKeysMay) => {}
                }
                let Some((jwks, seen)) = self.jwks.as_ref().zip(set) else { return Err(self.unknown_key()) };
                match jwks.newer_than(&seen).await {
                    Newer::Read => {}
                    Newer::NotNow => return Err(self.unknown_key()),
                    Newer::TooManyWait => return Err(TOO_MANY_WAIT),
                }
            }
        };
        tokio::time::timeout(LONGEST_WAIT, patience).await.unwrap_or(Err(NOT_READ))
    }

    fn caller_by(&self, token: &str, set: Option<&Current>) -> Result<Caller, Unverified> {
        if token.len() > keys::LONGEST_TOKEN {
            return Err(keys::TOO_LONG.into());
        }
        let name = TokenName::of(token);
        let generation = set.map_or(0, |set| set.generation);
        if let Some(caller) = self.verified.get(&name, generation, clock::now().as_secs()) {
            return Ok(caller);
        }
        let claims = self.keys.verify(token, &Head::of(token)?, set.map(|set| set.keys.as_deref()))?;
        let term = claims.term();
        let caller = self.roles.caller_of(claims)?;
        if let Some(term) = term {
            self.verified.put(name, generation, term, caller.clone());
        }
        Ok(caller)
    }

    /// A key is unknown only where the set is as the provider has it: else its holder may be in the right.
    fn unknown_key(&self) -> Denied {
        match self.jwks.as_ref().map(Jwks::current) {
            Some(set) if set.keys.is_none() => NOT_FETCHED,
            Some(set) if set.is_stale => NOT_READ,
            _ => Denied::new(
                Refusal::UnknownKey,
                "the token is signed with a key that is not known here (kid)",
            ),
        }
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

    /// Whether the token may look at the caller's webhooks.
    ///
    /// # Errors
    /// 403, which says what it lacks.
    pub fn may_read(&self) -> Result<(), Error> {
        self.check_read()
    }

    /// Whether the token may change the caller's webhooks.
    pub fn may_write(&self) -> bool {
        self.check_write().is_ok()
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
                let caller = settled(request, found(request)).and_then(|caller| {
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

/// What was found out of a request's token while it could still be waited for newer keys; in its extensions.
struct Found(Result<Caller, Denied>);

/// Waits for newer keys where a token needs them. Before the route is looked for, so that the check of the token itself
/// waits for nothing: nothing else of the request is looked at before it, and nothing is read of its body.
pub async fn wait_for_keys(request: &ServiceRequest) {
    let Some(app) = request.app_data::<web::Data<App>>().filter(|app| app.authenticator.has_provider())
    else {
        return;
    };
    let Ok(token) = token_of(request.headers(), app.pages_at(request.path())) else { return };
    let found = match app.authenticator.caller(token) {
        Some(found) => found,
        None => app.authenticator.caller_by_newer_keys(token).await,
    };
    request.extensions_mut().insert(Found(found));
}

fn found(request: &HttpRequest) -> Result<Caller, Denied> {
    let waited = request.extensions_mut().remove::<Found>();
    if let Some(Found(found)) = waited {
        return found;
    }
    let app = app_of(request);
    let authenticator = &app.authenticator;
    let token = token_of(request.headers(), app.pages_at(request.path()))?;
    authenticator.caller(token).unwrap_or_else(|| Err(authenticator.unknown_key()))
}

/// The holder of a token that is handed in by other means than the request's head; failures are counted as everywhere.
///
/// # Errors
/// 401 with what is wrong with it, 429, or 503 while the keys are not there.
pub async fn holder_of(request: &HttpRequest, token: &str) -> Result<Caller, Error> {
    let authenticator = &app_of(request).authenticator;
    let found = match authenticator.caller(token) {
        Some(found) => found,
        None => authenticator.caller_by_newer_keys(token).await,
    };
    settled(request, found)
}

/// A failure is counted, against its source too unless it is ours. That nobody is signed in is none: it is how every visit to
/// the pages begins, and a whole office may come from one address.
fn settled(request: &HttpRequest, found: Result<Caller, Denied>) -> Result<Caller, Error> {
    let denied = match found {
        Ok(caller) => return Ok(caller),
        Err(denied) => denied,
    };
    let app = app_of(request);
    if denied.reason == Refusal::NoToken && app.pages_at(request.path()).is_some() {
        return Err(denied.into());
    }
    facts::authentication_failed(denied.reason);
    if denied.reason == Refusal::KeysMissing {
        return Err(denied.into());
    }
    match app.rate_limits.failed_authentication(client_address(request, app)) {
        Ok(_) => Err(denied.into()),
        Err(allowance) => Err(shown(request, allowance).refusal()),
    }
}

/// The token of a request: in its header, or in the cookie of `pages`, never in either.
fn token_of<'a>(headers: &'a HeaderMap, pages: Option<&Pages>) -> Result<&'a str, Denied> {
    match pages {
        Some(pages) => pages.token(headers).ok_or(Denied::new(Refusal::NoToken, "nobody is signed in")),
        None => bearer(headers),
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Denied> {
    let missing = |words| Denied::new(Refusal::NoToken, words);
    let mut given = headers.get_all(AUTHORIZATION);
    let header = given.next().ok_or(missing("a bearer token is required"))?;
    if given.next().is_some() {
        return Err(missing("there must be one Authorization header"));
    }
    let text = header.to_str().map_err(|_| Denied::new(Refusal::Malformed, "the token is not valid"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(missing("a bearer token is required")),
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
