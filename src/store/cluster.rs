//! Redis Cluster: a client of all primaries, and the way to one of them.
//!
//! The client follows MOVED and ASK by itself, and **sends a command again by itself** when a connection breaks: every
//! script must bear that. Its own waits have no common end unless one is set, so three are: for a connection, for an
//! answer, and for a command with all its repeats; what calls it sets a fourth around everything
//! ([`super::connection`]).
//!
//! A blocking read cannot go through it: it would stop every other command to that node. So a reader has a plain
//! connection to the primary of its partition's slot ([`primary_of`]), and finds it anew when that moves.
//! Sources: Redis "Redis cluster specification", command pages `CLUSTER SLOTS`, `CLUSTER KEYSLOT`.

use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{
    MultipleNodeRoutingInfo, ResponsePolicy, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr,
};
use redis::io::tcp::TcpSettings;
use redis::{Cmd, ConnectionInfo, ErrorKind, RedisError, TlsCertificates, Value};

use super::address::{Address, moved_to};

/// How often the client sends a command again before its error is ours to judge.
const REPEATS: u32 = 3;
/// Bounds of its wait between two sendings, in milliseconds.
const WAIT_MS: (u64, u64) = (50, 400);
/// How many answers' time one command may take with all its repeats.
pub(super) const PATIENCE: u32 = 2;

/// A client of the cluster that `seeds` belong to.
///
/// # Errors
/// The seeds differ in password or TLS.
pub(super) fn client(
    address: &Address,
    seeds: &[ConnectionInfo],
    certificates: Option<&TlsCertificates>,
) -> Result<ClusterClient, RedisError> {
    let builder = ClusterClientBuilder::new(seeds.to_vec())
        .retries(REPEATS)
        .min_retry_wait(WAIT_MS.0)
        .max_retry_wait(WAIT_MS.1)
        // Opening is two rounds of connections, each as slow as its slowest: the seeds, then all nodes.
        .connection_timeout(address.connect_timeout / 2)
        .response_timeout(address.command_timeout)
        .overall_response_timeout(Some(address.command_timeout * PATIENCE))
        .tcp_settings(TcpSettings::default().set_nodelay(true));
    match certificates {
        Some(certificates) => builder.certs(certificates.clone()).build(),
        None => builder.build(),
    }
}

/// Sends a command to every primary; gives each one's address and answer.
///
/// # Errors
/// One of them did not answer.
pub(super) async fn ask_primaries(
    connection: &mut ClusterConnection,
    command: Cmd,
) -> Result<Vec<(String, String)>, RedisError> {
    let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    Ok(redis::from_redis_value(connection.route_command(command, all).await?)?)
}

/// Whether any primary answers.
///
/// # Errors
/// None does.
pub(super) async fn ping(connection: &mut ClusterConnection) -> Result<(), RedisError> {
    let any = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::OneSucceeded));
    connection.route_command(redis::cmd("PING"), RoutingInfo::MultiNode(any)).await.map(drop)
}

/// How the primary that holds `key` is reached: as `seed` is, at another host and port.
///
/// # Errors
/// Nobody answered, or no node holds the key's slot now.
pub(super) async fn primary_of(
    connection: &mut ClusterConnection,
    seed: &ConnectionInfo,
    key: &str,
) -> Result<ConnectionInfo, RedisError> {
    let mut ask = redis::pipe();
    ask.cmd("CLUSTER").arg("KEYSLOT").arg(key);
    ask.cmd("CLUSTER").arg("SLOTS");
    // Who holds the slot knows best that it does.
    let holder = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
    let answers = connection.route_pipeline(ask, 0, 2, holder).await?;
    let (slot, ranges): (i64, Vec<Value>) = redis::from_redis_value(Value::Array(answers))?;
    let place = ranges.iter().find_map(|range| place_of(range, slot));
    let (host, port) =
        place.ok_or((ErrorKind::ClusterConnectionNotFound, "no node of the cluster holds the slot"))?;
    Ok(moved_to(seed, host, port))
}

/// The primary of a range of `CLUSTER SLOTS`, if the range holds `slot` and the primary has an address.
fn place_of(range: &Value, slot: i64) -> Option<(String, u16)> {
    let Value::Array(range) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = range.as_slice() else {
        return None;
    };
    let [Value::BulkString(host), Value::Int(port), ..] = primary.as_slice() else { return None };
    let host = String::from_utf8(host.clone()).ok().filter(|host| !host.is_empty())?;
    (*first..=*last).contains(&slot).then_some((host, u16::try_from(*port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: &str) -> Value {
        let node = |host: &str, port| {
            Value::Array(vec![
                Value::BulkString(host.into()),
                Value::Int(port),
                Value::BulkString("id".into()),
            ])
        };
        Value::Array(vec![Value::Int(first), Value::Int(last), node(host, 7000), node("replica", 7001)])
    }

    #[test]
    fn the_primary_of_a_slot_is_the_first_node_of_its_range() {
        assert_eq!(place_of(&range(0, 5460, "10.0.0.1"), 5460), Some(("10.0.0.1".to_owned(), 7000)));
        for (range, slot) in [
            (range(0, 5460, "10.0.0.1"), 5461),
            (range(0, 5460, ""), 17),
            (Value::Array(vec![]), 17),
            (Value::Nil, 17),
        ] {
            assert_eq!(place_of(&range, slot), None, "{range:?}");
        }
    }
}
