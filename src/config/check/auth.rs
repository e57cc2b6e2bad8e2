//! The checks of `[auth]`.

use url::{Host, Url};

use super::{Auth, Check, Fault, Jwks, KeyFiles, raw};
use crate::config::keys::KeySet;

/// RFC 7518, section 3.2: an HS256 key has at least the size of the hash.
const SHORTEST_JWT_SECRET: usize = 32;

impl Check<'_> {
    pub(super) fn auth(&mut self, raw: raw::Auth, files: KeyFiles) -> Auth {
        self.key_sources(&raw);
        self.jwt_secret(&raw.jwt_secret);
        let set = self.found(files.jwks);
        Auth {
            jwt_public_key: self.found(files.public_key),
            jwks: self.jwks(&raw, set),
            jwks_refresh: self.seconds("auth.jwks_refresh_seconds", raw.jwks_refresh_seconds, 5..=86_400),
            jwt_secret: Some(raw.jwt_secret).filter(|secret| !secret.is_empty()),
            issuer: Some(raw.issuer).filter(|text| !text.is_empty()),
            audience: Some(raw.audience).filter(|text| !text.is_empty()),
            read_only_roles: self.roles("auth.read_only_roles", raw.read_only_roles),
            publisher_roles: self.roles("auth.publisher_roles", raw.publisher_roles),
            admin_roles: self.roles("auth.admin_roles", raw.admin_roles),
        }
    }

    /// Some key there must be.
    fn key_sources(&mut self, raw: &raw::Auth) {
        let sources = [&raw.jwt_secret, &raw.jwt_public_key_file, &raw.jwks_file, &raw.jwks_url];
        if sources.iter().all(|source| source.is_empty()) {
            let problem = "is not set, and neither is auth.jwt_public_key_file, auth.jwks_file or auth.jwks_url: nobody's \
                           token could be verified; set one of them, or WEBHOOKS_AUTH__JWT_SECRET to at least 32 random \
                           bytes (openssl rand -base64 32)";
            self.faults.push(Fault::new(self.layers.subject("auth.jwt_secret"), problem));
        }
        let is_one = raw.jwks_file.is_empty() || raw.jwks_url.is_empty();
        self.demand("auth.jwks_file", is_one, "empty, because auth.jwks_url is set: give one of them");
    }

    fn jwt_secret(&mut self, secret: &str) {
        let length = secret.len();
        if (1..SHORTEST_JWT_SECRET).contains(&length) {
            let problem =
                format!("is {length} bytes long (not shown); expected at least {SHORTEST_JWT_SECRET}");
            self.faults.push(Fault::new(self.layers.subject("auth.jwt_secret"), problem));
        }
    }

    /// What was read from a file, or a fault.
    fn found<T>(&mut self, read: Result<Option<T>, Fault>) -> Option<T> {
        read.unwrap_or_else(|fault| {
            self.faults.push(fault);
            None
        })
    }

    fn jwks(&mut self, raw: &raw::Auth, set: Option<KeySet>) -> Option<Jwks> {
        let url = jwks_url(&raw.jwks_url);
        let expected = "an https URL such as https://login.example.com/.well-known/jwks.json, or an http one of this \
                        machine (localhost, 127.0.0.1, [::1]), without user, password or fragment, or empty";
        self.demand("auth.jwks_url", raw.jwks_url.is_empty() || url.is_some(), expected);
        url.map(Jwks::Url).or_else(|| Some(Jwks::File(raw.jwks_file.clone().into(), set?)))
    }

    fn roles(&mut self, key: &str, roles: Vec<String>) -> Vec<String> {
        self.demand(key, roles.iter().all(|role| !role.trim().is_empty()), "names of roles, none empty");
        roles
    }
}

/// Whoever can change the answer can make tokens, so only a way that nobody listens in on is taken.
fn jwks_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_this_machine = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_this_machine);
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (is_safe && is_plain && url.port() != Some(0)).then_some(url)
}
