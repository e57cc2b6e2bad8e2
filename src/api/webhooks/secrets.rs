//! The secrets of webhooks: made here or chosen by the caller, and put in the place of others.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::RngExt;

use super::handlers::{change, tagged};
use super::rules::headers;
use super::view::NewSecret;
use crate::api::access::{Id, IfMatch, Purpose, find};
use crate::api::audit::Trail;
use crate::api::auth::{Caller, Writer};
use crate::api::body::OptionalBody;
use crate::api::fields::{Fields, string_of};
use crate::api::{App, Error};
use crate::clock;
use crate::domain::webhook::{BadSecret, SECRET_PREFIX};
use crate::domain::{Lock, Millis, Secret, Webhook, WebhookId};
use crate::store::encryption;
use crate::store::webhooks::Failures;

/// `gracePeriodSeconds` when it is not given.
pub const DEFAULT_GRACE: u32 = 86_400;
/// The longest `gracePeriodSeconds`.
pub const MAX_GRACE: u32 = 604_800;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;
/// What a client is told to wait for a key that other nodes have: about as long as a node takes to start.
const KEY_PAUSE: Duration = Duration::from_secs(10);
/// What a client is told to wait when a webhook became locked, or readable, while it was being changed.
const CHANGED_PAUSE: Duration = Duration::from_secs(1);

const NEW_SECRET: &str = "Store the new secret now, it is not shown again. X-Webhook-Signature is made with it from now on; \
                          until previousSecretExpiresAt webhook-signature also carries a signature made with the former secret.";
const NEW_SECRET_ALONE: &str =
    "Store the new secret now, it is not shown again. Nothing is signed with a former secret any more.";

/// Where a new secret is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Made,
    Chosen,
}

/// What is asked for.
struct Renewal {
    secret: Secret,
    source: Source,
    grace: Duration,
    /// Why the webhook's secrets could not be read when that was judged: what is asked for holds for this state alone.
    locked: Option<Lock>,
    /// Of a locked webhook: those that take the place of the ones that cannot be read.
    headers: BTreeMap<String, String>,
}

/// `POST /api/webhooks/{id}/regenerate-secret`: the former secret signs beside the new one for a while, and
/// those before it until the end that was promised for them. 409 when too many do, or the new one is one of them.
///
/// `gracePeriodSeconds: 0` ends them all at once. `secret` is the new one when the caller wants to choose it. A webhook whose
/// secrets cannot be decrypted gets a new secret alone, and its headers anew: there is nothing to overlap with.
pub async fn regenerate(
    app: Data<App>,
    caller: Writer,
    trail: Trail,
    id: Id,
    condition: IfMatch,
    body: OptionalBody,
) -> Result<HttpResponse, Error> {
    let found = find(&app, &caller, &id.0, Purpose::Change).await?;
    let fields = body.0.as_deref().map_or_else(|| Ok(Fields::empty()), Fields::parse)?;
    let renewed = renewed((&app, &caller, &trail), &found, &condition, fields).await?;
    Ok(tagged(HttpResponse::Ok(), &renewed.webhook).json(NewSecret {
        id: &renewed.webhook.id,
        secret: &renewed.secret.0,
        previous_secret_expires_at: renewed.previous_secret_expires_at.to_string(),
        message: renewed.message,
    }))
}

/// A webhook that has a new secret.
#[derive(Clone, Debug)]
pub struct Regenerated {
    /// The webhook as it is now.
    pub webhook: Webhook,
    /// The secret, for the one time that it is shown.
    pub secret: Secret,
    /// Until then what is sent also carries a signature of the former secret; now or earlier = it does not.
    pub previous_secret_expires_at: Millis,
    /// What its owner has to do, for people.
    pub message: &'static str,
}

/// Gives a webhook, whatever its version, a new secret, as `gracePeriodSeconds`, `secret` and `headers` of `fields` say.
///
/// # Errors
/// Those of [`find`], [`Error::Invalid`] with every fault, 409 and 503 as [`regenerate`] answers them.
pub async fn regenerated(
    app: &App,
    caller: &Caller,
    trail: &Trail,
    id: &WebhookId,
    fields: Fields<'_>,
) -> Result<Regenerated, Error> {
    let found = find(app, caller, id, Purpose::Change).await?;
    renewed((app, caller, trail), &found, &IfMatch::Anything, fields).await
}

async fn renewed(
    (app, caller, trail): (&App, &Caller, &Trail),
    found: &Webhook,
    condition: &IfMatch,
    fields: Fields<'_>,
) -> Result<Regenerated, Error> {
    let renewal = read(app, found, fields).await?;
    let now = clock::now();
    let edit = |webhook: &mut Webhook| renewal.apply(webhook, now).map(|()| Failures::Keep);
    let webhook = change((app, caller, trail), &found.id, Purpose::Change, condition, edit).await?;
    let Renewal { secret, grace, .. } = renewal;
    let message = if grace.is_zero() { NEW_SECRET_ALONE } else { NEW_SECRET };
    Ok(Regenerated { webhook, secret, previous_secret_expires_at: now + grace, message })
}

async fn read(app: &App, webhook: &Webhook, mut fields: Fields<'_>) -> Result<Renewal, Error> {
    let grace = fields.integer("gracePeriodSeconds", 0..=MAX_GRACE).unwrap_or(DEFAULT_GRACE);
    let secret = chosen_secret(&mut fields);
    let given = webhook.locked.as_ref().and_then(|_| headers(&mut fields));
    fields.finish()?;
    let (grace, headers) = match &webhook.locked {
        None => (Duration::from_secs(grace.into()), BTreeMap::new()),
        Some(lock) => {
            is_for_good(app, lock).await?;
            (Duration::ZERO, replacing(webhook, given)?)
        }
    };
    let (secret, source) = match secret {
        Some(secret) => (secret, Source::Chosen),
        None => (new_secret(), Source::Made),
    };
    Ok(Renewal { secret, source, grace, locked: webhook.locked.clone(), headers })
}

/// Whether nobody will ever decrypt what is locked: a key that records are known to be encrypted with is only missing here.
async fn is_for_good(app: &App, lock: &Lock) -> Result<(), Error> {
    let Some(key) = lock.missing_key() else { return Ok(()) };
    if encryption::in_use(&app.redis, &app.keys).await?.contains(key) {
        let why = "this node cannot decrypt the webhook's secret yet, others can: try again later";
        return Err(Error::Busy(why.into(), KEY_PAUSE));
    }
    Ok(())
}

/// The headers of a locked webhook from now on. Requests without those that it had would be refused by its receiver, so
/// they must be given.
fn replacing(
    webhook: &Webhook,
    given: Option<BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, Error> {
    let names: Vec<&str> = webhook.settings.headers.keys().map(String::as_str).collect();
    match given {
        Some(headers) => Ok(headers),
        None if names.is_empty() => Ok(BTreeMap::new()),
        None => {
            let names = names.join(", ");
            let why = format!(
                "the values of its headers cannot be decrypted either: give all that it shall have with this request, \
                 as headers (it had {names})"
            );
            Err(Error::Conflict(why.into()))
        }
    }
}

impl Renewal {
    /// Edits the webhook as it is now. Whether it is locked must be as it was when the request was judged: what becomes of
    /// headers and former secrets depends on it.
    fn apply(&self, webhook: &mut Webhook, now: Millis) -> Result<(), Error> {
        let settings = &mut webhook.settings;
        if webhook.locked.is_none() && self.source == Source::Made && settings.secret == self.secret {
            // Written before, by a call whose answer was lost.
            return Ok(());
        }
        if webhook.locked != self.locked {
            let why = "whether the webhook's secret can be decrypted has changed meanwhile: try again";
            return Err(Error::Busy(why.into(), CHANGED_PAUSE));
        }
        if webhook.locked.take().is_some() {
            settings.secret.clone_from(&self.secret);
            settings.headers.clone_from(&self.headers);
            return Ok(());
        }
        let renewed = settings.renew_secret(self.secret.clone(), self.grace, now);
        renewed.map_err(|refused| Error::Conflict(refused.to_string().into()))
    }
}

/// The field `secret`, if it is given. A fault never repeats it.
pub fn chosen_secret(fields: &mut Fields<'_>) -> Option<Secret> {
    let given = fields.take("secret")?;
    let chosen = string_of(given).ok_or(BadSecret).and_then(|text| Secret::chosen(&text));
    chosen.map_err(|fault| fields.fault(fault.to_string())).ok()
}

/// `whsec_` and base64 of random bytes from a cryptographic generator.
pub fn new_secret() -> Secret {
    let bytes: [u8; SECRET_BYTES] = rand::rng().random();
    Secret(format!("{SECRET_PREFIX}{}", BASE64.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::webhooks::rules::properties::webhook;

    fn locked() -> Webhook {
        Webhook { locked: Some(Lock::Broken), ..webhook() }
    }

    fn renewal(judged: &Webhook) -> Renewal {
        let headers = [("X-New".to_owned(), "new".to_owned())].into();
        let (secret, grace) = (new_secret(), Duration::from_secs(60));
        Renewal { secret, source: Source::Made, grace, locked: judged.locked.clone(), headers }
    }

    #[test]
    fn a_webhook_that_is_locked_or_unlocked_meanwhile_is_not_changed() {
        let missing = Lock::KeyMissing("0123abcd".parse().expect("an id"));
        let other = Webhook { locked: Some(missing), ..webhook() };
        for (judged, found) in
            [(webhook(), locked()), (locked(), webhook()), (locked(), other.clone()), (other, locked())]
        {
            let mut changed = found.clone();
            let refused = renewal(&judged).apply(&mut changed, Millis(1));
            assert!(matches!(refused, Err(Error::Busy(..))), "{refused:?}");
            assert_eq!(changed, found);
        }
    }

    #[test]
    fn a_webhook_that_is_as_it_was_judged_gets_what_is_asked_for() {
        let (mut readable, mut unlocked) = (webhook(), locked());
        let renewals = [renewal(&readable), renewal(&unlocked)];
        renewals[0].apply(&mut readable, Millis(1)).expect("it is renewed");
        assert_eq!(readable.settings.former_secrets, [(webhook().settings.secret, Millis(60_001))]);
        assert_eq!(readable.settings.headers, webhook().settings.headers);
        for _ in 0..2 {
            // The second time its first answer was lost.
            renewals[1].apply(&mut unlocked, Millis(1)).expect("it is replaced");
            assert_eq!(unlocked.locked, None);
            assert_eq!(unlocked.settings.secret, renewals[1].secret);
            assert_eq!(unlocked.settings.headers, renewals[1].headers);
            assert!(unlocked.settings.former_secrets.is_empty());
        }
    }
}
