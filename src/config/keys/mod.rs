//! Public keys that tokens are verified with, as files and identity providers write them.
//!
//! A key is bound to one algorithm by what it is: RSA to RS256, P-256 to ES256, Ed25519 to EdDSA. Whatever says otherwise
//! (a JWK's `alg`, a token's header) can only rule a key out. [`pem`] reads one key, [`set`] a JWK set.

mod pem;
pub mod set;

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{PublicEncryptingKey, PublicKeyComponents};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};

pub use self::pem::read as read_pem;
pub use self::set::KeySet;
use super::Fault;

/// The files of `[auth]`, read: what is not set is `None`.
#[derive(Debug)]
pub(super) struct KeyFiles {
    pub(super) public_key: Result<Option<PublicKey>, Fault>,
    pub(super) jwks: Result<Option<KeySet>, Fault>,
}

/// What a file of keys holds, up to one byte more than the largest that is taken.
///
/// # Errors
/// The file cannot be read.
pub fn bytes_of(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(set::MOST_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How a key's signatures are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256; RSA of 2048 to 8192 bits.
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl KeyAlgorithm {
    /// As RFC 7518 and RFC 8037 name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A public key that is fit for its algorithm.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    spki: Arc<[u8]>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.algorithm.as_str())
    }
}

/// A key that is of no use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Shorter than 2048 bits, or longer than 8192.
    #[error("an RSA key must have 2048 to 8192 bits")]
    RsaSize,
    /// Some other kind of key, or none at all.
    #[error("it is no RSA, P-256 or Ed25519 key")]
    Unknown,
}

impl PublicKey {
    /// The algorithm that the key is bound to.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The key as DER (`SubjectPublicKeyInfo`, RFC 5280 section 4.1.2.7).
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key in a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// See [`Unfit`].
    fn from_spki(der: &[u8]) -> Result<Self, Unfit> {
        let found = |algorithm| Ok(Self { algorithm, spki: der.into() });
        if PublicEncryptingKey::from_der(der).is_ok_and(|key| key.key_size_bits() <= 8192) {
            return found(KeyAlgorithm::Rs256);
        }
        // Parsed without a look at its size.
        if ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).is_ok() {
            return Err(Unfit::RsaSize);
        }
        if ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der).is_ok() {
            return found(KeyAlgorithm::Es256);
        }
        match ParsedPublicKey::new(&ED25519, der) {
            Ok(_) => found(KeyAlgorithm::EdDsa),
            Err(_) => Err(Unfit::Unknown),
        }
    }

    /// The RSA key of a modulus and an exponent, both big-endian. Exponents that are even, 1 or longer than 33 bits are
    /// refused by the library.
    fn from_rsa(n: &[u8], e: &[u8]) -> Result<Self, Unfit> {
        let der = PublicKeyComponents { n, e }.as_der().map_err(|_| Unfit::Unknown)?;
        Self::from_spki(der.as_ref())
    }

    /// The P-256 key of a point on the curve.
    fn from_p256(x: &[u8], y: &[u8]) -> Result<Self, Unfit> {
        let point = [&[UNCOMPRESSED], x, y].concat();
        Self::parsed(KeyAlgorithm::Es256, &ECDSA_P256_SHA256_FIXED, &point)
    }

    /// The Ed25519 key of its 32 bytes.
    fn from_ed25519(x: &[u8]) -> Result<Self, Unfit> {
        Self::parsed(KeyAlgorithm::EdDsa, &ED25519, x)
    }

    fn parsed(
        algorithm: KeyAlgorithm,
        with: &'static dyn aws_lc_rs::signature::VerificationAlgorithm,
        bytes: &[u8],
    ) -> Result<Self, Unfit> {
        let der = ParsedPublicKey::new(with, bytes).map_err(|_| Unfit::Unknown)?.as_der();
        Ok(Self { algorithm, spki: der.map_err(|_| Unfit::Unknown)?.as_ref().into() })
    }
}

/// What a point that is written out begins with (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
