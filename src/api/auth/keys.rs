//! Which keys may have signed a token, and whether one of them did. Pure.
//!
//! Every key is bound to one algorithm. A token's `alg` only chooses among the keys of that algorithm, so a public key is
//! never taken for an HMAC secret, and an algorithm without a key (`none` among them) is refused. A token with a `kid` is
//! held against the key of that name in the identity provider's set alone; where no key has that name, against the
//! node's own keys, which have none. A token without a `kid` is held against all keys of its algorithm: at most two of
//! the node's and those of a set, whose number is bounded. `jku`, `x5u`, `x5c` and `jwk` in a token's header are ignored.
//! Sources: RFC 7515 sections 4.1.4 (`kid`), 4.1.11 (`crit`), RFC 8725 sections 2.1, 3.1 (algorithms).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use serde::Deserialize;
use serde_json::Value;

use super::Denied;
use super::claims::{Claims, validation};
use crate::config;
use crate::config::keys::{KeyAlgorithm, KeySet, PublicKey};
use crate::domain::Refusal;

/// The longest token, in bytes.
pub(super) const LONGEST_TOKEN: usize = 8 * 1024;
pub(super) const TOO_LONG: Denied = Denied::new(Refusal::TooLong, "the token is longer than 8192 bytes");

const NOT_VALID: Denied = Denied::new(Refusal::Malformed, "the token is not valid");
const NOT_ACCEPTED: Denied =
    Denied::new(Refusal::Algorithm, "the token's algorithm (alg) is not one that is accepted here");
const OTHER_ALGORITHM: Denied =
    Denied::new(Refusal::Algorithm, "the token's algorithm (alg) is not the one of its key (kid)");
const NOT_OURS: Denied = Denied::new(Refusal::Signature, "the token's signature is not valid");

/// A token that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// Whatever keys come.
    Never(Denied),
    /// It may be signed with a key that the identity provider has published since.
    NewerKeysMay,
}

impl From<Denied> for Unverified {
    fn from(denied: Denied) -> Self {
        Self::Never(denied)
    }
}

/// What a token's header says of its signature.
pub(super) struct Head {
    algorithm: Algorithm,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct RawHead {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Head {
    /// The header of `token`, which is not too long and which nobody has verified yet.
    pub(super) fn of(token: &str) -> Result<Self, Denied> {
        let encoded = token.split('.').next().unwrap_or_default();
        let text = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| NOT_VALID)?;
        let raw: RawHead = serde_json::from_slice(&text).map_err(|_| NOT_VALID)?;
        if raw.crit.is_some() {
            let words = "the token has critical extensions (crit) that are not supported";
            return Err(Denied::new(Refusal::Critical, words));
        }
        let algorithm = match raw.alg.as_str() {
            "HS256" => Algorithm::HS256,
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            "EdDSA" => Algorithm::EdDSA,
            _ => return Err(NOT_ACCEPTED),
        };
        Ok(Self { algorithm, kid: raw.kid })
    }
}

/// A key with the one algorithm that it is for.
pub(super) struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
    validation: Validation,
}

impl Key {
    fn secret(secret: &str, settings: &config::Auth) -> Self {
        let decoding = DecodingKey::from_secret(secret.as_bytes());
        let algorithm = Algorithm::HS256;
        Self { kid: None, algorithm, decoding, validation: validation(settings, algorithm) }
    }

    fn public(kid: Option<String>, key: &PublicKey, settings: &config::Auth) -> Self {
        let spki = key.spki();
        let (algorithm, decoding) = match key.algorithm() {
            KeyAlgorithm::Rs256 => (Algorithm::RS256, DecodingKey::from_rsa_der(spki)),
            KeyAlgorithm::Es256 => (Algorithm::ES256, DecodingKey::from_ec_der(spki)),
            KeyAlgorithm::EdDsa => (Algorithm::EdDSA, DecodingKey::from_ed_der(spki)),
        };
        Self { kid, algorithm, decoding, validation: validation(settings, algorithm) }
    }

    /// The keys of an identity provider.
    pub(super) fn all_of(set: &KeySet, settings: &config::Auth) -> Vec<Self> {
        set.keys.iter().map(|named| Self::public(named.kid.clone(), &named.key, settings)).collect()
    }

    fn verify(&self, token: &str) -> Result<Claims, Denied> {
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        decoded.map(|decoded| decoded.claims).map_err(|error| denied(error.kind()))
    }
}

fn denied(kind: &ErrorKind) -> Denied {
    let of = Denied::new;
    match kind {
        ErrorKind::InvalidSignature => NOT_OURS,
        ErrorKind::ExpiredSignature => of(Refusal::Expired, "the token has expired"),
        ErrorKind::ImmatureSignature => of(Refusal::NotYetValid, "the token is not valid yet"),
        ErrorKind::InvalidIssuer => of(Refusal::Issuer, "the token is of another issuer"),
        ErrorKind::InvalidAudience => of(Refusal::Audience, "the token is for another audience"),
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => {
            of(Refusal::Claim, wrong_claim(name))
        }
        // The header has been read before: what is no JSON here are the claims.
        ErrorKind::Json(_) => {
            of(Refusal::Claim, "the token's claims are no JSON object, or one of them stands twice")
        }
        _ => NOT_VALID,
    }
}

fn wrong_claim(name: &str) -> &'static str {
    match name {
        "exp" => "the token lacks exp, or it is not a number",
        "nbf" => "the token's nbf is not a number",
        "sub" => "the token lacks sub, or it is not a text",
        "iss" => "the token lacks iss, or it is not a text",
        "aud" => "the token lacks aud, or it is neither a text nor a list of texts",
        _ => "the token lacks a required claim, or one has a wrong type",
    }
}

/// The node's own keys: the secret and the public key of its settings.
pub(super) struct Keys(Vec<Key>);

impl Keys {
    pub(super) fn new(settings: &config::Auth) -> Self {
        let secret = settings.jwt_secret.iter().map(|secret| Key::secret(secret, settings));
        let public = settings.jwt_public_key.iter().map(|key| Key::public(None, key, settings));
        Self(secret.chain(public).collect())
    }

    /// The claims of `token`, if one of the keys signed it: these, or those of `set`. `None` = there is no identity
    /// provider, `Some(None)` = its keys are not known yet.
    pub(super) fn verify(
        &self,
        token: &str,
        head: &Head,
        set: Option<Option<&[Key]>>,
    ) -> Result<Claims, Unverified> {
        let of_provider = set.flatten().unwrap_or_default();
        if let Some(kid) = &head.kid
            && let Some(named) = of_provider.iter().find(|key| key.kid.as_ref() == Some(kid))
        {
            let is_its_own = named.algorithm == head.algorithm;
            return if is_its_own { Ok(named.verify(token)?) } else { Err(OTHER_ALGORITHM.into()) };
        }
        let unnamed = of_provider.iter().filter(|_| head.kid.is_none());
        let candidates = self.0.iter().chain(unnamed).filter(|key| key.algorithm == head.algorithm);
        match first_to_verify(token, candidates) {
            Ok(claims) => Ok(claims),
            // A provider's keys are public ones: none of them can make an HS256 token good.
            Err(NOT_OURS | NOT_ACCEPTED)
                if head.algorithm != Algorithm::HS256
                    && set.is_some_and(|keys| keys.is_none() || head.kid.is_some()) =>
            {
                Err(Unverified::NewerKeysMay)
            }
            Err(denied) => Err(denied.into()),
        }
    }
}

/// A key that did not sign the token says nothing of it; the one that did has the last word.
fn first_to_verify<'a>(token: &str, candidates: impl Iterator<Item = &'a Key>) -> Result<Claims, Denied> {
    let mut last = NOT_ACCEPTED;
    for key in candidates {
        match key.verify(token) {
            Err(NOT_OURS) => last = NOT_OURS,
            settled => return settled,
        }
    }
    Err(last)
}
