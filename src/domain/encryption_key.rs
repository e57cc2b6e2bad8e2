//! The key that what must stay secret is encrypted with where it is stored, and the name that tells one key from another.
//!
//! A key is never shown: not by `Debug`, not in an error. What is derived from it is made in `policy::sealing`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::ids::BadName;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Hexadecimal digits of a [`KeyId`].
pub const KEY_ID_DIGITS: usize = 8;

/// A key, written as the base64 of its 32 bytes. Overwritten in memory when it is dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct EncryptionKey([u8; KEY_BYTES]);

impl EncryptionKey {
    /// The key of those bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for whoever derives something from it.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// As it is written into the settings.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.0))
    }
}

impl FromStr for EncryptionKey {
    type Err = BadName;

    /// Standard base64, padded and canonical; white space around it, as a file brings along, does not count.
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bytes = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| BadName("encryption key"))?);
        bytes.as_slice().try_into().map(Self).map_err(|_| BadName("encryption key"))
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey(***)")
    }
}

/// Names a key without telling anything of it: eight hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let fits = text.len() == KEY_ID_DIGITS && text.bytes().all(is_digit);
        if fits { Ok(Self(text.to_owned())) } else { Err(BadName("encryption key's id")) }
    }
}

/// Why the secret and the header values of a stored webhook cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// They are encrypted with a key that this node does not have.
    KeyMissing(KeyId),
    /// They are not what was encrypted for this webhook: damaged, or changed by somebody else.
    Broken,
}

impl Lock {
    /// The id of the key that would open it, if that is the trouble.
    pub fn missing_key(&self) -> Option<&KeyId> {
        match self {
            Self::KeyMissing(id) => Some(id),
            Self::Broken => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_base64_of_exactly_32_bytes() {
        let good = BASE64.encode([7; 32]);
        assert_eq!(good.parse::<EncryptionKey>().map(|key| *key.bytes()), Ok([7; 32]));
        assert_eq!(format!(" {good}\n").parse::<EncryptionKey>().map(|key| *key.bytes()), Ok([7; 32]));
        assert_eq!(*EncryptionKey::new([7; 32]).to_base64(), good);
        let (short, long) = (BASE64.encode([7; 31]), BASE64.encode([7; 33]));
        let not_canonical = good.replace("c=", "d=");
        assert_ne!(not_canonical, good);
        for bad in ["", "x", &short, &long, good.trim_end_matches('='), &not_canonical, &"ab".repeat(32)] {
            assert!(bad.parse::<EncryptionKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", EncryptionKey::new([7; 32])), "EncryptionKey(***)");
        let refused = "aHVudGVyMg==".parse::<EncryptionKey>().expect_err("too short");
        assert!(!refused.to_string().contains("aHVudGVyMg"), "{refused}");
    }

    #[test]
    fn a_key_id_is_eight_hexadecimal_digits() {
        assert_eq!("0123abcd".parse::<KeyId>().map(|id| id.to_string()), Ok("0123abcd".into()));
        for bad in ["", "0123abc", "0123abcde", "0123ABCD", "0123abcg"] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
    }
}
