//! Where pages for people are served beside the API, and what sets them apart: who is there is told by a cookie instead of a
//! header, and an error is a page too.
//!
//! The API knows no page. Whoever serves some says here how; to the guards, the limits and the audit log their routes are routes
//! like all others. The cookie is looked at below their prefix alone: on the API it would let any site act for its visitors.
//! Sources: RFC 6265 section 5.4 (the order of cookies), RFC 6750 (the header).

use actix_web::http::header::{COOKIE, HeaderMap};
use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse};

use super::error::{About, Error};
use super::routes::Table;

/// Pages that are served beside the API.
#[derive(Debug)]
pub struct Pages {
    /// All of them lie at it or below; begins with a slash and ends without one.
    pub prefix: &'static str,
    /// The name of the cookie that holds the visitor's token.
    pub cookie: &'static str,
    /// Their routes.
    pub table: &'static Table,
    /// Mounts them.
    pub mount: fn(&mut ServiceConfig),
    /// Answers a request that failed.
    pub present: fn(&HttpRequest, &Error, &About<'_>) -> HttpResponse,
}

impl Pages {
    /// Whether `path` is one of theirs.
    pub fn hold(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The token in the cookie.
    pub fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let lines = headers.get_all(COOKIE).filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == self.cookie).map(|(_, value)| value).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;
    use crate::api::routes::Table;

    static TABLE: Table = Table::new("/pages", &[], |_, _| None);
    static PAGES: Pages = Pages {
        prefix: "/pages",
        cookie: "visit",
        table: &TABLE,
        mount: |_| (),
        present: |_, _, _| HttpResponse::Ok().finish(),
    };

    #[test]
    fn a_prefix_ends_at_a_slash() {
        for (path, is_theirs) in [
            ("/pages", true),
            ("/pages/", true),
            ("/pages/x", true),
            ("/pagesx", false),
            ("/api/pages", false),
        ] {
            assert_eq!(PAGES.hold(path), is_theirs, "{path}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        for (line, token) in [
            ("visit=abc", Some("abc")),
            ("a=1; visit=abc; b=2", Some("abc")),
            ("a=1;visit=a=b", Some("a=b")),
            ("visit=abc; visit=other", Some("abc")),
            ("xvisit=abc", None),
            ("visit=", None),
            ("visit", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_str(line).unwrap());
            assert_eq!(PAGES.token(&headers), token, "{line}");
        }
    }
}
