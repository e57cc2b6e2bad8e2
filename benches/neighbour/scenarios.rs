//! What is measured beside what.

use std::time::Duration;

use super::api::Api;
use super::endpoints::{Manner, serve};

/// Webhooks that hang in [`Scenario::ManyHang`].
const MANY: usize = 1000;
/// Events for each of them: more than they can attempt in a round.
const EVENTS_FOR_MANY: usize = 40;
/// Attempts that are then on their way at least, of the 3,072 that one organization may have.
const MANY_IN_FLIGHT: f64 = 3000.0;
/// Events to one endpoint in the last two.
const EVENTS: usize = 600;
/// The most attempts of one webhook, when nothing else is said.
const IN_FLIGHT: f64 = 16.0;
/// What a slow endpoint takes.
const SLOW: Duration = Duration::from_secs(10);
/// The event of those that are published at once; the others are `lead.created`.
const AT_ONCE: &str = "quote.sent";

/// What stands beside the healthy endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Nothing: what the ratio comes to by chance and by the order of the rounds.
    Nothing,
    /// A webhook of the same organization that gets the same events and hangs.
    OneHangs,
    /// The same of another organization.
    AnothersHangs,
    /// 1,000 hanging webhooks of another organization, all with work.
    ManyHang,
    /// 600 events to an endpoint of one's own organization that answers after 10 s.
    Slow,
    /// The same with an endpoint whose answer has no end.
    Endless,
}

/// How a scenario is measured.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Events a second, to each organization.
    pub rate: u32,
    /// Of one round.
    pub seconds: u32,
    /// Alone and beside, this often each.
    pub rounds: u32,
    /// Who gets events at that rate.
    pub publishers: &'static [&'static str],
    /// Whose healthy endpoint is looked at, in words.
    pub watched: &'static [(&'static str, &'static str)],
    /// The ratio of the p99 beside to the one alone that is promised.
    pub bound: f64,
}

impl Scenario {
    /// How it is measured.
    pub fn measure(self) -> Measure {
        const OWN: (&str, &str) = ("acme", "own organization");
        const OTHER: (&str, &str) = ("other", "another organization");
        let hangs =
            Measure { rate: 50, seconds: 20, rounds: 2, publishers: &["acme"], watched: &[OWN], bound: 1.5 };
        match self {
            Self::OneHangs => hangs,
            Self::AnothersHangs => Measure {
                publishers: &["acme", "rival"],
                watched: &[("acme", "another organization")],
                ..hangs
            },
            // Longer than a time-out, so that each attempt that hangs is followed by another one.
            Self::ManyHang => {
                Measure { rate: 20, seconds: 40, watched: &[("acme", "another organization")], ..hangs }
            }
            Self::Nothing | Self::Slow | Self::Endless => Measure {
                rate: 20,
                rounds: 3,
                publishers: &["acme", "other"],
                watched: &[OWN, OTHER],
                bound: 1.2,
                ..hangs
            },
        }
    }

    /// Brings the trouble about, and waits until it is there. Whose webhooks they are, and their ids.
    pub async fn trouble(self, api: &Api) -> Vec<(&'static str, String)> {
        match self {
            Self::Nothing => Vec::new(),
            Self::OneHangs => vec![("acme", api.create("acme", &serve(Manner::Hangs).await, "*").await)],
            Self::AnothersHangs => {
                vec![("rival", api.create("rival", &serve(Manner::Hangs).await, "*").await)]
            }
            Self::ManyHang => {
                let url = serve(Manner::Hangs).await;
                let mut made = Vec::with_capacity(MANY);
                for _ in 0..MANY {
                    made.push(("rival", api.create("rival", &url, "*").await));
                }
                api.publish_at_once("rival", AT_ONCE, EVENTS_FOR_MANY).await;
                api.await_in_flight(|count| count >= MANY_IN_FLIGHT).await;
                made
            }
            Self::Slow => one(api, Manner::After(SLOW)).await,
            Self::Endless => one(api, Manner::Endless).await,
        }
    }
}

async fn one(api: &Api, manner: Manner) -> Vec<(&'static str, String)> {
    let id = api.create("acme", &serve(manner).await, AT_ONCE).await;
    api.publish_at_once("acme", AT_ONCE, EVENTS).await;
    api.await_in_flight(|count| count >= IN_FLIGHT).await;
    vec![("acme", id)]
}
