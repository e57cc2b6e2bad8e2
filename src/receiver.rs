//! An endpoint that takes deliveries and checks their signatures, for `listen`, the proof of `make run` and the demo.
//!
//! It answers 200 to whatever comes and hands it on; whether it is genuine is for [`Received::verify`], once the secret
//! is known (the webhook can only be created when the port is). The queue in between is bounded: while it is full, the
//! sender waits for its answer.
//!
//! Sources: Standard Webhooks, section "Verifying webhook authenticity" (signed content, five minutes of tolerance).

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Bytes, Data, PayloadConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use tokio::sync::mpsc;

use crate::clock;
use crate::domain::{Millis, Secret};
use crate::policy::signing;

/// Deliveries that may wait to be looked at.
const QUEUE: usize = 64;
/// The largest delivery: the largest `api.max_event_bytes` and the envelope around it.
const MOST_BYTES: usize = 17 << 20;
/// How far the time of the signature may be from ours.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What makes a delivery not genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// `X-Webhook-Signature` is missing or wrong.
    #[error("X-Webhook-Signature does not match")]
    Hex,
    /// `webhook-signature` is missing or wrong.
    #[error("webhook-signature does not match")]
    Standard,
    /// `webhook-timestamp` is missing, or too old or too new.
    #[error("webhook-timestamp is not within five minutes of now")]
    Timestamp,
}

/// One delivery, as it came. What was missing is empty or 0.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Millis,
    /// The path that was posted to.
    pub path: String,
    /// `X-Webhook-Event`
    pub event_type: String,
    /// `webhook-id`: the event's id.
    pub id: String,
    /// `X-Webhook-Attempt`
    pub attempt: u32,
    /// The body, untouched.
    pub body: Bytes,
    timestamp: u64,
    hex_signature: String,
    standard_signature: String,
}

impl Received {
    /// Checks both signatures and the age.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verify(&self, secret: &Secret) -> Result<(), Unverified> {
        if !signing::verify_hex(secret, &self.body, &self.hex_signature) {
            return Err(Unverified::Hex);
        }
        let header = &self.standard_signature;
        if !signing::verify_standard(secret, &self.id, self.timestamp, &self.body, header) {
            return Err(Unverified::Standard);
        }
        let fresh = self.timestamp.abs_diff(self.at.as_secs()) <= TOLERANCE.as_secs();
        if fresh { Ok(()) } else { Err(Unverified::Timestamp) }
    }
}

/// A running endpoint. Ends with its value.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    deliveries: mpsc::Receiver<Received>,
    server: ServerHandle,
}

impl Receiver {
    /// Listens on `address`; port 0 is any free one. Needs an actix system around it.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(address: SocketAddr) -> std::io::Result<Self> {
        let (sender, deliveries) = mpsc::channel(QUEUE);
        let server = HttpServer::new(move || {
            App::new()
                .app_data(Data::new(sender.clone()))
                .app_data(PayloadConfig::new(MOST_BYTES))
                .default_service(web::to(take))
        });
        let server = server.workers(1).disable_signals().bind(address)?;
        let address = server.addrs().first().copied().unwrap_or(address);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { address, deliveries, server: handle })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to deliver to.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The next delivery; `None` when the endpoint has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Received> {
        self.deliveries.recv().await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Asks for the stop; nobody needs to wait for it.
        drop(self.server.stop(false));
    }
}

async fn take(request: HttpRequest, body: Bytes, queue: Data<mpsc::Sender<Received>>) -> HttpResponse {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let received = Received {
        at: clock::now(),
        path: request.path().to_owned(),
        event_type: header("x-webhook-event"),
        id: header("webhook-id"),
        attempt: header("x-webhook-attempt").parse().unwrap_or_default(),
        timestamp: header("webhook-timestamp").parse().unwrap_or_default(),
        hex_signature: header("x-webhook-signature"),
        standard_signature: header("webhook-signature"),
        body,
    };
    match queue.send(received).await {
        Ok(()) => HttpResponse::Ok().finish(),
        // Its owner has gone: let the sender try again elsewhere.
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(secret: &Secret, body: &'static [u8], timestamp: u64) -> Received {
        Received {
            at: Millis(1_768_473_000_000),
            path: "/".into(),
            event_type: "lead.created".into(),
            id: "evt_1".into(),
            attempt: 1,
            body: Bytes::from_static(body),
            timestamp,
            hex_signature: signing::hex_signature(secret, body),
            standard_signature: signing::standard_signature(secret, "evt_1", timestamp, body),
        }
    }

    #[test]
    fn each_check_stands_for_itself() {
        let secret = Secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into());
        let genuine = signed(&secret, b"{}", 1_768_473_010);
        assert_eq!(genuine.verify(&secret), Ok(()));
        let other = Secret("whsec_AAAAsBQIhrscChlQIMV+b5sSYspob7oD".into());
        assert_eq!(genuine.verify(&other), Err(Unverified::Hex));
        let changed = Received { body: Bytes::from_static(b"[]"), ..genuine.clone() };
        assert_eq!(changed.verify(&secret), Err(Unverified::Hex));
        let renamed = Received { id: "evt_2".into(), ..genuine.clone() };
        assert_eq!(renamed.verify(&secret), Err(Unverified::Standard));
        assert_eq!(signed(&secret, b"{}", 1_768_472_000).verify(&secret), Err(Unverified::Timestamp));
    }

    #[actix_web::test]
    async fn what_is_posted_is_handed_on() {
        let mut receiver = Receiver::start(([127, 0, 0, 1], 0).into()).expect("a free port");
        let post = reqwest::Client::builder().no_proxy().build().expect("a client").post(receiver.url());
        let answer =
            post.header("webhook-id", "evt_1").header("x-webhook-attempt", "2").body("{}").send().await;
        assert_eq!(answer.expect("it answers").status(), 200);
        let received = receiver.next().await.expect("it was handed on");
        assert_eq!((received.id.as_str(), received.attempt, &received.body[..]), ("evt_1", 2, &b"{}"[..]));
        assert_eq!((received.event_type.as_str(), received.path.as_str()), ("", "/"));
    }
}
