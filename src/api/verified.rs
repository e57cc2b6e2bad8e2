//! Tokens that were found good before: a client sends the same one with each request, and to find it here costs a sixth
//! of verifying it again.
//!
//! What a token says does not change, and whether its signature is good only with the keys: an entry holds for the
//! generation of keys that verified it, so the tokens of a withdrawn key end with it. Its times are looked at whenever it
//! is used. A token is known by its SHA-256, so that none lies here.
//!
//! Bounded: at [`MOST`] tokens those that are good no more are forgotten, and if that leaves little room an arbitrary half of
//! the others, which are verified again as they come. So each look through all is paid for by a quarter of [`MOST`]
//! verifications, and with more users than places at least half of the places go on being of use.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::auth::Caller;
use crate::clock;

/// Tokens held. The names and scopes of a [`Caller`] are bounded: with them an entry takes about 1 KiB at most, all 16 MiB.
pub(super) const MOST: usize = 16_384;

/// Names a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenName([u8; 32]);

impl TokenName {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// When a token is good, in seconds since 1970, both included, the leeway of clocks too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) from: u64,
    pub(super) until: u64,
}

/// The holders of good tokens. One per node.
#[derive(Default)]
pub(super) struct Verified(Mutex<HashMap<TokenName, Entry>>);

struct Entry {
    generation: u64,
    term: Term,
    caller: Caller,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verified(***)")
    }
}

impl Verified {
    /// The holder of a token that the keys of `generation` verified before and that is good at `now`.
    pub(super) fn get(&self, name: &TokenName, generation: u64, now: u64) -> Option<Caller> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = held.get(name)?;
        let is_good = entry.generation == generation && (entry.term.from..=entry.term.until).contains(&now);
        is_good.then(|| entry.caller.clone())
    }

    /// Notes the holder of a token that the keys of `generation` verified.
    pub(super) fn put(&self, name: TokenName, generation: u64, term: Term, caller: Caller) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            make_room(&mut held, generation, clock::now().as_secs());
        }
        held.insert(name, Entry { generation, term, caller });
    }
}

/// Forgets what is not good at `now` by the keys of `generation` or newer ones, and more if that is little. Pure.
fn make_room(held: &mut HashMap<TokenName, Entry>, generation: u64, now: u64) {
    held.retain(|_, entry| entry.generation >= generation && entry.term.until >= now);
    if held.len() > MOST / 4 * 3 {
        let mut kept = 0..MOST / 2;
        held.retain(|_, _| kept.next().is_some());
    }
}
