//! What the tests stand on: processes that end with the test, a client, a receiver, and waiting with a deadline.

mod account;
mod chaos;
mod client;
mod cluster;
mod collector;
mod dir;
mod dns;
mod forward;
mod listener;
mod node;
mod nodes;
mod receiver;
mod redis;
mod sentinel;
mod server;
mod token;
mod traffic;
mod verify;
mod wait;

pub use chaos::ChaosProxy;
pub use client::{Answer, Client, is_time, text};
pub use cluster::RedisCluster;
pub use collector::{Collector, Span};
pub use dir::TempDir;
pub use dns::{NameServer, Told};
pub use forward::ForwardProxy;
pub use listener::Listener;
pub use node::{MOST_IN_FLIGHT, NEVER_LEFT_ALONE, TestNode};
pub use nodes::TestCluster;
pub use receiver::{Gate, Given, Received, Receiver, Reply};
pub use redis::TestRedis;
pub use sentinel::RedisSentinel;
pub use token::{SECRET, Token};
pub use traffic::{RECOVERED, Traffic};
pub use wait::{SOON, eventually};
