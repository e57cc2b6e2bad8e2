//! What the handlers of one worker thread work with.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::auth::Authenticator;
use super::files::File;
use super::openapi;
use super::pages::Pages;
use super::rate_limit::RateLimits;
use super::recover::Surveys;
use crate::config::Config;
use crate::delivery::{self, Sender, Sockets};
use crate::domain::NodeId;
use crate::policy::address::Guard;
use crate::policy::partition::Layout;
use crate::policy::sealing::Keyring;
use crate::store;
use crate::store::encryption;
use crate::store::publications::fresh::Listeners;
use crate::store::publications::{Bounds, Intake};

/// What all workers of the node share; made once at start.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The settings.
    pub config: Arc<Config>,
    /// Where Redis is. Each worker opens connections of its own to it.
    pub address: store::connection::Address,
    /// The cluster's fixed counts.
    pub layout: Layout,
    /// Encrypts and decrypts webhooks' secrets.
    pub keyring: Arc<Keyring>,
    /// Checks tokens.
    pub authenticator: Arc<Authenticator>,
    /// Counts requests.
    pub rate_limits: Arc<RateLimits>,
    /// The nodes that live.
    pub live: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    /// Whose dead deliveries are looked through.
    pub surveys: Arc<Surveys>,
    /// Who is told what this node publishes.
    pub listeners: Arc<Listeners>,
    /// The connections that the node may have open for deliveries.
    pub sockets: Sockets,
    /// The OpenAPI document.
    pub document: Arc<File>,
    /// What is served beside the API.
    pub pages: Option<&'static Pages>,
}

impl Shared {
    /// What follows from the settings.
    pub fn new(
        config: Arc<Config>,
        address: store::connection::Address,
        layout: Layout,
        live: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    ) -> Self {
        let keyring = Arc::new(encryption::keyring(&config.security));
        let authenticator = Arc::new(Authenticator::new(&config.auth));
        let rate_limits = Arc::new(RateLimits::new(&config.api, live.clone()));
        let sockets = Sockets::new(config.delivery.max_in_flight);
        let (listeners, surveys) = (Arc::default(), Arc::default());
        let document = Arc::new(openapi::document::file(&config));
        Self {
            config,
            address,
            layout,
            keyring,
            authenticator,
            rate_limits,
            live,
            surveys,
            listeners,
            sockets,
            document,
            pages: None,
        }
    }

    /// The same, with pages beside the API.
    pub fn with_pages(self, pages: Option<&'static Pages>) -> Self {
        Self { pages, ..self }
    }
}

/// One worker's own: handlers get it as `web::Data<App>`.
#[derive(Clone, Debug)]
pub struct App {
    /// The settings.
    pub config: Arc<Config>,
    /// Commands to Redis; belongs to this thread.
    pub redis: store::Redis,
    /// Names of keys.
    pub keys: store::Keys,
    /// Stores publications; belongs to this thread.
    pub intake: Intake,
    /// The cluster's fixed counts.
    pub layout: Layout,
    /// Encrypts and decrypts webhooks' secrets.
    pub keyring: Arc<Keyring>,
    /// Checks tokens.
    pub authenticator: Arc<Authenticator>,
    /// Counts requests.
    pub rate_limits: Arc<RateLimits>,
    /// Whose dead deliveries are looked through.
    pub surveys: Arc<Surveys>,
    /// The addresses that webhooks may have.
    pub guard: Guard,
    /// Looks where a URL leads and sends tests; belongs to this thread.
    pub sender: Sender,
    /// The nodes that live.
    pub live: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    /// The OpenAPI document.
    pub document: Arc<File>,
    /// What is served beside the API.
    pub pages: Option<&'static Pages>,
}

/// A worker cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The connection to Redis cannot be set up.
    #[error("the connection to redis cannot be set up")]
    Redis(#[from] store::Error),
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Sender(#[from] delivery::Error),
}

impl App {
    /// The App of the calling worker thread.
    ///
    /// # Errors
    /// See [`SetUpError`]; nothing connects yet.
    pub fn for_worker(shared: &Shared) -> Result<Self, SetUpError> {
        let redis = store::Redis::new(shared.address.clone())?;
        let keys = store::Keys::new(&shared.config.redis.prefix);
        let queue = &shared.config.queue;
        let bounds = Bounds {
            max_undispatched: queue.max_undispatched_bytes,
            max_pending_of_tenant: queue.max_pending_bytes_per_tenant,
        };
        Ok(Self {
            intake: Intake::new(redis.clone(), keys.clone(), bounds, shared.listeners.clone()),
            guard: Guard { allowed: shared.config.delivery.allowed_networks.clone() },
            sender: Sender::new(&shared.config.delivery, &shared.sockets)?,
            redis,
            keys,
            config: shared.config.clone(),
            layout: shared.layout,
            keyring: shared.keyring.clone(),
            authenticator: shared.authenticator.clone(),
            rate_limits: shared.rate_limits.clone(),
            surveys: shared.surveys.clone(),
            live: shared.live.clone(),
            document: shared.document.clone(),
            pages: shared.pages,
        })
    }

    /// The pages, if `path` is one of theirs.
    pub fn pages_at(&self, path: &str) -> Option<&'static Pages> {
        self.pages.filter(|pages| pages.hold(path))
    }
}
