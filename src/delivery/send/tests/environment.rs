//! The proxy variables of the environment, which every other client obeys.

use super::*;

/// Where the child below finds the endpoint that it must reach.
const ENDPOINT: &str = "SALESOS_TEST_ENDPOINT";

#[tokio::test]
async fn a_proxy_in_the_environment_is_ignored() {
    let (url, mut received) = answering(http("200 OK", "", "")).await;
    let (proxy, connections) = endpoint(|_socket| async {}).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().expect("this test binary"));
    child.args([
        "--exact",
        "--ignored",
        "delivery::send::tests::environment::the_child_reaches_its_endpoint",
    ]);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, format!("http://{proxy}"));
    }
    let output = child.env(ENDPOINT, url).env_remove("NO_PROXY").env_remove("no_proxy").output().await;
    let output = output.expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(received.recv().await.is_some());
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
#[ignore = "the child of a_proxy_in_the_environment_is_ignored"]
#[allow(clippy::disallowed_methods, reason = "the parent test speaks to it through the environment")]
async fn the_child_reaches_its_endpoint() {
    let url = std::env::var(ENDPOINT).expect("set by the parent");
    let result = attempt(&sender(), &settings(&url)).await;
    assert!(result.success(), "{result:?}");
}
