//! The lease of a partition: a token that every queue-changing script must show.
//!
//! No key expires and no wall clock takes part: the holder counts a beat up, and who wants the lease watches token and
//! beat stand still on its own monotonic clock (`cluster::leases`).

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Cmd;

use super::meter::Called;
use super::script::{self, Call, Script};
use super::{Error, Keys, Redis};
use crate::domain::{EntryId, NodeId, Partition};
use crate::policy::lease::{Renewal, Seen};

/// The longest wait for one lease's answer on a Redis Cluster, where one server may hang and the others' leases must not
/// run out meanwhile: looking, taking, renewing and giving back, one after the other, take less than a term.
const ANSWER: Duration = Duration::from_millis(700);

static TAKE: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::LeaseTake, include_str!("scripts/lease_take.lua")));
static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::LeaseRenew, include_str!("scripts/lease_renew.lua")));
static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::LeaseRelease, include_str!("scripts/lease_release.lua")));

/// Looks at several leases in one round trip, in their order; `None` where the answer is missing.
///
/// # Errors
/// As [`Redis::query`]; on a Redis Cluster none.
pub async fn look(redis: &Redis, keys: &Keys, partitions: &[Partition]) -> Result<Vec<Option<Seen>>, Error> {
    let read = |partition: &Partition| {
        redis::cmd("HMGET").arg(keys.key(*partition, "lease")).arg("token").arg("beat").to_owned()
    };
    let reads: Vec<Cmd> = partitions.iter().map(read).collect();
    let seen: Vec<Option<(Option<String>, Option<String>)>> = redis.what_answers(ANSWER, &reads).await?;
    let seen = seen.into_iter();
    Ok(seen.map(|answer| answer.map(|(token, beat)| Seen { token, beat })).collect())
}

/// A lease to take.
#[derive(Clone, Debug)]
pub struct Bid {
    /// Which.
    pub partition: Partition,
    /// The token that it gets. A repeat with the same token is harmless.
    pub token: Arc<str>,
    /// What it must still show: free, or the token and beat that stood still. Its holder leaves the beat out.
    pub seen: Seen,
}

/// Takes several leases for `node` in one round trip; `Some(false)` where somebody else was faster, `None` where the
/// answer is missing.
///
/// # Errors
/// As [`script::run_what_answers`].
pub async fn take(
    redis: &Redis,
    keys: &Keys,
    node: &NodeId,
    bids: &[Bid],
) -> Result<Vec<Option<bool>>, Error> {
    let routes: Vec<String> = bids.iter().map(|bid| keys.key(bid.partition, "lease")).collect();
    let call = |(bid, route): (&Bid, &String)| {
        let mut call = TAKE.on(route);
        call.arg(keys.of(bid.partition)).arg(&*bid.token);
        call.arg(bid.seen.token.as_deref().unwrap_or_default());
        call.arg(bid.seen.beat.as_deref().unwrap_or_default()).arg(node.as_str());
        call
    };
    let calls: Vec<_> = bids.iter().zip(&routes).map(call).collect();
    script::run_what_answers(redis, ANSWER, &calls).await
}

/// What a renewal brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Whether the lease is ours still.
    pub renewal: Renewal,
    /// The oldest entry that awaits dispatch.
    pub oldest: Option<EntryId>,
    /// How many await it.
    pub undispatched: u64,
    /// Deliveries that are queued or between two attempts.
    pub pending: u64,
}

impl Renewed {
    fn without_a_look(renewal: Renewal) -> Self {
        Self { renewal, oldest: None, undispatched: 0, pending: 0 }
    }
}

/// Shows that the holder lives, for several leases in one round trip.
///
/// # Errors
/// As [`script::run_what_answers`].
pub async fn renew(
    redis: &Redis,
    keys: &Keys,
    held: &[(Partition, Arc<str>)],
) -> Result<Vec<Renewed>, Error> {
    let routes = routes_of(keys, held);
    let calls = calls_on_all(&RENEW, keys, held, &routes);
    type Answer = (i64, Option<String>, u64, i64);
    let answers: Vec<Option<Answer>> = script::run_what_answers(redis, ANSWER, &calls).await?;
    let read = |answer: Option<Answer>| match answer {
        None => Renewed::without_a_look(Renewal::Unknown),
        Some((0, ..)) => Renewed::without_a_look(Renewal::Lost),
        Some((_, oldest, undispatched, pending)) => Renewed {
            renewal: Renewal::Ours,
            oldest: oldest.and_then(|oldest| oldest.parse().ok()),
            undispatched,
            pending: pending.try_into().unwrap_or_default(),
        },
    };
    Ok(answers.into_iter().map(read).collect())
}

/// Gives several leases back in one round trip; `Some(false)` for one that was not ours any more, `None` where the answer
/// is missing.
///
/// # Errors
/// As [`script::run_what_answers`].
pub async fn release(
    redis: &Redis,
    keys: &Keys,
    held: &[(Partition, Arc<str>)],
) -> Result<Vec<Option<bool>>, Error> {
    let routes = routes_of(keys, held);
    script::run_what_answers(redis, ANSWER, &calls_on_all(&RELEASE, keys, held, &routes)).await
}

fn routes_of(keys: &Keys, held: &[(Partition, Arc<str>)]) -> Vec<String> {
    held.iter().map(|(partition, _)| keys.key(*partition, "lease")).collect()
}

/// The calls of a script of one lease and its token, for each of `held`.
fn calls_on_all<'a>(
    script: &'a Script,
    keys: &Keys,
    held: &[(Partition, Arc<str>)],
    routes: &[String],
) -> Vec<Call<'a>> {
    let call_for = |((partition, token), route): (&(Partition, Arc<str>), &String)| {
        let mut call = script.on(route);
        call.arg(keys.of(*partition)).arg(&**token);
        call
    };
    held.iter().zip(routes).map(call_for).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestRedis;

    const FREE: Seen = Seen { token: None, beat: None };

    fn bid(partition: u16, token: &str, seen: Seen) -> Bid {
        Bid { partition: Partition(partition), token: token.into(), seen }
    }

    fn seen(token: &str, beat: Option<&str>) -> Seen {
        Seen { token: Some(token.to_owned()), beat: beat.map(str::to_owned) }
    }

    #[actix_web::test]
    async fn leases_are_given_back_together_and_only_by_their_holder() {
        let server = TestRedis::start().await;
        let (keys, node) = (Keys::new("sw:"), "n".parse().unwrap());
        let tokens = ["token0", "token1", "token2"];
        let bids: Vec<Bid> = (0..3).zip(tokens).map(|(n, token)| bid(n, token, FREE)).collect();
        let taken = take(&server.redis, &keys, &node, &bids).await.unwrap();
        assert_eq!(taken, [Some(true); 3]);
        let mut held: Vec<(Partition, Arc<str>)> =
            bids.into_iter().map(|bid| (bid.partition, bid.token)).collect();
        held[1].1 = "not ours any more".into();
        let flushed: String = server.redis.query(redis::cmd("SCRIPT").arg("FLUSH")).await.unwrap();
        assert_eq!(flushed, "OK");
        let released = release(&server.redis, &keys, &held).await.unwrap();
        assert_eq!(released, [Some(true), Some(false), Some(true)]);
        let partitions: Vec<Partition> = held.iter().map(|(partition, _)| *partition).collect();
        let seen = look(&server.redis, &keys, &partitions).await.unwrap();
        let still_held: Vec<bool> =
            seen.iter().map(|seen| seen.as_ref().is_some_and(|seen| seen.token.is_some())).collect();
        assert_eq!(still_held, [false, true, false]);
    }

    #[actix_web::test]
    async fn a_lease_is_taken_only_as_it_was_seen_or_by_its_holder() {
        let server = TestRedis::start().await;
        let (keys, node) = (Keys::new("sw:"), "n".parse().unwrap());
        let take = async |token: &str, seen: Seen| {
            take(&server.redis, &keys, &node, &[bid(0, token, seen)]).await.unwrap()[0]
        };
        assert_eq!(take("first", FREE).await, Some(true));
        assert_eq!(take("first", FREE).await, Some(true), "a repeat");
        assert_eq!(take("second", FREE).await, Some(false), "it is not free");
        let held = [(Partition(0), Arc::from("first"))];
        assert_eq!(renew(&server.redis, &keys, &held).await.unwrap()[0].renewal, Renewal::Ours);
        assert_eq!(take("second", seen("first", Some("0"))).await, Some(false), "it has beaten since");
        assert_eq!(take("second", seen("first", Some("1"))).await, Some(true));
        assert_eq!(renew(&server.redis, &keys, &held).await.unwrap()[0].renewal, Renewal::Lost);
        assert_eq!(take("third", seen("first", None)).await, Some(false), "not the holder");
        assert_eq!(take("third", seen("second", None)).await, Some(true), "the holder, whatever the beat");
    }

    #[actix_web::test]
    async fn a_renewal_tells_the_oldest_entry() {
        let server = TestRedis::start().await;
        let (keys, node) = (Keys::new("sw:"), "n".parse().unwrap());
        take(&server.redis, &keys, &node, &[bid(0, "t", FREE)]).await.unwrap();
        let held = [(Partition(0), Arc::from("t"))];
        assert_eq!(renew(&server.redis, &keys, &held).await.unwrap()[0].oldest, None);
        for entry in ["7-1", "8-0"] {
            let mut add = redis::cmd("XADD");
            add.arg(keys.key(Partition(0), "events")).arg(entry).arg("k").arg("v");
            server.redis.query::<String>(&add).await.unwrap();
        }
        let count = keys.key(Partition(0), "usage");
        server.redis.query::<u64>(redis::cmd("HSET").arg(count).arg("pending").arg(3)).await.unwrap();
        let Renewed { oldest, undispatched, pending, .. } =
            renew(&server.redis, &keys, &held).await.unwrap()[0];
        assert_eq!((oldest, undispatched, pending), (Some(EntryId { ms: 7, seq: 1 }), 2, 3));
    }
}
