//! What a publisher says happened. `Debug` shows how long a body is and nothing of it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{EventId, Tenant, TraceContext};

/// An event as it is stored: everything but the body is there to route it.
#[derive(Clone)]
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
#[derive(Clone, PartialEq, Eq)]
pub struct EventBody {
    /// The type's name, for the `X-Webhook-Event` header and the log.
    pub event_type: Arc<str>,
    /// The bytes to send.
    pub bytes: Bytes,
    /// The span that its attempts belong below, the dispatch's; `None` = it is not traced.
    pub trace: Option<TraceContext>,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Event");
        shown.field("id", &self.id).field("event_type", &self.event_type).field("bytes", &self.body.len());
        shown.finish_non_exhaustive()
    }
}

impl fmt::Debug for EventBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("EventBody");
        shown.field("event_type", &self.event_type).field("bytes", &self.bytes.len());
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_of_an_event_holds_nothing_of_its_body() {
        let event = Event {
            id: "evt_1".parse().expect("an id"),
            event_type: "lead.created".into(),
            tenant: Tenant::Organization("acme".into()),
            body: Bytes::from_static(b"planted"),
            trace: None,
        };
        let body = EventBody { event_type: "lead.created".into(), bytes: event.body.clone(), trace: None };
        for shown in [format!("{event:?}"), format!("{body:?}")] {
            assert!(shown.contains("lead.created") && !shown.contains("planted"), "{shown}");
        }
    }
}
