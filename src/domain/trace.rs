//! A place in a distributed trace, as `traceparent` writes it.
//!
//! Sources: W3C Trace Context (Level 1), sections 3.2.2 (the header) and 3.2.4 (later versions).

use std::fmt;
use std::str::FromStr;

use super::ids::BadName;

/// Names a trace. Never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Names one span of a trace. Never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// A span that is recorded: what its children need to know. Whatever is not recorded has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
}

/// What a caller's `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The caller's span.
    pub context: TraceContext,
    /// Whether the caller records it.
    pub sampled: bool,
}

impl TraceId {
    /// The id of these random bytes.
    pub fn made(random: [u8; 16]) -> Self {
        Self(if random == [0; 16] { [1; 16] } else { random })
    }

    /// The bytes.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// The id of these random bytes.
    pub fn made(random: [u8; 8]) -> Self {
        Self(if random == [0; 8] { [1; 8] } else { random })
    }

    /// The bytes.
    pub fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl FromStr for TraceParent {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        parse(text).ok_or(BadName("traceparent"))
    }
}

/// `00-<32 digits>-<16 digits>-<2 digits>`; a later version may have more behind it.
fn parse(text: &str) -> Option<TraceParent> {
    let mut parts = text.splitn(5, '-');
    let [version]: [u8; 1] = bytes_of(parts.next()?)?;
    let (trace, span) = (bytes_of(parts.next()?)?, bytes_of(parts.next()?)?);
    let [flags]: [u8; 1] = bytes_of(parts.next()?)?;
    let is_known = match version {
        0 => parts.next().is_none(),
        0xff => false,
        _ => true,
    };
    if !is_known || trace == [0; 16] || span == [0; 8] {
        return None;
    }
    let context = TraceContext { trace: TraceId(trace), span: SpanId(span) };
    Some(TraceParent { context, sampled: flags & 1 == 1 })
}

/// The bytes that exactly so many lower-case digits write.
fn bytes_of<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let legal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != 2 * N || !digits.bytes().all(legal) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

impl FromStr for TraceContext {
    type Err = BadName;

    /// Reads what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, BadName> {
        let parent: TraceParent = text.parse()?;
        if parent.sampled { Ok(parent.context) } else { Err(BadName("trace context")) }
    }
}

impl fmt::Display for TraceContext {
    /// As `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace, self.span)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        digits(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        digits(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        digits(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        digits(&self.0, f)
    }
}

fn digits(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_survives_a_round_trip() {
        let context: TraceContext = EXAMPLE.parse().expect("the example of the specification");
        assert_eq!(context.to_string(), EXAMPLE);
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
    }

    #[test]
    fn only_the_lowest_flag_says_that_it_is_recorded() {
        for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("03", true), ("ff", true)] {
            let text = format!("{}{flags}", &EXAMPLE[..53]);
            let parent: TraceParent = text.parse().expect(flags);
            assert_eq!(parent.sampled, sampled, "{flags}");
            assert_eq!(text.parse::<TraceContext>().is_ok(), sampled, "{flags}");
        }
    }

    #[test]
    fn a_later_version_may_have_more_and_the_first_may_not() {
        let later = format!("cc{}", &EXAMPLE[2..]);
        for good in [later.clone(), format!("{later}-what-comes")] {
            assert!(good.parse::<TraceParent>().is_ok(), "{good}");
        }
        for bad in [format!("{EXAMPLE}-what-comes"), format!("ff{}", &EXAMPLE[2..]), format!("{later}x")] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e473ü-00f067aa0ba902b7-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "+0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        }
    }
}
