//! The pages that a person opens, at `/dashboard`: written on the server, readable without scripts, and doing nothing that
//! the API does not: they call its functions, behind its guards and limits, and leave the same lines in the audit log.
//!
//! [`routes`] lists every page. [`visit`] is who is there and what guards a change, [`page`] what all pages look like, [`form`]
//! what a browser sends. A page is a function that reads and one that writes down; what it writes is escaped by `maud`,
//! and no page holds a script or a style of its own, so that [`page`]'s policy can forbid them.

pub mod assets;
pub mod chart;
pub mod cluster;
pub mod curl;
pub mod deliveries;
pub mod explain;
pub mod failure;
pub mod figures;
pub mod form;
pub mod heading;
pub mod notice;
pub mod overview;
pub mod page;
pub mod pretty;
pub mod preview;
pub mod routes;
pub mod sign_in;
pub mod snippets;
#[cfg(test)]
mod staged;
pub mod summary;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod trial;
pub mod verify;
pub mod visit;
pub mod webhooks;
pub mod when;

pub use routes::PAGES;
