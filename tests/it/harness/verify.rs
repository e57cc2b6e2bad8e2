//! The receiver's side of both signatures, written from their public descriptions and without the service's own code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// SalesOS's recipe: hex HMAC-SHA256 of the body, the whole secret string as key.
pub fn hex_signature(secret: &str, body: &[u8]) -> String {
    let digest = mac(secret.as_bytes(), body);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Standard Webhooks: base64 HMAC-SHA256 of `id.timestamp.body`, the decoded part of the secret as key.
pub fn standard_signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret's prefix")).expect("base64");
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    format!("v1,{}", STANDARD.encode(mac(&key, &signed)))
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
