//! What runs: one actor for each owned partition and one for each webhook that has work.
//!
//! Actors translate: a message becomes an input of a pure machine (`policy`), its effects become calls of `store` and
//! `delivery`. All actors of a partition live on one thread (an arbiter) and share what is in [`local::Local`].

pub mod arbiter;
pub mod attempt;
pub mod dispatches;
pub mod early;
pub mod local;
pub mod partition;
pub mod permits;
pub mod reader;
pub mod recorder;
pub mod rounds;
pub mod steady;
pub mod steps;
pub mod sweep;
pub mod webhook;
