//! The account of what was accepted against what one endpoint received. Plain functions over what was recorded.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::Received;

/// An event that was answered with 202.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its id.
    pub id: String,
    /// When the 202 was there.
    pub at: Instant,
}

/// A time in which something was broken on purpose: for a `kill -9` one moment.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its beginning.
    pub from: Instant,
    /// Its end.
    pub until: Instant,
}

impl Fault {
    /// Whether an answer may have gone unrecorded because of it: the answer was open, or given so shortly before that it
    /// may not have been recorded yet.
    fn explains(&self, success: &Success, slack: Duration) -> bool {
        success.started <= self.until + slack && success.answered + slack >= self.from
    }
}

/// A request that was answered with 2xx.
#[derive(Clone, Copy, Debug)]
struct Success {
    started: Instant,
    answered: Instant,
}

/// What one endpoint's record says.
#[derive(Debug, Default)]
pub struct Account {
    /// Accepted and never answered with 2xx.
    pub lost: Vec<String>,
    /// Answers with 2xx to events that had one already.
    pub duplicates: usize,
    /// Those of them that no fault explains, in words.
    pub unexplained: Vec<String>,
    /// Events whose first success came before that of one published earlier.
    pub out_of_order: Vec<String>,
    /// Received and never accepted.
    pub strangers: Vec<String>,
}

impl Account {
    /// The account of one endpoint. `accepted` in the order of publishing.
    pub fn of(accepted: &[Accepted], received: &[Received], faults: &[Fault], slack: Duration) -> Self {
        let mut successes = successes(received);
        let mut account = Self::default();
        let mut last = None;
        for Accepted { id, at } in accepted {
            let Some(all) = successes.remove(id.as_str()) else {
                account.lost.push(id.clone());
                continue;
            };
            let first = all.iter().map(|success| success.started).min();
            if first < last {
                account.out_of_order.push(id.clone());
            }
            last = last.max(first);
            account.duplicates += all.len() - 1;
            // Each answer but the last was not recorded, or there would be no request after it.
            for success in &all[..all.len() - 1] {
                if !faults.iter().any(|fault| fault.explains(success, slack)) {
                    account.unexplained.push(describe(id, *at, &all, faults));
                }
            }
        }
        account.strangers = successes.into_keys().map(str::to_owned).collect();
        account
    }
}

/// Each event's successes, the first answered first.
fn successes(received: &[Received]) -> HashMap<&str, Vec<Success>> {
    let mut successes: HashMap<&str, Vec<Success>> = HashMap::new();
    for request in received {
        if let Some(answer) = request.answer.filter(|answer| (200..300).contains(&answer.status)) {
            let success = Success { started: request.at, answered: answer.at };
            successes.entry(request.event_id()).or_default().push(success);
        }
    }
    successes.values_mut().for_each(|all| all.sort_by_key(|success| success.answered));
    successes
}

/// The times of a duplicate, in milliseconds since the event was accepted.
fn describe(id: &str, accepted: Instant, all: &[Success], faults: &[Fault]) -> String {
    let since = |at: Instant| {
        let after = at.saturating_duration_since(accepted).as_millis();
        let before = accepted.saturating_duration_since(at).as_millis();
        if before > 0 { format!("-{before}") } else { after.to_string() }
    };
    let spans: Vec<String> =
        all.iter().map(|one| format!("{}..{}", since(one.started), since(one.answered))).collect();
    let faults: Vec<String> =
        faults.iter().map(|one| format!("{}..{}", since(one.from), since(one.until))).collect();
    format!("{id}: requests {}; faults {}", spans.join(", "), faults.join(", "))
}

/// The longest time between two arrivals, wherever they came.
pub fn longest_gap(mut arrivals: Vec<Instant>) -> Duration {
    arrivals.sort_unstable();
    arrivals.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// The whole in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Events that were answered with 202.
    pub accepted: usize,
    /// Pairs of event and webhook that must arrive.
    pub deliveries: usize,
    /// Those that did not.
    pub lost: usize,
    /// Answers with 2xx beyond the first.
    pub duplicates: usize,
    /// The longest time in which nothing arrived anywhere.
    pub longest_gap: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, deliveries, lost, duplicates, longest_gap } = self;
        let gap = longest_gap.as_millis();
        write!(
            f,
            "accepted {accepted}, deliveries {deliveries}, lost {lost}, duplicates {duplicates}, longest gap {gap} ms"
        )
    }
}

/// The account is checked itself, so that it cannot pass by finding nothing.
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::harness::Given;

    const SLACK: Duration = Duration::from_millis(200);

    /// Moments are milliseconds since some instant.
    struct Times(Instant);

    impl Times {
        fn at(&self, ms: u64) -> Instant {
            self.0 + Duration::from_millis(ms)
        }

        fn accepted(&self, ids: &[&str]) -> Vec<Accepted> {
            ids.iter().map(|id| Accepted { id: (*id).to_owned(), at: self.0 }).collect()
        }

        /// A request that came at `from` and was answered ten milliseconds later.
        fn request(&self, id: &str, from: u64, status: u16) -> Received {
            let headers = BTreeMap::from([("webhook-id".to_owned(), id.to_owned())]);
            let answer = Some(Given { at: self.at(from + 10), status });
            Received { at: self.at(from), answer, headers, body: Vec::new() }
        }

        fn fault(&self, from: u64, until: u64) -> Vec<Fault> {
            vec![Fault { from: self.at(from), until: self.at(until) }]
        }
    }

    #[test]
    fn what_never_succeeded_is_lost_and_what_was_never_accepted_is_a_stranger() {
        let times = Times(Instant::now());
        let open = Received { answer: None, ..times.request("c", 5, 200) };
        let received =
            [times.request("a", 1, 200), times.request("b", 3, 500), open, times.request("x", 9, 200)];
        let account = Account::of(&times.accepted(&["a", "b", "c", "d"]), &received, &[], SLACK);
        assert_eq!(account.lost, ["b", "c", "d"]);
        assert_eq!(account.strangers, ["x"]);
        assert_eq!((account.duplicates, account.unexplained.len()), (0, 0));
    }

    #[test]
    fn a_duplicate_needs_a_fault_that_may_have_hidden_the_first_answer() {
        let times = Times(Instant::now());
        let accepted = times.accepted(&["a"]);
        let received = [times.request("a", 1000, 200), times.request("a", 5000, 200)];
        for (from, until, explained) in [
            (1005, 1005, true),
            (1200, 1200, true),
            (1220, 1220, false),
            (900, 1500, true),
            (850, 850, true),
            (500, 700, false),
            (5005, 5005, false),
        ] {
            let account = Account::of(&accepted, &received, &times.fault(from, until), SLACK);
            assert_eq!(account.duplicates, 1);
            assert_eq!(account.unexplained.is_empty(), explained, "{from}..{until}");
        }
    }

    #[test]
    fn order_is_that_of_the_first_successes() {
        let times = Times(Instant::now());
        let accepted = times.accepted(&["a", "b", "c"]);
        let failed_first =
            [times.request("b", 1, 500), times.request("a", 2, 200), times.request("b", 3, 200)];
        let repeated = [times.request("c", 4, 200), times.request("a", 5, 200)];
        let good = Account::of(&accepted, &[&failed_first[..], &repeated[..]].concat(), &[], SLACK);
        assert!(good.out_of_order.is_empty(), "{:?}", good.out_of_order);
        let early = [times.request("a", 2, 200), times.request("c", 3, 200), times.request("b", 4, 200)];
        assert_eq!(Account::of(&accepted, &early, &[], SLACK).out_of_order, ["c"]);
    }
}
