//! Encrypts what must stay secret where it is stored, so that who reads Redis, its files or a backup of them learns nothing.
//!
//! XChaCha20-Poly1305: the nonce is long enough to be drawn at random each time. What is sealed is bound to its context
//! (the associated data), so it opens nowhere else. A key is named by digits of an HMAC of a constant under it: they tell
//! keys apart and nothing about the key.
//!
//! Sources: RFC 8439 (ChaCha20-Poly1305), draft-irtf-cfrg-xchacha-03 section 2 (the extended nonce), RFC 2104 (HMAC).

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::encryption_key::{EncryptionKey, KEY_ID_DIGITS, KeyId, Lock};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
/// What ids of keys are made from; nothing else is ever authenticated with a key by HMAC.
const ID_LABEL: &[u8] = b"salesos-webhooks: id of an encryption key";

/// The keys of a node: one that encrypts, and former ones that decrypt what was encrypted before.
pub struct Keyring {
    present: Option<Held>,
    former: Vec<Held>,
}

struct Held {
    id: KeyId,
    /// Overwrites its key when it is dropped.
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.held().map(|held| held.id.as_str()).collect();
        f.debug_tuple("Keyring").field(&ids).finish()
    }
}

/// What one value is bound to: its parts, each with its length before it, so that none can be shifted into another.
pub fn context(parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + size_of::<u64>()).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

impl Keyring {
    /// The ring of those keys. Without a present one nothing is encrypted.
    pub fn new(present: Option<&EncryptionKey>, former: &[EncryptionKey]) -> Self {
        Self { present: present.map(Held::new), former: former.iter().map(Held::new).collect() }
    }

    /// The key that encrypts.
    pub fn present(&self) -> Option<&KeyId> {
        self.present.as_ref().map(|held| &held.id)
    }

    /// Whether what that key has encrypted can be read.
    pub fn holds(&self, id: &KeyId) -> bool {
        self.held().any(|held| held.id == *id)
    }

    /// `text` encrypted with the present key, and the key's id; `None` without one. A nonce is never used twice.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], context: &[u8], text: &[u8]) -> Option<(&KeyId, Vec<u8>)> {
        let Held { id, cipher } = self.present.as_ref()?;
        let payload = Payload { msg: text, aad: context };
        let encrypted =
            cipher.encrypt(&XNonce::from(nonce), payload).expect("it is far shorter than the cipher's limit");
        Some((id, [&nonce[..], &encrypted].concat()))
    }

    /// What [`Self::seal`] was given.
    ///
    /// # Errors
    /// The key `id` is not on the ring, or this is not what it sealed in that context.
    pub fn open(&self, id: &KeyId, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Lock> {
        let held = self.held().find(|held| held.id == *id).ok_or_else(|| Lock::KeyMissing(id.clone()))?;
        let (nonce, encrypted) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(Lock::Broken)?;
        let payload = Payload { msg: encrypted, aad: context };
        let text = held.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Lock::Broken)?;
        Ok(Zeroizing::new(text))
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        self.present.iter().chain(&self.former)
    }
}

impl Held {
    fn new(key: &EncryptionKey) -> Self {
        Self { id: id_of(key), cipher: XChaCha20Poly1305::new(key.bytes().into()) }
    }
}

/// The id of a key.
pub fn id_of(key: &EncryptionKey) -> KeyId {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("HMAC takes keys of any length");
    mac.update(ID_LABEL);
    let digits = hex::encode(mac.finalize().into_bytes());
    digits[..KEY_ID_DIGITS].parse().expect("it is hexadecimal and of that length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> EncryptionKey {
        EncryptionKey::new([byte; 32])
    }

    fn ring(present: u8, former: &[u8]) -> Keyring {
        Keyring::new(Some(&key(present)), &former.iter().map(|byte| key(*byte)).collect::<Vec<_>>())
    }

    #[test]
    fn the_published_xchacha20_poly1305_vector_is_met() {
        // draft-irtf-cfrg-xchacha-03, appendix A.3.1.
        let bytes = |text: &str| hex::decode(text).expect("it is hexadecimal");
        let key: [u8; 32] = std::array::from_fn(|index| 0x80 + index as u8);
        let nonce: [u8; 24] = std::array::from_fn(|index| 0x40 + index as u8);
        let text =
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                     sunscreen would be it.";
        let ring = Keyring::new(Some(&EncryptionKey::new(key)), &[]);
        let (_, sealed) = ring.seal(nonce, &bytes("50515253c0c1c2c3c4c5c6c7"), text).expect("there is a key");
        assert_eq!(sealed[..24], nonce);
        assert_eq!(sealed[24..40], bytes("bd6d179d3e83d43b9576579493c0e939"));
        assert_eq!(sealed[sealed.len() - 16..], bytes("c0875924c1c7987947deafd8780acf49"));
    }

    #[test]
    fn what_was_sealed_opens_with_the_same_key_present_or_former() {
        let (id, sealed) =
            ring(1, &[]).seal([9; 24], b"here", b"text").map(|(id, s)| (id.clone(), s)).unwrap();
        for good in [ring(1, &[]), ring(2, &[1]), ring(2, &[3, 1])] {
            assert!(good.holds(&id));
            assert_eq!(good.open(&id, b"here", &sealed).as_deref(), Ok(&b"text".to_vec()));
        }
        let without = ring(2, &[3]);
        assert_eq!(without.open(&id, b"here", &sealed), Err(Lock::KeyMissing(id.clone())));
        assert!(!without.holds(&id) && Keyring::new(None, &[]).seal([9; 24], b"here", b"text").is_none());
    }

    #[test]
    fn nothing_that_was_changed_opens() {
        let ring = ring(1, &[2]);
        let (id, sealed) = ring.seal([9; 24], b"here", b"text").expect("there is a key");
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(ring.open(id, b"here", &changed), Err(Lock::Broken), "byte {index}");
        }
        assert_eq!(ring.open(id, b"there", &sealed), Err(Lock::Broken));
        assert_eq!(ring.open(&id_of(&key(2)), b"here", &sealed), Err(Lock::Broken));
        for length in [0, 23, 24, 39] {
            assert_eq!(ring.open(id, b"here", &sealed[..length]), Err(Lock::Broken), "{length} bytes");
        }
    }

    #[test]
    fn parts_of_a_context_cannot_be_shifted_into_each_other() {
        assert_ne!(context(&["ab", "c"]), context(&["a", "bc"]));
        assert_ne!(context(&["a"]), context(&["a", ""]));
    }

    #[test]
    fn a_ring_shows_ids_alone() {
        let shown = format!("{:?}", ring(1, &[2]));
        assert_eq!(shown, format!("Keyring([\"{}\", \"{}\"])", id_of(&key(1)), id_of(&key(2))));
        assert_ne!(id_of(&key(1)), id_of(&key(2)));
    }
}
