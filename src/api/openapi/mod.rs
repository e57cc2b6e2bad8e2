//! The OpenAPI 3.1 document of the API: what it takes, what it answers, and what it sends.
//!
//! [`operations`] describes each route once, beside one another as they stand in [`super::routes`]; a test compares the
//! two. The schemas of answers are derived from the structs that are serialised ([`schemas`]), those of requests are
//! written with the constants that the checks use ([`bodies`]). What follows from a rule (401 without a token, 404 for an
//! unknown id, 413 for a long body) is written once, in [`rules`]. [`mod@document`] puts it all together, [`outgoing`] is the
//! request that an endpoint gets. Source: OpenAPI Specification 3.1.1.

pub mod bodies;
pub mod document;
pub mod examples;
pub mod filters;
pub mod operation;
pub mod operations;
pub mod outgoing;
pub mod rules;
pub mod schemas;
#[cfg(test)]
mod tests;

pub use document::{Subject, document, show};
