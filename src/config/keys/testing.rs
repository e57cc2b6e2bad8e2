//! Private keys for tests, of every algorithm, and the tokens, PEM files and JWKs that are made with them. The harness of the
//! integration tests includes this file, so that both make the same.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub enum Signer {
    Rsa(Box<rsa::KeyPair>),
    /// As PKCS #8, because it signs in two forms.
    Ec(Vec<u8>),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub fn rsa() -> Self {
        Self::Rsa(Box::new(rsa::KeyPair::generate(KeySize::Rsa2048).expect("a sound key")))
    }

    pub fn ec() -> Self {
        let made = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a sound key");
        Self::Ec(made.to_pkcs8v1().expect("a sound key").as_ref().to_vec())
    }

    pub fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().expect("a sound key"))
    }

    /// One of each.
    pub fn all() -> [Self; 3] {
        [Self::rsa(), Self::ec(), Self::ed()]
    }

    pub fn alg(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn ec_pair(pkcs8: &[u8], algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
        EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).expect("a sound key")
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a sound key");
                signature
            }
            Self::Ec(pkcs8) => {
                let pair = Self::ec_pair(pkcs8, &ECDSA_P256_SHA256_FIXED_SIGNING);
                pair.sign(&random, message).expect("a sound key").as_ref().to_vec()
            }
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The other form of an ECDSA signature, which no JWT may have.
    pub fn sign_as_der(&self, message: &[u8]) -> Vec<u8> {
        let Self::Ec(pkcs8) = self else { panic!("only ECDSA has two forms") };
        let pair = Self::ec_pair(pkcs8, &ECDSA_P256_SHA256_ASN1_SIGNING);
        pair.sign(&SystemRandom::new(), message).expect("a sound key").as_ref().to_vec()
    }

    pub fn spki(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => pair.public_key().as_der().expect("a sound key").as_ref().to_vec(),
            Self::Ec(pkcs8) => {
                let pair = Self::ec_pair(pkcs8, &ECDSA_P256_SHA256_FIXED_SIGNING);
                pair.public_key().as_der().expect("a sound key").as_ref().to_vec()
            }
            Self::Ed(pair) => pair.public_key().as_der().expect("a sound key").as_ref().to_vec(),
        }
    }

    pub fn pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki())
    }

    /// The public key as a JWK named `kid`.
    pub fn jwk(&self, kid: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(pair) => {
                let public = pair.public_key();
                let [n, e] = [public.modulus(), public.exponent()]
                    .map(|number| base64url(number.big_endian_without_leading_zero()));
                json!({"kty": "RSA", "n": n, "e": e})
            }
            Self::Ec(pkcs8) => {
                let pair = Self::ec_pair(pkcs8, &ECDSA_P256_SHA256_FIXED_SIGNING);
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": base64url(&point[1..33]), "y": base64url(&point[33..])})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = kid.into();
        jwk["use"] = "sig".into();
        jwk["alg"] = self.alg().into();
        jwk
    }

    /// A token with this header and these claims.
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        format!("{message}.{}", base64url(&self.sign(message.as_bytes())))
    }
}

/// What is signed.
pub fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()))
}

pub fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("Base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A set of these entries.
pub fn set(entries: &[Value]) -> Vec<u8> {
    json!({ "keys": entries }).to_string().into_bytes()
}
