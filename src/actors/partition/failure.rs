//! The end of a partition here that nobody asked for: it is not ours any more, or Redis refuses us.

use std::time::Duration;

use actix::prelude::*;

use super::PartitionActor;
use crate::store::Error;
use crate::telemetry::events as facts;

/// How long a partition rests when Redis refuses us for good: whoever mends it needs no faster answer.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

impl PartitionActor {
    /// The partition is not ours any more, or Redis refuses us for good: everything here ends. What is unfinished is
    /// still in Redis, for the next owner; after a refusal that is likely this node again, which would be refused again
    /// and send anew what is in flight now. So it is left alone for a while first.
    pub(super) fn give_up(&mut self, error: &Error, ctx: &mut Context<Self>) {
        if matches!(error, Error::Fenced) {
            facts::fenced(self.tenure.partition);
            ctx.stop();
            return;
        }
        facts::redis_failed(self.tenure.partition, "own the partition", error);
        self.awaiting_dispatch.clear();
        self.arrived.clear();
        self.early.clear();
        if !std::mem::replace(&mut self.draining, true) {
            self.feed.open.set(false);
            self.stop_slots();
            ctx.run_later(REFUSED_PAUSE, |_, ctx| ctx.stop());
        }
    }
}
