//! A JWK set: the public keys of an identity provider.
//!
//! Providers put keys of several kinds into one set, and add kinds as they please. So an entry that is of no use here is
//! left out and counted; only what is no set at all, or holds nothing of use, is refused whole. Left out are: symmetric
//! and private keys, keys for something else than verifying (`use`, `key_ops`), keys whose `alg` is not the one that they
//! are bound to, other kinds and curves, RSA keys of a size or exponent that is refused, a `kid` that is longer than
//! [`LONGEST_KID`], and all but the first key of one `kid`.
//! Sources: RFC 7517 (JWK), RFC 7518 section 6 (RSA, EC), RFC 8037 (Ed25519).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::{PublicKey, Unfit};

/// The largest set, in bytes.
pub const MOST_BYTES: usize = 256 << 10;
/// The most entries of a set: a token without a `kid` is tried with all keys of its algorithm.
pub const MOST_KEYS: usize = 64;
/// The longest `kid`, in bytes.
const LONGEST_KID: usize = 255;
/// The length of a P-256 coordinate and of an Ed25519 key, in bytes.
const COORDINATE: usize = 32;

/// The usable keys of a set: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// The keys, each with its `kid`.
    pub keys: Vec<NamedKey>,
    /// Entries that are of no use here.
    pub left_out: usize,
}

/// A key of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// Its `kid`; no two keys of a set have the same.
    pub kid: Option<String>,
    /// The key.
    pub key: PublicKey,
}

/// It is no set, or one that nothing can be verified with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`MOST_BYTES`].
    #[error("is larger than {MOST_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or not an object with a list of `keys`.
    #[error("is not a JWK set: expected {{\"keys\": [...]}}")]
    Malformed,
    /// More than [`MOST_KEYS`].
    #[error("holds {0} keys; expected at most {MOST_KEYS}")]
    TooMany(usize),
    /// Every key was left out.
    #[error(
        "holds no key that can be used, of {0}; expected public keys for signatures: RSA of 2048 to 8192 bits, P-256 or \
         Ed25519"
    )]
    NoneUsable(usize),
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// What of an entry matters; what is none of its kind's is ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Of a private key.
    d: Option<Value>,
}

impl KeySet {
    /// The keys in `text`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(text: &[u8]) -> Result<Self, Error> {
        if text.len() > MOST_BYTES {
            return Err(Error::TooLarge);
        }
        let Set { keys: entries } = serde_json::from_slice(text).map_err(|_| Error::Malformed)?;
        let given = entries.len();
        if given > MOST_KEYS {
            return Err(Error::TooMany(given));
        }
        let mut names = BTreeSet::new();
        let is_first = |named: &NamedKey| named.kid.as_ref().is_none_or(|kid| names.insert(kid.clone()));
        let keys: Vec<NamedKey> = entries.into_iter().filter_map(usable).filter(is_first).collect();
        if keys.is_empty() {
            return Err(Error::NoneUsable(given));
        }
        Ok(Self { left_out: given - keys.len(), keys })
    }
}

fn usable(entry: Value) -> Option<NamedKey> {
    let jwk: Jwk = serde_json::from_value(entry).ok()?;
    let verifies = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
        && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|name| name == "verify"));
    let is_named = jwk.kid.as_ref().is_none_or(|kid| kid.len() <= LONGEST_KID);
    if !verifies || !is_named || jwk.d.is_some() {
        return None;
    }
    let key = key_of(&jwk).ok()?;
    let is_bound = jwk.alg.as_deref().is_none_or(|alg| alg == key.algorithm().as_str());
    is_bound.then_some(NamedKey { kid: jwk.kid, key })
}

fn key_of(jwk: &Jwk) -> Result<PublicKey, Unfit> {
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => PublicKey::from_rsa(&bytes(jwk.n.as_ref())?, &bytes(jwk.e.as_ref())?),
        ("EC", Some("P-256")) => {
            PublicKey::from_p256(&coordinate(jwk.x.as_ref())?, &coordinate(jwk.y.as_ref())?)
        }
        ("OKP", Some("Ed25519")) => PublicKey::from_ed25519(&coordinate(jwk.x.as_ref())?),
        _ => Err(Unfit::Unknown),
    }
}

fn bytes(text: Option<&String>) -> Result<Vec<u8>, Unfit> {
    BASE64_URL_SAFE_NO_PAD.decode(text.ok_or(Unfit::Unknown)?).map_err(|_| Unfit::Unknown)
}

fn coordinate(text: Option<&String>) -> Result<Vec<u8>, Unfit> {
    bytes(text).and_then(|bytes| if bytes.len() == COORDINATE { Ok(bytes) } else { Err(Unfit::Unknown) })
}
