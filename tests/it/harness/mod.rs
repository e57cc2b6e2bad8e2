//! What the tests stand on: processes that end with the test, a client, a receiver, and waiting with a deadline.

mod account;
mod chaos;
mod client;
mod cluster;
mod collector;
mod dir;
mod dns;
mod forward;
mod hostile;
mod listener;
mod node;
mod nodes;
mod provider;
mod receiver;
mod redis;
mod sentinel;
mod server;
// The same keys and tokens as the unit tests make.
#[path = "../../../src/config/keys/testing.rs"]
pub mod signer;
mod token;
mod traffic;
mod verify;
mod visitor;
mod wait;

pub use chaos::ChaosProxy;
pub use client::{Address, Answer, Call, Client, is_time, text};
pub use cluster::RedisCluster;
pub use collector::{Collector, Span};
pub use dir::TempDir;
pub use dns::{NameServer, Told};
pub use forward::ForwardProxy;
pub use hostile::{Authority, Case, Certificate, Channel, Family, Hostile, Then, cases};
pub use listener::Listener;
pub use node::{MOST_IN_FLIGHT, NEVER_LEFT_ALONE, TestNode};
pub use nodes::TestCluster;
pub use provider::{Provider, Says};
pub use receiver::{Gate, Given, Received, Receiver, Reply};
pub use redis::TestRedis;
pub use sentinel::RedisSentinel;
pub use signer::Signer;
pub use token::{SECRET, Token};
pub use traffic::{RECOVERED, Traffic};
pub use visitor::{Visitor, hidden};
pub use wait::{SOON, eventually};
