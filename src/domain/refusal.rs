//! Why a request's token is not taken, and how reading the identity provider's keys ended: words for metrics.

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// There is none, or more than one.
    NoToken,
    /// Longer than any that is read.
    TooLong,
    /// Not a JWT that can be read.
    Malformed,
    /// Its algorithm is none that a configured key is for, or not its key's.
    Algorithm,
    /// It names a key that is not known.
    UnknownKey,
    /// The keys that could verify it have not been fetched yet, or could not be read.
    KeysMissing,
    /// No configured key made its signature.
    Signature,
    /// It has critical extensions.
    Critical,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// Of another issuer.
    Issuer,
    /// For another audience.
    Audience,
    /// A claim is missing or has a value that is not taken.
    Claim,
}

impl Refusal {
    /// Every reason, for counters that start at 0.
    pub const ALL: [Self; 13] = [
        Self::NoToken,
        Self::TooLong,
        Self::Malformed,
        Self::Algorithm,
        Self::UnknownKey,
        Self::KeysMissing,
        Self::Signature,
        Self::Critical,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Claim,
    ];

    /// The word for it in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::KeysMissing => "keys_missing",
            Self::Signature => "signature",
            Self::Critical => "critical",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claim => "claim",
        }
    }
}

/// How a reading of the identity provider's keys ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyReading {
    /// Other keys than before, or the first.
    Changed,
    /// The same keys as before.
    Unchanged,
    /// Nobody answered in time, or the file cannot be read.
    Unreachable,
    /// An answer other than 200.
    Status,
    /// It could not be used: too large, no JWK set, or without a key of use.
    Unusable,
}

impl KeyReading {
    /// Every result, for counters that start at 0.
    pub const ALL: [Self; 5] =
        [Self::Changed, Self::Unchanged, Self::Unreachable, Self::Status, Self::Unusable];

    /// The word for it in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::Unusable => "unusable",
        }
    }
}
