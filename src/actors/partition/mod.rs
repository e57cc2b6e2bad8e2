//! One owned partition: matches what arrives and puts it into mailboxes.
//!
//! An event is attempted before its dispatch where that is likely to be all of it ([`crate::policy::early`]).
//!
//! For correctness: one dispatch script in flight, repeated until its result is known; the lease token in every script;
//! `told`, so that no webhook misses what was queued for it. Only for speed: deliveries handed straight to their
//! webhook's actor with the body, and batches that form while a script is in flight.
//!
//! `actor`: its life, from the first reading to the hand-over. `dispatch`: events into mailboxes. `control`: entries that
//! are not events. `webhooks`: which webhooks have an actor. `failure`: when Redis refuses us. `breakers`: which webhooks
//! are left alone, and how many. `recovery`: what has failed for good is queued again.

mod actor;
mod breakers;
mod control;
mod dispatch;
mod failure;
mod messages;
mod recovery;
mod webhooks;

pub use actor::PartitionActor;
pub use messages::{Arrived, Behind, Drain, Ended, Failed, Rested, Retaken, Stop, Turned};
