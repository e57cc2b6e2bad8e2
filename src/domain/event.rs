//! What a publisher says happened.

use std::sync::Arc;

use bytes::Bytes;

use super::{EventId, Tenant, TraceContext};

/// An event as it is stored: everything but the body is there to route it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Unique within the tenant.
    pub id: EventId,
    /// The type's name, from the catalogue.
    pub event_type: Arc<str>,
    /// Whose webhooks may receive it.
    pub tenant: Tenant,
    /// The bytes that every receiver gets, written once at publish (contract, section 8).
    pub body: Bytes,
    /// The span of its publication; `None` = it is not traced.
    pub trace: Option<TraceContext>,
}

/// What an attempt needs of an event: fetched from Redis unless it still rides along in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBody {
    /// The type's name, for the `X-Webhook-Event` header and the log.
    pub event_type: Arc<str>,
    /// The bytes to send.
    pub bytes: Bytes,
    /// The span that its attempts belong below, the dispatch's; `None` = it is not traced.
    pub trace: Option<TraceContext>,
}
