//! Tokens that were found good before: a client sends the same one with each request, and to find it here costs a tenth
//! of verifying it again.
//!
//! What a token says, and whether its signature is good, does not change: the key is fixed for the process. Its times
//! are looked at whenever it is used. A token is known by its SHA-256, so that none lies here.
//!
//! Bounded: at [`MOST`] tokens all are forgotten, and verified again as they come.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::auth::Caller;

/// Tokens held.
const MOST: usize = 1024;

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
pub(super) struct Verified(Mutex<HashMap<TokenName, (Term, Caller)>>);

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verified(***)")
    }
}

impl Verified {
    /// The holder of a token that was found good before and is good at `now`.
    pub(super) fn get(&self, name: &TokenName, now: u64) -> Option<Caller> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (term, caller) = held.get(name)?;
        (term.from..=term.until).contains(&now).then(|| caller.clone())
    }

    /// Notes the holder of a good token.
    pub(super) fn put(&self, name: TokenName, term: Term, caller: Caller) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(name, (term, caller));
    }
}
