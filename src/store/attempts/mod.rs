//! The delivery log: one row an attempt, for each webhook.
//!
//! A webhook's rows are the stream `log:<webhook>`, capped; answers' bodies too long for the row lie in
//! `answer:<webhook>` under the same ids, so that the filters scan small rows. What was sent is not in the log: it is read
//! from the event's record, while that lives.
//!
//! The log serves people. Nothing is decided by it, so it is read without the lease and outside of scripts, and two reads
//! of one answer may see a row more or less.

mod last;
mod read;
mod row;
mod sweep;
#[cfg(test)]
mod tests;

pub use last::{Look, last_of};
pub use read::{AttemptLog, Filter, Logged, Newest, Page, Payload, Shown, Window};
pub use row::{decode, encode};
pub use sweep::sweep;
