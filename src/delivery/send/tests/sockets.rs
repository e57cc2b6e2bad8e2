//! The bound on open connections: it holds over all senders and hosts, and each connection gives its place back.

use std::pin::pin;

use futures_util::poll;

use super::*;

/// Room for two connections.
fn two() -> Sockets {
    Sockets::new(1)
}

/// An endpoint that tells of every connection and answers none; a host of its own for the pool.
async fn hanging() -> (Settings, mpsc::Receiver<()>) {
    let (told, connected) = mpsc::channel(16);
    let (address, _) = endpoint(move |mut socket| {
        let told = told.clone();
        async move {
            told.send(()).await.ok();
            while read_request(&mut socket).await.is_some() {}
        }
    })
    .await;
    (settings(&format!("http://{address}/")), connected)
}

async fn all_given_back(sockets: &Sockets) {
    let back = async {
        while sockets.left() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("every connection is closed in the end");
}

#[tokio::test]
async fn no_sender_opens_a_connection_beyond_the_bound_until_one_is_closed() {
    let sockets = two();
    let (one, other) = (sharing(&sockets), sharing(&sockets));
    let [(first, mut at_first), (second, mut at_second), (third, mut at_third)] =
        [hanging().await, hanging().await, hanging().await];
    let mut open = Box::pin(attempt(&one, &first));
    let mut second = pin!(attempt(&other, &second));
    let mut third = pin!(attempt(&other, &third));
    for (sending, connected) in [(open.as_mut(), &mut at_first), (second.as_mut(), &mut at_second)] {
        tokio::select! {
            _ = sending => panic!("nobody answered it"),
            _ = connected.recv() => {}
        }
    }
    assert_eq!(sockets.left(), 0);
    assert!(poll!(third.as_mut()).is_pending());
    assert!(at_third.try_recv().is_err());
    drop(open);
    tokio::select! {
        _ = third => panic!("nobody answered it"),
        connected = at_third.recv() => assert!(connected.is_some()),
    }
    assert_eq!(sockets.left(), 0);
}

#[tokio::test]
async fn a_connection_gives_its_place_back_however_it_ends() {
    let (sockets, free) = (two(), TcpListener::bind("127.0.0.1:0").await.expect("a port"));
    let sender = sharing(&sockets);
    let (kept, _received) = answering(http("200 OK", "", "")).await;
    let (closed, _received) = answering(http("200 OK", "connection: close\r\n", "")).await;
    let refused = format!("http://{}/", free.local_addr().expect("an address"));
    drop(free);
    for url in [kept.as_str(), closed.as_str(), refused.as_str(), &kept.replace("http:", "https:")] {
        attempt(&sender, &settings(url)).await;
        all_given_back(&sockets).await;
    }
    attempt(&sender, &settings(&kept)).await;
    assert_eq!(sockets.left(), 1, "it is kept for the next attempt");
    drop(sender);
    all_given_back(&sockets).await;
}

#[tokio::test]
async fn an_idle_connection_is_used_again_and_makes_room_for_another_host_in_the_end() {
    let sockets = two();
    let sender = sharing(&sockets);
    let hosts = [
        answering(http("200 OK", "", "")).await,
        answering(http("200 OK", "", "")).await,
        answering(http("200 OK", "", "")).await,
    ];
    for (url, _received) in &hosts {
        for _ in 0..3 {
            let result = attempt(&sender, &settings(url)).await;
            assert!(result.success(), "{result:?}");
        }
    }
}
