//! The two HTTP servers: the API, and the management port that is for the operator's network alone.
//!
//! Bounds against slow and many clients: the first request's head must arrive within [`HEAD_DEADLINE`] (its body: see
//! [`super::body`]), a connection on which no further one arrives is closed ([`connections`]), and connections past
//! `server.max_connections` wait in the listen backlog. `docs/security.md` has all limits in a table.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{HttpServer, web};

use super::app::{App, SetUpError, Shared};
use super::cluster::{self, ClusterState};
use super::connections::{self, HEAD_DEADLINE, KEEP_ALIVE, Pieces};
use super::health::{self, Readiness};
use super::{log_level, request, routes};

/// How long a client may take to close its side.
const GOODBYE: Duration = Duration::from_secs(2);
/// Scrapers and probes are few.
const MAX_MANAGEMENT_CONNECTIONS: usize = 100;

/// Both servers, bound and ready to be awaited: each is a future that runs until its handle stops it.
#[allow(missing_debug_implementations, reason = "the framework's server has none")]
pub struct Servers {
    /// Answers the API.
    pub api: Server,
    /// Answers health checks and scrapes.
    pub management: Server,
    /// Where the API listens: tells the port when `server.port` is 0.
    pub api_address: SocketAddr,
    /// Where the management port listens.
    pub management_address: SocketAddr,
}

/// A server could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port is taken, or the address is not of this machine.
    #[error("cannot listen on {address}: choose another {setting} ({variable})")]
    Address {
        /// What could not be bound.
        address: SocketAddr,
        /// The setting that changes it.
        setting: &'static str,
        /// The environment variable that overrides the setting.
        variable: &'static str,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The workers cannot be set up.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
}

/// Binds both ports. Signals are left to the caller, who stops the servers through their handles.
///
/// # Errors
/// See [`BindError`].
pub fn bind(shared: &Shared, readiness: &Arc<Readiness>) -> Result<Servers, BindError> {
    // Set up once here, so that a fault stops the start instead of panicking in a worker.
    App::for_worker(shared)?;
    routes::expect(shared.pages);
    let (api, api_address) = bind_api(shared)?;
    let (management, management_address) = bind_management(shared, readiness)?;
    Ok(Servers { api, management, api_address, management_address })
}

fn bind_api(shared: &Shared) -> Result<(Server, SocketAddr), BindError> {
    let settings = &shared.config.server;
    let per_worker = shared.clone();
    let server = HttpServer::new(move || {
        let app = App::for_worker(&per_worker).expect("the same set-up succeeded before");
        service(web::Data::new(app))
    });
    let address = SocketAddr::new(settings.bind, settings.port);
    let bound = server
        .on_connect(connections::watch(settings.connections_of_worker()))
        .workers(settings.workers)
        .max_connections(settings.connections_of_worker())
        .client_request_timeout(HEAD_DEADLINE)
        .client_disconnect_timeout(GOODBYE)
        .keep_alive(KEEP_ALIVE)
        .disable_signals()
        .shutdown_timeout(settings.drain_of_work().as_secs())
        .bind(address);
    let bound = bound.map_err(|source| BindError::Address {
        address,
        setting: "server.port",
        variable: "WEBHOOKS_SERVER__PORT",
        source,
    })?;
    let address = bound.addrs().first().copied().unwrap_or(address);
    Ok((bound.run(), address))
}

fn bind_management(shared: &Shared, readiness: &Arc<Readiness>) -> Result<(Server, SocketAddr), BindError> {
    let settings = &shared.config.server;
    let readiness = web::Data::from(readiness.clone());
    let shared = shared.clone();
    let server = HttpServer::new(move || {
        let readiness = readiness.clone();
        let state = ClusterState::new(&shared).expect("the same set-up succeeded before");
        actix_web::App::new()
            .app_data(web::Data::new(state))
            .route("/cluster", web::get().to(cluster::show))
            .configure(log_level::configure)
            .configure(move |routes| health::configure(routes, readiness))
            .wrap(from_fn(connections::answering))
    });
    let address = SocketAddr::new(settings.bind, settings.management_port);
    let bound = server
        .on_connect(connections::watch(MAX_MANAGEMENT_CONNECTIONS))
        .workers(1)
        .max_connections(MAX_MANAGEMENT_CONNECTIONS)
        .client_request_timeout(HEAD_DEADLINE)
        .client_disconnect_timeout(GOODBYE)
        .keep_alive(KEEP_ALIVE)
        .disable_signals()
        .shutdown_timeout(GOODBYE.as_secs())
        .bind(address);
    let bound = bound.map_err(|source| BindError::Address {
        address,
        setting: "server.management_port",
        variable: "WEBHOOKS_SERVER__MANAGEMENT_PORT",
        source,
    })?;
    let address = bound.addrs().first().copied().unwrap_or(address);
    Ok((bound.run(), address))
}

/// The API as one service, for a worker and for tests.
pub fn service(
    app: web::Data<App>,
) -> actix_web::App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<Pieces>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let (base_path, pages) = (app.config.server.base_path.clone(), app.pages);
    actix_web::App::new()
        .app_data(app)
        .configure(|cfg| routes::configure(cfg, &base_path, pages))
        .wrap(from_fn(request::around))
        .wrap(from_fn(connections::answering))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::api::testing::{Client, config};
    use crate::policy::partition::Layout;
    use crate::store::connection::Address;

    #[actix_web::test]
    async fn what_no_route_takes_is_answered_in_the_contract_s_shape() {
        let client = Client::alone(config()).await;
        for path in ["/", "/api", "/api/nothing", "/api/api/nothing", "/apix/webhooks"] {
            let answer = client.send(TestRequest::get().uri(&format!("{path}?secret=1"))).await;
            assert_eq!(answer.status, 404, "{path}");
            let body = answer.json();
            assert_eq!((body["path"].as_str(), body["statusCode"].as_u64()), (Some(path), Some(404)));
            assert_eq!(body["requestId"].as_str(), Some(answer.header("x-request-id")));
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        let echoed = TestRequest::get().uri("/x").insert_header(("x-request-id", "mine-7"));
        assert_eq!(client.send(echoed).await.json()["requestId"], "mine-7");
    }

    #[actix_web::test]
    async fn a_taken_port_is_named_with_its_setting() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let second = Duration::from_secs(1);
        let address = Address::new("unix:///nowhere.sock", second, second).unwrap();
        let layout = Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 };
        let error_with = |change: fn(&mut crate::config::Server, u16)| {
            let mut config = config();
            change(&mut config.server, port);
            let shared = Shared::new(
                Arc::new(config),
                address.clone(),
                layout,
                tokio::sync::watch::channel(Arc::default()).1,
            );
            bind(&shared, &Arc::default()).err().expect("the port is taken").to_string()
        };
        let api = error_with(|server, port| server.port = port);
        assert!(api.contains("server.port") && api.contains("WEBHOOKS_SERVER__PORT"), "{api}");
        let management = error_with(|server, port| server.management_port = port);
        assert!(management.contains("WEBHOOKS_SERVER__MANAGEMENT_PORT"), "{management}");
    }

    #[actix_web::test]
    async fn both_servers_listen_where_they_say_and_stop_when_told() {
        let second = Duration::from_secs(1);
        let nowhere = Address::new("unix:///nowhere.sock", second, second).unwrap();
        let layout = Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 };
        let readiness = Arc::new(Readiness::default());
        let servers = bind(
            &Shared::new(Arc::new(config()), nowhere, layout, tokio::sync::watch::channel(Arc::default()).1),
            &readiness,
        )
        .unwrap();
        let handles = [servers.api.handle(), servers.management.handle()];
        let running = [servers.api, servers.management].map(actix_web::rt::spawn);
        let get = |url: String| async move { reqwest::get(url).await.unwrap().status().as_u16() };
        assert_eq!(get(format!("http://{}/health/live", servers.management_address)).await, 200);
        assert_eq!(get(format!("http://{}/health/ready", servers.management_address)).await, 503);
        assert_eq!(get(format!("http://{}/api/webhooks", servers.api_address)).await, 401);
        assert_eq!(get(format!("http://{}/metrics", servers.api_address)).await, 404);
        for handle in handles {
            handle.stop(true).await;
        }
        for server in running {
            server.await.unwrap().unwrap();
        }
    }
}
