//! Which pages may call the API from a browser (`api.cors_allowed_origins`).
//!
//! A browser asks first (a preflight), and shows an answer to a page only where the answer says so. Both are decided here
//! from the request's `Origin` alone: the answer of an allowed origin says so whatever it is, an error of any layer
//! included; any other origin gets the same answer without that, and a refused preflight. There are no credentials: tokens
//! travel in a header that the page sets itself, so there is nothing for a foreign page to borrow.
//! Preflights carry no token and count against no limit: they cost no more than an answer from memory.
//! Sources: the Fetch standard (WHATWG), section 3.3 (CORS protocol); Private Network Access (WICG), whose preflights are
//! refused, so that no public page reaches a node in somebody's own network.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::error::Error;
use super::routes;
use crate::config::Origins;

/// What a page may send besides what it always may.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, if-match, idempotency-key, x-request-id, traceparent",
);
/// What a page may read of an answer besides what it always may.
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "etag, location, retry-after, x-request-id, x-total-count, x-ratelimit-limit, x-ratelimit-remaining, \
     x-ratelimit-reset, www-authenticate",
);
/// How long a browser may remember the answer to a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("3600");
const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
/// What the answer to a preflight depends on.
const PREFLIGHT_VARY: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
);

/// The methods of all routes.
static METHODS: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut methods: Vec<String> = routes::all().map(|(method, _)| method.to_uppercase()).collect();
    methods.sort_unstable();
    methods.dedup();
    HeaderValue::from_str(&methods.join(", ")).expect("methods are letters")
});

/// What is to be said of one request's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No page of another origin may call: nothing depends on the origin.
    Off,
    /// Not this one, or none is named; others may.
    Other,
    /// This one, or every one (`*`).
    Allowed(HeaderValue),
}

/// The verdict on a request with these headers.
pub fn judge(headers: &HeaderMap, origins: &Origins) -> Verdict {
    let mut given = headers.get_all(header::ORIGIN);
    let origin = given.next().filter(|_| given.next().is_none());
    match (origins, origin) {
        (Origins::These(listed), _) if listed.is_empty() => Verdict::Off,
        (Origins::Any, _) => Verdict::Allowed(HeaderValue::from_static("*")),
        (Origins::These(listed), Some(origin)) if listed.iter().any(|known| origin == known.as_str()) => {
            Verdict::Allowed(origin.clone())
        }
        (Origins::These(_), _) => Verdict::Other,
    }
}

/// The answer to a preflight; `None` where it is none, or nothing is allowed to anybody.
pub fn preflight(request: &ServiceRequest, verdict: &Verdict) -> Option<Result<HttpResponse, Error>> {
    let headers = request.headers();
    let asks = |name| headers.contains_key(name);
    let is_preflight = request.method() == Method::OPTIONS
        && asks(header::ORIGIN)
        && asks(header::ACCESS_CONTROL_REQUEST_METHOD);
    match verdict {
        _ if !is_preflight => None,
        Verdict::Off => None,
        Verdict::Other => Some(Err(Error::Forbidden("this origin may not call the API"))),
        Verdict::Allowed(_) if asks(PRIVATE_NETWORK) => {
            Some(Err(Error::Forbidden("public pages may not call into a private network")))
        }
        Verdict::Allowed(_) => Some(Ok(permission())),
    }
}

fn permission() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS.clone()))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE))
        .insert_header((header::VARY, PREFLIGHT_VARY))
        .finish()
}

/// Says in an answer's headers what the verdict is.
pub fn say(headers: &mut HeaderMap, verdict: Verdict) {
    if verdict == Verdict::Off {
        return;
    }
    if !headers.contains_key(header::VARY) {
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Verdict::Allowed(origin) = verdict {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::api::testing::{Client, authorized, config, user};

    const APP: &str = "https://app.example.com";

    async fn client(origins: Origins) -> Client {
        let mut config = config();
        config.api.cors_allowed_origins = origins;
        Client::alone(config).await
    }

    fn only_app() -> Origins {
        Origins::These(vec!["http://localhost:3000".into(), APP.into()])
    }

    fn preflight_of(origin: &str) -> TestRequest {
        let asked = TestRequest::default().method(Method::OPTIONS).uri("/api/webhooks");
        asked.insert_header(("origin", origin)).insert_header(("access-control-request-method", "PATCH"))
    }

    #[actix_web::test]
    async fn an_allowed_origin_s_preflight_is_permitted_without_a_token() {
        let answer = client(only_app()).await.send(preflight_of(APP)).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
        for (name, value) in [
            ("access-control-allow-origin", APP),
            ("access-control-allow-methods", "DELETE, GET, PATCH, POST"),
            ("access-control-max-age", "3600"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        assert!(answer.header("access-control-allow-headers").contains("authorization"));
        assert!(answer.header("vary").starts_with("Origin"));
        assert_eq!(answer.header("access-control-allow-credentials"), "");
        assert_eq!(answer.header("x-ratelimit-limit"), "", "it counts against no limit");
    }

    #[actix_web::test]
    async fn other_origins_are_told_nothing() {
        for origin in
            ["https://evil.example", "http://app.example.com", "https://app.example.com:444", "null"]
        {
            let client = client(only_app()).await;
            let refused = client.send(preflight_of(origin)).await;
            assert_eq!((refused.status, refused.header("vary")), (403, "Origin"), "{origin}");
            let plain = client.send(TestRequest::get().uri("/api/x").insert_header(("origin", origin))).await;
            assert_eq!((plain.status, plain.header("vary")), (404, "Origin"), "{origin}");
            for answer in [refused, plain] {
                assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
            }
        }
    }

    #[actix_web::test]
    async fn every_answer_of_an_allowed_origin_says_so() {
        let client = client(only_app()).await;
        let get = |path: &str| TestRequest::get().uri(path).insert_header(("origin", APP));
        let put = TestRequest::put().uri("/api/webhooks").insert_header(("origin", APP));
        let long = "x".repeat(2000);
        let post = TestRequest::post().uri("/api/webhooks").insert_header(("origin", APP));
        let large = authorized(
            TestRequest::post().uri("/api/events"),
            &crate::api::testing::token(
                serde_json::json!({"sub": "crm", "organizationId": "acme", "role": "service"}),
            ),
        );
        let large = large.insert_header(("origin", APP)).set_json(long);
        for (request, status) in [
            (get("/api/webhooks"), 401),
            (get("/nothing"), 404),
            (put, 405),
            (authorized(post, &user("ann")), 415),
            (large, 413),
            (authorized(get("/api/webhooks"), &user("ann")), 503),
        ] {
            let answer = client.send(request).await;
            assert_eq!(answer.status, status, "{}", answer.text);
            assert_eq!(answer.header("access-control-allow-origin"), APP, "{status}");
            assert_eq!(answer.header("vary"), "Origin", "{status}");
            assert!(answer.header("access-control-expose-headers").contains("retry-after"), "{status}");
        }
    }

    #[actix_web::test]
    async fn pages_on_public_networks_do_not_reach_private_ones() {
        let asked = preflight_of(APP).insert_header(("access-control-request-private-network", "true"));
        let answer = client(Origins::Any).await.send(asked).await;
        assert_eq!((answer.status, answer.header("access-control-allow-private-network")), (403, ""));
    }

    #[actix_web::test]
    async fn any_origin_is_one_answer_for_all() {
        let answer = client(Origins::Any).await.send(preflight_of("https://whoever.example")).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, "*"));
    }

    #[actix_web::test]
    async fn without_the_setting_nothing_speaks_of_origins() {
        let client = client(Origins::These(Vec::new())).await;
        let answer = client.send(preflight_of(APP)).await;
        assert_eq!((answer.status, answer.header("vary")), (405, ""));
        assert!(answer.headers.iter().all(|(name, _)| !name.as_str().starts_with("access-control")));
    }

    #[test]
    fn an_origin_is_one_and_is_compared_exactly() {
        let verdict = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ORIGIN, HeaderValue::from_str(line).unwrap());
            }
            judge(&headers, &only_app())
        };
        assert_eq!(verdict(&[APP]), Verdict::Allowed(HeaderValue::from_static(APP)));
        for lines in [
            &[][..],
            &["https://app.example.com."],
            &["https://APP.example.com"],
            &[APP, APP],
            &[" "],
            &["*"],
        ] {
            assert_eq!(verdict(lines), Verdict::Other, "{lines:?}");
        }
    }
}
