//! The open files that a node may come to need, and the system's limit on them.
//!
//! A node that runs out of them can neither take a connection nor open one, in the middle of its busiest hour. So the
//! limit is held against the settings when it starts: the soft one is raised, and with a hard one that is too low it does
//! not start.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Sockets of lookups while name servers do not answer (256 at once, two questions to two servers each, sent twice), and
/// connections to Redis, the management port, files of the data, of certificates and of the runtime.
const REST: u64 = 2048 + 256;
/// Handles of a client's connection: the server's, and that of the watch over it ([`crate::api::connections`]).
const PER_CONNECTION: u64 = 2;
/// Sockets of one attempt: its connection, and one that is kept for the next.
const PER_ATTEMPT: u64 = 2;

/// The system does not let this process open as many files as its settings ask for.
#[derive(Debug, thiserror::Error)]
#[error(
    "{PER_ATTEMPT} x delivery.max_in_flight ({max_in_flight}) + {PER_CONNECTION} x server.max_connections ({max_connections}) + {REST} \
     are {needed} open files, and the system allows this process {allowed} (ulimit -Hn): raise that (systemd: \
     LimitNOFILE={needed}, docker: --ulimit nofile={needed}), or lower the settings"
)]
pub struct TooFew {
    max_in_flight: u64,
    max_connections: u64,
    needed: u64,
    allowed: u64,
}

/// What the settings ask for.
#[derive(Clone, Copy, Debug)]
struct Demand {
    max_in_flight: u64,
    max_connections: u64,
}

impl Demand {
    fn of(config: &Config) -> Self {
        // Their ranges are far below.
        let number = |setting: usize| u64::try_from(setting).unwrap_or(u64::MAX / 8);
        Self {
            max_in_flight: number(config.delivery.max_in_flight),
            max_connections: number(config.server.max_connections),
        }
    }

    fn files(self) -> u64 {
        PER_ATTEMPT * self.max_in_flight + PER_CONNECTION * self.max_connections + REST
    }

    /// The soft limit to set, if it has to be raised; `None` in a limit = none.
    fn soft_limit(self, limits: Rlimit) -> Result<Option<u64>, TooFew> {
        let (needed, Self { max_in_flight, max_connections }) = (self.files(), self);
        let suffices = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
        match limits.maximum {
            _ if suffices(limits.current) => Ok(None),
            maximum if suffices(maximum) => Ok(Some(needed)),
            maximum => {
                let allowed = maximum.unwrap_or_default();
                Err(TooFew { max_in_flight, max_connections, needed, allowed })
            }
        }
    }
}

/// Makes sure that the node may open the files that its settings ask for.
///
/// # Errors
/// The hard limit is too low. A soft limit that cannot be raised although the hard one allows it is told in the log.
pub fn allow(config: &Config) -> Result<(), TooFew> {
    let limits = getrlimit(Resource::Nofile);
    if let Some(needed) = Demand::of(config).soft_limit(limits)? {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limits });
        match raised {
            Ok(()) => tracing::debug!(needed, before = limits.current, "the limit of open files was raised"),
            Err(error) => tracing::warn!(%error, needed, "the limit of open files could not be raised"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_as_far_as_is_needed_and_a_hard_one_that_is_too_low_is_refused() {
        let demand = Demand { max_in_flight: 4096, max_connections: 4096 };
        assert_eq!(demand.files(), 18_688);
        for (current, maximum, expected) in [
            (Some(1024), Some(1_048_576), Some(Some(18_688))),
            (Some(1024), Some(18_688), Some(Some(18_688))),
            (Some(1024), None, Some(Some(18_688))),
            (Some(18_688), Some(18_688), Some(None)),
            (Some(1_000_000), Some(1_048_576), Some(None)),
            (None, None, Some(None)),
            (Some(1024), Some(18_687), None),
        ] {
            let soft = demand.soft_limit(Rlimit { current, maximum });
            assert_eq!(soft.ok(), expected, "{current:?} of {maximum:?}");
        }
    }

    #[test]
    fn the_refusal_names_settings_and_numbers() {
        let demand = Demand { max_in_flight: 100, max_connections: 50 };
        let limits = Rlimit { current: Some(64), maximum: Some(400) };
        let said = demand.soft_limit(limits).expect_err("400 are too few").to_string();
        assert_eq!(
            said,
            "2 x delivery.max_in_flight (100) + 2 x server.max_connections (50) + 2304 are 2604 open files, and the system \
             allows this process 400 (ulimit -Hn): raise that (systemd: LimitNOFILE=2604, docker: --ulimit nofile=2604), \
             or lower the settings"
        );
    }
}
