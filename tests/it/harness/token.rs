//! Tokens as the organization's login service would make them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value, json};

/// The key that nodes are started with.
pub const SECRET: &str = "the-integration-tests-own-secret-0123456789";

/// The claims of one token.
#[derive(Clone, Debug)]
pub struct Token(Map<String, Value>);

impl Token {
    /// A user without an organization, for an hour.
    pub fn user(sub: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        Self(Map::new()).claim("sub", json!(sub)).claim("exp", json!(now + 3600))
    }

    /// In that organization.
    pub fn org(self, id: &str) -> Self {
        self.claim("organizationId", json!(id))
    }

    /// With that role.
    pub fn role(self, role: &str) -> Self {
        self.claim("role", json!(role))
    }

    /// With those scopes.
    pub fn scope(self, scope: &str) -> Self {
        self.claim("scope", json!(scope))
    }

    /// With any claim; null takes it away.
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        if value.is_null() {
            self.0.remove(name);
        } else {
            self.0.insert(name.to_owned(), value);
        }
        self
    }

    /// Signed as the node expects.
    pub fn sign(&self) -> String {
        self.sign_with(&Header::default(), SECRET)
    }

    /// Signed otherwise.
    pub fn sign_with(&self, header: &Header, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(header, &self.0, &key).expect("claims are JSON")
    }
}
