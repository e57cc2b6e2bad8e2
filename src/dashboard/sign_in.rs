//! Signing in with a token of the API, and out again.
//!
//! The cookie holds the token itself, out of reach of scripts: each page checks it as the API would, so a key that is
//! withdrawn or a token that expires ends the session on every node at once, and no node keeps any. It is sent over a
//! secure connection alone if it came over one. The form is guarded by a mark in a cookie of its own, as nobody's token
//! is known yet: another site could else sign its visitors in as somebody of its choosing.
//! Sources: RFC 6265bis (cookies, `SameSite`), Fetch (`Origin`).

use std::time::Duration;

use actix_web::cookie::time::Duration as Age;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, ORIGIN};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::html;
use serde::Deserialize;

use super::form::Form;
use super::notice::{self, Notice};
use super::page::{bare_with, to, told};
use super::routes::{PAGES, PREFIX, SESSION};
use super::visit::{Leaving, MARK, check_site, is_same};
use crate::api::auth::holder_of;
use crate::api::{App, Error};
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

const PATH: &str = "/dashboard/sign-in";
const NEXT: &str = "next";
const ENDED: &str = "ended";

/// `GET`: the form; who is signed in goes on at once.
pub async fn ask(app: web::Data<App>, request: HttpRequest) -> HttpResponse {
    let asked = Form::parse(request.query_string().as_bytes());
    let next = next_of(&asked);
    let token = PAGES.token(request.headers()).unwrap_or_default();
    let is_in = matches!(app.authenticator.caller(token), Some(Ok(caller)) if caller.may_read().is_ok());
    if is_in {
        return to(next);
    }
    let note = asked.has(ENDED).then_some("Your sign-in has ended. Sign in again.");
    form_page(StatusCode::OK, &request, next, note)
}

/// `POST`: takes the token, and goes on to where the visitor wanted to go.
///
/// # Errors
/// 403 for a form of another site, 429 for too many wrong tokens, 503 while the keys are not there.
pub async fn enter(request: HttpRequest, body: web::Payload) -> Result<HttpResponse, Error> {
    check_site(&request)?;
    let mut payload: Payload = body.into_inner();
    let form = Form::read(&request, &mut payload).await?;
    let next = next_of(&form);
    let again = |status, note: &str| Ok(form_page(status, &request, next, Some(note)));
    let guard = request.cookie(GUARD).map(|cookie| cookie.value().to_owned()).unwrap_or_default();
    if !is_same(form.one(MARK).unwrap_or_default(), &guard) {
        return again(
            StatusCode::FORBIDDEN,
            "The form had been open for too long, or your browser takes no cookies: try again.",
        );
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
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair(NEXT, next_or_first(wanted));
    if had_one {
        query.append_pair(ENDED, "1");
    }
    to(&format!("{PATH}?{}", query.finish()))
}

fn form_page(status: StatusCode, request: &HttpRequest, next: &str, note: Option<&str>) -> HttpResponse {
    let guard = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 18]>());
    let body = html! {
        div.narrow {
            h1 { "Sign in" }
            @if let Some(notice) = Notice::of(request) { (told(notice)) }
            @if let Some(note) = note { p.problem #fault role="alert" { (note) } }
            form.card method="post" action=(PATH) {
                input type="hidden" name=(MARK) value=(guard);
                input type="hidden" name=(NEXT) value=(next);
                label for="token" { "Token" }
                p.hint #token-hint {
                    "A token of the API (a JWT). Whoever runs the service gives you one; " code { "make run" } " prints one, and "
                    code { "salesos-webhooks token" } " makes one."
                }
                input #token type="password" name="token" required autocomplete="off" spellcheck="false"
                    aria-describedby=(if note.is_some() { "token-hint fault" } else { "token-hint" });
                button.primary #sign-in type="submit" { "Sign in" }
            }
            @if next != PREFIX {
                p.muted { "Came by a link and signed in already? " a href=(next) { "Go on to the page" } "." }
            }
        }
    };
    let mut response = bare_with("Sign in", &["sign-in.js"], status, &body);
    set(&mut response, cookie(request, GUARD, guard, PATH, GUARD_AGE));
    response
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
