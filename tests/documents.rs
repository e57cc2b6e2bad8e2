//! Holds the documents to the code: the tests that the threat model names exist, links within the repository lead somewhere, and
//! the request that the receivers' guide shows is signed as it says.
//!
//! It reads texts alone. Each check is itself checked on made-up documents, so that it cannot pass by finding nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use salesos_webhooks::domain::Secret;
use salesos_webhooks::policy::signing::{verify_hex, verify_standard};

/// The documents that a reader is led to. Changelogs speak of what was.
const DOCUMENTS: [&str; 3] = ["README.md", "SECURITY.md", "docs"];
/// Words of a name from which on it is taken for that of a test.
const LEAST_WORDS: usize = 5;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `path` with that extension, or `path` itself.
fn files(path: PathBuf, extension: &str) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path];
    }
    let entries = fs::read_dir(path).expect("it can be read");
    let below = entries.flat_map(|entry| files(entry.expect("it can be read").path(), extension));
    below.filter(|file| file.extension().is_some_and(|found| found == extension)).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words between backticks, each as it stands.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What `text` names as a test: the module if it is given one, and the function; an empty function is the whole module.
fn named_tests(text: &str) -> BTreeSet<(String, String)> {
    let is_name =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let split =
        |word: &str| word.rsplit_once("::").map_or(("".into(), word.into()), |(m, f)| (m.into(), f.into()));
    let is_test = |(module, function): &(String, String)| {
        let is_function = is_name(function) && function.split('_').count() >= LEAST_WORDS;
        if module.is_empty() { is_function } else { is_name(module) && (is_function || function.is_empty()) }
    };
    code(text).into_iter().map(split).filter(is_test).collect()
}

/// The tests of `text` that do not exist: with a module they stand in `tests/it`, without one in `src`.
fn missing_tests(text: &str) -> Vec<String> {
    let sources: Vec<String> = files(root().join("src"), "rs").iter().map(|file| read(file)).collect();
    let exists = |module: &str, function: &str| {
        let declared = format!("fn {function}(");
        if module.is_empty() {
            return sources.iter().any(|source| source.contains(&declared));
        }
        let file = root().join("tests/it").join(module).with_extension("rs");
        file.exists() && (function.is_empty() || read(&file).contains(&declared))
    };
    let missing = named_tests(text).into_iter().filter(|(module, function)| !exists(module, function));
    missing.map(|(module, function)| format!("{module}::{function}")).collect()
}

/// Links of `text`, which stands in `folder`, to files that are not there. Anchors are cut off, other places left alone.
fn dead_links(text: &str, folder: &Path) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let within = targets.map(|target| target.split('#').next().unwrap_or_default());
    let local = within.filter(|target| !target.is_empty() && !target.contains("://"));
    local.filter(|target| !folder.join(target).exists()).map(str::to_owned).collect()
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let text = read(&root().join("SECURITY.md"));
    assert!(named_tests(&text).len() > 30, "only {:?} were found", named_tests(&text));
    assert_eq!(missing_tests(&text), Vec::<String>::new());
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    let documents = DOCUMENTS.iter().flat_map(|name| files(root().join(name), "md"));
    let dead = documents.flat_map(|file| {
        let found = dead_links(&read(&file), file.parent().expect("a file has a folder"));
        found.into_iter().map(move |target| format!("{}: {target}", file.display()))
    });
    assert_eq!(dead.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_test_that_does_not_exist_and_a_link_that_leads_nowhere_are_found() {
    let text = "`auth::every_route_asks_for_a_token`, `auth::no_such_test_was_ever_written`, `nowhere::`, `hostile::`, \
                `no_such_test_was_ever_written`, `rediss://`, `PUT /log-level`, `auth.jwt_secret`, `exp`";
    let missing = ["::no_such_test_was_ever_written", "auth::no_such_test_was_ever_written", "nowhere::"];
    assert_eq!(missing_tests(text), missing);
    let links = "[a](README.md) [b](docs/receivers.md#answer) [c](docs/none.md) [d](#here) [e](https://example.com/x)";
    assert_eq!(dead_links(links, root()), ["docs/none.md"]);
}

#[test]
fn the_request_that_the_receivers_guide_shows_is_signed_with_the_secret_beside_it() {
    let page = read(&root().join("docs/receivers.md"));
    let secret = code(&page).into_iter().find(|word| word.starts_with("whsec_") && word.len() > 40);
    let secret = Secret(secret.expect("the secret is shown").to_owned());
    let shown =
        page.split("```http\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("a request");
    let (head, body) = shown.split_once("\n\n").expect("a head and a body");
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("there is no {name}"))
    };
    assert_eq!(header("content-length"), body.len().to_string());
    assert!(verify_hex(&secret, body.as_bytes(), header("x-webhook-signature")));
    let seconds = header("webhook-timestamp").parse().expect("seconds");
    let signature = header("webhook-signature");
    assert!(verify_standard(&secret, header("webhook-id"), seconds, body.as_bytes(), signature));
    assert!(!verify_standard(&secret, header("webhook-id"), seconds + 1, body.as_bytes(), signature));
}
