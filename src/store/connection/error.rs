//! What the errors of Redis mean to a caller.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::domain::WebhookId;

/// Why the store could not do its job, by what the caller can do next.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or a broken connection: the command may or may not have happened. Repeat it if it is idempotent.
    #[error("redis did not answer")]
    Unanswered(#[source] RedisError),
    /// Redis cannot take the command now (full, read-only, loading, another password): it has not happened. Try again later.
    #[error("redis refused the command for now")]
    Refused(#[source] RedisError),
    /// This node does not own the partition any more: nothing has happened, and nothing may be tried again.
    #[error("the lease of the partition is not ours")]
    Fenced,
    /// The record has another version than the one that was read: read again.
    #[error("the record has changed")]
    Changed,
    /// Redis does not know the script. Handled by [`crate::store::Script`].
    #[error("redis does not know the script")]
    NoScript,
    /// Stored data is not what we wrote.
    #[error("the stored record of {0} cannot be read")]
    Malformed(WebhookId),
    /// Its secrets and the values of its headers cannot be decrypted: nothing was written, nothing was sent.
    #[error("the secrets of {0} cannot be decrypted")]
    Locked(WebhookId),
    /// A fault of ours or of the set-up (wrong command, wrong type): trying again does not help.
    #[error("redis rejected the command")]
    Rejected(#[source] RedisError),
}

impl Error {
    /// No answer came, and none will.
    pub fn unanswered() -> Self {
        Self::Unanswered(std::io::Error::from(std::io::ErrorKind::TimedOut).into())
    }

    /// Whether the same call may succeed later without any change.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unanswered(_) | Self::Refused(_))
    }

    /// Whether it is certain that nothing of the call was carried out.
    pub fn has_not_happened(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Fenced | Self::NoScript | Self::Locked(_) => true,
            Self::Rejected(error) => error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort),
            Self::Unanswered(_) | Self::Changed | Self::Malformed(_) => false,
        }
    }

    /// Whether the server says that it is not, or not any more, the one that holds what we work on.
    pub fn is_of_another_server(&self) -> bool {
        use ServerErrorKind as Server;
        let Self::Refused(error) = self else { return false };
        let moved = [Server::ReadOnly, Server::MasterDown, Server::Moved, Server::BusyLoading];
        matches!(error.kind(), ErrorKind::Server(kind) if moved.contains(&kind))
            || error.code() == Some("UNBLOCKED")
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        use ServerErrorKind as Server;
        match error.code() {
            Some("FENCED") => return Self::Fenced,
            Some("CHANGED") => return Self::Changed,
            Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "UNBLOCKED" | "NOAUTH" | "WRONGPASS") => {
                return Self::Refused(error);
            }
            _ => {}
        }
        // Redis says so and closes the connection.
        if error.detail().is_some_and(|text| text.starts_with("max number of clients")) {
            return Self::Unanswered(error);
        }
        match error.kind() {
            ErrorKind::Server(Server::NoScript) => Self::NoScript,
            ErrorKind::Server(
                Server::BusyLoading
                | Server::ReadOnly
                | Server::TryAgain
                | Server::ClusterDown
                | Server::MasterDown
                | Server::Moved
                | Server::Ask,
            )
            // A password that was changed while we run: whoever may have been logged out sent nothing.
            | ErrorKind::AuthenticationFailed => Self::Refused(error),
            ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel => Self::Unanswered(error),
            _ => Self::Rejected(error),
        }
    }
}
