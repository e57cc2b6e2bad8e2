//! What a webhook asks of an event's `data` beyond its type: the form of a filter, and reading it.
//!
//! ```json
//! {"amount": {"gte": 1000}, "stage": "won", "any": [{"owner.region": {"in": ["EU", "UK"]}}, {"tags": "vip"}]}
//! ```
//!
//! A filter is an object whose members must all hold. A name is a field of `data`, dots leading into objects, and its value what
//! that field must equal or an object of operators that must all hold. Three names are none of a field: `all` and `any` (lists of
//! filters) and `not` (a filter); they combine operators of one field likewise. In a name a backslash takes the next character as
//! it is, so `\\any` and `a\\.b` are fields. Whether an event passes is decided in [`crate::policy::filter`].
//!
//! A filter is evaluated for each event that its webhook subscribes to, so all of it is bounded.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::json::{Members, elements, members};

/// The longest filter, in bytes of JSON.
pub const MAX_BYTES: usize = 8192;
/// The most conditions in one filter.
pub const MAX_CONDITIONS: usize = 32;
/// The most values that a filter compares with, those in lists included.
pub const MAX_VALUES: usize = 200;
/// How deep `all`, `any` and `not` may be nested.
pub const MAX_DEPTH: usize = 5;
/// The most names that lead to one field.
pub const MAX_NAMES: usize = 10;
/// The longest text that is compared with, and the longest name, in characters.
pub const MAX_TEXT: usize = 512;

/// The operators, for messages.
const OPERATORS: &str = "eq, ne, in, nin, gt, gte, lt, lte, exists, startsWith, all, any, not";

/// A filter that can be evaluated. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Filter {
    source: Arc<str>,
    clauses: Arc<[Clause]>,
}

/// One member of a filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Clause {
    /// All conditions hold of a field.
    Field(Path, Vec<Condition>),
    /// Each of these holds.
    All(Vec<Vec<Clause>>),
    /// At least one of these holds.
    Any(Vec<Vec<Clause>>),
    /// Not all of these hold.
    Not(Vec<Clause>),
}

/// Where a field lies in `data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// As it is written.
    pub text: String,
    /// The names that lead to it, outermost first; 1..=[`MAX_NAMES`].
    pub names: Vec<String>,
}

/// What must hold of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// It equals this.
    Eq(Scalar),
    /// It does not.
    Ne(Scalar),
    /// It equals one of these.
    In(Vec<Scalar>),
    /// It equals none of these.
    Nin(Vec<Scalar>),
    /// It lies on that side of this: both are numbers, or both are texts.
    Compare(Side, Scalar),
    /// It is there, or is not.
    Exists(bool),
    /// It is a text that begins so.
    StartsWith(String),
    /// Each of these holds.
    All(Vec<Vec<Condition>>),
    /// At least one of these holds.
    Any(Vec<Vec<Condition>>),
    /// Not all of these hold.
    Not(Vec<Condition>),
}

/// A direction of comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `gt`
    Above,
    /// `gte`
    AtLeast,
    /// `lt`
    Below,
    /// `lte`
    AtMost,
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number that JSON can write and a double can hold.
    Number(Number),
    /// A text.
    Text(String),
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// Every fault, each with the place in the filter that it is about.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        if text.len() > MAX_BYTES {
            return Err(vec![format!("filter must be at most {MAX_BYTES} bytes of JSON")]);
        }
        let mut reader = Reader::default();
        let clauses = match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => reader.clauses("filter", value, 0),
            Err(_) => reader.fault("filter must be an object".into()),
        };
        if reader.conditions > MAX_CONDITIONS {
            reader.faults.push(format!("filter must hold at most {MAX_CONDITIONS} conditions"));
        }
        if reader.values > MAX_VALUES {
            reader.faults.push(format!("filter must compare with at most {MAX_VALUES} values"));
        }
        if reader.faults.is_empty() {
            Ok(Self { source: text.into(), clauses: clauses.into() })
        } else {
            Err(reader.faults)
        }
    }

    /// What must hold, all of it.
    pub fn clauses(&self) -> &[Clause] {
        &self.clauses
    }

    /// The same, without the text that it was written as.
    pub fn into_clauses(self) -> Arc<[Clause]> {
        self.clauses
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.source)
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse(raw.get()).map_err(|_| serde::de::Error::custom("not a filter"))
    }
}

/// Reads a filter and collects its faults. What it gives after a fault is of no use.
#[derive(Default)]
struct Reader {
    faults: Vec<String>,
    conditions: usize,
    values: usize,
}

impl Reader {
    fn fault<T: Default>(&mut self, text: String) -> T {
        self.faults.push(text);
        T::default()
    }

    fn clauses(&mut self, at: &str, value: &RawValue, depth: usize) -> Vec<Clause> {
        let Some(members) = self.object(at, value, depth) else { return Vec::new() };
        if members.is_empty() {
            return self.fault(format!("{at} should not be empty"));
        }
        members.into_iter().map(|(name, value)| self.clause(at, &name, value, depth)).collect()
    }

    fn clause(&mut self, at: &str, name: &str, value: &RawValue, depth: usize) -> Clause {
        let at = format!("{at}.{}", short(name));
        match name {
            "all" => {
                Clause::All(self.list(&at, value, |reader, at, part| reader.clauses(at, part, depth + 1)))
            }
            "any" => {
                Clause::Any(self.list(&at, value, |reader, at, part| reader.clauses(at, part, depth + 1)))
            }
            "not" => Clause::Not(self.clauses(&at, value, depth + 1)),
            _ => {
                let names = names(name);
                let fits = names.len() <= MAX_NAMES && name.chars().count() <= MAX_TEXT;
                if !fits || names.iter().any(String::is_empty) {
                    self.fault(format!("{at}: a field must be 1 to {MAX_NAMES} names with dots between them, {MAX_TEXT} characters at most"))
                }
                Clause::Field(Path { text: name.into(), names }, self.conditions(&at, value, depth))
            }
        }
    }

    /// The conditions of one field: a value, or an object of operators.
    fn conditions(&mut self, at: &str, value: &RawValue, depth: usize) -> Vec<Condition> {
        if !value.get().starts_with('{') {
            self.conditions += 1;
            return self.scalar(at, value).map(Condition::Eq).into_iter().collect();
        }
        let Some(members) = self.object(at, value, depth) else { return Vec::new() };
        if members.is_empty() {
            return self.fault(format!("{at} must hold at least one of {OPERATORS}"));
        }
        members.into_iter().filter_map(|(name, value)| self.condition(at, &name, value, depth)).collect()
    }

    fn condition(&mut self, field: &str, name: &str, value: &RawValue, depth: usize) -> Option<Condition> {
        self.conditions += 1;
        let at = format!("{field}.{}", short(name));
        let at = at.as_str();
        match name {
            "eq" => self.scalar(at, value).map(Condition::Eq),
            "ne" => self.scalar(at, value).map(Condition::Ne),
            "in" => Some(Condition::In(self.scalars(at, value))),
            "nin" => Some(Condition::Nin(self.scalars(at, value))),
            "gt" => self.bound(at, value).map(|bound| Condition::Compare(Side::Above, bound)),
            "gte" => self.bound(at, value).map(|bound| Condition::Compare(Side::AtLeast, bound)),
            "lt" => self.bound(at, value).map(|bound| Condition::Compare(Side::Below, bound)),
            "lte" => self.bound(at, value).map(|bound| Condition::Compare(Side::AtMost, bound)),
            "exists" => match value.get() {
                "true" => Some(Condition::Exists(true)),
                "false" => Some(Condition::Exists(false)),
                _ => self.fault(format!("{at} must be true or false")),
            },
            "startsWith" => match self.scalar(at, value)? {
                Scalar::Text(text) => Some(Condition::StartsWith(text)),
                _ => self.fault(format!("{at} must be a string")),
            },
            "all" => Some(Condition::All(self.list(at, value, |reader, at, part| reader.conditions(at, part, depth + 1)))),
            "any" => Some(Condition::Any(self.list(at, value, |reader, at, part| reader.conditions(at, part, depth + 1)))),
            "not" => Some(Condition::Not(self.conditions(at, value, depth + 1))),
            _ => self.fault(format!(
                "{field}: unknown operator \"{}\", must be one of {OPERATORS} (a field within an object is written \"outer.inner\")",
                short(name)
            )),
        }
    }

    fn object<'a>(&mut self, at: &str, value: &'a RawValue, depth: usize) -> Option<Members<'a>> {
        if depth > MAX_DEPTH {
            return self.fault(format!("{at}: all, any and not may be nested {MAX_DEPTH} deep"));
        }
        let found = Some(value.get()).filter(|text| text.starts_with('{'));
        let Some(found) = found.and_then(|text| members(text.as_bytes()).ok()) else {
            return self.fault(format!("{at} must be an object"));
        };
        let twice = found
            .iter()
            .enumerate()
            .find(|(n, (name, _))| found[..*n].iter().any(|(other, _)| other == name));
        if let Some((_, (name, _))) = twice {
            self.faults.push(format!("{at}.{} should not be given twice", short(name)));
        }
        Some(found)
    }

    fn list<T>(
        &mut self,
        at: &str,
        value: &RawValue,
        mut read: impl FnMut(&mut Self, &str, &RawValue) -> T,
    ) -> Vec<T> {
        match elements(value) {
            Some(parts) if (1..=MAX_CONDITIONS).contains(&parts.len()) => parts
                .into_iter()
                .enumerate()
                .map(|(n, part)| read(self, &format!("{at}.{n}"), part))
                .collect(),
            _ => self.fault(format!("{at} must be an array of 1 to {MAX_CONDITIONS} objects")),
        }
    }

    fn scalars(&mut self, at: &str, value: &RawValue) -> Vec<Scalar> {
        match elements(value) {
            Some(parts) if (1..=MAX_VALUES).contains(&parts.len()) => {
                let scalar = |(n, part)| self.scalar(&format!("{at}.{n}"), part);
                parts.into_iter().enumerate().filter_map(scalar).collect()
            }
            _ => self.fault(format!("{at} must be an array of 1 to {MAX_VALUES} values")),
        }
    }

    fn bound(&mut self, at: &str, value: &RawValue) -> Option<Scalar> {
        match self.scalar(at, value)? {
            bound @ (Scalar::Number(_) | Scalar::Text(_)) => Some(bound),
            _ => self.fault(format!("{at} must be a number or a string")),
        }
    }

    fn scalar(&mut self, at: &str, value: &RawValue) -> Option<Scalar> {
        self.values += 1;
        match serde_json::from_str(value.get()) {
            Ok(Value::Null) => Some(Scalar::Null),
            Ok(Value::Bool(value)) => Some(Scalar::Bool(value)),
            Ok(Value::Number(number)) => Some(Scalar::Number(number)),
            Ok(Value::String(text)) if text.chars().count() <= MAX_TEXT => Some(Scalar::Text(text)),
            Ok(Value::String(_)) => self.fault(format!("{at} must be at most {MAX_TEXT} characters long")),
            Ok(Value::Array(_) | Value::Object(_)) => self.fault(format!(
                "{at} must be a string, a number, true, false or null (for several of them there is in)"
            )),
            Err(_) => self.fault(format!("{at} must be a number that a double can hold, or a valid string")),
        }
    }
}

/// The names of a path: dots part them, and a backslash takes what follows as it is.
fn names(path: &str) -> Vec<String> {
    let (mut names, mut name, mut chars) = (Vec::new(), String::new(), path.chars());
    while let Some(c) = chars.next() {
        match c {
            '.' => names.push(std::mem::take(&mut name)),
            '\\' => name.extend(chars.next()),
            _ => name.push(c),
        }
    }
    names.push(name);
    names
}

/// What a client named, short enough to be repeated.
fn short(name: &str) -> String {
    const LONGEST: usize = 64;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
