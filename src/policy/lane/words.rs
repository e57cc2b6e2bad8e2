//! What a lane is told and what it answers: limits, deliveries, inputs, effects.

use std::time::Duration;

use crate::domain::{AttemptResult, DisabledReason, EntryId, EventId, Millis, Receipt, Retries, Webhook};
use crate::policy::breaker::{self, Change, Signal, Standing};

/// The limits of one webhook, as its record says now.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Whether anything may start.
    pub active: bool,
    /// Attempts in flight at once.
    pub max_concurrency: usize,
    /// One at a time, in publish order.
    pub ordered: bool,
    /// Starts a second; `None` = as fast as it goes.
    pub rate_per_second: Option<u32>,
    /// What follows a failure.
    pub retries: Retries,
    /// A delivery that has waited longer ends as dead.
    pub max_age: Duration,
    /// Deliveries that its queue in Redis may hold.
    pub max_pending: usize,
    /// When failures in a row hold everything back.
    pub breaker: breaker::Policy,
}

impl Limits {
    /// The limits of `webhook`, with the node's defaults (0 = no rate limit).
    pub fn of(
        webhook: &Webhook,
        default_rate: u32,
        max_age: Duration,
        max_pending: usize,
        breaker: breaker::Policy,
    ) -> Self {
        let settings = &webhook.settings;
        Self {
            active: webhook.may_send(),
            max_concurrency: if settings.ordered { 1 } else { settings.max_concurrency.max(1) as usize },
            ordered: settings.ordered,
            rate_per_second: settings.rate_limit_per_second.or(Some(default_rate).filter(|rate| *rate > 0)),
            retries: settings.retries.clone(),
            max_age,
            max_pending,
            breaker,
        }
    }
}

/// A delivery on its way through the lane.
#[derive(Clone, Debug)]
pub struct Delivery<B> {
    /// Names it.
    pub entry: EntryId,
    /// What to deliver.
    pub event: EventId,
    /// The number of its next attempt, from 1.
    pub attempt: u32,
    /// The body, if it rides along; else it is fetched.
    pub body: Option<B>,
}

/// What happened.
#[derive(Debug)]
pub enum Input<B> {
    /// Deliveries were put into the mailbox; `previous` is the last one before them.
    Delivered {
        /// The last entry that had been dispatched to this webhook before.
        previous: EntryId,
        /// The new ones, in order.
        deliveries: Vec<Delivery<B>>,
    },
    /// An event that matches, and whose dispatch is still to come: it starts at once or is declined.
    Early(Delivery<B>),
    /// The mailbox was read as asked.
    MailboxRead {
        /// Which read this answers.
        round: Round,
        /// What it holds after the cursor, at most as many as asked for.
        deliveries: Vec<Delivery<B>>,
    },
    /// The retry set was read as asked.
    RetriesRead {
        /// Which read this answers.
        round: Round,
        /// The earliest, with the time when each is due, at most as many as asked for.
        retries: Vec<(Millis, Delivery<B>)>,
    },
    /// A read failed; it is asked for again after a moment.
    ReadFailed(Round),
    /// An attempt ended.
    Attempted {
        /// Which delivery.
        entry: EntryId,
        /// How.
        result: Box<AttemptResult>,
        /// 0..1, spreads the retries and the pauses.
        jitter: f64,
    },
    /// An attempt could not be made (no body): the delivery is over, or (`false`) it is tried again after a moment.
    Unsendable {
        /// Which delivery.
        entry: EntryId,
        /// Whether it can never be sent.
        for_good: bool,
    },
    /// The outcome of an attempt has been recorded, or there was nothing to record it for.
    Recorded {
        /// Which delivery.
        entry: EntryId,
        /// Which of the two.
        receipt: Receipt,
    },
    /// The webhook's record was read again.
    Changed {
        /// What it says now.
        limits: Limits,
        /// What is kept of its failures.
        standing: Standing,
    },
    /// Redis may have lost or regained something: what is known of the queues is void, and so is what was told of them.
    Retaken,
    /// Nothing new may start.
    Drain,
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Debug)]
pub enum Effect<B> {
    /// Make an attempt.
    Start(Delivery<B>),
    /// The attempt that starts next is the probe of an endpoint that had failed: tell.
    Probes,
    /// Record what came of a delivery.
    Record(Verdict),
    /// An early delivery has come to nothing: it starts once it has been dispatched.
    Decline(EntryId),
    /// Read up to `count` mailbox entries after `after`.
    ReadMailbox {
        /// Names the read in its answer.
        round: Round,
        /// The last entry seen.
        after: EntryId,
        /// How many.
        count: usize,
    },
    /// Read the `count` earliest retries.
    ReadRetries {
        /// Names the read in its answer.
        round: Round,
        /// How many.
        count: usize,
    },
    /// Call with `Tick` then.
    WakeAt(Millis),
    /// Nothing may start soon; the next retry or the end of a pause is at that time. What is held waits in Redis too.
    Idle(Option<Millis>),
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Which delivery.
    pub entry: EntryId,
    /// What was to be delivered.
    pub event: EventId,
    /// Whether it came from the retry set.
    pub was_retry: bool,
    /// Whether it may still await its dispatch.
    pub early: bool,
    /// The number of the attempt.
    pub attempt: u32,
    /// What follows.
    pub next: Next,
    /// Nothing is sent to the webhook before then, its retry neither.
    pub rests_until: Millis,
    /// The endpoint asked to be left alone until then.
    pub paused_until: Option<Millis>,
    /// What it tells of the endpoint.
    pub signal: Signal,
    /// What it changed of the breaker.
    pub change: Option<Change>,
    /// The webhook is switched off.
    pub disable: Option<DisabledReason>,
}

impl Verdict {
    /// When the next attempt may be expected, at the earliest.
    pub fn retries_at(&self) -> Option<Millis> {
        if let Next::Retry(due) = self.next { Some(due.max(self.rests_until)) } else { None }
    }

    /// A delivery ends without a request.
    pub fn unsent(entry: EntryId, event: EventId, attempt: u32, was_retry: bool, next: Next) -> Self {
        Self {
            entry,
            event,
            was_retry,
            early: false,
            attempt,
            next,
            rests_until: Millis(0),
            paused_until: None,
            signal: Signal::Nothing,
            change: None,
            disable: None,
        }
    }
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it was delivered.
    Delivered,
    /// Another attempt.
    Retry(Millis),
    /// Nothing: it has failed for good.
    Dead,
    /// Nothing: it waited too long and no request was made.
    Expired,
    /// Nothing: its body is not stored any more, so no request could be made.
    Bodiless,
}

/// Tells the reads of one lane apart, so that the answer to one that has become void changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round(u64);

impl Round {
    /// The one after it.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What is known of a webhook's queue when its lane starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: mailbox and retries must be read.
    Nothing,
    /// Both were empty up to that entry.
    EmptyUpTo(EntryId),
}
