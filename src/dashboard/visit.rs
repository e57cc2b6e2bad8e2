//! Who looks at a page, and what guards a change.
//!
//! The cookie holds the visitor's token, so a page asks the very same guards as the API: a [`Visit`] is a [`Reader`], a
//! [`Change`] a [`Writer`] whose form carries a mark that only a page of ours could have put there. The mark is an HMAC under the
//! token itself: nobody without the token can make it, it ends with it, and every node can check it without sharing
//! anything. Beside it stand `SameSite=Strict` of the cookie and the browser's own word for where a request comes from.
//! Sources: the OWASP cheat sheet on cross-site request forgery (HMAC based tokens), Fetch Metadata (`Sec-Fetch-Site`).

use std::fmt;
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderName;
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::LocalBoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::form::Form;
use super::notice::Notice;
use super::routes::{PAGES, longest_form};
use crate::api::auth::{Caller, Reader, Writer};
use crate::api::{App, Error};
use crate::clock;
use crate::domain::Millis;

/// The form field that holds the mark.
pub const MARK: &str = "csrf";
const MARK_OF: &[u8] = b"salesos-webhooks: a form of the dashboard";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const FOREIGN: Error = Error::Forbidden("the request does not come from a page of this dashboard");
const UNMARKED: Error = Error::Forbidden("the form is not one of this session: open its page again");

/// Somebody looks at a page.
#[derive(Clone)]
pub struct Visit {
    caller: Caller,
    /// The mark for the forms of the page.
    pub mark: String,
    /// What the change just made came to, told on the page that follows it.
    pub notice: Option<Notice>,
    /// When the page was asked for.
    pub now: Millis,
}

impl fmt::Debug for Visit {
    /// Without the mark, which lets whoever has it make changes in the visitor's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit")
            .field("caller", &self.caller)
            .field("notice", &self.notice)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Deref for Visit {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Visit {
    fn new(request: &HttpRequest, caller: Caller) -> Self {
        Self {
            caller,
            mark: PAGES.token(request.headers()).map(mark_of).unwrap_or_default(),
            notice: Notice::of(request),
            now: clock::now(),
        }
    }
}

impl FromRequest for Visit {
    type Error = Error;
    type Future = std::future::Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reader = Reader::from_request(request, payload).into_inner();
        std::future::ready(reader.map(|Reader(caller)| Self::new(request, caller)))
    }
}

/// Somebody changes something.
#[derive(Clone, Debug)]
pub struct Change {
    /// Who.
    pub visit: Visit,
    /// What was sent.
    pub form: Form,
}

impl Deref for Change {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.visit
    }
}

impl FromRequest for Change {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    /// The token is settled before the form is read; arguments after this one find the change's [`Trail`].
    ///
    /// [`Trail`]: crate::api::audit::Trail
    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let writer = Writer::from_request(request, &mut Payload::None).into_inner();
        let guarded = guarded(request, payload, writer.map(|Writer(caller)| caller));
        Box::pin(async { guarded.await.map(|(visit, form)| Self { visit, form }) })
    }
}

/// Somebody sends a form that changes nothing but their own session.
#[derive(Clone, Debug)]
pub struct Leaving;

impl FromRequest for Leaving {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reader = Reader::from_request(request, &mut Payload::None).into_inner();
        let guarded = guarded(request, payload, reader.map(|Reader(caller)| caller));
        Box::pin(async { guarded.await.map(|_| Self) })
    }
}

/// Reads the form of a request whose token is settled, and checks that a page of ours sent it.
fn guarded(
    request: &HttpRequest,
    payload: &mut Payload,
    caller: Result<Caller, Error>,
) -> impl Future<Output = Result<(Visit, Form), Error>> + use<> {
    let visit = caller.and_then(|caller| {
        check_site(request)?;
        Ok(Visit::new(request, caller))
    });
    let app = request.app_data::<web::Data<App>>();
    let limit = longest_form(request.path(), app.map_or(0, |app| app.config.api.max_event_bytes));
    let form = Form::read(request, payload, limit);
    async move {
        let visit = visit?;
        let form = form.await?;
        if is_same(form.one(MARK).unwrap_or_default(), &visit.mark) {
            Ok((visit, form))
        } else {
            Err(UNMARKED)
        }
    }
}

/// Whether a browser says that the request comes from another site. Those that say nothing are held by the mark alone.
///
/// # Errors
/// 403.
pub fn check_site(request: &HttpRequest) -> Result<(), Error> {
    match request.headers().get(SEC_FETCH_SITE) {
        Some(site) if site != "same-origin" => Err(FOREIGN),
        _ => Ok(()),
    }
}

/// Compares in a time that does not tell how much of it is right. What is empty is equal to nothing.
pub fn is_same(given: &str, expected: &str) -> bool {
    !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected.as_bytes()))
}

fn mark_of(token: &str) -> String {
    let keyed = Hmac::<Sha256>::new_from_slice(token.as_bytes()).expect("HMAC takes keys of any length");
    URL_SAFE_NO_PAD.encode(keyed.chain_update(MARK_OF).finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::api::testing::user;
    use crate::dashboard::testing::Browser;
    use crate::store::testing::TestRedis;

    #[test]
    fn the_mark_is_of_the_token_and_nothing_equals_none() {
        assert_eq!(mark_of("a.b.c"), mark_of("a.b.c"));
        assert_ne!(mark_of("a.b.c"), mark_of("a.b.d"));
        assert!(is_same("x", "x") && !is_same("x", "y") && !is_same("", "") && !is_same("xx", "x"));
    }

    #[actix_web::test]
    async fn the_mark_is_not_written_for_those_who_debug() {
        let redis = TestRedis::start().await;
        let browser = Browser::of(&user("ann"), &redis).await;
        let request = browser.signed_in(TestRequest::get()).to_http_request();
        let caller = browser.client.app.authenticator.caller(&user("ann")).unwrap().unwrap();
        let visit = Visit::new(&request, caller);
        assert!(!visit.mark.is_empty() && !format!("{visit:?}").contains(&visit.mark), "{visit:?}");
    }

    #[test]
    fn a_browser_s_word_for_another_site_is_believed() {
        for (site, is_fine) in [
            (None, true),
            (Some("same-origin"), true),
            (Some("same-site"), false),
            (Some("cross-site"), false),
            (Some("none"), false),
        ] {
            let mut request = TestRequest::post();
            if let Some(site) = site {
                request = request.insert_header((SEC_FETCH_SITE, site));
            }
            assert_eq!(check_site(&request.to_http_request()).is_ok(), is_fine, "{site:?}");
        }
    }
}
