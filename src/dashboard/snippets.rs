//! Small complete programs that verify the requests of one webhook, to copy and run. Pure.
//!
//! They lie in `snippets/` with the names of headers left open (`{{signature_header}}`). The names come from where requests
//! are signed; those of the webhook's own headers stand in a comment, written so that none can end it. `tests/foreign` runs
//! the programs against a real node and against some forty forged or broken requests each, filled in as here: a test below
//! compares.

use crate::policy::signing;

/// The most of a webhook's own headers that are named.
pub const MOST_OWN: usize = 10;

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// What it is written in, as a person says it.
    pub language: &'static str,
    /// What to call the file.
    pub file_name: &'static str,
    /// The whole of it.
    pub code: String,
}

/// The names of the headers in the requests of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderNames {
    /// Names the event.
    pub id: &'static str,
    /// When the attempt was signed.
    pub timestamp: &'static str,
    /// The Standard Webhooks signatures.
    pub signature: &'static str,
    /// The hexadecimal signature.
    pub hex_signature: &'static str,
    /// The webhook's own.
    pub own: Vec<String>,
}

impl HeaderNames {
    /// The names in the requests of a webhook that has `own` headers besides.
    pub fn with_own(own: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            id: signing::ID_HEADER,
            timestamp: signing::TIMESTAMP_HEADER,
            signature: signing::SIGNATURE_HEADER,
            hex_signature: signing::HEX_SIGNATURE_HEADER,
            own: own.into_iter().map(Into::into).collect(),
        }
    }

    /// What to put where the programs leave something open.
    fn filled_in(&self) -> [(&'static str, String); 5] {
        [
            ("id_header", self.id.to_owned()),
            ("timestamp_header", self.timestamp.to_owned()),
            ("signature_header", self.signature.to_owned()),
            ("hex_signature_header", self.hex_signature.to_owned()),
            ("own_headers", self.own_in_words()),
        ]
    }

    /// One line about the webhook's own headers that is safe in the comments of any language.
    fn own_in_words(&self) -> String {
        if self.own.is_empty() {
            return "This webhook sends no headers of its own.".to_owned();
        }
        let named: Vec<String> = self.own.iter().take(MOST_OWN).map(|name| harmless(name)).collect();
        let more = self.own.len() - named.len();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!(
            "This webhook also sends headers of its own, which are not signed: {}{rest}.",
            named.join(", ")
        )
    }
}

/// A name of a header with `_` for whatever could mean something to a language.
fn harmless(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    name.chars().map(kept).collect()
}

/// The programs, filled in.
pub fn snippets(names: &HeaderNames) -> [Snippet; 3] {
    [
        ("JavaScript", "webhook.mjs", include_str!("snippets/webhook.mjs")),
        ("Python", "webhook.py", include_str!("snippets/webhook.py")),
        ("PHP", "webhook.php", include_str!("snippets/webhook.php")),
    ]
    .map(|(language, file_name, template)| Snippet {
        language,
        file_name,
        code: filled(template, names),
    })
}

fn filled(template: &str, names: &HeaderNames) -> String {
    let put = |code: String, (name, value): (&str, String)| code.replace(&format!("{{{{{name}}}}}"), &value);
    names.filled_in().into_iter().fold(template.to_owned(), put)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::domain::arbitrary;

    const GUIDE: &str = include_str!("../../tests/foreign/guide.py");

    fn none() -> HeaderNames {
        HeaderNames::with_own(Vec::<String>::new())
    }

    #[test]
    fn the_programs_that_are_run_are_filled_in_as_those_that_are_shown() {
        let begin = "FILLED_IN = {\n";
        let table = GUIDE.split(begin).nth(1).and_then(|rest| rest.split("}\n").next());
        let expected: String = HeaderNames::with_own(["X-Team"])
            .filled_in()
            .iter()
            .map(|(name, value)| format!("    \"{name}\": \"{value}\",\n"))
            .collect();
        assert_eq!(table, Some(expected.as_str()));
        for Snippet { file_name, .. } in snippets(&none()) {
            assert!(GUIDE.contains(&format!("Program(\"{file_name}\"")), "nothing runs {file_name}");
        }
    }

    #[test]
    fn every_program_is_short_whole_and_tells_of_both_signatures() {
        for Snippet { language, code, .. } in snippets(&none()) {
            assert!(code.lines().count() < 60, "{language}");
            assert!(!code.contains("{{") && !code.contains("}}"), "{language}: {code}");
            for word in [
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "x-webhook-signature",
                "WEBHOOK_SECRET",
            ] {
                assert!(code.contains(word), "{language}: {word}");
            }
            assert!(code.contains("This webhook sends no headers of its own."), "{language}");
        }
    }

    #[test]
    fn own_headers_are_named_up_to_a_limit() {
        let names = HeaderNames::with_own((1..=12).map(|n| format!("X-{n}")));
        let words = names.own_in_words();
        assert!(words.ends_with("X-9, X-10 and 2 more."), "{words}");
        assert!(HeaderNames::with_own(["X-Team"]).own_in_words().ends_with("not signed: X-Team."));
    }

    proptest! {
        #![proptest_config(arbitrary::config())]

        #[test]
        fn no_name_leaves_its_comment(own in prop::collection::vec("[^a]{0,20}|[?>*/\n\r{}'\"\u{2028}#]{0,8}", 1..5)) {
            let plain = snippets(&HeaderNames::with_own(vec!["x"; own.len()]));
            let odd = snippets(&HeaderNames::with_own(own));
            for (plain, odd) in plain.iter().zip(&odd) {
                prop_assert!(odd.code.is_ascii());
                let differing: Vec<&str> = odd.code.lines().filter(|line| !plain.code.contains(line)).collect();
                prop_assert!(differing.len() <= 1, "{differing:?}");
                prop_assert!(differing.iter().all(|line| line.starts_with(['#', '/']) && !line.contains("?>")));
                prop_assert_eq!(plain.code.lines().count(), odd.code.lines().count());
            }
        }
    }
}
