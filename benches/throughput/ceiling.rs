//! The bare ceiling: a loop that posts bodies of the same size to the same sink with the same HTTP client, on the same
//! cores, and does nothing else. What the service reaches is compared with it in the same run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// What to post.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub url: String,
    pub requests: u64,
    pub at_once: usize,
    pub bytes: usize,
}

/// Requests a second.
pub async fn run(plan: Plan) -> f64 {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let next = Arc::new(AtomicU64::new(0));
    let body = bytes::Bytes::from(vec![b'x'; plan.bytes]);
    let start = Instant::now();
    let post = |_| {
        let (client, next, body, plan) = (client.clone(), next.clone(), body.clone(), plan.clone());
        tokio::spawn(async move {
            while next.fetch_add(1, Ordering::Relaxed) < plan.requests {
                let request = client.post(&plan.url).header("content-type", "application/json");
                let answer = request.body(body.clone()).send().await.expect("the sink answers");
                answer.bytes().await.expect("an empty body");
            }
        })
    };
    let tasks: Vec<_> = (0..plan.at_once).map(post).collect();
    for task in tasks {
        task.await.expect("a post does not panic");
    }
    plan.requests as f64 / start.elapsed().as_secs_f64()
}
