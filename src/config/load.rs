//! Reads the settings: the embedded default, a file, the environment; then has all of it checked.

use std::fmt;
use std::path::Path;

use rand::RngExt;

use super::check::{Files, check};
use super::fault::{Fault, Faults};
use super::keys::{self, KeyFiles, KeySet};
use super::raw::{self, Raw};
use super::{Config, Layers, catalogue};
use crate::domain::{Catalogue, NodeId};

/// What the machine contributes to the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The node's id when `node.id` names none.
    pub node_id: NodeId,
}

impl Machine {
    /// This machine and process.
    pub fn this() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cores, node_id: made_node_id() }
    }
}

/// The settings of the embedded default, `file` and `env`, checked.
///
/// # Errors
/// Every fault there is: a file that cannot be read or parsed, unknown keys, wrong values, keys that do not fit
/// together.
pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Config, Faults> {
    let mut layers = Layers::default();
    if let Some(file) = file {
        layers.put_file(file);
    }
    layers.put_environment(env);
    layers.check()
}

/// The environment of this process; names and values that are not Unicode are not ours and are left out.
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn environment() -> impl Iterator<Item = (String, String)> {
    let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(unicode)
}

impl Layers {
    /// Puts the settings of `file` over those already there.
    pub fn put_file(&mut self, file: &Path) {
        let origin = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => self.put_text(&origin, &text),
            Err(error) => self.faults.push(Fault::new(origin, format!("cannot be read: {error}"))),
        }
    }

    /// The checked settings.
    ///
    /// # Errors
    /// Every fault there is, those of the layers included.
    pub fn check(&self) -> Result<Config, Faults> {
        let raw = self.raw();
        let catalogue = self.catalogue(&raw.events.catalogue_file);
        let keys = self.key_files(&raw.auth);
        check(self, raw, Files { catalogue, keys }, &Machine::this())
    }

    /// The settings in their shape, unchecked.
    pub(super) fn raw(&self) -> Raw {
        self.table
            .clone()
            .try_into()
            .expect("layers keep the keys and types of the default, whose shape this is")
    }

    fn key_files(&self, raw: &raw::Auth) -> KeyFiles {
        KeyFiles {
            public_key: self.key_file("auth.jwt_public_key_file", &raw.jwt_public_key_file, keys::read_pem),
            jwks: self.key_file("auth.jwks_file", &raw.jwks_file, KeySet::read),
        }
    }

    /// What `read` makes of the file that `key` names; `None` when it names none.
    fn key_file<T, E: fmt::Display>(
        &self,
        key: &str,
        file: &str,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, Fault> {
        if file.is_empty() {
            return Ok(None);
        }
        let fault = |problem: String| Fault::new(self.subject(key), format!("is {file:?}, which {problem}"));
        let text =
            keys::bytes_of(Path::new(file)).map_err(|error| fault(format!("cannot be read: {error}")))?;
        read(&text).map(Some).map_err(|error| fault(error.to_string()))
    }

    fn catalogue(&self, file: &str) -> Result<Catalogue, Vec<Fault>> {
        if file.is_empty() {
            return catalogue::parse("the built-in catalogue", catalogue::EMBEDDED);
        }
        let text = std::fs::read_to_string(file).map_err(|error| {
            let problem = format!("is {file:?}, which cannot be read: {error}");
            vec![Fault::new(self.subject("events.catalogue_file"), problem)]
        })?;
        catalogue::parse(file, &text)
    }
}

/// `<host name>-<process id>-<random>`: tells people where a node runs, and two starts apart.
fn made_node_id() -> NodeId {
    /// Leaves room for the rest within the 64 characters of an id.
    const LONGEST_HOST: usize = 40;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let host: String = host.trim().chars().filter(legal).take(LONGEST_HOST).collect();
    let host = if host.is_empty() { "node" } else { &host };
    let random: u32 = rand::rng().random();
    let made = format!("{host}-{}-{random:08x}", std::process::id());
    made.parse().expect("made of legal characters, and short enough")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: (&str, &str) = ("WEBHOOKS_AUTH__JWT_SECRET", "0123456789abcdef0123456789abcdef");

    fn env(extra: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        let all: Vec<_> =
            extra.iter().chain([&SECRET]).map(|(k, v)| (k.to_string(), v.to_string())).collect();
        all.into_iter()
    }

    #[test]
    fn the_environment_alone_is_enough() {
        let config = load(None, env(&[("WEBHOOKS_SERVER__PORT", "0")])).expect("the settings are sound");
        assert_eq!(config.server.port, 0);
        assert_eq!(config.catalogue.types().len(), 35);
    }

    #[test]
    fn the_default_file_says_what_is_embedded() {
        let file = load(Some(Path::new("config/default.toml")), env(&[("WEBHOOKS_NODE__ID", "n")]));
        assert_eq!(file, load(None, env(&[("WEBHOOKS_NODE__ID", "n")])));
    }

    #[test]
    fn files_that_are_missing_are_named() {
        let found = load(
            Some(Path::new("nowhere/my.toml")),
            env(&[("WEBHOOKS_EVENTS__CATALOGUE_FILE", "nowhere/events.toml")]),
        )
        .expect_err("neither file exists");
        let text = found.to_string();
        assert!(text.contains("nowhere/my.toml: cannot be read"), "{text}");
        assert!(
            text.contains("events.catalogue_file (WEBHOOKS_EVENTS__CATALOGUE_FILE): is \"nowhere"),
            "{text}"
        );
    }

    #[test]
    fn a_made_node_id_is_legal_and_never_the_same() {
        let (one, other) = (made_node_id(), made_node_id());
        assert_ne!(one, other);
        assert!(load(None, env(&[("WEBHOOKS_NODE__ID", one.as_str())])).is_ok(), "{one}");
    }
}
