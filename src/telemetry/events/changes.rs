//! The audit log: one line for each change that somebody made, or was not allowed to make.
//!
//! Lines have a target of their own, `salesos_webhooks::audit`, so that they can be kept apart from the rest. They name who, what and from
//! where, and never a value: no URL, no header, no name of a webhook, no secret.

use std::net::IpAddr;

use crate::clock;
use crate::domain::WebhookId;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::quiet::QUIET;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the change that it names")]
pub enum Action {
    CreateWebhook,
    UpdateWebhook,
    DeleteWebhook,
    ActivateWebhook,
    DeactivateWebhook,
    ResetFailures,
    RegenerateSecret,
    TestWebhook,
    RetryDelivery,
    BeginRecovery,
    CancelRecovery,
    DisableWebhook,
    ChangeLogLevel,
    DrainNode,
    UndrainNode,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::CreateWebhook,
        Self::UpdateWebhook,
        Self::DeleteWebhook,
        Self::ActivateWebhook,
        Self::DeactivateWebhook,
        Self::ResetFailures,
        Self::RegenerateSecret,
        Self::TestWebhook,
        Self::RetryDelivery,
        Self::BeginRecovery,
        Self::CancelRecovery,
        Self::DisableWebhook,
        Self::ChangeLogLevel,
        Self::DrainNode,
        Self::UndrainNode,
    ];

    /// As it stands in lines and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateWebhook => "create_webhook",
            Self::UpdateWebhook => "update_webhook",
            Self::DeleteWebhook => "delete_webhook",
            Self::ActivateWebhook => "activate_webhook",
            Self::DeactivateWebhook => "deactivate_webhook",
            Self::ResetFailures => "reset_failures",
            Self::RegenerateSecret => "regenerate_secret",
            Self::TestWebhook => "test_webhook",
            Self::RetryDelivery => "retry_delivery",
            Self::BeginRecovery => "begin_recovery",
            Self::CancelRecovery => "cancel_recovery",
            Self::DisableWebhook => "disable_webhook",
            Self::ChangeLogLevel => "change_log_level",
            Self::DrainNode => "drain_node",
            Self::UndrainNode => "undrain_node",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was done.
    Done,
    /// It may have been done: Redis did not say, or whoever asked went away meanwhile.
    Unknown,
    /// Who asked may not do it; nothing was done.
    Denied,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Done, Self::Unknown, Self::Denied];

    /// As it stands in lines and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unknown => "unknown",
            Self::Denied => "denied",
        }
    }
}

/// One change. What is empty or `None` is not on the line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// Whose data; as clients name it, so it may hold any character.
    pub tenant: Option<&'a str>,
    /// The token's `sub`; any character too. `None` = the service itself, or whoever reaches the management port.
    pub user: Option<&'a str>,
    /// Which webhook.
    pub webhook: Option<&'a WebhookId>,
    /// The names of the fields that have other values now, with commas between them.
    pub fields: Option<&'a str>,
    /// Where it was asked for.
    pub source: Option<IpAddr>,
    /// Names the request in its answer and in its own line.
    pub request_id: Option<&'a str>,
}

/// A change was made, or may have been, or was denied. Of what is denied to anybody one line an action is written now and
/// then, with how many there were since; all are counted.
pub fn changed(action: Action, ending: Ending, change: &Change<'_>) {
    let (action, result) = (action.as_str(), ending.as_str());
    METRICS.changes.with_label_values(&[action, result]).inc();
    let times = match ending {
        Ending::Done | Ending::Unknown => None,
        Ending::Denied => match QUIET.let_through(action, clock::monotonic()) {
            Some(times) => Some(times),
            None => return,
        },
    };
    // Texts that clients choose are given as texts: both formats escape what could look like another line.
    let Change { tenant, user, webhook, fields, source, request_id } = *change;
    let (webhook, source) = (webhook.map(WebhookId::as_str), source.map(tracing::field::display));
    tracing::info!(
        target: "salesos_webhooks::audit",
        action, result, tenant, user, webhook, fields, source, request_id, times, "change"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logging::tests::said_as_text;

    #[test]
    fn a_name_forges_no_line_in_the_text_format() {
        let evil =
            "eve\n2026-11-27T10:00:00Z  INFO salesos_webhooks::audit: change action=\u{1b}[2K\u{202e}\r\"";
        let change =
            Change { user: Some(evil), tenant: Some(evil), request_id: Some("r1"), ..Change::default() };
        let said = said_as_text(|| changed(Action::CreateWebhook, Ending::Done, &change));
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("eve\\n2026") && said.contains("create_webhook"), "{said}");
        assert!(!said.contains(['\u{1b}', '\u{202e}', '\r']), "{said}");
    }

    #[test]
    fn every_action_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
        assert_eq!(names.len(), Action::ALL.len());
    }
}
