//! `GET /api/docs`: a page to read and try the API, served whole from the program.
//!
//! Swagger UI's files come from the `utoipa-swagger-ui` crate, which holds them; the page and the script that starts it
//! are ours, so that they hold no inline script and name each other relative to where the page was asked for, whatever
//! stands before it. A strict `Content-Security-Policy` keeps everything on this host. A token that a person enters lives
//! in the page alone. Sources: Content Security Policy Level 3, Fetch (`nosniff`).

use std::sync::{Arc, LazyLock};

use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use actix_web::{HttpRequest, HttpResponse};

use super::Error;
use super::files::{File, answer};

/// Scripts, styles and requests of this host alone; the pictures in Swagger UI's style sheet are `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

static PAGE: LazyLock<File> = LazyLock::new(|| File::new(HTML, include_bytes!("docs/index.html").as_slice()));

/// What the page loads, by name.
static ASSETS: LazyLock<Vec<(&str, File)>> = LazyLock::new(|| {
    let embedded =
        [("swagger-ui-bundle.js", SCRIPT), ("swagger-ui.css", STYLE), ("favicon-32x32.png", "image/png")];
    let mut all = vec![("start.js", File::new(SCRIPT, include_bytes!("docs/start.js").as_slice()))];
    all.extend(embedded.into_iter().filter_map(|(name, kind)| Some((name, embedded_file(name, kind)?))));
    all
});

fn embedded_file(name: &str, content_type: &'static str) -> Option<File> {
    let file = utoipa_swagger_ui::serve(name, Arc::default()).ok().flatten()?;
    Some(File::new(content_type, file.bytes))
}

/// The page.
pub async fn page(request: HttpRequest) -> HttpResponse {
    let mut response = answer(&request, &PAGE);
    let headers = response.headers_mut();
    let policies: [(HeaderName, &'static str); 3] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        // For browsers that do not know `frame-ancestors`.
        (X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in policies {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `GET /api/docs/`: what the page loads would be looked for one level too deep.
pub async fn without_slash() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "../docs")).finish()
}

/// `GET /api/docs/{asset}`
///
/// # Errors
/// 404 for what the page does not load.
pub async fn asset(request: HttpRequest) -> Result<HttpResponse, Error> {
    let wanted = request.match_info().get("asset").unwrap_or_default();
    let found = ASSETS.iter().find(|(name, _)| *name == wanted).ok_or(Error::NotFound("file"))?;
    Ok(answer(&request, &found.1))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use crate::api::testing::{Client, config};

    #[actix_web::test]
    async fn the_page_and_all_that_it_names_are_served_without_a_token_below_both_prefixes() {
        let mut config = config();
        config.server.base_path = "/hooks".into();
        let client = Client::alone(config).await;
        for prefix in ["/api", "/hooks/api"] {
            let page = client.send(TestRequest::get().uri(&format!("{prefix}/docs"))).await;
            assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
            assert_eq!(page.header("x-content-type-options"), "nosniff");
            assert!(
                page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self';")
            );
            let mut named = 0;
            for part in page.text.split(['"']).filter(|part| part.starts_with("docs/")) {
                named += 1;
                let asset = client.send(TestRequest::get().uri(&format!("{prefix}/{part}"))).await;
                assert_eq!(asset.status, 200, "{part}");
                assert_eq!(asset.header("cache-control"), "no-cache", "{part}");
                let kind = match part.rsplit('.').next() {
                    Some("js") => "text/javascript; charset=utf-8",
                    Some("css") => "text/css; charset=utf-8",
                    _ => "image/png",
                };
                assert_eq!(asset.header("content-type"), kind, "{part}");
            }
            assert_eq!(named, 4);
            let with_slash = client.send(TestRequest::get().uri(&format!("{prefix}/docs/"))).await;
            assert_eq!((with_slash.status, with_slash.header("location")), (308, "../docs"));
            let missing = client.send(TestRequest::get().uri(&format!("{prefix}/docs/index.html"))).await;
            assert_eq!((missing.status, missing.json()["message"].as_str()), (404, Some("file not found")));
        }
    }

    #[actix_web::test]
    async fn nothing_on_the_page_names_another_host_or_runs_inline() {
        let page = include_str!("docs/index.html");
        let script = include_str!("docs/start.js");
        for forbidden in ["http:", "https:", "//cdn", "onload", "style="] {
            assert!(!page.contains(forbidden) && !script.contains(forbidden), "{forbidden}");
        }
        let scripts = page.matches("<script").count();
        assert_eq!(scripts, page.matches("<script src=\"docs/").count());
    }
}
