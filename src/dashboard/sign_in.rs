//! Signing in with a token of the API, and out again.
//!
//! The cookie holds the token itself, out of reach of scripts: each page checks it as the API would, so a key that is
//! withdrawn or a token that expires ends the session on every node at once, and no node keeps any. It is sent over a
//! secure connection alone if it came over one. The form is guarded by a mark in a cookie of its own, as nobody's token
//! is known yet: another site could else sign its visitors in as somebody of its choosing. Nothing is read of a form without
//! that cookie, and little of one with it. A form that is shown answers with no redirect, also to who is signed in: a link may
//! carry a token behind its `#`, which a redirect would hand on, into an address that nothing takes it out of.
//! Sources: RFC 6265bis (cookies, `SameSite`), Fetch (`Origin`), RFC 9110 section 10.2.2 (a `Location` inherits the fragment).

use std::time::Duration;

use actix_web::cookie::time::Duration as Age;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, ORIGIN};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, html};
use serde::Deserialize;

use super::form::Form;
use super::notice::{self, Notice};
use super::page::{bare, to, told};
use super::routes::{PAGES, PREFIX, SESSION};
use super::visit::{Leaving, MARK, Visit, check_site, is_same};
use crate::api::Error;
use crate::api::auth::holder_of;
use crate::clock;

/// The longest session, however long the token is good.
const LONGEST_SESSION: Duration = Duration::from_secs(12 * 3600);
/// The longest token, in bytes: with the cookie's name and attributes browsers keep about 4096.
const LONGEST_TOKEN: usize = 3800;
/// The cookie that guards the form.
const GUARD: &str = "salesos_webhooks_sign_in";
/// How long the form may lie open.
const GUARD_AGE: Duration = Duration::from_secs(3600);
/// The longest address that a visitor is sent back to.
const LONGEST_NEXT: usize = 2048;

/// The longest form, in bytes as it is sent: a token, where to go on to, and the mark.
const LONGEST_FORM: usize = 16 * 1024;
/// Random bytes of the form's mark.
const GUARD_BYTES: usize = 18;
const TOO_LATE: &str = "The form had been open for too long, or your browser takes no cookies: try again.";

const PATH: &str = "/dashboard/sign-in";
const NEXT: &str = "next";
const ENDED: &str = "ended";

/// `GET`: the form; who is signed in may go on without it.
///
/// # Errors
/// 429 for too many wrong tokens or too many requests.
pub async fn ask(visit: Result<Visit, Error>, request: HttpRequest) -> Result<HttpResponse, Error> {
    let asked = Form::parse(request.query_string().as_bytes());
    let standing = match visit {
        Ok(visit) => Standing::In(visit),
        Err(error @ Error::TooManyRequests(..)) => return Err(error),
        Err(_) if asked.has(ENDED) => Standing::Out(Some("Your sign-in has ended. Sign in again.")),
        Err(_) => Standing::Out(None),
    };
    Ok(form_page(StatusCode::OK, &request, next_of(&asked), &standing))
}

/// `POST`: takes the token, and goes on to where the visitor wanted to go.
///
/// # Errors
/// 403 for a form of another site, 413 for more than a token, 429 for too many wrong tokens, 503 while the keys are not there.
pub async fn enter(request: HttpRequest, body: web::Payload) -> Result<HttpResponse, Error> {
    check_site(&request)?;
    let again =
        |status, next: &str, note: &str| Ok(form_page(status, &request, next, &Standing::Out(Some(note))));
    let Some(guard) = guard_of(&request) else { return again(StatusCode::FORBIDDEN, PREFIX, TOO_LATE) };
    let mut payload: Payload = body.into_inner();
    let form = Form::read(&request, &mut payload, LONGEST_FORM).await?;
    let next = next_of(&form);
    let again = |status, note: &str| again(status, next, note);
    if !is_same(form.one(MARK).unwrap_or_default(), &guard) {
        return again(StatusCode::FORBIDDEN, TOO_LATE);
    }
    let token = bare_token(form.one("token").unwrap_or_default());
    if token.is_empty() {
        return again(StatusCode::BAD_REQUEST, "token should not be empty");
    }
    let caller = match holder_of(&request, token).await {
        Ok(caller) => caller,
        Err(Error::Unauthenticated(why)) => {
            return again(StatusCode::UNAUTHORIZED, &format!("This token is not taken: {why}."));
        }
        Err(other) => return Err(other),
    };
    if let Err(Error::Forbidden(why)) = caller.may_read() {
        return again(StatusCode::FORBIDDEN, &format!("This token cannot be used here: {why}."));
    }
    if token.len() > LONGEST_TOKEN {
        let note = format!(
            "This token has {} bytes; a browser's cookie holds {LONGEST_TOKEN}. Use one with fewer claims.",
            token.len()
        );
        return again(StatusCode::BAD_REQUEST, &note);
    }
    let mut response = to(next);
    set(&mut response, session(&request, token.to_owned(), session_age(token)));
    set(&mut response, cookie(&request, GUARD, String::new(), PATH, Duration::ZERO));
    Ok(response)
}

/// `POST`: forgets the token. It is the browser's only copy; the token itself is good until it expires.
pub async fn leave(request: HttpRequest, _change: Leaving) -> HttpResponse {
    let mut response = to(&format!("{PATH}?{}={}", notice::PARAMETER, Notice::SignedOut.as_str()));
    set(&mut response, session(&request, String::new(), Duration::ZERO));
    response
}

/// Where a visitor without a good token is sent: to the form, and from there back. `had_one` = their session has ended.
pub fn instead_of(request: &HttpRequest, had_one: bool) -> HttpResponse {
    let wanted = request.uri().path_and_query().map_or(PREFIX, |asked| asked.as_str());
    to(&address(wanted, had_one))
}

/// The address of the form, from where the visitor goes on to `wanted`. `had_one` = their session has ended.
pub fn address(wanted: &str, had_one: bool) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair(NEXT, next_or_first(wanted));
    if had_one {
        query.append_pair(ENDED, "1");
    }
    format!("{PATH}?{}", query.finish())
}

/// What a visitor to the form is told of.
enum Standing<'a> {
    /// Somebody is signed in already.
    In(Visit),
    /// Nobody is; perhaps why.
    Out(Option<&'a str>),
}

/// The form's mark in the visitor's cookie: all their tabs share it.
fn guard_of(request: &HttpRequest) -> Option<String> {
    let cookie = request.cookie(GUARD)?;
    let is_one = URL_SAFE_NO_PAD.decode(cookie.value()).is_ok_and(|bytes| bytes.len() == GUARD_BYTES);
    is_one.then(|| cookie.value().to_owned())
}

fn form_page(status: StatusCode, request: &HttpRequest, next: &str, standing: &Standing<'_>) -> HttpResponse {
    let guard =
        guard_of(request).unwrap_or_else(|| URL_SAFE_NO_PAD.encode(rand::random::<[u8; GUARD_BYTES]>()));
    let body = form_of(&guard, next, Notice::of(request), standing);
    let mut response = bare(status, "Sign in", &["sign-in.js"], &body);
    set(&mut response, cookie(request, GUARD, guard, PATH, GUARD_AGE));
    response
}

fn form_of(guard: &str, next: &str, notice: Option<Notice>, standing: &Standing<'_>) -> Markup {
    let fault = if let Standing::Out(fault) = standing { *fault } else { None };
    html! {
        div.narrow {
            h1 { "Sign in" }
            @if let Some(notice) = notice { (told(notice)) }
            @if let Some(fault) = fault { p.problem #fault role="alert" { (fault) } }
            @if let Standing::In(visit) = standing {
                div.notice {
                    p { "You are signed in as " strong { (visit.user.0) } "." }
                    p { a.button href=(next) { "Go on" } " or sign in as somebody else:" }
                }
            }
            form.card method="post" action=(PATH) {
                input type="hidden" name=(MARK) value=(guard);
                input type="hidden" name=(NEXT) value=(next);
                label for="token" { "Token" }
                p.hint #token-hint {
                    "A token of the API (a JWT). Whoever runs the service gives you one; " code { "make run" } " prints one, and "
                    code { "salesos-webhooks token" } " makes one."
                }
                input #token type="password" name="token" required autocomplete="off" spellcheck="false"
                    aria-describedby=(if fault.is_some() { "token-hint fault" } else { "token-hint" });
                button.primary #sign-in type="submit" { "Sign in" }
            }
            // Browsers send the cookie of a session with no link of another site: to the sign-in page its visitors look strange.
            @if next != PREFIX && matches!(standing, Standing::Out(_)) {
                p.muted { "Came by a link and signed in already? " a href=(next) { "Go on to the page" } "." }
            }
        }
    }
}

/// Where the visitor wants to go: a page of ours, else the first one. Never another site.
fn next_of(form: &Form) -> &str {
    form.one(NEXT).map_or(PREFIX, next_or_first)
}

fn next_or_first(wanted: &str) -> &str {
    let path = wanted.split(['?', '#']).next().unwrap_or_default();
    let is_ours = wanted.len() <= LONGEST_NEXT
        && PAGES.hold(path)
        && !climbs(path)
        && wanted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !wanted.starts_with(PATH);
    if is_ours { wanted } else { PREFIX }
}

/// Whether a path has segments such as `..`, which browsers resolve before they ask, written as `%2e` too.
fn climbs(path: &str) -> bool {
    path.to_ascii_lowercase().replace("%2e", ".").contains("/.")
}

/// What people paste: perhaps with the word that stands before it in a header.
fn bare_token(text: &str) -> &str {
    let text = text.trim();
    text.split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map_or(text, |(_, token)| token.trim())
}

fn session(request: &HttpRequest, token: String, age: Duration) -> Cookie<'static> {
    cookie(request, SESSION, token, PREFIX, age)
}

/// For this site and its pages alone; `age` zero = forget it.
fn cookie(
    request: &HttpRequest,
    name: &'static str,
    value: String,
    path: &'static str,
    age: Duration,
) -> Cookie<'static> {
    Cookie::build(name, value)
        .path(path)
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(came_securely(request))
        .max_age(Age::seconds(i64::try_from(age.as_secs()).unwrap_or(i64::MAX)))
        .finish()
}

/// Whether the browser's end of the connection is secure, whatever proxies make of it: browsers say so with each form.
fn came_securely(request: &HttpRequest) -> bool {
    request.headers().get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

fn set(response: &mut HttpResponse, cookie: Cookie<'_>) {
    let value =
        HeaderValue::from_str(&cookie.encoded().to_string()).expect("a cookie that is encoded is ASCII");
    response.headers_mut().append(actix_web::http::header::SET_COOKIE, value);
}

/// Until the token expires, or [`LONGEST_SESSION`].
fn session_age(token: &str) -> Duration {
    #[derive(Deserialize)]
    struct Expiry {
        exp: f64,
    }
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let expiry = claims.and_then(|claims| serde_json::from_slice::<Expiry>(&claims).ok());
    let left = expiry.map(|Expiry { exp }| exp - clock::now().as_secs() as f64);
    let left = left.and_then(|left| Duration::try_from_secs_f64(left).ok());
    left.unwrap_or_default().clamp(Duration::from_secs(1), LONGEST_SESSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_ours_are_gone_on_to() {
        for ours in
            ["/dashboard", "/dashboard/webhooks?search=a..b/.c", "/dashboard/webhooks/wh_1/deliveries"]
        {
            assert_eq!(next_or_first(ours), ours);
        }
        let climbing = ["/dashboard/../api", "/dashboard/%2e%2E/api", "/dashboard/x/./.%2e/api"];
        let others =
            ["https://example.com/", "//example.com", "/dashboard\\x", "/api/docs", "/dashboards", PATH, ""];
        for other in climbing.into_iter().chain(others) {
            assert_eq!(next_or_first(other), PREFIX, "{other}");
        }
    }
}
