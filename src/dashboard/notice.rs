//! What a change came to, told on the page that follows it.
//!
//! A change answers with a redirect, so that going back or loading again repeats nothing; the words travel as a name in the
//! address, never as a text that anybody could put there.

use actix_web::HttpRequest;

use crate::dashboard::form::Form;

/// The query parameter that names a notice.
pub const PARAMETER: &str = "done";

macro_rules! notices {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $text:literal;)*) => {
        /// Something that was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Notice { $($(#[$doc])* $name),* }

        impl Notice {
            /// Its name in an address.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// What the visitor reads.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            fn named(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)* _ => None }
            }
        }
    };
}

notices! {
    /// A webhook's settings were changed.
    Saved = "saved", "The changes were saved.";
    /// A webhook was switched off.
    Paused = "paused", "The webhook is paused. Nothing is queued for it; what was queued waits.";
    /// A webhook was switched on.
    Resumed = "resumed", "The webhook is active again.";
    /// A webhook's failures were forgotten.
    FailuresReset = "failures-reset", "The failures in a row were forgotten. If the webhook is active, it is tried at once.";
    /// A webhook was deleted.
    Deleted = "deleted", "The webhook was deleted, with its log and what was queued for it.";
    /// A delivery was queued again.
    Retried = "retried", "The delivery was queued again. Its next attempt shows up here in a moment.";
    /// A recovery was begun.
    Recovering = "recovering", "The recovery has begun: what failed is being queued again.";
    /// A recovery was ended.
    RecoveryEnded = "recovery-ended", "The recovery was ended. What it had queued stays queued.";
    /// Signed out.
    SignedOut = "signed-out", "You are signed out.";
}

impl Notice {
    /// The one that the address of a request names.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        Form::parse(request.query_string().as_bytes()).one(PARAMETER).and_then(Self::named)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn an_address_can_name_a_notice_but_not_write_one() {
        let of = |uri: &str| Notice::of(&TestRequest::get().uri(uri).to_http_request());
        assert_eq!(of("/dashboard?done=saved"), Some(Notice::Saved));
        for uri in ["/dashboard", "/dashboard?done=", "/dashboard?done=You+have+won"] {
            assert_eq!(of(uri), None, "{uri}");
        }
    }
}
