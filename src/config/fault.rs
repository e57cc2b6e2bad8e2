//! What is wrong with the settings, in words for the person who wrote them.
//!
//! A fault names the key, where its value came from, the value and what is allowed. It never shows a secret: not the
//! value of a secret key, not a password inside a URL, and not the value of a key that nobody knows, which may be a
//! misspelt secret.

use std::fmt;

use url::Url;

/// Keys whose values are never shown.
const SECRET_KEYS: [&str; 3] =
    ["auth.jwt_secret", "security.encryption_key", "security.former_encryption_keys"];
/// Keys that hold URLs, of which everything but the password is shown.
const URL_KEYS: [&str; 6] = [
    "auth.jwks_url",
    "redis.url",
    "redis.sentinel_urls",
    "redis.cluster_urls",
    "delivery.proxy_url",
    "telemetry.otlp_endpoint",
];
/// The longest value that is shown whole, in characters.
const LONGEST_SHOWN: usize = 80;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key (`server.port`), or the file or variable when there is no key to name.
    pub subject: String,
    /// What is wrong with it and what is allowed.
    pub problem: String,
}

impl Fault {
    /// A fault of `subject`.
    pub fn new(subject: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { subject: subject.into(), problem: problem.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.problem)
    }
}

/// Everything that is wrong: at least one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 { "fault" } else { "faults" };
        write!(f, "the configuration has {} {noun}:", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// The value of `key` as it may be shown.
pub(super) fn shown(key: &str, value: &toml::Value) -> String {
    match value {
        _ if SECRET_KEYS.contains(&key) => "a value that is not shown".into(),
        toml::Value::String(text) if URL_KEYS.contains(&key) => format!("{:?}", redacted_url(text)),
        toml::Value::Array(entries) if URL_KEYS.contains(&key) => {
            let urls: Vec<String> =
                entries.iter().map(|entry| redacted_url(entry.as_str().unwrap_or_default())).collect();
            shortened(&format!("{urls:?}"))
        }
        // Whatever it is, a URL with a password may be in it.
        _ if URL_KEYS.contains(&key) => "a value that is not shown".into(),
        toml::Value::String(text) => format!("{:?}", shortened(text)),
        other => shortened(&other.to_string()),
    }
}

/// `text` without the password, if it is a URL; nothing of it otherwise, since the password could be anywhere in it.
///
/// A user without a password is taken for one: `redis://PASSWORD@host` is a common slip. So is a password with a character
/// that ends the host (`redis://app:12/34@host`), which leaves an `@` behind it.
pub fn redacted_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return "(not a URL)".into() };
    // redis+unix://…?pass=… carries its password in the query; a fragment means nothing here.
    url.set_query(None);
    url.set_fragment(None);
    let (is_hidden, has_login) = match (url.password(), url.username()) {
        (Some(_), _) => (url.set_password(Some("***")).is_ok(), true),
        (None, "") => (true, false),
        (None, _) => (url.set_username("***").is_ok(), true),
    };
    let is_misplaced = url.path().contains('@') || (text.contains('@') && !has_login);
    if !is_hidden || is_misplaced {
        return "(a URL with an @ in a place where none belongs)".into();
    }
    shortened(url.as_str())
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST_SHOWN {
        return text.to_owned();
    }
    text.chars().take(LONGEST_SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_shown() {
        for (url, expected) in [
            ("redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"),
            ("rediss://app:hunter2@cache", "rediss://app:***@cache"),
            ("redis+unix:///run/redis.sock?pass=hunter2&db=1", "redis+unix:///run/redis.sock"),
            ("hunter2@cache", "(not a URL)"),
            ("redis://cache:6379", "redis://cache:6379"),
            ("redis://hunter2@cache:6379/0", "redis://***@cache:6379/0"),
            ("http://hunter2@proxy:3128", "http://***@proxy:3128/"),
            ("http://collector/v1?key=hunter2#hunter2", "http://collector/v1"),
        ] {
            assert_eq!(redacted_url(url), expected);
        }
        for part in ["/", "#", "?", "@x/", "@x#", "@x?"] {
            let url = format!("redis://app:12{part}hunter2@cache:6379");
            assert!(!redacted_url(&url).contains("hunter2"), "{url}: {}", redacted_url(&url));
        }
        let secret = toml::Value::String("hunter2".into());
        assert!(!shown("auth.jwt_secret", &secret).contains("hunter2"));
        let nodes = toml::Value::Array(vec!["redis://:hunter2@a:7000".into(), "hunter2".into()]);
        for key in ["redis.sentinel_urls", "redis.cluster_urls"] {
            assert_eq!(shown(key, &nodes), "[\"redis://:***@a:7000\", \"(not a URL)\"]");
        }
        let table = toml::Table::from_iter([("url".to_owned(), "http://ann:hunter2@proxy".into())]);
        assert!(!shown("delivery.proxy_url", &toml::Value::Table(table)).contains("hunter2"));
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = toml::Value::String("x".repeat(500));
        assert!(shown("node.id", &long).chars().count() < 100);
    }
}
