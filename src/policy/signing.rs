//! What proves to a receiver that a request is ours: made when sending, checked by `listen` and by receivers.
//!
//! Two families, both over the body's exact bytes:
//! - the hexadecimal one of `X-Webhook-Signature`: HMAC-SHA256 with the whole secret string as key;
//! - Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, key = the secret's base64 part, decoded.
//!
//! Signatures are compared in constant time, so that a guess learns nothing from how long the answer took.
//!
//! Sources: RFC 2104 (HMAC); the Standard Webhooks specification, sections "Signature scheme" and "Webhook headers
//! (sending metadata to consumers)".

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::domain::Secret;
use crate::domain::webhook::SECRET_PREFIX;

/// The header that names the event: signed, and the same on every attempt.
pub const ID_HEADER: &str = "webhook-id";
/// The header that says when the attempt was signed, in seconds since the epoch.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the Standard Webhooks signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// The header with the hexadecimal signature.
pub const HEX_SIGNATURE_HEADER: &str = "x-webhook-signature";

/// Secrets are read with or without `=` at the end: both spellings are in use.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The scheme of a symmetric Standard Webhooks signature.
const STANDARD_VERSION: &str = "v1,";

/// How long an HMAC-SHA256 is.
const MAC_BYTES: usize = 32;

/// The length of one: the version and the base64 of an HMAC.
const STANDARD_LENGTH: usize = STANDARD_VERSION.len() + MAC_BYTES.div_ceil(3) * 4;

/// A secret made ready to sign: who signs often keeps it, and saves decoding it and half of the blocks that are not the
/// message's.
#[derive(Clone)]
pub struct Signer {
    /// Keyed with the whole secret string.
    hex: Hmac<Sha256>,
    /// Keyed with the secret's base64 part, decoded.
    standard: Hmac<Sha256>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(***)")
    }
}

impl Signer {
    /// A signer with that secret.
    pub fn new(secret: &Secret) -> Self {
        Self { hex: keyed(secret.0.as_bytes()), standard: keyed(&standard_key(secret)) }
    }

    /// `X-Webhook-Signature`: lower-case hexadecimal HMAC-SHA256 of `body`.
    pub fn hex(&self, body: &[u8]) -> String {
        let mut text = [0; 2 * MAC_BYTES];
        hex::encode_to_slice(mac(&self.hex, &[body]), &mut text).expect("two digits a byte");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// One entry of `webhook-signature`: `v1,<base64>` over `id.timestamp.body`.
    pub fn standard(&self, id: &str, timestamp_secs: u64, body: &[u8]) -> String {
        let mut entry = String::with_capacity(STANDARD_LENGTH);
        self.write_standard(id, timestamp_secs, body, &mut entry);
        entry
    }

    fn write_standard(&self, id: &str, timestamp_secs: u64, body: &[u8], entry: &mut String) {
        let timestamp = timestamp_secs.to_string();
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        entry.push_str(STANDARD_VERSION);
        BASE64.encode_string(mac(&self.standard, &parts), entry);
    }
}

/// The value of `webhook-signature`: an entry of each signer, in their order and a space between, so that a receiver that
/// knows any of the secrets accepts it.
pub fn standard_header<'a>(
    signers: impl IntoIterator<Item = &'a Signer>,
    id: &str,
    timestamp_secs: u64,
    body: &[u8],
) -> String {
    let mut header = String::with_capacity(STANDARD_LENGTH);
    for signer in signers {
        if !header.is_empty() {
            header.push(' ');
        }
        signer.write_standard(id, timestamp_secs, body, &mut header);
    }
    header
}

/// [`Signer::hex`] of a secret that signs once.
pub fn hex_signature(secret: &Secret, body: &[u8]) -> String {
    Signer::new(secret).hex(body)
}

/// [`Signer::standard`] of a secret that signs once.
pub fn standard_signature(secret: &Secret, id: &str, timestamp_secs: u64, body: &[u8]) -> String {
    Signer::new(secret).standard(id, timestamp_secs, body)
}

/// Whether `signature` is [`hex_signature`] of `body`.
pub fn verify_hex(secret: &Secret, body: &[u8], signature: &str) -> bool {
    same(hex_signature(secret, body).as_bytes(), signature.as_bytes())
}

/// Whether any of the space-separated entries of a `webhook-signature` value is [`standard_signature`] of the rest.
///
/// Entries of other schemes count as wrong. How old the timestamp may be is for the caller to decide.
pub fn verify_standard(secret: &Secret, id: &str, timestamp_secs: u64, body: &[u8], header: &str) -> bool {
    let expected = standard_signature(secret, id, timestamp_secs, body);
    header.split(' ').fold(false, |found, entry| found | same(expected.as_bytes(), entry.as_bytes()))
}

/// The secret's base64 part, decoded. A secret that is not base64 (none is ever made) is used as it is written rather
/// than panicking or signing with an empty key that anyone could use.
fn standard_key(secret: &Secret) -> Vec<u8> {
    let text = secret.0.strip_prefix(SECRET_PREFIX).unwrap_or(&secret.0);
    BASE64.decode(text).unwrap_or_else(|_| text.as_bytes().to_vec())
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// HMAC-SHA256 of `parts`, one after another.
fn mac(keyed: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    let mut mac = keyed.clone();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const AT: u64 = 1_649_367_553;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn secret() -> Secret {
        Secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into())
    }

    fn other() -> Secret {
        Secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into())
    }

    #[test]
    fn the_published_standard_webhooks_vector_is_met() {
        assert_eq!(standard_signature(&secret(), ID, AT, BODY), SIGNATURE);
        assert!(verify_standard(&secret(), ID, AT, BODY, SIGNATURE));
    }

    #[test]
    fn the_hexadecimal_family_uses_the_whole_secret_string() {
        // RFC 4231, test case 2.
        let signature = hex_signature(&Secret("Jefe".into()), b"what do ya want for nothing?");
        assert_eq!(signature, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_ne!(
            hex_signature(&secret(), BODY),
            hex_signature(&Secret(secret().0.replace("whsec_", "")), BODY)
        );
    }

    #[test]
    fn padding_of_a_secret_is_optional() {
        let bare = Secret(other().0.trim_end_matches('=').into());
        assert_eq!(standard_signature(&bare, ID, AT, BODY), standard_signature(&other(), ID, AT, BODY));
    }

    #[test]
    fn every_secret_verifies_while_it_is_in_use() {
        let (one, two) = (Signer::new(&other()), Signer::new(&secret()));
        let header = standard_header([&one, &two], ID, AT, BODY);
        assert_eq!(header, format!("{} {SIGNATURE}", standard_signature(&other(), ID, AT, BODY)));
        assert!(verify_standard(&other(), ID, AT, BODY, &header));
        assert!(verify_standard(&secret(), ID, AT, BODY, &header));
        assert_eq!(standard_header([&two], ID, AT, BODY), SIGNATURE);
        assert_eq!(SIGNATURE.len(), STANDARD_LENGTH);
    }

    #[test]
    fn a_signer_shows_no_key() {
        assert_eq!(format!("{:?}", Signer::new(&secret())), "Signer(***)");
    }

    #[test]
    fn headers_that_say_something_else_do_not_verify() {
        for header in
            ["", " ", "v1,", "v1", "v1a,x v2,y", &SIGNATURE[3..], &SIGNATURE.to_lowercase(), "v1, x"]
        {
            assert!(!verify_standard(&secret(), ID, AT, BODY, header), "{header}");
        }
        assert!(verify_standard(&secret(), ID, AT, BODY, &format!("v1a,foreign  v2,x {SIGNATURE}")));
        assert!(!verify_hex(&secret(), BODY, &hex_signature(&secret(), BODY).to_uppercase()));
    }

    proptest! {
        #[test]
        fn what_was_signed_verifies_and_anything_else_does_not(
            body: Vec<u8>,
            id in "[A-Za-z0-9_-]{1,64}",
            at in 0_u64..1 << 40,
            flip: prop::sample::Index,
        ) {
            let header = standard_signature(&secret(), &id, at, &body);
            prop_assert!(verify_standard(&secret(), &id, at, &body, &header));
            prop_assert!(!verify_standard(&other(), &id, at, &body, &header));
            prop_assert!(!verify_standard(&secret(), &id, at + 1, &body, &header));
            let hex = hex_signature(&secret(), &body);
            prop_assert!(verify_hex(&secret(), &body, &hex));
            if !body.is_empty() {
                let mut changed = body.clone();
                changed[flip.index(body.len())] ^= 1;
                prop_assert!(!verify_hex(&secret(), &changed, &hex));
                prop_assert!(!verify_standard(&secret(), &id, at, &changed, &header));
            }
        }
    }
}
