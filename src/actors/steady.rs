//! Which webhooks are steady: an arrival at them changes nothing but counts, and is recorded without a script
//! ([`crate::store::arrivals`]).
//!
//! The dispatch script says it of a webhook. It holds under the lease under which it was said, until the hour ends, until an outcome that is
//! not plain is recorded of the webhook, or until Redis may have gone back to an earlier moment. For correctness, where it says that a
//! webhook is steady; that it forgets one costs a script.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::WebhookId;
use crate::store::outcomes::Outcome;

/// What is known of the webhooks of one arbiter.
#[derive(Debug, Default)]
pub struct Steady {
    epoch: Cell<Epoch>,
    /// Counts what disturbs and what begins.
    moment: Cell<u64>,
    /// When all was forgotten last.
    cleared: Cell<u64>,
    webhooks: RefCell<HashMap<WebhookId, Known>>,
}

/// What was said in another hour, or before Redis may have gone back, holds no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Counted from 1970.
    pub hour: u64,
    /// Of [`crate::store::Redis::generation`].
    pub generation: u64,
}

#[derive(Debug, Default)]
struct Known {
    /// Of the lease under which it was said to be steady; `None` = it is not, or a call has taken the word.
    token: Option<Arc<str>>,
    /// Calls under way that disturb it.
    disturbing: u32,
    /// When the last of them began or ended.
    disturbed: u64,
}

/// When a call began: what it tells of a webhook that was disturbed since is out of date.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    epoch: Epoch,
    moment: u64,
}

impl Steady {
    /// A call begins.
    pub fn begin(&self, epoch: Epoch) -> Begun {
        if self.epoch.replace(epoch) != epoch {
            self.webhooks.borrow_mut().retain(|_, known| {
                known.token = None;
                known.disturbing > 0
            });
            self.cleared.set(self.next());
        }
        Begun { epoch, moment: self.next() }
    }

    fn next(&self) -> u64 {
        self.moment.set(self.moment.get() + 1);
        self.moment.get()
    }

    /// Takes the word of the webhooks for a call without a script: none of them is steady until [`Self::tell`] says so again.
    /// Answers `false`, and takes nothing, if one of them is not.
    pub fn take<'a>(&self, token: &str, webhooks: impl Iterator<Item = &'a WebhookId> + Clone) -> bool {
        let mut known = self.webhooks.borrow_mut();
        let is_steady =
            |webhook: &WebhookId| known.get(webhook).and_then(|known| known.token.as_deref()) == Some(token);
        if !webhooks.clone().all(is_steady) {
            return false;
        }
        for webhook in webhooks {
            if let Some(known) = known.get_mut(webhook) {
                known.token = None;
            }
        }
        true
    }

    /// A call that began then says that a webhook is steady.
    pub fn tell(&self, begun: Begun, token: &Arc<str>, webhook: WebhookId) {
        if self.epoch.get() != begun.epoch || begun.moment < self.cleared.get() {
            return;
        }
        let mut webhooks = self.webhooks.borrow_mut();
        let known = webhooks.entry(webhook).or_default();
        if known.disturbing == 0 && known.disturbed < begun.moment {
            known.token = Some(token.clone());
        }
    }

    /// These outcomes are about to be recorded: what is not plain among them disturbs its webhook, now and when that has ended.
    pub fn disturbed_by<'a>(&self, outcomes: impl Iterator<Item = &'a Outcome>) -> Disturbed<'_> {
        let webhooks: Vec<WebhookId> =
            outcomes.filter(|outcome| !outcome.is_plain()).map(|outcome| outcome.webhook.clone()).collect();
        webhooks.iter().for_each(|webhook| self.disturb(webhook, true));
        Disturbed { steady: self, webhooks }
    }

    /// `begins`: a call that disturbs it begins, or one has ended.
    fn disturb(&self, webhook: &WebhookId, begins: bool) {
        let disturbed = self.next();
        let mut webhooks = self.webhooks.borrow_mut();
        let known = webhooks.entry(webhook.clone()).or_default();
        let disturbing = if begins { known.disturbing + 1 } else { known.disturbing.saturating_sub(1) };
        *known = Known { token: None, disturbing, disturbed };
    }
}

/// Outcomes that are being recorded.
#[derive(Debug)]
pub struct Disturbed<'a> {
    steady: &'a Steady,
    webhooks: Vec<WebhookId>,
}

impl Drop for Disturbed<'_> {
    fn drop(&mut self) {
        self.webhooks.iter().for_each(|webhook| self.steady.disturb(webhook, false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Shard;

    const EPOCH: Epoch = Epoch { hour: 5, generation: 1 };

    fn webhook(name: char) -> WebhookId {
        WebhookId::new(Shard(0), &name.to_string().repeat(WebhookId::RANDOM_LENGTH))
    }

    fn told(steady: &Steady, epoch: Epoch) -> Arc<str> {
        let token = Arc::from("token");
        let begun = steady.begin(epoch);
        ['a', 'b'].into_iter().for_each(|name| steady.tell(begun, &token, webhook(name)));
        token
    }

    #[test]
    fn a_word_is_good_for_one_call_under_the_same_lease() {
        let (steady, all) = (Steady::default(), [webhook('a'), webhook('b')]);
        assert!(!steady.take("token", all.iter()), "nothing is known");
        told(&steady, EPOCH);
        assert!(!steady.take("another", all.iter()));
        assert!(!steady.take("token", [webhook('a'), webhook('c')].iter()), "one is unknown");
        assert!(steady.take("token", all.iter()));
        assert!(!steady.take("token", all[..1].iter()));
        told(&steady, EPOCH);
        assert!(steady.take("token", all[..1].iter()));
    }

    #[test]
    fn an_hour_and_a_redis_that_may_have_gone_back_end_it() {
        for later in [Epoch { hour: 6, ..EPOCH }, Epoch { generation: 2, ..EPOCH }] {
            let steady = Steady::default();
            let (token, before) = (told(&steady, EPOCH), steady.begin(EPOCH));
            steady.begin(later);
            assert!(!steady.take("token", [webhook('a')].iter()));
            steady.tell(before, &token, webhook('a'));
            assert!(!steady.take("token", [webhook('a')].iter()), "said before that");
        }
    }

    #[test]
    fn what_was_disturbed_since_a_call_began_is_not_steady_by_its_word() {
        let steady = Steady::default();
        let token = told(&steady, EPOCH);
        let begun = steady.begin(EPOCH);
        let disturb = |name, begins| steady.disturb(&webhook(name), begins);
        ['a', 'c'].into_iter().for_each(|name| disturb(name, true));
        let meanwhile = steady.begin(EPOCH);
        steady.tell(meanwhile, &token, webhook('a'));
        assert!(!steady.take("token", [webhook('a')].iter()), "the other call has not ended");
        ['a', 'c'].into_iter().for_each(|name| disturb(name, false));
        ['a', 'c'].into_iter().for_each(|name| steady.tell(begun, &token, webhook(name)));
        assert!(!steady.take("token", [webhook('a')].iter()) && !steady.take("token", [webhook('c')].iter()));
        assert!(steady.take("token", [webhook('b')].iter()), "the other one is not meant");
        told(&steady, EPOCH);
        assert!(steady.take("token", [webhook('a')].iter()), "a later call may say so");
    }
}
