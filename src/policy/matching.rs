//! Which webhooks an event goes to: the subscriptions of one partition, by tenant and type.
//!
//! Holds the matching parts of active webhooks only. What a type matches is remembered per tenant until a subscription
//! of that tenant changes; types come from the catalogue, so the memory is bounded by it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::domain::{Pattern, Tenant, WebhookId};

/// One match: the webhook and the hash that names its owner in keys.
pub type Target = (WebhookId, Arc<str>);

/// The subscriptions of a partition's active webhooks.
#[derive(Debug, Default)]
pub struct Subscriptions {
    tenants: HashMap<Tenant, OfTenant>,
    tenant_of: HashMap<WebhookId, Tenant>,
}

#[derive(Debug, Default)]
struct OfTenant {
    // Ordered, so that a chunked fan-out has the same chunks on every node.
    webhooks: BTreeMap<WebhookId, (Vec<Pattern>, Arc<str>)>,
    matches: HashMap<Arc<str>, Vec<Target>>,
}

impl Subscriptions {
    /// Adds a webhook or replaces what is known of it.
    pub fn insert(&mut self, tenant: &Tenant, id: WebhookId, patterns: Vec<Pattern>, owner_hash: Arc<str>) {
        self.tenant_of.insert(id.clone(), tenant.clone());
        let of_tenant = self.tenants.entry(tenant.clone()).or_default();
        of_tenant.matches.clear();
        of_tenant.webhooks.insert(id, (patterns, owner_hash));
    }

    /// Forgets a webhook; harmless when it is not known.
    pub fn remove(&mut self, id: &WebhookId) {
        let Some(tenant) = self.tenant_of.remove(id) else { return };
        let Some(of_tenant) = self.tenants.get_mut(&tenant) else { return };
        of_tenant.matches.clear();
        of_tenant.webhooks.remove(id);
        if of_tenant.webhooks.is_empty() {
            self.tenants.remove(&tenant);
        }
    }

    /// The webhooks of `tenant` that subscribe to `event_type`, in the order of their ids.
    pub fn matching(&mut self, tenant: &Tenant, event_type: &Arc<str>) -> &[Target] {
        let Some(of_tenant) = self.tenants.get_mut(tenant) else { return &[] };
        let OfTenant { webhooks, matches } = of_tenant;
        matches.entry(event_type.clone()).or_insert_with(|| {
            let subscribed = |(_, (patterns, _)): &(&WebhookId, &(Vec<Pattern>, Arc<str>))| {
                patterns.iter().any(|pattern| pattern.matches(event_type))
            };
            let target =
                |(id, (_, owner)): (&WebhookId, &(Vec<Pattern>, Arc<str>))| (id.clone(), owner.clone());
            webhooks.iter().filter(subscribed).map(target).collect()
        })
    }

    /// Tenant and owner hash of a subscribed webhook; `None` for one that is not known or not active.
    pub fn owner_of(&self, id: &WebhookId) -> Option<(&Tenant, &Arc<str>)> {
        let tenant = self.tenant_of.get(id)?;
        let (_, owner_hash) = self.tenants.get(tenant)?.webhooks.get(id)?;
        Some((tenant, owner_hash))
    }

    /// How many webhooks are subscribed.
    pub fn len(&self) -> usize {
        self.tenant_of.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.tenant_of.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Shard;

    fn id(n: u8) -> WebhookId {
        WebhookId::new(Shard(0), &format!("{n:022}"))
    }

    fn tenant(name: &str) -> Tenant {
        name.parse().expect("a tenant")
    }

    fn matched(table: &mut Subscriptions, of: &str, event_type: &str) -> Vec<WebhookId> {
        table.matching(&tenant(of), &Arc::from(event_type)).iter().map(|(id, _)| id.clone()).collect()
    }

    fn table(rows: &[(u8, &str, &[&str])]) -> Subscriptions {
        let mut table = Subscriptions::default();
        for (n, of, patterns) in rows {
            let patterns = patterns.iter().map(|text| text.parse().expect("a pattern")).collect();
            table.insert(&tenant(of), id(*n), patterns, Arc::from("owner"));
        }
        table
    }

    #[test]
    fn an_event_goes_to_every_subscriber_of_its_tenant_once() {
        let mut table = table(&[
            (1, "org:a", &["lead.created", "lead.*", "*"]),
            (2, "org:a", &["quote.*"]),
            (3, "org:a", &["*"]),
            (4, "org:b", &["*"]),
            (5, "user:a", &["*"]),
        ]);
        assert_eq!(matched(&mut table, "org:a", "lead.created"), [id(1), id(3)]);
        assert_eq!(matched(&mut table, "org:a", "quote.sent"), [id(1), id(2), id(3)]);
        assert_eq!(matched(&mut table, "org:b", "lead.created"), [id(4)]);
        assert_eq!(matched(&mut table, "user:a", "lead.created"), [id(5)]);
        assert_eq!(matched(&mut table, "org:c", "lead.created"), []);
    }

    #[test]
    fn a_change_holds_for_the_next_event() {
        let mut table = table(&[(1, "org:a", &["lead.created"]), (2, "org:a", &["lead.*"])]);
        assert_eq!(matched(&mut table, "org:a", "lead.created"), [id(1), id(2)]);
        table.insert(
            &tenant("org:a"),
            id(1),
            vec!["quote.*".parse().expect("a pattern")],
            Arc::from("owner"),
        );
        assert_eq!(matched(&mut table, "org:a", "lead.created"), [id(2)]);
        table.remove(&id(2));
        table.remove(&id(2));
        assert_eq!(matched(&mut table, "org:a", "lead.created"), []);
        assert_eq!(matched(&mut table, "org:a", "quote.sent"), [id(1)]);
        table.remove(&id(1));
        assert!(table.is_empty() && table.tenants.is_empty());
    }
}
