//! The pages on which a person looks for webhooks, makes one, changes it, gives it another secret, pauses and deletes it.
//!
//! [`list`] finds them. [`new`] and [`edit`] show one [`form`], which holds a [`draft`] of texts and becomes the body that the
//! API takes, so that its rules alone judge it; [`faults`] puts what they say beside the [`fields`]. [`once`] is the one page
//! that shows a secret. [`secret`] asks for a new one, [`stop`] pauses, resumes and deletes, [`standing`] writes down what is
//! stored.

pub mod draft;
pub mod edit;
pub mod events;
pub mod faults;
pub mod fields;
pub mod form;
pub mod list;
pub mod new;
pub mod once;
pub mod preview;
pub mod rows;
pub mod secret;
pub mod standing;
pub mod stop;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
