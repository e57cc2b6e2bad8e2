//! What the nodes tell of their last minute: `cluster:metrics`, a field for each node.
//!
//! A field is `<ms> <JSON of a Snapshot>`; the time is Redis's own, so that its age does not depend on the clocks of two
//! nodes. A node that is not listed in `cluster:nodes` tells nothing, and what a node told goes with its entry
//! ([`super::nodes`]): the hash has as many fields as there are nodes.

use std::sync::LazyLock;
use std::time::Duration;

use super::meter::Called;
use super::script::Script;
use super::{Error, Keys, Redis};
use crate::domain::NodeId;
use crate::policy::last_minute::{Snapshot, Told};

static TELL: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::MetricsTell, include_str!("scripts/metrics_tell.lua")));
static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::MetricsRead, include_str!("scripts/metrics_read.lua")));

/// What is longer is none of ours.
const LONGEST: usize = 4096;

/// Tells what `id` did.
///
/// # Errors
/// As [`Redis::query`].
pub async fn tell(redis: &Redis, keys: &Keys, id: &NodeId, snapshot: &Snapshot) -> Result<(), Error> {
    let text = serde_json::to_string(snapshot).expect("a snapshot is plain data");
    let mut call = TELL.on(&keys.cluster("metrics"));
    call.arg("").arg(keys.cluster("nodes")).arg(id.as_str()).arg(text);
    call.run::<u64>(redis).await.map(drop)
}

/// What all nodes told. What cannot be read is left out: it may be of a later version.
///
/// # Errors
/// As [`Redis::query`].
pub async fn read(redis: &Redis, keys: &Keys) -> Result<Vec<Told>, Error> {
    let (now, fields): (u64, Vec<(String, String)>) =
        READ.on(&keys.cluster("metrics")).arg("").run(redis).await?;
    Ok(fields.iter().filter_map(|(node, text)| told(node, text, now)).collect())
}

fn told(node: &str, text: &str, now: u64) -> Option<Told> {
    let (at, json) = text.split_once(' ').filter(|_| text.len() <= LONGEST)?;
    // A time to come is one of a Redis whose clock went on before this one took over.
    let age = Duration::from_millis(now.saturating_sub(at.parse().ok()?));
    Some(Told { node: node.parse().ok()?, age, snapshot: serde_json::from_str(json).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::nodes;
    use crate::store::testing::TestRedis;

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let good = serde_json::to_string(&Snapshot::default()).unwrap();
        let long = " ".repeat(LONGEST);
        let cases = [
            ("a", format!("900 {good}"), 1000, Some(100)),
            ("a", format!("1100 {good}"), 1000, Some(0)),
            ("a", format!("900 {good}{long}"), 1000, None),
            ("a", good.clone(), 1000, None),
            ("a", "900 {}".into(), 1000, None),
            ("a", "900".into(), 1000, None),
            ("no id", format!("900 {good}"), 1000, None),
        ];
        for (node, text, now, age) in cases {
            let found = told(node, &text, now).map(|told| told.age.as_millis());
            assert_eq!(found, age, "{node} {text}");
        }
    }

    #[tokio::test]
    async fn what_a_node_told_is_found_until_it_leaves_or_is_forgotten() {
        let server = TestRedis::start().await;
        let (redis, keys) = (&server.redis, Keys::new("sw:"));
        let [a, b]: [NodeId; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let snapshot = Snapshot { ended: 7, ..Snapshot::default() };
        tell(redis, &keys, &a, &snapshot).await.unwrap();
        assert_eq!(read(redis, &keys).await.unwrap(), [], "it is not listed");
        for (place, id) in [(1, &a), (2, &b)] {
            nodes::beat(redis, &keys, id, &nodes::tests::entry(place, 1)).await.unwrap();
            tell(redis, &keys, id, &snapshot).await.unwrap();
        }
        let mut all = read(redis, &keys).await.unwrap();
        all.sort_by(|one, other| one.node.cmp(&other.node));
        assert_eq!(all.iter().map(|told| told.node.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(all.iter().all(|told| told.snapshot == snapshot && told.age < Duration::from_secs(60)));
        let listed = nodes::list(redis, &keys).await.unwrap();
        nodes::forget(redis, &keys, listed.iter().find(|listed| listed.id == b).unwrap()).await.unwrap();
        assert_eq!(read(redis, &keys).await.unwrap().len(), 1);
        nodes::leave(redis, &keys, &a).await.unwrap();
        assert_eq!(read(redis, &keys).await.unwrap(), []);
        let left: bool = redis.query(redis::cmd("EXISTS").arg("sw:{cluster}:metrics")).await.unwrap();
        assert!(!left);
    }
}
