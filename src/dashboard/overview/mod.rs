//! The first page: how deliveries go, and what needs looking at.
//!
//! Its figures are the visitor's own, as those of the API are. From here it is one click to the failed delivery that a webhook
//! suffers from, and its explanation stands here already.

mod attention;
mod show;
#[cfg(test)]
mod tests;

pub use show::show;
