//! What is traced, and how a dispatch's span is named.
//!
//! Who calls us decides (parent-based sampling); where nobody has decided, a share of the traces that begin here is
//! recorded, chosen by the trace's id, so that whoever chooses in the same way chooses the same ones.
//! Source: OpenTelemetry Trace SDK, "ParentBased" and "TraceIdRatioBased".

use sha2::{Digest, Sha256};

use crate::domain::{EntryId, Partition, SpanId, TraceContext, TraceId, TraceParent};

/// Where a span begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// The span that caused it; `None` = it begins the trace.
    pub parent: Option<SpanId>,
}

impl Origin {
    /// Below a span of ours.
    pub fn below(parent: TraceContext) -> Self {
        Self { trace: parent.trace, parent: Some(parent.span) }
    }
}

/// Whether a request is recorded, and in which trace: the caller's, or `made` for the share `ratio` (0..=1) of them.
pub fn sample(caller: Option<TraceParent>, ratio: f64, made: TraceId) -> Option<Origin> {
    match caller {
        Some(TraceParent { context, sampled }) => sampled.then(|| Origin::below(context)),
        None => is_within(made, ratio).then_some(Origin { trace: made, parent: None }),
    }
}

/// Compares 63 of the id's random bits with the share.
fn is_within(trace: TraceId, ratio: f64) -> bool {
    const ALL: f64 = (1_u64 << 63) as f64;
    let bytes = trace.bytes();
    let random = u64::from_be_bytes(bytes[8..].try_into().expect("an id has 16 bytes")) >> 1;
    ratio >= 1.0 || (random as f64) < ratio * ALL
}

/// The span of a dispatch: that of an event's entry in one partition, published within `publish`.
///
/// Whoever carries the dispatch out, and however often because an answer was lost, it is the same one; so what is
/// stored with the event leads to it.
pub fn dispatch(publish: TraceContext, partition: Partition, entry: EntryId) -> TraceContext {
    let digest = Sha256::new()
        .chain_update(publish.trace.bytes())
        .chain_update(publish.span.bytes())
        .chain_update(partition.0.to_be_bytes())
        .chain_update(entry.ms.to_be_bytes())
        .chain_update(entry.seq.to_be_bytes())
        .finalize();
    let span = digest[..8].try_into().expect("a digest is longer");
    TraceContext { trace: publish.trace, span: SpanId::made(span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(n: u64) -> TraceId {
        let mut bytes = [7; 16];
        bytes[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        TraceId::made(bytes)
    }

    fn caller(sampled: bool) -> TraceParent {
        let context = TraceContext { trace: trace(1), span: SpanId::made([9; 8]) };
        TraceParent { context, sampled }
    }

    #[test]
    fn the_caller_decides_whatever_the_share() {
        for ratio in [0.0, 1.0] {
            let followed = sample(Some(caller(true)), ratio, trace(2));
            let expected = Origin { trace: trace(1), parent: Some(SpanId::made([9; 8])) };
            assert_eq!(followed, Some(expected));
            assert_eq!(sample(Some(caller(false)), ratio, trace(2)), None);
        }
    }

    #[test]
    fn without_a_caller_the_share_is_kept() {
        let chosen = |ratio| (1..=10_000).filter(|n| sample(None, ratio, trace(*n)).is_some()).count();
        assert_eq!((chosen(0.0), chosen(1.0)), (0, 10_000));
        for (ratio, range) in [(0.5, 4800..=5200), (0.1, 900..=1100), (0.001, 1..=30)] {
            assert!(range.contains(&chosen(ratio)), "{ratio}: {}", chosen(ratio));
        }
        assert_eq!(sample(None, 1.0, trace(3)), Some(Origin { trace: trace(3), parent: None }));
    }

    #[test]
    fn a_dispatch_has_one_span_for_each_entry_of_each_partition() {
        let publish = caller(true).context;
        let entry = EntryId { ms: 17, seq: 0 };
        let first = dispatch(publish, Partition(1), entry);
        assert_eq!(first, dispatch(publish, Partition(1), entry));
        assert_eq!(first.trace, publish.trace);
        let others = [
            dispatch(publish, Partition(2), entry),
            dispatch(publish, Partition(1), EntryId { ms: 17, seq: 1 }),
            dispatch(TraceContext { span: SpanId::made([8; 8]), ..publish }, Partition(1), entry),
        ];
        assert!(others.iter().all(|other| other.span != first.span));
    }
}
