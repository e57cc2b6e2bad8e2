//! Which tokens are remembered when there are more than places.

use super::*;
use crate::api::verified::{MOST, Term};

/// Remembers so many tokens of the keys of `generation`, good until then.
fn remember(verified: &Verified, kind: &str, generation: u64, until: u64, count: usize) {
    let holder = caller(json!({})).unwrap();
    for n in 0..count {
        verified.put(name(kind, n), generation, Term { from: 0, until }, holder.clone());
    }
}

fn name(kind: &str, n: usize) -> TokenName {
    TokenName::of(&format!("{kind}{n}"))
}

/// How many of them are found.
fn remembered(verified: &Verified, kind: &str, generation: u64, count: usize) -> usize {
    let now = clock::now().as_secs();
    (0..count).filter(|n| verified.get(&name(kind, *n), generation, now).is_some()).count()
}

#[test]
fn with_more_tokens_than_places_half_of_them_are_still_known() {
    let (verified, later) = (Verified::default(), clock::now().as_secs() + 3600);
    remember(&verified, "a", 1, later, MOST);
    assert_eq!(remembered(&verified, "a", 1, MOST), MOST);
    remember(&verified, "b", 1, later, 1);
    assert_eq!((remembered(&verified, "a", 1, MOST), remembered(&verified, "b", 1, 1)), (MOST / 2, 1));
    remember(&verified, "c", 1, later, 3 * MOST);
    let all = [("a", MOST), ("b", 1), ("c", 3 * MOST)];
    let held: usize = all.iter().map(|(kind, count)| remembered(&verified, kind, 1, *count)).sum();
    assert!((MOST / 2..=MOST).contains(&held), "{held}");
}

#[test]
fn tokens_that_are_good_no_more_go_before_good_ones() {
    let now = clock::now().as_secs();
    for (generation, until) in [(2, now - 1), (1, now + 3600)] {
        let verified = Verified::default();
        remember(&verified, "past", generation, until, MOST / 2);
        remember(&verified, "good", 2, now + 3600, MOST / 2);
        remember(&verified, "new", 2, now + 3600, 1);
        assert_eq!(remembered(&verified, "good", 2, MOST / 2), MOST / 2);
        assert_eq!(remembered(&verified, "new", 2, 1), 1);
    }
}

#[test]
fn of_a_token_s_scopes_those_are_kept_that_mean_something() {
    let scope = format!("{}events:publish webhooks:read webhooks:read events", "x ".repeat(2000));
    let scopes = caller(json!({"scope": scope})).unwrap().scopes.unwrap();
    assert_eq!(scopes[..], ["webhooks:read", "events:publish"]);
    assert_eq!(
        caller(json!({"scope": "x"})).unwrap().scopes.as_deref(),
        Some(&[][..]),
        "narrowed to nothing"
    );
}
