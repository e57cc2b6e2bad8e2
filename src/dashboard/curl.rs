//! A request as a command to paste into a shell. Pure.
//!
//! Whatever the values hold, the shell takes each as one word, as it is: they stand in single quotes, in which a POSIX shell
//! knows no sign but the closing quote. curl takes none of them for an option, a file or a pattern: the URL follows
//! `--url` with `--globoff`, a body `--data-raw`, and a header whose name or value HTTP forbids is left out. A body longer than
//! [`MOST_IN_A_WORD`] is piped, since Linux takes no longer word (MAX_ARG_STRLEN, 128 KiB).
//!
//! Sources: POSIX.1-2024, "Shell Command Language", 2.2.2 (single quotes); the manual of curl.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

/// What stands for a value that is not shown.
pub const HIDDEN: &str = "***";

/// The longest body that is a word of the command, in bytes of its quoted form.
pub const MOST_IN_A_WORD: usize = 100_000;

/// The command that posts `body` to `url` with `headers`. Values that are hidden stay `***`: the
/// page says that they are to be filled in. Each word is quoted and nothing else is there, for any shell may be what it is pasted into.
pub fn curl(url: &str, headers: &BTreeMap<String, String>, body: Option<&str>) -> String {
    let sent: Vec<(&String, &String)> =
        headers.iter().filter(|(name, value)| is_legal(name, value)).collect();
    let body = body.map(quoted);
    let piped = body.as_ref().filter(|body| body.len() > MOST_IN_A_WORD);
    let mut lines = vec![format!("curl -sS -X POST --globoff --url {}", quoted(url))];
    lines.extend(sent.iter().map(|(name, value)| format!("-H {}", quoted(&header(name, value)))));
    match &body {
        Some(_) if piped.is_some() => lines.push("--data-binary @-".into()),
        Some(body) => lines.push(format!("--data-raw {body}")),
        None => {}
    }
    let pipe = piped.map_or_else(String::new, |body| format!("printf '%s' {body} |\n"));
    pipe + &lines.join(" \\\n  ")
}

fn is_legal(name: &str, value: &str) -> bool {
    HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
}

/// A header as curl takes it: to curl `Name:` means that there is none, and `Name;` that it is empty.
fn header(name: &str, value: &str) -> String {
    if value.trim().is_empty() { format!("{name};") } else { format!("{name}: {value}") }
}

/// One word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use crate::domain::arbitrary;

    /// In the place of curl: says which words it got, and what came through a pipe.
    const STAND_IN: &str = "curl() { printf '%s\\0' \"$@\"; case \"$*\" in *@-) cat;; esac; }\n";

    fn headers(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// The words that a real shell makes of the command, the last without its end.
    fn words(command: &str) -> Vec<String> {
        let shell =
            Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut shell = shell.expect("a POSIX shell");
        let mut script = shell.stdin.take().expect("it is piped");
        script.write_all(format!("{STAND_IN}{command}\n").as_bytes()).expect("the shell reads");
        drop(script);
        let output = shell.wait_with_output().expect("the shell ends");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}\n{command}");
        let text = String::from_utf8(output.stdout).expect("the words are texts");
        text.split('\0').map(str::to_owned).collect()
    }

    fn expected(url: &str, headers: &BTreeMap<String, String>, body: Option<&str>) -> Vec<String> {
        let mut words: Vec<String> =
            ["-sS", "-X", "POST", "--globoff", "--url", url].map(str::to_owned).into();
        for (name, value) in headers.iter().filter(|(name, value)| is_legal(name, value)) {
            words.extend(["-H".to_owned(), header(name, value)]);
        }
        words.extend(body.into_iter().flat_map(|body| ["--data-raw".to_owned(), body.to_owned()]));
        words.push(String::new());
        words
    }

    #[test]
    fn a_request_is_a_command_of_some_lines() {
        let sent = headers(&[("content-type", "application/json"), ("x-team", "it's")]);
        let command = curl("https://crm.example.com/hooks?a=1&b=[2]", &sent, Some(r#"{"a":"b"}"#));
        let expected = "curl -sS -X POST --globoff --url 'https://crm.example.com/hooks?a=1&b=[2]' \\\n  \
                        -H 'content-type: application/json' \\\n  -H 'x-team: it'\\''s' \\\n  --data-raw '{\"a\":\"b\"}'";
        assert_eq!(command, expected);
        assert_eq!(curl("http://a", &headers(&[]), None), "curl -sS -X POST --globoff --url 'http://a'");
    }

    #[test]
    fn hidden_values_and_odd_names_are_words_like_all_others() {
        let sent =
            headers(&[("authorization", HIDDEN), ("x`reboot`", "1"), ("x'y&z|*", HIDDEN), ("x$home", "2")]);
        let command = curl("http://a", &sent, None);
        assert!(command.starts_with("curl ") && command.contains("-H 'authorization: ***'"), "{command}");
        assert_eq!(words(&command), expected("http://a", &sent, None));
    }

    #[test]
    fn no_value_is_a_file_an_option_or_another_header() {
        let sent = headers(&[
            ("@/etc/passwd", "x"),
            ("x a", "y"),
            ("x-b", "1\r\nx-c: 2"),
            ("x-empty", ""),
            ("x-ok", "@f"),
        ]);
        let command = curl("--output", &sent, Some("@/etc/passwd"));
        let found = words(&command);
        assert_eq!(
            found[4..],
            ["--url", "--output", "-H", "x-empty;", "-H", "x-ok: @f", "--data-raw", "@/etc/passwd", ""]
        );
    }

    #[test]
    fn a_long_body_is_piped() {
        let body = "it's @ long\n".repeat(20_000);
        let found = words(&curl("http://a", &headers(&[]), Some(&body)));
        assert_eq!(found[4..7], ["--url", "http://a", "--data-binary"]);
        assert_eq!(found[7], "@-");
        assert_eq!(found[8..], [body]);
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof!["[^\\x00]{0,24}", "['\"\\\\$`!#@;&|<>(){}*?~% \t\r\n=-]{0,24}", Just(HIDDEN.to_owned()),]
    }

    proptest! {
        // A process each.
        #![proptest_config(ProptestConfig { cases: 64, ..arbitrary::config() })]

        #[test]
        fn a_real_shell_gives_back_what_went_in(
            url in texts(),
            names in prop::collection::vec(prop_oneof![4 => "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}", 1 => texts()], 0..5),
            values in prop::collection::vec(texts(), 5),
            body in prop::option::of(texts()),
        ) {
            let sent: BTreeMap<String, String> = names.into_iter().zip(values).collect();
            let command = curl(&url, &sent, body.as_deref());
            prop_assert_eq!(words(&command), expected(&url, &sent, body.as_deref()));
        }
    }
}
