//! The shares in small tables, and whatever happens to them held against the rule in words.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const A: Key = Key(1);
const B: Key = Key(2);
const C: Key = Key(3);

/// Asks until it has to wait; how many it got.
fn fill(shares: &mut Shares, tenant: Key) -> usize {
    (0..).take_while(|_| shares.ask(tenant) == Asked::Granted).count()
}

fn wait(shares: &mut Shares, tenant: Key) -> Ticket {
    match shares.ask(tenant) {
        Asked::Waits(ticket) => ticket,
        Asked::Granted => panic!("{tenant:?} need not wait"),
    }
}

fn release(shares: &mut Shares, tenant: Key) -> Vec<Key> {
    shares.release(tenant);
    std::iter::from_fn(|| shares.grant()).map(|(tenant, _)| tenant).collect()
}

#[test]
fn a_lone_tenant_stops_at_three_quarters_and_leaves_room_as_soon_as_there_is_more_than_one_place() {
    for (capacity, most) in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (8, 6), (16, 12), (4096, 3072)] {
        let mut shares = Shares::new(capacity, Rule::Quarter);
        assert_eq!(fill(&mut shares, A), most, "of {capacity}");
        let next = fill(&mut shares, B);
        assert_eq!(next > 0, capacity > 1, "of {capacity} another one gets {next}");
    }
    assert_eq!(fill(&mut Shares::new(0, Rule::Quarter), A), 1, "there is always one");
}

#[test]
fn whoever_comes_next_finds_room_until_there_are_many() {
    let mut shares = Shares::new(4096, Rule::Quarter);
    let got: Vec<usize> = (0..8).map(|tenant| fill(&mut shares, Key(tenant))).collect();
    assert_eq!(got, [3072, 768, 192, 48, 12, 3, 1, 0]);
}

#[test]
fn while_another_waits_a_quarter_is_the_most() {
    let mut shares = Shares::new(8, Rule::Quarter);
    assert_eq!((fill(&mut shares, A), fill(&mut shares, B)), (6, 2));
    // Both go on waiting, and B holds its quarter already.
    wait(&mut shares, A);
    wait(&mut shares, B);
    for _ in 0..4 {
        assert_eq!(release(&mut shares, A), []);
    }
    assert_eq!(release(&mut shares, A), [A]);
    wait(&mut shares, A);
    assert_eq!(release(&mut shares, B), [B]);
}

#[test]
fn by_the_threshold_alone_those_that_wait_share_what_there_is_but_for_a_little() {
    let mut shares = Shares::new(85, Rule::Threshold);
    assert_eq!((fill(&mut shares, A), fill(&mut shares, B)), (64, 16));
    for _ in 0..200 {
        wait(&mut shares, A);
        wait(&mut shares, B);
    }
    for _ in 0..200 {
        let holder = if shares.tenants[&A].held >= shares.tenants[&B].held { A } else { B };
        release(&mut shares, holder);
    }
    let held = [A, B].map(|tenant| shares.tenants[&tenant].held);
    assert!(held == [36, 37] || held == [37, 36], "{held:?}");
    assert_eq!(shares.ask(C), Asked::Granted);
}

#[test]
fn what_waits_no_longer_binds_nobody() {
    let mut shares = Shares::new(8, Rule::Quarter);
    fill(&mut shares, A);
    assert_eq!(shares.ask(B), Asked::Granted);
    assert_eq!(shares.ask(B), Asked::Granted);
    let waits = wait(&mut shares, B);
    assert_eq!(release(&mut shares, A), []);
    assert!(shares.cancel(B, waits));
    assert!(!shares.cancel(B, waits), "once");
    assert_eq!(shares.grant().map(|(tenant, _)| tenant), None, "five, with one free and three for each");
    assert_eq!(release(&mut shares, B), [A]);
}

#[test]
fn those_that_hold_as_much_are_served_in_turns_however_long_the_queue_of_one() {
    let mut shares = Shares::new(1, Rule::Quarter);
    assert_eq!(fill(&mut shares, C), 1);
    for tenant in [A, A, A, B, B] {
        wait(&mut shares, tenant);
    }
    let mut served = Vec::new();
    let mut holder = C;
    while let [next] = release(&mut shares, holder)[..] {
        served.push(next);
        holder = next;
    }
    // C waits too, with the ticket that its filling ended with.
    assert_eq!(served, [C, A, B, A, B, A]);
}

#[test]
fn tenants_have_keys_of_their_own() {
    let key = |name: &str| Key::of(&name.parse().expect("a tenant"));
    assert_eq!(key("org:acme"), key("org:acme"));
    assert_ne!(key("org:acme"), key("user:acme"));
}

/// The same in plain words: lists, and no order of them that must be kept up.
#[derive(Debug)]
struct Model {
    rule: Rule,
    capacity: usize,
    held: BTreeMap<Key, usize>,
    waiting: BTreeMap<Key, VecDeque<Ticket>>,
}

impl Model {
    fn held(&self, tenant: Key) -> usize {
        self.held.get(&tenant).copied().unwrap_or_default()
    }

    fn total(&self) -> usize {
        self.held.values().sum()
    }

    fn waits(&self, tenant: Key) -> bool {
        self.waiting.get(&tenant).is_some_and(|tickets| !tickets.is_empty())
    }

    fn waiting(&self) -> Vec<Key> {
        self.waiting.keys().copied().filter(|tenant| self.waits(*tenant)).collect()
    }

    fn may_have(&self, tenant: Key) -> bool {
        let (held, free) = (self.held(tenant), self.capacity - self.total());
        let others_wait = self.waiting().iter().any(|other| *other != tenant);
        let within = self.rule == Rule::Threshold || !others_wait || held < 1.max(self.capacity / 4);
        let leaves_room = self.capacity == 1 || held < self.capacity - 1;
        held < 3 * free && within && leaves_room
    }

    /// Holds a grant to one who waited against the rule, and carries it out.
    fn granted(&mut self, tenant: Key, ticket: Ticket) {
        assert!(self.may_have(tenant), "{tenant:?} got more than the rule allows: {self:?}");
        let least = self.waiting().into_iter().map(|tenant| self.held(tenant)).min();
        assert_eq!(least, Some(self.held(tenant)), "another one that waits holds less: {self:?}");
        let first = self.waiting.get_mut(&tenant).and_then(VecDeque::pop_front);
        assert_eq!(first, Some(ticket), "first come, first served");
        *self.held.entry(tenant).or_default() += 1;
    }

    fn check(&self, shares: &Shares) {
        assert!(self.total() <= self.capacity, "{self:?}");
        assert_eq!(shares.free, self.capacity - self.total());
        let allowed: Vec<Key> = self.waiting().into_iter().filter(|tenant| self.may_have(*tenant)).collect();
        assert!(allowed.is_empty(), "{allowed:?} wait although they need not: {self:?}");
        assert!(self.waiting().is_empty() || self.total() > 0, "nobody will wake them: {self:?}");
        let known: Vec<&Key> = shares.tenants.keys().collect();
        for tenant in &known {
            assert!(self.held(**tenant) > 0 || self.waits(**tenant), "{tenant:?} should be forgotten");
        }
        assert_eq!(shares.waiting.len(), self.waiting().len());
    }
}

fn hand_out(shares: &mut Shares, model: &mut Model) -> usize {
    let granted = std::iter::from_fn(|| shares.grant());
    granted.map(|(tenant, ticket)| model.granted(tenant, ticket)).count()
}

proptest! {
    #[test]
    fn whatever_happens_the_rule_holds_and_nobody_is_forgotten(
        capacity in prop_oneof![1..=5_usize, 6..=40_usize],
        rule in prop_oneof![Just(Rule::Threshold), Just(Rule::Quarter)],
        steps in prop::collection::vec((0..8_u8, 0..6_u64, any::<prop::sample::Index>()), 1..300),
    ) {
        let mut shares = Shares::new(capacity, rule);
        let mut model = Model { rule, capacity, held: BTreeMap::new(), waiting: BTreeMap::new() };
        let (mut asked, mut granted, mut cancelled) = (0, 0, 0);
        for (kind, tenant, any) in steps {
            let tenant = Key(tenant);
            match kind {
                // Asking is as common as the rest together, so that queues build up.
                0..=3 => {
                    asked += 1;
                    let may = model.may_have(tenant) && !model.waits(tenant);
                    match shares.ask(tenant) {
                        Asked::Granted => {
                            prop_assert!(may, "{tenant:?} got more than the rule allows");
                            granted += 1;
                            *model.held.entry(tenant).or_default() += 1;
                        }
                        Asked::Waits(ticket) => {
                            prop_assert!(!may, "{tenant:?} waits although it need not");
                            model.waiting.entry(tenant).or_default().push_back(ticket);
                        }
                    }
                }
                4..=5 => {
                    let held = model.held(tenant);
                    model.held.insert(tenant, held.saturating_sub(1));
                    // Of one that holds nothing: nothing.
                    shares.release(tenant);
                }
                _ => {
                    let tickets = model.waiting.entry(tenant).or_default();
                    if !tickets.is_empty() {
                        let ticket = tickets.remove(any.index(tickets.len())).expect("it is within");
                        prop_assert!(shares.cancel(tenant, ticket));
                        cancelled += 1;
                    }
                }
            }
            granted += hand_out(&mut shares, &mut model);
            model.check(&shares);
        }
        // Everything that is held ends, again and again: everybody gets a place.
        while let Some(tenant) = model.held.iter().find(|(_, held)| **held > 0).map(|(tenant, _)| *tenant) {
            *model.held.get_mut(&tenant).expect("it was found") -= 1;
            shares.release(tenant);
            granted += hand_out(&mut shares, &mut model);
            model.check(&shares);
        }
        prop_assert_eq!(granted + cancelled, asked);
        prop_assert!(shares.is_idle());
    }
}
