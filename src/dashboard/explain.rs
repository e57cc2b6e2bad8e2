//! Why an attempt failed and what to do about it, in the words of a person who runs the endpoint. Pure.
//!
//! The first sentence is the message that the log holds, made a sentence; it names what only that attempt knows (a status,
//! a date, a limit). The advice follows from the kind of failure, and within a kind from the status or from how the
//! message begins: messages are this service's own and constant, and a test reads all of them from where they are made.
//! Every kind has advice for a message that is not known here (of an older or newer version), so that nothing goes
//! without.
//!
//! Source: RFC 9110, section 15, and RFC 6585 for what statuses mean.

use crate::domain::ErrorKind;

/// A failure in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What happened: one sentence.
    pub what: String,
    /// What to do: one to three short sentences, the likeliest first.
    pub advice: Vec<String>,
}

/// Advice as it is written below.
type Advice = &'static [&'static str];

/// How messages begin, and what to do then.
type Known = &'static [(&'static str, Advice)];

/// Explains a failed attempt by what its row of the log holds. Total: any message and any status will do.
pub fn explain(kind: ErrorKind, message: &str, status: Option<u16>) -> Explanation {
    let advice = match kind {
        ErrorKind::HttpStatus => answered(status),
        ErrorKind::Redirect => REDIRECT,
        _ => known(kind, message).unwrap_or_else(|| otherwise(kind)),
    };
    Explanation {
        what: sentence(kind, message.trim(), status),
        advice: advice.iter().map(|line| (*line).to_owned()).collect(),
    }
}

/// What the message says, as a sentence of its own.
fn sentence(kind: ErrorKind, message: &str, status: Option<u16>) -> String {
    let lead = match kind {
        ErrorKind::BlockedAddress => "The address of this webhook is not allowed: ",
        ErrorKind::Cancelled => "The service gave the attempt up, and the endpoint is not the cause: ",
        ErrorKind::Expired => "The delivery was given up without being sent: ",
        ErrorKind::Overflow => "The event could not be queued: ",
        _ => "",
    };
    let fact = fact(kind, message, status);
    let text = if lead.is_empty() { capitalised(&fact) } else { format!("{lead}{fact}") };
    if text.ends_with('.') { text } else { text + "." }
}

/// The message with its subject, or what is known without one.
fn fact(kind: ErrorKind, message: &str, status: Option<u16>) -> String {
    if message.is_empty() {
        return status
            .map_or_else(|| nothing_said(kind).to_owned(), |code| format!("the endpoint answered {code}"));
    }
    if let Some(rest) = message.strip_prefix("the certificate ") {
        return format!("the certificate of the endpoint {rest}");
    }
    match message.strip_prefix("no complete answer ") {
        Some(rest) => format!("the endpoint gave no complete answer {rest}"),
        None => message.to_owned(),
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// Stands in for a message that is missing.
fn nothing_said(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Timeout => "the endpoint did not answer in time",
        ErrorKind::Dns => "the host name could not be resolved",
        ErrorKind::Connect => "no connection could be made",
        ErrorKind::Tls => "no encrypted connection could be made",
        ErrorKind::HttpStatus => "the endpoint did not answer with a success",
        ErrorKind::BlockedAddress => "it leads to a place that this service does not send to",
        ErrorKind::Redirect => "the endpoint answered with a redirect",
        ErrorKind::Protocol => "the answer was not valid HTTP",
        ErrorKind::Cancelled => "it was stopped before its end",
        ErrorKind::Expired => "it waited too long to be delivered",
        ErrorKind::Overflow => "the queue of the webhook is full",
    }
}

/// The advice for the message, where its beginning is a known one.
fn known(kind: ErrorKind, message: &str) -> Option<Advice> {
    table(kind).iter().find(|(beginning, _)| message.starts_with(beginning)).map(|(_, advice)| *advice)
}

/// The messages of a kind that ask for different things.
fn table(kind: ErrorKind) -> Known {
    match kind {
        ErrorKind::Timeout => words::TIMEOUT,
        ErrorKind::Dns => words::DNS,
        ErrorKind::Connect => words::CONNECT,
        ErrorKind::Tls => words::TLS,
        ErrorKind::BlockedAddress => words::BLOCKED,
        ErrorKind::Protocol => words::PROTOCOL,
        ErrorKind::Cancelled => words::CANCELLED,
        ErrorKind::Expired => words::EXPIRED,
        ErrorKind::Overflow => words::OVERFLOW,
        ErrorKind::HttpStatus | ErrorKind::Redirect => &[],
    }
}

/// The advice for a message that is not known.
fn otherwise(kind: ErrorKind) -> Advice {
    match kind {
        ErrorKind::Timeout => words::SLOW,
        ErrorKind::Dns => words::NO_SUCH_NAME,
        ErrorKind::Connect => words::NOT_LISTENING,
        ErrorKind::Tls => words::TLS_OTHERWISE,
        ErrorKind::BlockedAddress => words::PRIVATE_ADDRESS,
        ErrorKind::Protocol => words::NOT_HTTP,
        ErrorKind::Cancelled => words::AGAIN_BY_ITSELF,
        ErrorKind::Expired => words::TOO_OLD,
        ErrorKind::Overflow => words::FULL,
        ErrorKind::Redirect => REDIRECT,
        ErrorKind::HttpStatus => answered(None),
    }
}

const REDIRECT: Advice = &[
    "Save the final address as this webhook's URL: redirects are not followed.",
    "Usual causes are http in the place of https, a missing or extra slash at the end, or a login page.",
    "curl -i with the URL shows where it leads (the line that begins with Location).",
];

/// What to do about a status other than 2xx.
fn answered(status: Option<u16>) -> Advice {
    match status {
        Some(400 | 422) => &[
            "The endpoint could not use the event: its answer, shown with this attempt, often says why.",
            "Let it accept event types and fields that it does not know; then retry this delivery.",
        ],
        Some(401 | 403) => &[
            "Check the credentials in this webhook's headers (such as Authorization): they may be missing, wrong or expired.",
            "If the endpoint verifies signatures, check that it has this webhook's present secret and verifies the body before it is parsed.",
            "A firewall or a bot protection in front of the endpoint can answer this too: let the service's requests through.",
        ],
        Some(404) => &[
            "Check the path in this webhook's URL, letter for letter: the server answers, but has nothing at that address.",
            "If the endpoint has moved, save its new URL; then retry this delivery.",
        ],
        Some(405) => &[
            "Let the endpoint take POST requests at this address.",
            "Check the path in this webhook's URL: it may be that of a page rather than of the endpoint.",
        ],
        Some(408) => &[
            "The endpoint, or a proxy in front of it, did not get the request in time: it may be overloaded.",
            "If it happens often, give this webhook fewer attempts at once (maxConcurrency).",
        ],
        Some(409) => &[
            "The endpoint probably has this event already: let it answer 2xx to an event that it knows.",
            "Tell repeated events apart by the header webhook-id: it is the same on every attempt.",
        ],
        Some(410) => &[
            "The answer 410 to an event switches the webhook off: nothing more is queued for it.",
            "If the endpoint is in use, let it answer 2xx, switch the webhook on, and recover what failed meanwhile.",
            "If it is not, delete the webhook.",
        ],
        Some(413) => &[
            "Raise the limit on the size of requests at the endpoint and at every proxy in front of it (1 MiB is enough by default).",
            "Then retry this delivery.",
        ],
        Some(415) => &[
            "Let the endpoint take the content type application/json: every event is sent as that.",
            "Then retry this delivery.",
        ],
        Some(429) => &[
            "Nothing is urgent: the service slows down, and waits as long as the endpoint asks for (Retry-After, a day at most).",
            "If it happens often, set a rate limit for this webhook (rateLimitPerSecond), or raise the one at the endpoint.",
        ],
        Some(500) => &[
            "The endpoint's program failed: look into its own log at the time of this attempt.",
            "When it is repaired, retry this delivery.",
        ],
        Some(502..=504) => &[
            "The program behind the endpoint's proxy is down, restarting or overloaded: check that it runs.",
            "If work takes long there, let it answer 2xx first and do the work afterwards.",
            "When it is back, retry this delivery or recover all that failed meanwhile.",
        ],
        Some(400..=499) => &[
            "The endpoint refused the request: its answer, shown with this attempt, and its own log often say why.",
            "Check this webhook's URL and headers; then retry this delivery.",
        ],
        Some(500..=599) => &[
            "The endpoint, or a proxy in front of it, failed: look into its own log at the time of this attempt.",
            "When it is repaired, retry this delivery.",
        ],
        _ => &[
            "Let the endpoint answer 2xx (such as 204) once it has stored the event: only that counts as delivered.",
            "Its own log may say why it answered otherwise.",
        ],
    }
}

#[cfg(test)]
mod tests;
mod words;
