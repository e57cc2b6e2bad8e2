//! Forms that are sent once, and the page that answers them with a secret.
//!
//! A secret stands in the answer to the form itself, in no address and no store. Loading that answer again sends the form
//! again; so does a second press of its button. Each form therefore holds an id of its own, which the first sending claims
//! (`store::forms`); every later one gets the form back with the warning, and a new id. What was refused without being done gives
//! its id back, for those who go back in their browser.
//!
//! An id holds when it was made, sealed with the session's mark: nobody can make one up, so claims are needed for no longer than a
//! form may lie open.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use maud::{Markup, html};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::api::{App, Error};
use crate::dashboard::form::Form;
use crate::dashboard::page::{Page, Section};
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::Visit;
use crate::domain::{Millis, Secret, Webhook};
use crate::store::forms::{self, Claim, Shown};

/// The field that holds a form's id.
pub const FORM: &str = "form";
const SEAL_OF: &[u8] = b"salesos-webhooks: a form that is sent once";
/// What tells two forms of one millisecond apart.
const RANDOM_BYTES: usize = 10;
/// Bytes of the seal.
const SEAL_BYTES: usize = 16;
/// Bytes of an id: when it was made, the random ones, the seal.
const ID_BYTES: usize = 8 + RANDOM_BYTES + SEAL_BYTES;

const TOO_OLD: &str = "The form had been open for more than an hour, so nothing was done yet. What you typed is still there: look at it, \
                       and press the button again.";
const TOO_MANY: Error = Error::TooManyRequests(
    std::borrow::Cow::Borrowed("you have sent too many forms within an hour: wait, or use the API"),
    Duration::from_secs(600),
);

/// What came of looking at the id of a form that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// For the first time.
    First,
    /// Not for the first time. One without an id of ours counts as such.
    Again,
    /// After it had been open for too long.
    TooLate,
}

impl Sent {
    /// What the visitor is told instead of doing what the form asks for; `repeated` of one that was sent before.
    pub fn fault(self, repeated: &'static str) -> Option<&'static str> {
        match self {
            Self::First => None,
            Self::Again => Some(repeated),
            Self::TooLate => Some(TOO_OLD),
        }
    }
}

/// A new id, in a hidden field.
pub fn form_id(visit: &Visit) -> Markup {
    html! { input type="hidden" name=(FORM) value=(new_id(&visit.mark, visit.now)); }
}

/// Claims the id of a form that was sent.
///
/// # Errors
/// 429 after too many forms, those of the store.
pub async fn claim(app: &App, visit: &Visit, form: &Form) -> Result<Sent, Error> {
    let Some(shown) = shown_of(&visit.mark, form) else { return Ok(Sent::Again) };
    if !is_fresh(shown.made, visit.now) {
        return Ok(Sent::TooLate);
    }
    let whose = (&visit.tenant, &visit.user);
    match forms::claim(&app.redis, (&app.keys, &app.layout), whose, shown, visit.now).await? {
        Claim::First => Ok(Sent::First),
        Claim::Repeated => Ok(Sent::Again),
        Claim::TooMany => Err(TOO_MANY),
    }
}

/// Gives the id of a form back if `error` says that nothing was done. Where that fails the form counts as sent, which does no harm.
pub async fn release(app: &App, visit: &Visit, form: &Form, error: &Error) {
    let Some(shown) = shown_of(&visit.mark, form) else { return };
    // All others may have been done.
    if error.status_code().is_client_error() {
        let whose = (&visit.tenant, &visit.user);
        let _ = forms::release(&app.redis, (&app.keys, &app.layout), whose, shown.id).await;
    }
}

fn shown_of<'a>(mark: &str, form: &'a Form) -> Option<Shown<'a>> {
    let id = form.one(FORM)?;
    made_at(mark, id).map(|made| Shown { id, made })
}

fn is_fresh(made: Millis, now: Millis) -> bool {
    let apart = |later: Millis, sooner: Millis| Duration::from_millis(later.0.saturating_sub(sooner.0));
    apart(now, made) <= forms::GOOD_FOR && apart(made, now) <= forms::CLOCKS_APART
}

fn new_id(mark: &str, now: Millis) -> String {
    let mut id = now.0.to_be_bytes().to_vec();
    id.extend(rand::random::<[u8; RANDOM_BYTES]>());
    id.extend(seal(mark, &id));
    URL_SAFE_NO_PAD.encode(id)
}

/// When an id was made, if it is one of this session.
fn made_at(mark: &str, id: &str) -> Option<Millis> {
    let bytes = URL_SAFE_NO_PAD.decode(id).ok().filter(|bytes| bytes.len() == ID_BYTES)?;
    let (content, sealed) = bytes.split_at(ID_BYTES - SEAL_BYTES);
    let is_ours = bool::from(seal(mark, content).ct_eq(sealed));
    let made = content.first_chunk().copied().map(u64::from_be_bytes)?;
    is_ours.then_some(Millis(made))
}

fn seal(mark: &str, content: &[u8]) -> [u8; SEAL_BYTES] {
    let keyed = Hmac::<Sha256>::new_from_slice(mark.as_bytes()).expect("HMAC takes keys of any length");
    let whole = keyed.chain_update(SEAL_OF).chain_update(content).finalize().into_bytes();
    *whole.first_chunk().expect("SHA-256 is longer")
}

/// The page that shows a secret, once: `title` and `told` say what was done.
pub fn shown(
    visit: &Visit,
    status: StatusCode,
    webhook: &Webhook,
    secret: &Secret,
    (title, told): (&str, &Markup),
) -> HttpResponse {
    let body = html! {
        h1 { (title) }
        p.notice role="status" { (told) }
        (secret_card(secret))
        (next_steps(webhook))
    };
    let (all, own) = (format!("{}/webhooks", crate::dashboard::routes::PREFIX), of_webhook(&webhook.id, ""));
    let trail = [("Webhooks", all.as_str()), (webhook.settings.name.as_str(), own.as_str())];
    Page { title, section: Section::Webhooks, trail: &trail, scripts: &["copy.js"], body }
        .answer_with(status, visit)
}

fn secret_card(secret: &Secret) -> Markup {
    html! {
        div.card {
            h2 { "Its signing secret" }
            p.advice { strong { "Store it now: it is shown this once. " } "If it gets lost, you can make a new one." }
            div.secret {
                code #secret-value { (secret.0) }
                button type="button" data-copy="secret-value" hidden { "Copy" }
            }
            p.hint { "Keep it where your endpoint can read it and nobody else can. With it your endpoint checks that a request \
                      comes from here and was not altered on its way." }
        }
    }
}

fn next_steps(webhook: &Webhook) -> Markup {
    html! {
        div.card {
            h2 { "What to do next" }
            ol {
                li { "Put the secret into your endpoint's settings." }
                li { "Let your endpoint check the signatures: " a href=(of_webhook(&webhook.id, "/verify")) { "how to verify" } "." }
                li { "See whether it arrives: " a href=(of_webhook(&webhook.id, "/test")) { "send a test" } "." }
            }
            p { a.button.primary href=(of_webhook(&webhook.id, "")) { "Go to the webhook" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_when_it_was_made_and_nobody_else_can_make_one() {
        let id = new_id("mark", Millis(17));
        assert_ne!(id, new_id("mark", Millis(17)));
        assert_eq!(made_at("mark", &id), Some(Millis(17)));
        assert_eq!(made_at("another", &id), None, "of another session");
        let mut bytes = URL_SAFE_NO_PAD.decode(&id).unwrap();
        for at in 0..ID_BYTES {
            bytes[at] ^= 1;
            assert_eq!(made_at("mark", &URL_SAFE_NO_PAD.encode(&bytes)), None, "{at}");
            bytes[at] ^= 1;
        }
        for odd in ["", "AAAA", "\"><script>alert(1)</script>", &format!("{id}A"), &format!("{id}=")] {
            assert_eq!(made_at("mark", odd), None, "{odd}");
        }
    }

    #[test]
    fn a_form_is_taken_for_an_hour_and_clocks_may_be_apart() {
        let hour = 3_600_000;
        let now = Millis(10 * hour);
        for (made, is_taken) in [
            (9 * hour, true),
            (9 * hour - 1, false),
            (10 * hour + 300_000, true),
            (10 * hour + 300_001, false),
        ] {
            assert_eq!(is_fresh(Millis(made), now), is_taken, "{made}");
        }
    }
}
