//! One public key from a PEM file (RFC 7468, section 13).

use rustls::pki_types::pem::{PemObject as _, SectionKind};

use super::{PublicKey, Unfit};

/// The longest PEM file: a key of 8192 bits needs 1.5 KB of it.
const MOST_BYTES: usize = 64 << 10;

/// The file holds no public key that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No PEM at all.
    #[error("holds no PEM section")]
    Empty,
    /// Longer than any key.
    #[error("is larger than {MOST_BYTES} bytes")]
    TooLarge,
    /// PEM that breaks off, or with bad Base64.
    #[error("is malformed PEM")]
    Malformed,
    /// More than one key: it would not be said which one is meant.
    #[error("holds more than one PEM section; give several keys as auth.jwks_file")]
    Several,
    /// A secret where none belongs.
    #[error(
        "holds a private key, which does not belong on this machine; give its public key (openssl pkey -pubout)"
    )]
    Private,
    /// Its validity would be checked by nobody.
    #[error("holds a certificate; give its public key (openssl x509 -pubkey -noout)")]
    Certificate,
    /// Some other section.
    #[error("holds a section that is no PUBLIC KEY")]
    Other,
    /// A public key that is of no use.
    #[error("holds a key that cannot be used: {0}")]
    Unfit(#[from] Unfit),
}

/// The only key in `text`.
///
/// # Errors
/// See [`Error`].
pub fn read(text: &[u8]) -> Result<PublicKey, Error> {
    if text.len() > MOST_BYTES {
        return Err(Error::TooLarge);
    }
    let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(text);
    let (kind, der) = sections.next().ok_or(Error::Empty)?.map_err(|_| Error::Malformed)?;
    let key = match kind {
        SectionKind::PublicKey => PublicKey::from_spki(&der)?,
        SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
            return Err(Error::Private);
        }
        SectionKind::Certificate => return Err(Error::Certificate),
        _ => return Err(Error::Other),
    };
    if sections.next().is_some() { Err(Error::Several) } else { Ok(key) }
}
