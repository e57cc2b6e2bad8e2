//! Forms that must be sent once only: who loads the answer to one again sends it again, and so does a second press of its
//! button.
//!
//! Each form shown holds an id of its own; the first who sends it claims the id, and everybody after is told. Whether what
//! the form asked for was done is not known here, so an id stays claimed until whoever knows that nothing was done gives it back.
//!
//! Whoever asks has made sure that the id is of a page of ours, and when it was made: older ones than [`GOOD_FOR`] are not to be
//! claimed, so claims need no longer memory. A user has at most [`MOST`] at once, and one key.

use std::sync::LazyLock;
use std::time::Duration;

use rand::RngExt;

use super::keys::owner_hash;
use super::meter::Called;
use super::{Error, Keys, Redis, Script};
use crate::domain::{Millis, Tenant, UserId};
use crate::policy::partition::Layout;

/// How long a form may lie open before it is sent.
pub const GOOD_FOR: Duration = Duration::from_secs(3600);
/// How far apart the clocks of two nodes may be.
pub const CLOCKS_APART: Duration = Duration::from_secs(300);
/// The most claims of a user at once.
pub const MOST: usize = 200;

static CLAIM: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::FormClaim, include_str!("scripts/form_claim.lua")));

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The form was not sent before.
    First,
    /// It was.
    Repeated,
    /// The user has sent [`MOST`] others in the last hour or so.
    TooMany,
}

/// A form, as it was shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its id.
    pub id: &'a str,
    /// When it was made.
    pub made: Millis,
}

/// Claims a form of a user, at `now`.
///
/// # Errors
/// As [`Redis::query`]; after [`Error::Unanswered`] it may be claimed.
pub async fn claim(
    redis: &Redis,
    (keys, layout): (&Keys, &Layout),
    (tenant, user): (&Tenant, &UserId),
    form: Shown<'_>,
    now: Millis,
) -> Result<Claim, Error> {
    let home = layout.home_of(tenant);
    let name = name(tenant, user);
    let memory = u64::try_from((GOOD_FOR + CLOCKS_APART).as_millis()).unwrap_or(u64::MAX);
    let route = keys.key(home, &name);
    let mut call = CLAIM.on(&route);
    call.arg(keys.of(home)).arg(name).arg(form.id).arg(form.made.0);
    call.arg(format!("{:032x}", rand::rng().random::<u128>()));
    call.arg(now.0.saturating_sub(memory)).arg(MOST).arg(memory);
    Ok(match call.run::<i64>(redis).await? {
        1 => Claim::First,
        2 => Claim::TooMany,
        _ => Claim::Repeated,
    })
}

/// Gives the form `id` back: nothing of what it asked for was done.
///
/// # Errors
/// As [`Redis::query`].
pub async fn release(
    redis: &Redis,
    (keys, layout): (&Keys, &Layout),
    (tenant, user): (&Tenant, &UserId),
    id: &str,
) -> Result<(), Error> {
    let mut command = redis::cmd("HDEL");
    command.arg(keys.key(layout.home_of(tenant), &name(tenant, user))).arg(id);
    let _: i64 = redis.query(&command).await?;
    Ok(())
}

fn name(tenant: &Tenant, user: &UserId) -> String {
    format!("forms:{}", owner_hash(tenant, user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestRedis;

    const HOUR: u64 = 3_600_000;

    struct Bench {
        server: TestRedis,
        keys: Keys,
        layout: Layout,
        tenant: Tenant,
    }

    impl Bench {
        async fn new() -> Self {
            Self {
                server: TestRedis::start().await,
                keys: Keys::new("sw:"),
                layout: Layout { partitions: 8, webhooks_per_shard: 4, shards_per_tenant: 4 },
                tenant: "org:acme".parse().expect("a tenant"),
            }
        }

        /// Made at `at`, and sent at once.
        async fn claimed(&self, user: &str, id: &str, at: u64) -> Claim {
            let (made, user) = (Millis(at), UserId(user.into()));
            let (of, whose) = ((&self.keys, &self.layout), (&self.tenant, &user));
            claim(&self.server.redis, of, whose, Shown { id, made }, made).await.expect("redis answers")
        }
    }

    #[tokio::test]
    async fn a_form_is_claimed_once_by_each_user() {
        let bench = Bench::new().await;
        assert_eq!(bench.claimed("ann", "x", HOUR).await, Claim::First);
        assert_eq!(bench.claimed("ann", "x", HOUR).await, Claim::Repeated);
        assert_eq!(bench.claimed("ann", "y", HOUR).await, Claim::First);
        assert_eq!(bench.claimed("bob", "x", HOUR).await, Claim::First);
        let (ann, of) = (UserId("ann".into()), (&bench.keys, &bench.layout));
        release(&bench.server.redis, of, (&bench.tenant, &ann), "x").await.expect("redis answers");
        assert_eq!(bench.claimed("ann", "x", HOUR).await, Claim::First);
        assert_eq!(bench.claimed("bob", "x", HOUR).await, Claim::Repeated);
    }

    #[tokio::test]
    async fn a_user_has_one_key_that_holds_so_many_and_goes() {
        let bench = Bench::new().await;
        for n in 0..MOST {
            assert_eq!(bench.claimed("ann", &n.to_string(), HOUR).await, Claim::First, "{n}");
        }
        assert_eq!(bench.claimed("ann", "one more", HOUR).await, Claim::TooMany);
        assert_eq!(bench.claimed("ann", "7", HOUR).await, Claim::Repeated, "none is forgotten for another");
        assert_eq!(bench.claimed("bob", "one more", HOUR).await, Claim::First);
        let names: Vec<String> =
            bench.server.redis.query(redis::cmd("KEYS").arg("*")).await.expect("redis answers");
        assert_eq!(names.len(), 2, "{names:?}");
        for name in names {
            let left: i64 =
                bench.server.redis.query(redis::cmd("PTTL").arg(&name)).await.expect("redis answers");
            assert!((3_000_000..=3_900_000).contains(&left), "{name}: {left}");
        }
    }

    #[tokio::test]
    async fn claims_of_forms_that_nobody_takes_any_more_make_room() {
        let bench = Bench::new().await;
        for n in 0..MOST {
            bench.claimed("ann", &n.to_string(), HOUR).await;
        }
        assert_eq!(bench.claimed("ann", "x", 2 * HOUR).await, Claim::TooMany, "clocks may be apart");
        assert_eq!(bench.claimed("ann", "x", 2 * HOUR + 300_001).await, Claim::First);
        assert_eq!(bench.claimed("ann", "7", 2 * HOUR + 300_001).await, Claim::First, "the others are gone");
    }
}
