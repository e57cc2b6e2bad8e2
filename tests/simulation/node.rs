//! A node: its heartbeat, what it knows of the others, its leases, the owners of its partitions.
//!
//! Who lives, who should own what, and which lease may be taken is decided by the production code alone
//! ([`Roster`], [`Placement`], [`Holdings`]); this carries it out as `cluster::leases` and `actors::arbiter` do.

use std::collections::{BTreeMap, BTreeSet};

use salesos_webhooks::domain::{NodeId, Partition};
use salesos_webhooks::policy::lease::{Holdings, LOOK_EVERY, RENEW_EVERY, Renewal, Seen};
use salesos_webhooks::policy::placement::{Member, Placement};
use salesos_webhooks::policy::roster::{BEAT_EVERY, Roster, Sign};

use crate::checks::Life;
use crate::model::{Answer, Command, Token, is_token};
use crate::owner::{Owner, Tenure};
use crate::schedule::Ms;
use crate::world::{Event, Purpose, ToNode, World};

/// How long a hand-over waits for attempts in flight.
const HAND_OVER: Ms = 5_000;

/// See the module's page.
#[derive(Debug)]
pub struct Node {
    pub life: Life,
    pub alive: bool,
    /// It notices nothing before that.
    pub frozen_until: Ms,
    /// It is being stopped, and starts again after that long.
    pub stopping: Option<Ms>,
    pub owners: BTreeMap<u16, Owner>,
    pub holdings: Holdings,
    partitions: u16,
    member: Member,
    beat: u64,
    roster: Roster,
    placement: Placement,
    renewed: Option<Ms>,
    /// Partitions that are being taken anew, with every token that may be ours by now.
    retaking: BTreeMap<Partition, BTreeSet<Token>>,
    /// Answers to the calls of this turn that are still to come.
    awaited: usize,
}

impl Node {
    /// A node that has never lived.
    pub fn new(number: usize, partitions: u16) -> Self {
        let id: NodeId = format!("node-{number}").parse().expect("letters, a digit and a dash");
        Self {
            life: (number, 0),
            alive: false,
            frozen_until: 0,
            stopping: None,
            owners: BTreeMap::new(),
            holdings: Holdings::default(),
            partitions,
            member: Member { joined: 0, id },
            beat: 0,
            roster: Roster::default(),
            placement: Placement::default(),
            renewed: None,
            retaking: BTreeMap::new(),
            awaited: 0,
        }
    }

    /// Begins a new life.
    pub fn start(&mut self, world: &mut World) {
        let (number, lives) = self.life;
        let member = Member { joined: world.number(), id: self.member.id.clone() };
        *self = Self { life: (number, lives + 1), alive: true, member, ..Self::new(number, self.partitions) };
        world.checks.troubles(number, world.now);
        self.after(0, ToNode::Beat, world);
        self.after(1, ToNode::Turn, world);
    }

    /// Dies at once: nothing of it is left, and nobody is told.
    pub fn kill(&mut self, world: &mut World) {
        world.cut(self.life.0);
        world.checks.troubles(self.life.0, world.now);
        self.alive = false;
        self.owners.clear();
        self.holdings = Holdings::default();
    }

    fn after(&self, wait: Ms, what: ToNode, world: &mut World) {
        world.after(wait, Event::Node(self.life, what));
    }

    /// Something reaches the node.
    pub fn takes(&mut self, what: ToNode, world: &mut World) {
        match what {
            ToNode::Answered(call, answer) => {
                if let Some((_, purpose)) = world.calls.remove(&call) {
                    self.answered(purpose, answer, world);
                }
            }
            ToNode::TimedOut(call) => {
                if let Some((_, purpose)) = world.calls.remove(&call) {
                    world.totals.timed_out += 1;
                    world.tell(|| format!("{:?} waits no longer: {purpose:?}", self.life));
                    self.failed(purpose, world);
                }
            }
            ToNode::Again(Purpose::Owner { partition, owner, failures, what, .. }) => {
                if let Some(owner) = self.owner(partition, owner) {
                    owner.again(what, failures, world);
                }
            }
            ToNode::Again(_) => {}
            ToNode::Beat => self.beat(world),
            ToNode::Turn => self.turn(world),
            ToNode::CutOff => self.cut_off(world),
            ToNode::HandOverEnds { partition, owner } => {
                if let Some(owner) = self.owner(partition, owner) {
                    owner.give_up_attempts(world);
                    self.release(partition, world);
                }
            }
            ToNode::Owner { partition, owner, what } => {
                if let Some(owner) = self.owner(partition, owner) {
                    owner.takes(what, world);
                }
            }
        }
        self.release_settled(world);
    }

    fn owner(&mut self, partition: u16, id: u64) -> Option<&mut Owner> {
        self.owners.get_mut(&partition).filter(|owner| owner.id == id && !owner.gone)
    }

    fn answered(&mut self, purpose: Purpose, answer: Answer, world: &mut World) {
        match (purpose, answer) {
            (Purpose::Beat, Answer::Signs(signs)) => self.roster.saw(signs, world.instant()),
            (Purpose::Renew { held, sent }, Answer::Renewed(ours)) => {
                for ((partition, token), ours) in held.into_iter().zip(ours) {
                    let renewal = if ours { Renewal::Ours } else { Renewal::Lost };
                    self.renewed((partition, token), renewal, sent, world);
                }
                self.look(world);
            }
            (Purpose::Look(all), Answer::Looked(seen)) => {
                for (partition, seen) in all.into_iter().zip(seen) {
                    self.looked(partition, &seen, world);
                }
                self.end_turn(world);
            }
            (Purpose::Take { partition, token, sent }, Answer::Taken(taken)) => {
                self.awaited -= 1;
                if taken {
                    self.took(partition, token, sent, world);
                }
                self.end_turn(world);
            }
            (Purpose::Owner { partition, owner, token, what, .. }, answer) => {
                if let Some(owner) = self.owner(partition, owner) {
                    owner.answered(what, token, answer, world);
                }
            }
            _ => {}
        }
    }

    /// A call was not answered: it may have been carried out.
    fn failed(&mut self, purpose: Purpose, world: &mut World) {
        match purpose {
            Purpose::Beat => self.roster.missed(world.instant()),
            Purpose::Renew { held, sent } => {
                for held in held {
                    self.renewed(held, Renewal::Unknown, sent, world);
                }
                self.look(world);
            }
            Purpose::Look(all) => {
                all.into_iter().for_each(|partition| self.holdings.missed(partition));
                self.end_turn(world);
            }
            Purpose::Take { .. } => {
                self.awaited -= 1;
                self.end_turn(world);
            }
            Purpose::Parting => {}
            Purpose::Owner { partition, owner, failures, token, what } => {
                if let Some(owner) = self.owner(partition, owner) {
                    owner.failed(what, failures, token, world);
                }
            }
        }
    }

    fn beat(&mut self, world: &mut World) {
        self.beat += 1;
        let takes_partitions = self.stopping.is_none();
        let sign = Sign { member: self.member.clone(), beat: self.beat, takes_partitions };
        world.call(self.life, Purpose::Beat, Command::Beat { node: self.life.0, sign });
        self.after(BEAT_EVERY.as_millis() as Ms, ToNode::Beat, world);
    }

    /// One turn of the keeper: place, hand over, renew, look, take.
    fn turn(&mut self, world: &mut World) {
        let members: Vec<Member> = self.roster.placeable(world.instant()).collect();
        if members != self.placement.members() {
            world.tell(|| format!("{:?} places the partitions on {members:?}", self.life));
            self.placement = Placement::of(members, self.partitions);
        }
        self.end_gone(world);
        self.hand_over(world);
        let renew_every = RENEW_EVERY.as_millis() as Ms;
        let due = self.renewed.is_none_or(|renewed| world.now - renewed >= renew_every);
        let held: Vec<(Partition, Token)> = self
            .holdings
            .held()
            .filter(|(partition, _)| !self.retaking.contains_key(partition))
            .map(|(partition, token)| (partition, token.clone()))
            .collect();
        if due && !held.is_empty() {
            let sent = world.now;
            self.renewed = Some(sent);
            world.call(self.life, Purpose::Renew { held: held.clone(), sent }, Command::Renew(held));
        } else {
            self.look(world);
        }
    }

    /// Owners that ended by themselves: their leases are given back.
    fn end_gone(&mut self, world: &mut World) {
        let gone = self.owners.iter().filter(|(_, owner)| owner.gone).map(|(partition, _)| *partition);
        for partition in gone.collect::<Vec<u16>>() {
            if let Some(owner) = self.owners.get_mut(&partition) {
                owner.give_up_attempts(world);
            }
            self.release(partition, world);
        }
    }

    /// What is another's own now is drained.
    fn hand_over(&mut self, world: &mut World) {
        for (partition, owner) in &mut self.owners {
            let wanted = self.placement.is_owner(&self.member.id, Partition(*partition));
            if (wanted && self.stopping.is_none()) || owner.draining_since.is_some() || owner.gone {
                continue;
            }
            world.totals.hand_overs += 1;
            world.tell(|| format!("{:?} hands over {partition}", self.life));
            owner.drain(world);
            let ends = ToNode::HandOverEnds { partition: *partition, owner: owner.id };
            world.after(HAND_OVER, Event::Node(self.life, ends));
        }
    }

    fn release_settled(&mut self, world: &mut World) {
        let settled = |owner: &Owner| owner.draining_since.is_some() && owner.is_settled();
        let done = self.owners.iter().filter(|(_, owner)| settled(owner)).map(|(partition, _)| *partition);
        for partition in done.collect::<Vec<u16>>() {
            self.release(partition, world);
        }
    }

    fn release(&mut self, partition: u16, world: &mut World) {
        self.owners.remove(&partition);
        let partition = Partition(partition);
        self.retaking.remove(&partition);
        if let Some(token) = self.holdings.drop(partition) {
            world.tell(|| format!("{:?} releases {partition}", self.life));
            world.call(self.life, Purpose::Parting, Command::Release { partition, token });
        }
    }

    fn renewed(&mut self, held: (Partition, Token), renewal: Renewal, sent: Ms, world: &mut World) {
        let (partition, token) = held;
        // It may have been given back or taken anew since.
        let is_current = self.holdings.held().any(|held| held == (partition, &token));
        if !is_current || self.retaking.contains_key(&partition) {
            return;
        }
        if self.holdings.renewed(partition, renewal, world.instant_at(sent)) {
            self.lose(partition, world);
        } else if let (Some(owner), Some(until)) =
            (self.owners.get_mut(&partition.0), self.holdings.valid_until(partition))
        {
            owner.tenure.valid_until = until;
        }
    }

    fn lose(&mut self, partition: Partition, world: &mut World) {
        world.tell(|| format!("{:?} has lost {partition}", self.life));
        self.retaking.remove(&partition);
        self.holdings.drop(partition);
        if let Some(mut owner) = self.owners.remove(&partition.0) {
            owner.give_up_attempts(world);
        }
    }

    /// Looks at every lease that is not held or is to be taken anew.
    fn look(&mut self, world: &mut World) {
        let to_see =
            |partition: &Partition| !self.holdings.holds(*partition) || self.retaking.contains_key(partition);
        let all: Vec<Partition> = (0..self.partitions).map(Partition).filter(to_see).collect();
        if all.is_empty() {
            self.end_turn(world);
        } else {
            world.call(self.life, Purpose::Look(all.clone()), Command::Look(all));
        }
    }

    fn looked(&mut self, partition: Partition, seen: &Seen, world: &mut World) {
        if let Some(tokens) = self.retaking.get(&partition) {
            let still_ours = seen.token.is_none() || tokens.iter().any(|token| is_token(seen, token));
            if still_ours {
                self.take(partition, seen, world);
            } else {
                self.lose(partition, world);
            }
            return;
        }
        let may_be_taken = self.holdings.looked(partition, seen, world.instant());
        let wanted = self.stopping.is_none() && self.placement.is_owner(&self.member.id, partition);
        if may_be_taken && wanted {
            self.take(partition, seen, world);
        }
    }

    fn take(&mut self, partition: Partition, seen: &Seen, world: &mut World) {
        let token: Token = format!("{:?}#{}", self.life, world.number()).into();
        world.checks.makes(&token, self.life);
        if let Some(tokens) = self.retaking.get_mut(&partition) {
            tokens.insert(token.clone());
        }
        self.awaited += 1;
        let (sent, seen) = (world.now, seen.clone());
        let purpose = Purpose::Take { partition, token: token.clone(), sent };
        world.call(self.life, purpose, Command::Take { partition, token, seen });
    }

    fn took(&mut self, partition: Partition, token: Token, sent: Ms, world: &mut World) {
        let valid_until = self.holdings.took(partition, token.clone(), world.instant_at(sent));
        let retaken = self.retaking.remove(&partition).is_some();
        match self.owners.get_mut(&partition.0).filter(|_| retaken) {
            Some(owner) => {
                world.totals.retakes += 1;
                let takes = owner.tenure.takes + 1;
                owner.tenure = Tenure { token, takes, retaking: false, valid_until, taken_at: sent };
                owner.retaken(world);
            }
            None => {
                world.totals.takes += 1;
                let tenure = Tenure { token, takes: 1, retaking: false, valid_until, taken_at: sent };
                let owner = Owner::start(self.life, partition.0, tenure, world);
                self.owners.insert(partition.0, owner);
            }
        }
    }

    fn end_turn(&mut self, world: &mut World) {
        if self.awaited > 0 {
            return;
        }
        if self.stopping.is_some() && self.owners.is_empty() {
            self.leave(world);
        } else {
            self.after(LOOK_EVERY.as_millis() as Ms, ToNode::Turn, world);
        }
    }

    /// The end of a node that was stopped in order.
    fn leave(&mut self, world: &mut World) {
        world.call(self.life, Purpose::Parting, Command::Leave { node: self.life.0 });
        let down_for = self.stopping.take().unwrap_or_default();
        // What it has sent arrives; what comes back finds nobody.
        self.alive = false;
        world.after(down_for, Event::Start(self.life.0));
    }

    /// The connections broke: nothing that was asked is answered, and nothing that was known of Redis counts.
    fn cut_off(&mut self, world: &mut World) {
        let asked = world.cut(self.life.0);
        self.roster.missed(world.instant());
        (0..self.partitions).for_each(|partition| self.holdings.missed(Partition(partition)));
        for (partition, token) in self.holdings.held() {
            self.retaking.entry(partition).or_default().insert(token.clone());
        }
        self.owners.values_mut().for_each(|owner| owner.tenure.retaking = true);
        for purpose in asked {
            self.failed(purpose, world);
        }
    }
}
