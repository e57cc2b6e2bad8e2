//! Holds the source to its map: who may import whom, a header on every file, and no file without end.
//!
//! It reads the `crate::` and `super::` paths of every file under `src`, comments left out, wherever they stand: in a
//! `use`, in an expression, in a test. The table [`MAY_IMPORT`] is the map. The checker is itself checked on made-up
//! files, so that it cannot pass by finding nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest file, in lines.
const MOST_LINES: usize = 800;

/// What each module may import, besides itself. `*` = everything.
const MAY_IMPORT: [(&str, &[&str]); 23] = [
    // The vocabulary, and the one thing beside it that everybody may ask.
    ("domain", &[]),
    ("clock", &["domain"]),
    ("config", &["domain"]),
    // Decisions are pure: no clock, no settings, no I/O.
    ("policy", &["domain"]),
    // Redis and HTTP carry decisions out and know nothing of each other. The store tells its facts to its callers.
    ("store", &["domain", "policy", "config", "clock"]),
    ("delivery", &["domain", "policy", "config", "clock", "telemetry"]),
    ("telemetry", &["domain", "policy", "config", "clock", "store"]),
    // What runs.
    ("cluster", &["domain", "policy", "config", "clock", "telemetry", "store"]),
    ("actors", &["domain", "policy", "config", "clock", "telemetry", "store", "delivery", "cluster"]),
    // What people and programs talk to. `delivery` is for the test of a webhook, which is sent on the spot.
    ("api", &["domain", "policy", "config", "clock", "telemetry", "store", "actors", "delivery"]),
    ("dashboard", &["domain", "policy", "config", "clock", "telemetry", "store", "actors", "api"]),
    // The other end, for trying things out: they know the public API and nothing behind it.
    ("client", &["domain"]),
    ("receiver", &["domain", "policy", "clock"]),
    ("token", &["domain", "config"]),
    ("stop", &[]),
    ("listen", &["client", "receiver", "domain", "stop"]),
    ("smoke", &["client", "receiver", "domain", "config", "clock", "token"]),
    // An operator looks at the data itself, so that it answers when no node does.
    ("operator", &["domain", "policy", "config", "clock", "store"]),
    // It starts and kills nodes, and watches who owns what; it tries them through the public API.
    ("demo", &["client", "receiver", "domain", "policy", "config", "clock", "store", "token", "stop"]),
    ("development", &["client", "receiver", "domain", "clock", "config", "serve", "token"]),
    // The top: wires everything, and nothing imports it but the command line.
    ("serve", &["*"]),
    ("cli", &["*"]),
    ("lib", &["*"]),
];

/// One source file: its path below `src`, with slashes, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// The module at the top that the file belongs to.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many modules deep the file's own is: 1 for `clock.rs` and `store/mod.rs`, 2 for `store/keys.rs`.
    fn depth(&self) -> usize {
        self.path.trim_end_matches("/mod.rs").split('/').count()
    }
}

/// Everything that is wrong with `source`.
fn faults(source: &Source) -> Vec<String> {
    let mut found = forbidden_edges(source);
    if !source.text.starts_with("//!") {
        found.push("does not begin with a //! header".into());
    }
    let lines = source.text.lines().count();
    if lines > MOST_LINES {
        found.push(format!("has {lines} lines; the most is {MOST_LINES}"));
    }
    found.into_iter().map(|fault| format!("src/{}: {fault}", source.path)).collect()
}

fn forbidden_edges(source: &Source) -> Vec<String> {
    let module = source.module();
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
        return vec![format!("`{module}` is not on the map: add it to MAY_IMPORT")];
    };
    let code = without_comments(&source.text);
    let permits = |import: &str| import == module || allowed.contains(&import) || allowed.contains(&"*");
    let bad = imports(&code).into_iter().filter(|import| !permits(import));
    let mut found: Vec<String> = bad.map(|import| format!("`{module}` may not import `{import}`")).collect();
    found.extend(escapes(&code, source.depth()));
    found
}

/// The code alone. What stands in a text may be cut off too, which hides nothing that rustfmt leaves on its line.
fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    text.lines().map(code).collect()
}

/// The modules at the top that `crate::` paths name, groups (`use crate::{a::B, c}`) taken apart.
fn imports(code: &str) -> BTreeSet<String> {
    code.split("crate::").skip(1).flat_map(heads).collect()
}

/// The first words of the path, or of each path in the braces, that `rest` begins with.
fn heads(rest: &str) -> Vec<String> {
    match rest.strip_prefix('{') {
        None => vec![word(rest)],
        Some(group) => split_group(group).iter().map(|path| word(path.trim_start())).collect(),
    }
    .into_iter()
    .filter(|head| !head.is_empty())
    .collect()
}

/// The parts between the commas of a group whose opening brace is gone, nested groups left whole.
fn split_group(group: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth += i32::from(character == '{') - i32::from(character == '}');
                parts.last_mut().expect("there is always one").push(character);
            }
        }
    }
    parts
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Chains of `super::` that leave the module at the top: they would be edges that nobody sees.
///
/// Whether a path stands in an inner module is not known here, so a chain as long as the file is deep is refused even
/// there (`crate::` says the same); a single `super::` is refused at the margin only, since `use super::*` of an inner
/// test module is always indented.
fn escapes(code: &str, depth: usize) -> Vec<String> {
    let longest = |line: &str| (1..).take_while(|n| line.contains(&"super::".repeat(*n))).count();
    let leaves = |line: &&str| {
        let chain = longest(line);
        chain >= depth.max(2) || (depth == 1 && chain == 1 && !line.starts_with(' '))
    };
    code.lines()
        .filter(leaves)
        .map(|line| format!("`{}` leaves its module: write crate::", line.trim()))
        .collect()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(source(&root, path));
            }
        }
    }
    found
}

fn source(root: &Path, path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).expect("a source file is text");
    let below = path.strip_prefix(root).expect("it was found below src");
    Source { path: below.display().to_string(), text }
}

#[test]
fn the_source_keeps_to_its_map() {
    let sources = sources();
    assert!(sources.len() > 20, "only {} files were found", sources.len());
    // main.rs is another crate: it sees the library from outside.
    let library = sources.iter().filter(|source| source.path != "main.rs");
    let found: Vec<String> = library.flat_map(faults).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_edges_that_exist_are_seen() {
    let seen: BTreeSet<String> =
        sources().iter().filter(|source| source.module() == "store").flat_map(|s| imports(&s.text)).collect();
    for expected in ["domain", "policy", "config"] {
        assert!(seen.contains(expected), "store imports {expected}, and only {seen:?} was seen");
    }
}

#[test]
fn a_forbidden_edge_is_found_wherever_it_hides() {
    for (path, line) in [
        ("domain/event.rs", "use crate::store::Keys;"),
        ("domain/event.rs", "use crate::{clock, domain};"),
        ("policy/lane.rs", "use crate::{\n    domain::{Event, Millis},\n    config,\n};"),
        ("policy/lane.rs", "fn f() { let now = crate::clock::now(); }"),
        ("store/keys.rs", "pub(crate) use crate::delivery::Client;"),
        ("store/mod.rs", "use crate::{domain::ids::{self, EventId}, telemetry::events};"),
        ("delivery/send.rs", "use crate::store;"),
        ("actors/webhook.rs", "use crate::api::Error;"),
        ("api/routes.rs", "use crate::serve::run;"),
        ("store/keys.rs", "use super::super::api::Error;"),
        ("clock.rs", "use super::api::Error;"),
        ("store/mod.rs", "use super::api;"),
        ("somewhere.rs", "use crate::domain::Event;"),
    ] {
        let found = faults(&Source::new(path, &format!("//! A header.\n{line}\n")));
        assert_eq!(found.len(), 1, "{path}: {line}: {found:?}");
    }
}

#[test]
fn an_allowed_edge_is_let_through() {
    for (path, line) in [
        ("store/keys.rs", "use crate::domain::{EventId, Partition};\nuse super::Redis;"),
        ("store/mod.rs", "use crate::{domain::ids::{self, EventId}, policy};"),
        ("policy/lane.rs", "// crate::store would be forbidden\nuse super::retry;"),
        ("clock.rs", "mod tests {\n    use super::*;\n}"),
        ("serve.rs", "use crate::{actors, api, store};"),
    ] {
        let found = faults(&Source::new(path, &format!("//! A header.\n{line}\n")));
        assert!(found.is_empty(), "{path}: {found:?}");
    }
}

#[test]
fn a_file_without_header_or_end_is_found() {
    let long = "//! A header.\n".repeat(MOST_LINES + 1);
    for (text, expected) in [("use std::fmt;\n", "header"), (long.as_str(), "801 lines")] {
        let found = faults(&Source::new("clock.rs", text));
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
}
