//! SalesOS Webhooks: every published event reaches every matching endpoint, signed, at least once, in time.
//!
//! # The way of an event
//! `api::publish` checks it and stores it in Redis (202 from here on) → the owner of the partition reads it
//! (`actors::reader`), matches it (`policy::matching`) and puts it into the mailbox of each matching webhook
//! (`actors::partition`, `store::events`) → the webhook's actor decides when to send (`actors::webhook`,
//! `policy::lane`) → an attempt is built, signed, vetted, sent and classified (`actors::attempt`, `delivery`) → its
//! outcome is recorded in one step: delivered, due again or dead (`store::outcomes`).
//!
//! # The rooms
//! | room | holds |
//! |---|---|
//! | [`domain`] | the vocabulary: ids, webhook, event, attempt, time |
//! | [`policy`] | the decisions, pure: lane, retry, pace, matching, leases, signing, sealing, addresses |
//! | [`store`] | Redis: keys, scripts, one file for each thing stored |
//! | [`delivery`] | one attempt over HTTP |
//! | [`cluster`] | who owns which partition |
//! | [`actors`] | what runs: partitions, webhooks, attempts |
//! | [`api`] | the routes, authentication, limits, errors |
//! | [`dashboard`] | the pages that a person opens |
//! | [`config`] | settings, checked as a whole |
//! | [`telemetry`] | metrics and log lines, written together |
//! | [`serve`], [`cli`] | the program; [`operator`] looks at the cluster; [`development`], [`demo`], [`listen`], [`smoke`], [`receiver`], [`client`], [`token`], [`stop`] help to try it |

#![cfg_attr(test, allow(missing_docs, reason = "what only tests see is not part of the documentation"))]

pub mod actors;
pub mod api;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod dashboard;
pub mod delivery;
pub mod demo;
pub mod development;
pub mod domain;
pub mod listen;
pub mod operator;
pub mod policy;
pub mod receiver;
pub mod serve;
pub mod smoke;
pub mod stop;
pub mod store;
pub mod telemetry;
pub mod token;

pub use serve::run;
