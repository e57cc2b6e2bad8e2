//! Whether the node lives and whether it takes work: the management port's routes.
//!
//! *Live* means that the process answers; it says nothing of Redis, so that an outage there restarts nothing. *Ready*
//! means that requests should be sent here: Redis answers and the node is not on its way out.

use std::sync::atomic::{AtomicU8, Ordering};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, web};

use crate::telemetry::metrics;

/// Where the node stands between start and exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not yet connected.
    Starting,
    /// Redis answers.
    Ready,
    /// Redis does not answer.
    Disconnected,
    /// On its way out; never left again.
    Draining,
}

impl State {
    const ALL: [Self; 4] = [Self::Starting, Self::Ready, Self::Disconnected, Self::Draining];

    fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
            Self::Draining => "draining",
        }
    }
}

/// The node's state, shared by all threads. Begins as [`State::Starting`].
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    /// Redis answered.
    pub fn connected(&self) {
        self.leave_unless_draining(State::Ready);
    }

    /// Redis did not answer.
    pub fn disconnected(&self) {
        self.leave_unless_draining(State::Disconnected);
    }

    /// The node begins to stop.
    pub fn draining(&self) {
        self.0.store(State::Draining as u8, Ordering::SeqCst);
        self.show();
    }

    /// The state now.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.0.load(Ordering::SeqCst))]
    }

    fn show(&self) {
        metrics::METRICS.ready.set(i64::from(self.state() == State::Ready));
    }

    fn leave_unless_draining(&self, next: State) {
        let draining = State::Draining as u8;
        let change = |current| (current != draining).then_some(next as u8);
        // An error says that it is draining, which stays so.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
        self.show();
    }
}

/// The routes of the management port: `/health/live`, `/health/ready`, `/metrics`. `/cluster` is beside
/// ([`super::cluster`]).
pub fn configure(routes: &mut web::ServiceConfig, readiness: web::Data<Readiness>) {
    routes
        .app_data(readiness)
        .route("/health/live", web::get().to(live))
        .route("/health/ready", web::get().to(ready))
        .route("/metrics", web::get().to(show_metrics));
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"status": "live"}))
}

async fn ready(readiness: web::Data<Readiness>) -> HttpResponse {
    let state = readiness.state();
    let mut response = match state {
        State::Ready => HttpResponse::Ok(),
        State::Starting | State::Disconnected | State::Draining => HttpResponse::ServiceUnavailable(),
    };
    response.insert_header((CACHE_CONTROL, "no-store")).json(serde_json::json!({"status": state.as_str()}))
}

async fn show_metrics() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(metrics::render())
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_service, init_service};

    use super::*;

    #[test]
    fn draining_is_never_left() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), State::Starting);
        readiness.connected();
        assert_eq!(readiness.state(), State::Ready);
        readiness.disconnected();
        assert_eq!(readiness.state(), State::Disconnected);
        readiness.draining();
        readiness.connected();
        assert_eq!(readiness.state(), State::Draining);
    }

    #[actix_web::test]
    async fn ready_follows_the_state_and_live_does_not() {
        let readiness = web::Data::new(Readiness::default());
        let routes = |cfg: &mut web::ServiceConfig| configure(cfg, readiness.clone());
        let service = init_service(actix_web::App::new().configure(routes)).await;
        for (change, expected) in [
            (Readiness::disconnected as fn(&Readiness), 503),
            (Readiness::connected, 200),
            (Readiness::draining, 503),
        ] {
            change(&readiness);
            let get = |path: &str| TestRequest::get().uri(path).to_request();
            assert_eq!(call_service(&service, get("/health/ready")).await.status(), expected);
            assert_eq!(call_service(&service, get("/health/live")).await.status(), 200);
        }
    }
}
