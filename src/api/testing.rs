//! Calls the API in a test: settings, tokens, requests.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::to_bytes;
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web;
use futures_util::future::LocalBoxFuture;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::connections::Pieces;
use super::pages::Pages;
use super::{App, Shared, routes, server};
use crate::clock;
use crate::config::*;
use crate::domain::{Catalogue, EventType};
use crate::policy::partition::Layout;
use crate::store::connection::Address;
use crate::store::testing::TestRedis;

pub const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub const LAYOUT: Layout = Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 };

/// Small settings; change what a test is about.
pub fn config() -> Config {
    let day = Duration::from_secs(86_400);
    Config {
        node_id: "test".parse().expect("a node id"),
        server: Server {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            management_port: 0,
            workers: 1,
            max_connections: 16,
            base_path: "/api".into(),
            trusted_proxies: Vec::new(),
            drain: Duration::from_secs(1),
        },
        api: Api {
            max_event_bytes: 1024,
            rate_limit_per_minute: 6000,
            publish_rate_limit_per_second: 0,
            cors_allowed_origins: Origins::These(Vec::new()),
        },
        auth: Auth {
            jwt_secret: Some(SECRET.into()),
            jwt_public_key: None,
            jwks: None,
            jwks_refresh: Duration::from_secs(300),
            issuer: None,
            audience: None,
            read_only_roles: vec!["VIEWER".into()],
            publisher_roles: vec!["service".into()],
            admin_roles: vec!["ADMIN".into()],
        },
        dashboard: Dashboard { enabled: true },
        security: Security::default(),
        redis: Redis {
            mode: RedisMode::Standalone,
            url: None,
            sentinel_urls: Vec::new(),
            sentinel_master: String::new(),
            cluster_urls: Vec::new(),
            tls_ca_file: None,
            prefix: "sw:".into(),
            data_dir: "data".into(),
            require_persistence: false,
            connect_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(5),
        },
        cluster: Cluster {
            partitions: LAYOUT.partitions,
            webhooks_per_shard: LAYOUT.webhooks_per_shard,
            shards_per_tenant: LAYOUT.shards_per_tenant,
            threads: 1,
            handover: Duration::from_secs(1),
        },
        delivery: Delivery {
            require_https: false,
            allowed_networks: Vec::new(),
            dns_servers: vec![],
            proxy_url: None,
            default_rate_limit_per_second: 0,
            max_in_flight: 16,
            response_capture_bytes: 4096,
            max_age: 30 * day,
            memory_budget_bytes: 1 << 20,
        },
        breaker: Breaker {
            failure_threshold: 10,
            pause: Duration::from_secs(30),
            max_pause: Duration::from_secs(900),
            disable_after: 5 * day,
        },
        queue: Queue {
            max_pending_per_webhook: 100,
            max_undispatched_bytes: 1 << 20,
            max_pending_bytes_per_tenant: 1 << 20,
        },
        limits: Limits { webhooks_per_user: 4, webhooks_per_tenant: 6 },
        log: Log { max_attempts: 100, retention: 30 * day, payload_retention: 3 * day },
        telemetry: Telemetry {
            log_level: "info".into(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            otlp_sample_ratio: 1.0,
        },
        catalogue: catalogue(),
    }
}

fn catalogue() -> Catalogue {
    let names = ["lead.created", "lead.updated", "opportunity.won"];
    let types = names.map(|name| EventType {
        event: name.into(),
        label: name.into(),
        description: "It happened.".into(),
        category: "Test".into(),
        sample: json!({"id": 1}),
    });
    Catalogue::new(types.into())
}

/// A good token with these claims besides `exp`.
pub fn token(claims: Value) -> String {
    let mut all = json!({"exp": clock::now().as_secs() + 600});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    encode(&Header::default(), &all, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A user of the organization `acme`.
pub fn user(name: &str) -> String {
    token(json!({"sub": name, "organizationId": "acme"}))
}

/// An administrator of the organization `acme`.
pub fn admin(name: &str) -> String {
    token(json!({"sub": name, "organizationId": "acme", "role": "ADMIN"}))
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body; a picture's is not text.
    pub text: String,
    /// The pattern of the route that answered.
    pub route: &'static str,
}

impl Answer {
    /// The body; null when there is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

type Call = dyn Fn(TestRequest) -> LocalBoxFuture<'static, ServiceResponse<Pieces>>;

/// One worker's API.
pub struct Client {
    call: Box<Call>,
    pub app: App,
}

impl Client {
    /// The API with a Redis of its own.
    pub async fn with(config: Config, redis: &TestRedis) -> Self {
        Self::at(config, redis.redis.address().clone()).await
    }

    /// The API without any Redis.
    pub async fn alone(config: Config) -> Self {
        let second = Duration::from_secs(1);
        Self::at(config, Address::new("unix:///nowhere.sock", second, second).unwrap()).await
    }

    /// The API with a Redis of its own, and pages beside it.
    pub async fn with_pages(config: Config, redis: &TestRedis, pages: &'static Pages) -> Self {
        Self::beside(config, redis.redis.address().clone(), Some(pages)).await
    }

    async fn at(config: Config, address: Address) -> Self {
        Self::beside(config, address, None).await
    }

    async fn beside(config: Config, address: Address, pages: Option<&'static Pages>) -> Self {
        let shared =
            Shared::new(Arc::new(config), address, LAYOUT, tokio::sync::watch::channel(Arc::default()).1);
        let app = App::for_worker(&shared.with_pages(pages)).unwrap();
        let service = Rc::new(init_service(server::service(web::Data::new(app.clone()))).await);
        let call = move |request: TestRequest| -> LocalBoxFuture<'static, ServiceResponse<Pieces>> {
            let service = service.clone();
            Box::pin(async move { call_service(&*service, request.to_request()).await })
        };
        Self { call: Box::new(call), app }
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: TestRequest) -> Answer {
        let response = (self.call)(request).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let route = routes::of(response.request()).pattern;
        let bytes = to_bytes(response.into_body()).await.unwrap();
        Answer { status, headers, text: String::from_utf8_lossy(&bytes).into_owned(), route }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(authorized(TestRequest::get(), token).uri(path)).await
    }

    pub async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(authorized(TestRequest::post(), token).uri(path).set_json(body)).await
    }

    pub async fn patch(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(authorized(TestRequest::patch(), token).uri(path).set_json(body)).await
    }

    pub async fn delete(&self, token: &str, path: &str) -> Answer {
        self.send(authorized(TestRequest::delete(), token).uri(path)).await
    }
}

/// With the token in its header.
pub fn authorized(request: TestRequest, token: &str) -> TestRequest {
    request.insert_header((AUTHORIZATION, format!("Bearer {token}")))
}
