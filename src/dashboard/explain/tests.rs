//! Every message that the service can write into a row of the log has advice of its own.

use std::collections::BTreeSet;

use super::*;
use crate::policy::address::{Fault, MAX_URL_CHARS};

/// The files that make messages of failed attempts. They are read rather than imported: the dashboard knows nothing of how
/// a request is made.
const SOURCES: [(&str, &str); 8] = [
    ("classify.rs", include_str!("../../delivery/classify.rs")),
    ("client.rs", include_str!("../../delivery/client.rs")),
    ("dial.rs", include_str!("../../delivery/dial.rs")),
    ("proxy.rs", include_str!("../../delivery/proxy.rs")),
    ("resolver.rs", include_str!("../../delivery/resolver.rs")),
    ("stream.rs", include_str!("../../delivery/stream.rs")),
    ("attempt.rs", include_str!("../../actors/attempt.rs")),
    ("dispatch.lua", include_str!("../../store/scripts/dispatch.lua")),
];

/// The messages in a source: its texts of several small words, up to where they are filled in.
fn messages(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//") && !line.starts_with("--"));
    // What cannot fail says why, and is no message of the log.
    let lines = lines.filter(|line| !line.contains("expect("));
    lines.flat_map(|line| quoted(&line.replace('\'', "\""))).filter(|text| is_message(text)).collect()
}

/// The texts between the quotes of a line.
fn quoted(line: &str) -> Vec<String> {
    let known = |text: &str| text.split('{').next().unwrap_or_default().trim_end().to_owned();
    line.split('"').skip(1).step_by(2).map(known).collect()
}

fn is_message(text: &str) -> bool {
    let words = text.split(' ').count() > 2;
    let begins = ["the ", "no ", "an ", "a ", "it ", "its "].iter().any(|word| text.starts_with(word));
    words && begins
}

fn is_known(message: &str) -> bool {
    let refusal = message.starts_with("the endpoint answered");
    refusal || ErrorKind::ALL.into_iter().any(|kind| known(kind, message).is_some())
}

#[test]
fn every_message_that_the_service_writes_has_advice_of_its_own() {
    let mut found = BTreeSet::new();
    for (name, source) in SOURCES {
        let messages = messages(source);
        assert!(!messages.is_empty(), "no message was found in {name}");
        for message in &messages {
            assert!(is_known(message), "{name}: add advice for {message:?} to dashboard/explain/words.rs");
        }
        found.extend(messages);
    }
    assert!(found.len() >= 38, "only {} messages were found: {found:#?}", found.len());
}

#[test]
fn no_advice_waits_for_a_message_that_nobody_writes() {
    let sources = SOURCES.map(|(_, source)| source).concat() + include_str!("../../policy/address.rs");
    for kind in ErrorKind::ALL {
        for (beginning, _) in table(kind) {
            // Its author and this test came at different times: the date is part of the message since then.
            let coming =
                *beginning == "the certificate expired" || *beginning == "the certificate has expired";
            assert!(coming || sources.contains(beginning), "{kind:?}: nobody writes {beginning:?}");
        }
    }
}

#[test]
fn every_fault_of_a_url_has_advice_of_its_own() {
    let faults = [
        Fault::NotHttp,
        Fault::BadPort,
        Fault::NotHttps,
        Fault::TooLong,
        Fault::Credentials,
        Fault::Port(22),
        Fault::Address,
    ];
    for fault in faults {
        let message = fault.to_string();
        assert!(known(ErrorKind::BlockedAddress, &message).is_some(), "{message}");
        let what = explain(ErrorKind::BlockedAddress, &message, None).what;
        assert_eq!(what, format!("The address of this webhook is not allowed: {message}."));
    }
    assert!(Fault::TooLong.to_string().contains(&MAX_URL_CHARS.to_string()));
}

#[test]
fn the_first_sentence_says_what_the_log_says() {
    for (kind, message, status, expected) in [
        (
            ErrorKind::Tls,
            "the certificate expired on 2026-01-15",
            None,
            "The certificate of the endpoint expired on 2026-01-15.",
        ),
        (ErrorKind::Tls, "the certificate has expired", None, "The certificate of the endpoint has expired."),
        (
            ErrorKind::Timeout,
            "no complete answer within 30 s",
            None,
            "The endpoint gave no complete answer within 30 s.",
        ),
        (
            ErrorKind::HttpStatus,
            "the endpoint answered 404 Not Found",
            Some(404),
            "The endpoint answered 404 Not Found.",
        ),
        (ErrorKind::HttpStatus, "", Some(404), "The endpoint answered 404."),
        (ErrorKind::HttpStatus, " ", None, "The endpoint did not answer with a success."),
        (ErrorKind::Dns, "émigré.", None, "Émigré."),
        (
            ErrorKind::Overflow,
            "the queue of the webhook is full",
            None,
            "The event could not be queued: the queue of the webhook is full.",
        ),
        (
            ErrorKind::Expired,
            "its event is not stored any more",
            None,
            "The delivery was given up without being sent: its event is not stored any more.",
        ),
    ] {
        assert_eq!(explain(kind, message, status).what, expected);
    }
}

#[test]
fn the_first_advice_is_the_likeliest() {
    for (kind, message, status, expected) in [
        (ErrorKind::Tls, "the certificate expired on 2026-01-15", None, "Renew the certificate"),
        (ErrorKind::Tls, "the certificate was issued by an unknown authority", None, "intermediate"),
        (ErrorKind::Timeout, "no complete answer within 30 s", None, "answer 2xx first"),
        (ErrorKind::BlockedAddress, "the host name leads to a private or reserved address", None, "public"),
        (ErrorKind::BlockedAddress, "url must not use port 22", None, "another port"),
        (
            ErrorKind::Redirect,
            "the endpoint answered 301 Moved Permanently: redirects are not followed",
            Some(301),
            "final address",
        ),
        (ErrorKind::HttpStatus, "", Some(401), "credentials"),
        (ErrorKind::HttpStatus, "", Some(403), "credentials"),
        (ErrorKind::HttpStatus, "", Some(404), "path"),
        (ErrorKind::HttpStatus, "", Some(405), "POST"),
        (ErrorKind::HttpStatus, "", Some(409), "already"),
        (ErrorKind::HttpStatus, "", Some(410), "switches the webhook off"),
        (ErrorKind::HttpStatus, "", Some(413), "size"),
        (ErrorKind::HttpStatus, "", Some(415), "application/json"),
        (ErrorKind::HttpStatus, "", Some(418), "refused"),
        (ErrorKind::HttpStatus, "", Some(429), "slows down"),
        (ErrorKind::HttpStatus, "", Some(500), "program failed"),
        (ErrorKind::HttpStatus, "", Some(503), "check that it runs"),
        (ErrorKind::HttpStatus, "", Some(599), "proxy"),
        (ErrorKind::HttpStatus, "", Some(101), "2xx"),
        (ErrorKind::Cancelled, "an internal error prevented the attempt", None, "by itself"),
        (ErrorKind::Overflow, "the queue of the webhook is full", None, "room"),
    ] {
        let first = &explain(kind, message, status).advice[0];
        assert!(first.contains(expected), "{kind:?} {status:?}: {first}");
    }
}

#[test]
fn whatever_the_log_holds_there_is_a_sentence_and_one_to_three_pieces_of_advice() {
    let statuses = (0..=999).map(Some).chain([None, Some(u16::MAX)]);
    for status in statuses {
        for kind in ErrorKind::ALL {
            for message in ["", "a message of another version", "the certificate "] {
                let Explanation { what, advice } = explain(kind, message, status);
                assert!(what.ends_with('.') && what.len() > 10, "{kind:?} {status:?}: {what:?}");
                assert!((1..=3).contains(&advice.len()), "{kind:?} {status:?}: {advice:?}");
                assert!(advice.iter().all(|line| line.ends_with(['.', ')'])), "{advice:?}");
            }
        }
    }
}
