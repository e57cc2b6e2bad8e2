//! Connections, with real servers.

use super::*;
use crate::store::testing::TestRedis;

#[actix_web::test]
async fn many_tasks_that_begin_at_once_share_one_connection() {
    let server = TestRedis::start().await;
    let redis = Redis::new(server.redis.address().clone()).expect("a client");
    let pings = (0..200).map(|_| {
        let redis = redis.clone();
        actix::spawn(async move { redis.query::<String>(&redis::cmd("PING")).await.is_ok() })
    });
    let answered = futures_util::future::join_all(pings).await;
    assert!(answered.into_iter().all(|answer| answer.is_ok_and(|ok| ok)));
    let clients: String = redis.query(redis::cmd("CLIENT").arg("LIST")).await.expect("an answer");
    // The other one is the test server's own.
    assert_eq!(clients.lines().count(), 2, "{clients}");
}

#[actix_web::test]
async fn a_reader_may_block_for_longer_than_a_command_may_take() {
    let server = TestRedis::start().await;
    let short = Duration::from_millis(300);
    let url = server.url();
    let redis =
        Redis::new(Address::new(&url, Duration::from_secs(5), short).expect("a URL")).expect("a client");
    let block = Duration::from_millis(700);
    let mut reader = redis.open_own("none", block).await.expect("a connection");
    let mut read = redis::cmd("XREAD");
    read.arg("BLOCK").arg(block.as_millis() as u64).arg("STREAMS").arg("none").arg("0");
    let reading = actix::spawn(async move { read.query_async::<redis::Value>(&mut reader).await });
    assert_eq!(redis.query::<String>(&redis::cmd("PING")).await.expect("not behind the reader"), "PONG");
    assert_eq!(reading.await.expect("no panic").expect("no timeout"), redis::Value::Nil);
}

#[actix_web::test]
async fn a_redis_that_hangs_is_an_error_within_the_limit() {
    let server = TestRedis::start().await;
    let short = Duration::from_millis(200);
    let redis = Redis::new(Address::new(&server.url(), short, short).expect("a URL")).expect("a client");
    let _: () = redis.query(redis::cmd("CLIENT").arg("PAUSE").arg(60_000).arg("ALL")).await.expect("paused");
    let answer = redis.query::<String>(&redis::cmd("PING")).await;
    assert!(answer.is_err_and(|error| error.is_transient()));
}

#[actix_web::test]
async fn a_broken_connection_and_another_server_change_the_generation() {
    let server = TestRedis::start().await;
    let redis = Redis::new(server.redis.address().clone()).expect("a client");
    let ping = redis::cmd("PING");
    redis.query::<String>(&ping).await.expect("an answer");
    let (first, name) = (redis.generation(), redis.identity().await.expect("a name"));
    assert_eq!(redis.identity().await.expect("a name"), name);
    assert_eq!(redis.generation(), first, "nothing has happened");

    let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
    server.redis.query::<u64>(redis::cmd("CLIENT").arg(&kill)).await.expect("killed");
    redis.query::<String>(&ping).await.expect_err("the connection is broken");
    let second = redis.generation();
    assert_ne!(second, first);
    redis.query::<String>(&ping).await.expect("a new connection");
    assert_ne!(redis.generation(), second);

    let replica = ["127.0.0.1", "1"];
    server.redis.query::<()>(redis::cmd("REPLICAOF").arg(&replica)).await.expect("a replica now");
    let third = redis.generation();
    let refused = redis.query::<()>(redis::cmd("SET").arg("a").arg(1)).await;
    assert!(refused.is_err_and(|error| error.is_of_another_server()));
    assert_ne!(redis.generation(), third);
}

#[actix_web::test]
async fn commands_on_any_keys_are_answered_in_their_order() {
    let server = TestRedis::start().await;
    let commands: Vec<Cmd> = (0..500).map(|n| redis::cmd("ECHO").arg(n).to_owned()).collect();
    let answers: Vec<u64> = server.redis.each(&commands).await.expect("answers");
    assert_eq!(answers, (0..500).collect::<Vec<u64>>());
}

#[actix_web::test]
async fn a_redis_with_too_many_clients_is_tried_again() {
    let server = TestRedis::start().await;
    // Its own two connections are all that it takes from now on.
    let _: String =
        server.redis.query(redis::cmd("CONFIG").arg(&["SET", "maxclients", "1"])).await.expect("set");
    let another = Redis::new(server.redis.address().clone()).expect("a client");
    let error = another.query::<String>(&redis::cmd("PING")).await.expect_err("there is no room");
    assert!(error.is_transient(), "{error:?}");
}
