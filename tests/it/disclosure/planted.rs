//! The words that are looked for, in every spelling that a careless line could give them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// What everything begins with that nothing may ever say.
pub const MARK: &str = "planted-";
/// What everything begins with that only an answer may say, to the client who sent it.
pub const ECHOED: &str = "echoed-";

/// The words, each with what it is.
#[derive(Debug, Default)]
pub struct Planted(Vec<(String, String)>);

impl Planted {
    /// A word, as it is, as bytes in hexadecimal or decimal, and as base64 of the whole.
    pub fn add(&mut self, what: &str, word: &str) {
        self.add_plain(what, word);
        self.add_bytes(what, word.as_bytes());
        self.add_plain(what, STANDARD_NO_PAD.encode(word).as_str());
    }

    /// A webhook's secret: its base64 part, which the whole holds, and the key that it stands for.
    pub fn add_secret(&mut self, what: &str, secret: &str) {
        let base64 = secret.strip_prefix("whsec_").expect("a secret begins so");
        self.add_plain(what, base64.trim_end_matches('='));
        self.add_bytes(what, &STANDARD.decode(base64).expect("a secret is base64"));
    }

    /// `user:password` as `Basic` authentication sends them.
    pub fn add_credentials(&mut self, what: &str, pair: &str) {
        self.add_plain(&format!("{what} credentials"), STANDARD_NO_PAD.encode(pair).as_str());
    }

    /// A word as it is.
    pub fn add_plain(&mut self, what: &str, word: &str) {
        assert!(word.len() >= 8, "{what} is so short that it may stand anywhere by chance");
        self.0.push((what.to_owned(), word.to_owned()));
    }

    fn add_bytes(&mut self, what: &str, bytes: &[u8]) {
        let lower = hex::encode(bytes);
        self.add_plain(&format!("{what} in HEX"), &lower.to_uppercase());
        self.add_plain(&format!("{what} in hex"), &lower);
        // The beginning does: a `Debug` may be cut.
        let numbers: Vec<String> = bytes.iter().take(8).map(u8::to_string).collect();
        self.add_plain(&format!("{what} in numbers"), &numbers.join(", "));
        self.add_plain(&format!("{what} in numbers"), &numbers.join(","));
    }

    /// What of it stands in `text`.
    pub fn first_in(&self, text: &str) -> Option<&str> {
        self.0.iter().find(|(_, word)| text.contains(word.as_str())).map(|(what, _)| what.as_str())
    }

    /// Nothing of it is in `text`, and nothing that is marked either.
    #[track_caller]
    pub fn is_absent_from(&self, place: &str, text: &str) {
        assert!(!text.is_empty(), "{place} is empty");
        self.is_marked_nowhere_in(place, text);
        if let Some(line) = text.lines().find(|line| line.contains(ECHOED)) {
            panic!("something that a client sent is in {place}: {line}");
        }
    }

    /// As [`Self::is_absent_from`], but `text` may repeat what is [`ECHOED`].
    #[track_caller]
    pub fn is_marked_nowhere_in(&self, place: &str, text: &str) {
        for line in text.lines() {
            let what = self.first_in(line).or_else(|| line.contains(MARK).then_some("something planted"));
            assert_eq!(what, None, "in {place}: {line}");
        }
    }
}
