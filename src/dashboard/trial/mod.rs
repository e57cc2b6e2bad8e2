//! `/dashboard/webhooks/{id}/test`: a person sends a webhook a test of their choice, and reads what its endpoint made of it.
//!
//! [`choices`] offers the types, [`draft`] is what stands in the form, [`result`] tells what came back, [`page`] puts them
//! together, [`handlers`] reads and sends, through the function behind the API's route. Types are chosen in a form of their
//! own, which only loads a sample: what is sent is always the type that stands beside the data, with or without a script.

mod choices;
mod draft;
mod handlers;
mod page;
mod result;
#[cfg(test)]
mod tests;

pub use handlers::{send, show};
