//! What the pages of a webhook read first: the webhook with its figures, and what the visitor may do with it.

use crate::api::access::{Purpose, check, find, webhooks_of};
use crate::api::{App, Error};
use crate::dashboard::visit::Visit;
use crate::domain::{Webhook, WebhookId};
use crate::store::webhooks::Figures;

/// The list of webhooks, where the way to these pages begins.
pub const WEBHOOKS: &str = "/dashboard/webhooks";

/// A webhook that somebody looks at.
#[derive(Debug)]
pub struct Seen {
    /// The webhook.
    pub webhook: Webhook,
    /// How it does.
    pub figures: Figures,
    /// Whether the visitor may change it; else nothing is offered that would be refused.
    pub may_change: bool,
}

/// The webhook `id`, for a look.
///
/// # Errors
/// Those of [`find`].
pub async fn seen(app: &App, visit: &Visit, id: &WebhookId) -> Result<Seen, Error> {
    let webhook = find(app, visit, id, Purpose::Read).await?;
    let figures = webhooks_of(app, visit).figures([&webhook.id]).await?.pop().unwrap_or_default();
    let may_change = visit.may_write() && check(visit, &webhook, Purpose::Change).is_ok();
    Ok(Seen { webhook, figures, may_change })
}
