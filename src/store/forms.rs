//! Forms that must be sent once only: who loads the answer to one again sends it again, and so does a second press of its
//! button.
//!
//! Each form shown holds an id of its own; the first who sends it claims the id, and everybody after is told. Whether what
//! the form asked for was done is not known here, so an id stays claimed until whoever knows that nothing was done gives it back.

use std::time::Duration;

use super::{Error, Keys, Redis, keys};
use crate::domain::{Tenant, UserId};
use crate::policy::partition::Layout;

/// How long an id stays claimed: longer than anybody leaves such an answer open and still loads it again.
const MEMORY: Duration = Duration::from_secs(7 * 86_400);

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The form was not sent before.
    First,
    /// It was.
    Repeated,
}

/// Claims the form `id` of a user.
///
/// # Errors
/// As [`Redis::query`]; after [`Error::Unanswered`] it may be claimed.
pub async fn claim(
    redis: &Redis,
    (keys, layout): (&Keys, &Layout),
    (tenant, user): (&Tenant, &UserId),
    id: &str,
) -> Result<Claim, Error> {
    let mut command = redis::cmd("SET");
    command.arg(name((keys, layout), (tenant, user), id)).arg(1).arg("NX").arg("EX").arg(MEMORY.as_secs());
    let set: Option<String> = redis.query(&command).await?;
    Ok(if set.is_some() { Claim::First } else { Claim::Repeated })
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
    let mut command = redis::cmd("DEL");
    let _: i64 = redis.query(command.arg(name((keys, layout), (tenant, user), id))).await?;
    Ok(())
}

fn name((keys, layout): (&Keys, &Layout), (tenant, user): (&Tenant, &UserId), id: &str) -> String {
    keys.key(layout.home_of(tenant), &format!("form:{}", keys::form_hash(tenant, user, id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestRedis;

    #[tokio::test]
    async fn a_form_is_claimed_once_by_each_user() {
        let server = TestRedis::start().await;
        let layout = Layout { partitions: 8, webhooks_per_shard: 4, shards_per_tenant: 4 };
        let keys = Keys::new("sw:");
        let tenant: Tenant = "org:acme".parse().expect("a tenant");
        let claimed = async |user: &str, id: &str| {
            let user = UserId(user.into());
            claim(&server.redis, (&keys, &layout), (&tenant, &user), id).await.expect("redis answers")
        };
        assert_eq!(claimed("ann", "x").await, Claim::First);
        assert_eq!(claimed("ann", "x").await, Claim::Repeated);
        assert_eq!(claimed("ann", "y").await, Claim::First);
        assert_eq!(claimed("bob", "x").await, Claim::First);
        let ann = UserId("ann".into());
        release(&server.redis, (&keys, &layout), (&tenant, &ann), "x").await.expect("redis answers");
        assert_eq!(claimed("ann", "x").await, Claim::First);
        assert_eq!(claimed("bob", "x").await, Claim::Repeated);
    }
}
