//! Settings put over each other: the embedded default, then a file, then the environment.
//!
//! The embedded default is also the list of what exists: a key that it does not hold is refused, and a value must have
//! the type of its default. Every key is `section.name`, two levels, so that each has one variable.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::fault::{Fault, Faults, shown};

/// The settings that hold when nothing else is said.
pub(super) const DEFAULT: &str = include_str!("../../config/default.toml");
/// The settings of `serve --development`.
pub const DEVELOPMENT: &str = include_str!("../../config/development.toml");
/// What the variables of the environment begin with.
const VARIABLE_PREFIX: &str = "WEBHOOKS_";
/// What stands between section and name in a variable.
const VARIABLE_SEPARATOR: &str = "__";
/// Below this Jaro-Winkler similarity a suggestion puzzles more than it helps.
const ALIKE: f64 = 0.85;

/// Every key with its value, and where the value came from.
#[derive(Debug)]
pub struct Layers {
    pub(super) table: Table,
    origins: BTreeMap<String, String>,
    pub(super) faults: Vec<Fault>,
}

impl Default for Layers {
    fn default() -> Self {
        let table = DEFAULT.parse().expect("the embedded default is TOML: a test reads it");
        Self { table, origins: BTreeMap::new(), faults: Vec::new() }
    }
}

impl Layers {
    /// Puts the settings of a TOML text over those already there; `origin` names it in faults.
    pub fn put_text(&mut self, origin: &str, text: &str) {
        match text.parse::<Table>() {
            Ok(table) => {
                table.into_iter().for_each(|(name, section)| self.put_section(origin, &name, section))
            }
            // The message alone: the error's own text quotes the line, which may hold a secret.
            Err(error) => {
                let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
                self.faults.push(Fault::new(format!("{origin}, line {line}"), error.message()));
            }
        }
    }

    /// Puts the variables that begin with `WEBHOOKS_` over the settings already there.
    ///
    /// A name without `__` is not ours: Kubernetes puts `WEBHOOKS_PORT` and the like into the pods beside a service
    /// named `webhooks`. One that is a setting's but for an underscore is told.
    pub fn put_environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (variable, text) in variables {
            let ours = variable.strip_prefix(VARIABLE_PREFIX);
            if let Some((section, name)) = ours.and_then(|rest| rest.split_once(VARIABLE_SEPARATOR)) {
                let key = format!("{}.{}", section.to_lowercase(), name.to_lowercase());
                self.put_variable(&variable, &key, &text);
            } else if let Some(key) = ours.and_then(|rest| self.meant_by(rest, &text)) {
                let meant =
                    format!("{VARIABLE_PREFIX}{}", key.to_uppercase().replace('.', VARIABLE_SEPARATOR));
                self.faults.push(Fault::new(
                    variable,
                    format!("is no setting; expected {meant}, with two underscores"),
                ));
            }
        }
    }

    /// The key that a variable sets by the look of its name, but for an underscore. Kubernetes, beside a service of such a
    /// name, gives an address.
    fn meant_by(&self, rest: &str, text: &str) -> Option<String> {
        let is_address = text.starts_with("tcp://") || text.starts_with("udp://");
        let named = |key: &String| key.replace('.', "_").eq_ignore_ascii_case(rest);
        self.keys().into_iter().find(named).filter(|_| !is_address)
    }

    /// Whether `key` holds no text: the default of what has no default.
    pub fn is_unset(&self, key: &str) -> bool {
        self.text(key).is_none_or(str::is_empty)
    }

    /// The text of `key`; `None` when there is no such key or it is no text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key).and_then(Value::as_str)
    }

    /// Sets `key` to `text`; `origin` names the source in faults.
    pub fn set(&mut self, key: &str, text: &str, origin: &str) {
        self.put_value(origin, key, Value::String(text.to_owned()));
    }

    /// The faults found so far, as an error.
    ///
    /// # Errors
    /// There are any.
    pub fn sound(self) -> Result<Self, Faults> {
        if self.faults.is_empty() { Ok(self) } else { Err(Faults(self.faults)) }
    }

    /// `key`, and where its value came from if that is not the default.
    pub(super) fn subject(&self, key: &str) -> String {
        match self.origins.get(key) {
            Some(origin) => format!("{key} ({origin})"),
            None => key.to_owned(),
        }
    }

    /// The value of `key` as a fault may show it.
    pub(super) fn shown(&self, key: &str) -> String {
        self.value(key).map_or_else(|| "missing".into(), |value| shown(key, value))
    }

    fn value(&self, key: &str) -> Option<&Value> {
        let (section, name) = key.split_once('.')?;
        self.table.get(section)?.as_table()?.get(name)
    }

    fn put_section(&mut self, origin: &str, name: &str, section: Value) {
        match section {
            Value::Table(section) if self.table.contains_key(name) => {
                for (key, value) in section {
                    self.put_value(origin, &format!("{name}.{key}"), value);
                }
            }
            _ => {
                let near = closest(name, self.table.keys().map(String::as_str));
                self.faults.push(Fault::new(format!("[{name}] ({origin})"), unknown("section", near)));
            }
        }
    }

    fn put_variable(&mut self, variable: &str, key: &str, text: &str) {
        let value = match self.value(key) {
            Some(Value::Integer(_)) => text.trim().parse().map(Value::Integer).ok(),
            Some(Value::Float(_)) => text.trim().parse().map(Value::Float).ok(),
            Some(Value::Boolean(_)) => text.trim().parse().map(Value::Boolean).ok(),
            Some(Value::Array(_)) => Some(list(text)),
            _ => Some(Value::String(text.to_owned())),
        };
        // Text that is not of the type goes on as text: `put_value` reports the difference.
        self.put_value(variable, key, value.unwrap_or_else(|| Value::String(text.to_owned())));
    }

    fn put_value(&mut self, origin: &str, key: &str, value: Value) {
        let Some(known) = self.value(key) else {
            let keys = self.keys();
            let near = closest(key, keys.iter().map(String::as_str));
            self.faults.push(Fault::new(format!("{key} ({origin})"), unknown("key", near)));
            return;
        };
        let value = match (known, value) {
            // `1` is as good as `1.0`.
            (Value::Float(_), Value::Integer(whole)) => Value::Float(whole as f64),
            (_, value) => value,
        };
        if !same_type(known, &value) {
            let problem = format!("is {}; expected {}", shown(key, &value), type_name(known));
            self.faults.push(Fault::new(format!("{key} ({origin})"), problem));
            return;
        }
        let (section, name) = key.split_once('.').expect("a known key has two parts");
        if let Some(Value::Table(section)) = self.table.get_mut(section) {
            section.insert(name.to_owned(), value);
            self.origins.insert(key.to_owned(), origin.to_owned());
        }
    }

    /// Every key there is.
    fn keys(&self) -> Vec<String> {
        let sections = self.table.iter().filter_map(|(name, section)| Some((name, section.as_table()?)));
        sections.flat_map(|(name, section)| section.keys().map(move |key| format!("{name}.{key}"))).collect()
    }
}

fn list(text: &str) -> Value {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Value::Array(entries.map(|entry| Value::String(entry.to_owned())).collect())
}

/// All lists are lists of text.
fn same_type(known: &Value, value: &Value) -> bool {
    let texts = |value: &Value| value.as_array().is_none_or(|entries| entries.iter().all(Value::is_str));
    known.same_type(value) && texts(value)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list of texts",
        _ => "a text",
    }
}

fn unknown(what: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("there is no such {what}; did you mean {near}?"),
        None => format!("there is no such {what}; config/default.toml lists them all"),
    }
}

fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|known| (strsim::jaro_winkler(name, known), known));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(file: &str, variables: &[(&str, &str)]) -> Layers {
        let mut layers = Layers::default();
        layers.put_text("my.toml", file);
        layers.put_environment(variables.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        layers
    }

    fn faults(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
        layers(file, variables).faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
        let layers = layers("[server]\nport = 1\nmanagement_port = 2", &[("WEBHOOKS_SERVER__PORT", "3")]);
        assert_eq!(layers.value("server.port"), Some(&Value::Integer(3)));
        assert_eq!(layers.value("server.management_port"), Some(&Value::Integer(2)));
        assert_eq!(layers.value("server.workers"), Some(&Value::Integer(0)));
        assert_eq!(layers.subject("server.port"), "server.port (WEBHOOKS_SERVER__PORT)");
        assert_eq!(layers.subject("server.management_port"), "server.management_port (my.toml)");
    }

    #[test]
    fn a_list_in_the_environment_is_comma_separated() {
        let layers = layers("", &[("WEBHOOKS_DELIVERY__ALLOWED_NETWORKS", "127.0.0.0/8, ::1/128,")]);
        let expected = list("127.0.0.0/8,::1/128");
        assert_eq!(layers.value("delivery.allowed_networks"), Some(&expected));
        assert_eq!(expected.as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn every_unknown_key_is_named_with_the_likely_one() {
        let found =
            faults("[server]\nprot = 1\n[redsi]\nurl = \"\"\n", &[("WEBHOOKS_AUTH__JWT_SECRT", "hunter2")]);
        let found = found.join("\n");
        assert!(
            found.contains("server.prot (my.toml): there is no such key; did you mean server.port?"),
            "{found}"
        );
        assert!(
            found.contains("[redsi] (my.toml): there is no such section; did you mean redis?"),
            "{found}"
        );
        assert!(found.contains("did you mean auth.jwt_secret?"), "{found}");
        assert!(!found.contains("hunter2"), "{found}");
    }

    #[test]
    fn a_variable_without_a_section_is_not_ours() {
        let foreign = [
            ("WEBHOOKS_PORT", "tcp://10.0.0.1:80"),
            ("WEBHOOKS_SERVER_PORT", "tcp://10.0.0.1:80"),
            ("WEBHOOKS_SERVICE_HOST", "x"),
            ("HOME", "y"),
        ];
        assert!(faults("", &foreign).is_empty());
    }

    #[test]
    fn a_variable_that_lacks_an_underscore_is_told() {
        let told = faults("", &[("WEBHOOKS_SERVER_PORT", "abc"), ("WEBHOOKS_DELIVERY_PROXY_URL", "x")]);
        assert_eq!(
            told,
            [
                "WEBHOOKS_SERVER_PORT: is no setting; expected WEBHOOKS_SERVER__PORT, with two underscores",
                "WEBHOOKS_DELIVERY_PROXY_URL: is no setting; expected WEBHOOKS_DELIVERY__PROXY_URL, with two underscores",
            ]
        );
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let found = faults(
            "[server]\nport = \"80\"\n[auth]\nadmin_roles = [1]\njwt_secret = 5",
            &[("WEBHOOKS_DELIVERY__REQUIRE_HTTPS", "yes"), ("WEBHOOKS_CLUSTER__THREADS", "two")],
        );
        assert_eq!(
            found,
            [
                "auth.admin_roles (my.toml): is [1]; expected a list of texts",
                "auth.jwt_secret (my.toml): is a value that is not shown; expected a text",
                "server.port (my.toml): is \"80\"; expected a whole number",
                "delivery.require_https (WEBHOOKS_DELIVERY__REQUIRE_HTTPS): is \"yes\"; expected true or false",
                "cluster.threads (WEBHOOKS_CLUSTER__THREADS): is \"two\"; expected a whole number",
            ]
        );
    }

    #[test]
    fn a_file_that_is_not_toml_is_reported_by_line_without_quoting_it() {
        let found = faults("[auth]\n\njwt_secret = hunter2\n", &[]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("my.toml, line 3: ") && !found[0].contains("hunter2"), "{found:?}");
    }
}
