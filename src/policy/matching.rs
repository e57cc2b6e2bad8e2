//! Which webhooks an event goes to: the subscriptions of one partition, by tenant and type, and why not to the others.
//!
//! Holds the matching parts of webhooks only; of those that are switched off too, for who asks why an event did not go to one of
//! them. What a type matches is remembered per tenant until a subscription of that tenant changes; types come from the
//! catalogue, so the memory is bounded by it. A filter is asked about each event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::filter;
use crate::domain::filter::Clause;
use crate::domain::{Filter, Pattern, SkipReason, Tenant, Webhook, WebhookId};

/// Of one event, so many webhooks at most are named that subscribe to it and do not get it: they are kept with it, 40 bytes
/// each.
pub const MOST_SKIPPED: usize = 64;
/// So many of them at most that are switched off: a tenant may have thousands of those, and each event says the same of them.
const MOST_OFF: usize = 8;

/// One match: the webhook and the hash that names its owner in keys.
pub type Target = (WebhookId, Arc<str>);

/// A webhook that subscribes to an event and does not get it.
pub type Skipped = (WebhookId, SkipReason);

/// The subscriptions of a partition's webhooks.
#[derive(Debug, Default)]
pub struct Subscriptions {
    tenants: HashMap<Tenant, OfTenant>,
    tenant_of: HashMap<WebhookId, Tenant>,
    active: usize,
}

/// What is known of one webhook.
#[derive(Debug)]
struct Subscription {
    patterns: Vec<Pattern>,
    filter: Option<Arc<[Clause]>>,
    off: Option<SkipReason>,
    owner_hash: Arc<str>,
}

#[derive(Debug, Default)]
struct OfTenant {
    // Ordered, so that a chunked fan-out has the same chunks on every node.
    webhooks: BTreeMap<WebhookId, Subscription>,
    subscribed: HashMap<Arc<str>, Subscribed>,
}

/// The webhooks that subscribe to one type.
#[derive(Debug, Default)]
struct Subscribed {
    /// The active ones, in the order of their ids.
    targets: Vec<Target>,
    /// Of those, by their places, what their filters are.
    filters: Vec<(usize, Arc<[Clause]>)>,
    /// Those that are switched off.
    off: Vec<Skipped>,
}

/// Where an event goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// The webhooks that get it, in the order of their ids.
    pub targets: Vec<Target>,
    /// Those that subscribe to it and do not get it, up to [`MOST_SKIPPED`], those first whose filters decided it.
    pub skipped: Vec<Skipped>,
}

impl Subscriptions {
    /// Adds a webhook or replaces what is known of it.
    pub fn insert(&mut self, webhook: &Webhook, owner_hash: Arc<str>) {
        self.remove(&webhook.id);
        let settings = &webhook.settings;
        let (patterns, off) = (settings.events.clone(), webhook.is_off());
        let filter = settings.filter.clone().filter(|_| off.is_none()).map(Filter::into_clauses);
        self.active += usize::from(off.is_none());
        self.tenant_of.insert(webhook.id.clone(), settings.tenant.clone());
        let of_tenant = self.tenants.entry(settings.tenant.clone()).or_default();
        of_tenant.subscribed.clear();
        of_tenant.webhooks.insert(webhook.id.clone(), Subscription { patterns, filter, off, owner_hash });
    }

    /// Forgets a webhook; harmless when it is not known.
    pub fn remove(&mut self, id: &WebhookId) {
        let Some(tenant) = self.tenant_of.remove(id) else { return };
        let Some(of_tenant) = self.tenants.get_mut(&tenant) else { return };
        of_tenant.subscribed.clear();
        let removed = of_tenant.webhooks.remove(id);
        self.active -= usize::from(removed.is_some_and(|removed| removed.off.is_none()));
        if of_tenant.webhooks.is_empty() {
            self.tenants.remove(&tenant);
        }
    }

    /// The webhooks of `tenant` that an event of that type and body goes to, and those that it does not go to although they
    /// subscribe to it.
    pub fn matching(&mut self, tenant: &Tenant, event_type: &Arc<str>, body: &[u8]) -> Matches {
        let Some(of_tenant) = self.tenants.get_mut(tenant) else { return Matches::default() };
        let OfTenant { webhooks, subscribed } = of_tenant;
        let subscribed =
            subscribed.entry(event_type.clone()).or_insert_with(|| Subscribed::of(webhooks, event_type));
        subscribed.matches(body)
    }

    /// Tenant and owner hash of an active webhook; `None` for one that is not known or not active.
    pub fn owner_of(&self, id: &WebhookId) -> Option<(&Tenant, &Arc<str>)> {
        let tenant = self.tenant_of.get(id)?;
        let subscription = self.tenants.get(tenant)?.webhooks.get(id)?;
        subscription.off.is_none().then_some((tenant, &subscription.owner_hash))
    }

    /// The tenant of a webhook, active or not.
    pub fn tenant_of(&self, id: &WebhookId) -> Option<&Tenant> {
        self.tenant_of.get(id)
    }

    /// How many active webhooks there are.
    pub fn active(&self) -> usize {
        self.active
    }
}

impl Subscribed {
    fn of(webhooks: &BTreeMap<WebhookId, Subscription>, event_type: &str) -> Self {
        let mut found = Self::default();
        for (id, Subscription { patterns, filter, off, owner_hash }) in webhooks {
            if !patterns.iter().any(|pattern| pattern.matches(event_type)) {
                continue;
            }
            match off {
                Some(reason) if found.off.len() < MOST_OFF => found.off.push((id.clone(), *reason)),
                Some(_) => {}
                None => {
                    found.filters.extend(filter.iter().map(|filter| (found.targets.len(), filter.clone())));
                    found.targets.push((id.clone(), owner_hash.clone()));
                }
            }
        }
        found
    }

    fn matches(&self, body: &[u8]) -> Matches {
        let (mut targets, mut skipped) = (self.targets.clone(), Vec::new());
        if !self.filters.is_empty() {
            let data = filter::data_of(body);
            let mut refused =
                self.filters.iter().filter(|(_, filter)| !filter::passes(filter, &data)).peekable();
            let mut place = 0;
            targets.retain(|(webhook, _)| {
                let passes = refused.next_if(|(refused, _)| *refused == place).is_none();
                place += 1;
                if !passes && skipped.len() < MOST_SKIPPED {
                    skipped.push((webhook.clone(), SkipReason::Filtered));
                }
                passes
            });
        }
        skipped.extend_from_slice(&self.off[..self.off.len().min(MOST_SKIPPED - skipped.len())]);
        Matches { targets, skipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DisabledReason, Millis, Shard};

    fn id(n: u8) -> WebhookId {
        WebhookId::new(Shard(0), &format!("{n:022}"))
    }

    fn tenant(name: &str) -> Tenant {
        name.parse().expect("a tenant")
    }

    fn webhook(n: u8, of: &str, patterns: &[&str]) -> Webhook {
        let settings = serde_json::json!({
            "tenant": of, "owner": "ann", "name": "x", "url": "https://example.com/", "events": patterns,
            "retries": { "attempts": 3, "delay_seconds": 60, "backoff": "fixed" },
            "timeout_seconds": 30, "max_concurrency": 16, "secret": "0", "created_at": 1,
        });
        let settings = serde_json::from_value(settings).expect("settings");
        Webhook {
            id: id(n),
            version: 1,
            is_active: true,
            disabled_reason: None,
            updated_at: Millis(1),
            settings,
            locked: None,
        }
    }

    fn matches(table: &mut Subscriptions, of: &str, event_type: &str, body: &str) -> Matches {
        table.matching(&tenant(of), &Arc::from(event_type), body.as_bytes())
    }

    fn matched(table: &mut Subscriptions, of: &str, event_type: &str) -> Vec<WebhookId> {
        matches(table, of, event_type, "{}").targets.into_iter().map(|(id, _)| id).collect()
    }

    fn table(rows: &[(u8, &str, &[&str])]) -> Subscriptions {
        let mut table = Subscriptions::default();
        for (n, of, patterns) in rows {
            table.insert(&webhook(*n, of, patterns), Arc::from("owner"));
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
        table.insert(&webhook(1, "org:a", &["quote.*"]), Arc::from("owner"));
        assert_eq!(matched(&mut table, "org:a", "lead.created"), [id(2)]);
        table.remove(&id(2));
        table.remove(&id(2));
        assert_eq!(matched(&mut table, "org:a", "lead.created"), []);
        assert_eq!(matched(&mut table, "org:a", "quote.sent"), [id(1)]);
        assert_eq!(table.active(), 1);
        table.remove(&id(1));
        assert!(table.active() == 0 && table.tenants.is_empty());
    }

    #[test]
    fn who_subscribes_and_does_not_get_it_is_named_with_the_reason() {
        let filtering = |n, filter: &str| {
            let mut webhook = webhook(n, "org:a", &["*"]);
            webhook.settings.filter = Some(Filter::parse(filter).expect(filter));
            webhook
        };
        let off = |n, disabled_reason, patterns| Webhook {
            is_active: false,
            disabled_reason,
            ..webhook(n, "org:a", patterns)
        };
        let mut table = table(&[(3, "org:a", &["*"])]);
        for webhook in [
            filtering(1, r#"{"amount":{"gt":10}}"#),
            off(2, None, &["lead.*"]),
            filtering(4, r#"{"amount":5}"#),
            off(5, Some(DisabledReason::Gone), &["*"]),
            off(6, None, &["quote.*"]),
            filtering(7, r#"{"amount":{"lt":3}}"#),
        ] {
            table.insert(&webhook, Arc::from("owner"));
        }
        let found = matches(&mut table, "org:a", "lead.created", r#"{"data":{"amount":5}}"#);
        let targets: Vec<WebhookId> = found.targets.into_iter().map(|(id, _)| id).collect();
        assert_eq!(targets, [id(3), id(4)]);
        let expected = [
            (id(1), SkipReason::Filtered),
            (id(7), SkipReason::Filtered),
            (id(2), SkipReason::Inactive),
            (id(5), SkipReason::Disabled),
        ];
        assert_eq!(found.skipped, expected);
        assert_eq!(table.active(), 4);
        assert!(table.owner_of(&id(1)).is_some() && table.owner_of(&id(2)).is_none());
        let all = matches(&mut table, "org:a", "quote.sent", r#"{"data":{"amount":50}}"#);
        assert_eq!((all.targets.len(), all.skipped.len()), (2, 4));
    }

    #[test]
    fn the_skipped_are_named_up_to_a_bound() {
        let mut table = Subscriptions::default();
        for n in 0..MOST_SKIPPED + 5 {
            let id = WebhookId::new(Shard(0), &format!("{n:022}"));
            let webhook = Webhook { id, is_active: false, ..webhook(0, "org:a", &["*"]) };
            table.insert(&webhook, Arc::from("owner"));
        }
        let mut filtering = webhook(0, "org:a", &["*"]);
        filtering.settings.filter = Filter::parse(r#"{"a":1}"#).ok();
        filtering.id = WebhookId::new(Shard(0), &"z".repeat(22));
        table.insert(&filtering, Arc::from("owner"));
        let skipped = matches(&mut table, "org:a", "lead.created", "{}").skipped;
        assert_eq!((skipped.len(), &skipped[0].0), (MOST_OFF + 1, &filtering.id));
        for n in 0..MOST_SKIPPED {
            filtering.id = WebhookId::new(Shard(0), &format!("y{n:021}"));
            table.insert(&filtering, Arc::from("owner"));
        }
        assert_eq!(matches(&mut table, "org:a", "lead.created", "{}").skipped.len(), MOST_SKIPPED);
    }
}
