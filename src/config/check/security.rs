//! The checks of `[security]`. A key is never shown, whatever is wrong with it.

use zeroize::Zeroizing;

use super::{Check, Security, raw};
use crate::domain::EncryptionKey;

/// The most former keys: a rotation needs one, and each is tried by its id alone.
const MOST_FORMER_KEYS: usize = 8;

impl Check<'_> {
    pub(super) fn security(&mut self, raw: raw::Security) -> Security {
        let text = Zeroizing::new(raw.encryption_key);
        let former: Vec<_> = raw.former_encryption_keys.into_iter().map(Zeroizing::new).collect();
        let encryption_key: Option<EncryptionKey> = text.parse().ok();
        let expected =
            "the base64 of exactly 32 bytes, as `salesos-webhooks encryption-key` prints it, or empty";
        self.demand("security.encryption_key", text.trim().is_empty() || encryption_key.is_some(), expected);
        let keys: Vec<EncryptionKey> = former.iter().filter_map(|text| text.parse().ok()).collect();
        let fit = keys.len() == former.len() && keys.len() <= MOST_FORMER_KEYS;
        let expected = format!("at most {MOST_FORMER_KEYS} keys, each the base64 of exactly 32 bytes");
        self.demand("security.former_encryption_keys", fit, &expected);
        Security { encryption_key, former_encryption_keys: keys }
    }
}
