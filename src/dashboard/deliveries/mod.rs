//! What became of events: the log of a webhook, one delivery of it, sending again one or many, and an event by itself.
//!
//! [`log`] lists attempts as [`asked`] says ([`filters`] is its form, [`rows`] its table). [`one`] reads a single attempt, and
//! [`delivery`] puts down why it failed, its [`timeline`], and what was sent and answered ([`exchange`]). [`recover`] sends again
//! what has failed for good, as [`wanted`]; [`recovery`] is its page. [`event`] is an event with its [`targets`]. [`result`] has the
//! words that they share, [`span`] the times of forms, [`seen`] what is read first.

pub mod asked;
pub mod delivery;
pub mod event;
pub mod exchange;
pub mod filters;
pub mod log;
pub mod one;
pub mod recover;
pub mod recovery;
pub mod result;
pub mod rows;
pub mod seen;
pub mod span;
pub mod targets;
#[cfg(test)]
mod testing;
pub mod timeline;
pub mod wanted;
