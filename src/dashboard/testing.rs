//! Opens pages in a test, as a browser would: with the cookie, and with the mark in every form.

use actix_web::http::header::COOKIE;
use actix_web::test::TestRequest;

use super::routes::{PAGES, SESSION};
use crate::api::testing::{Answer, Client, config};
use crate::config::Config;
use crate::store::testing::TestRedis;

/// Somebody who is signed in.
pub struct Browser {
    pub client: Client,
    token: String,
}

impl Browser {
    /// With that token; small settings.
    pub async fn of(token: &str, redis: &TestRedis) -> Self {
        Self::with(config(), token, redis).await
    }

    /// With settings of the test's own.
    pub async fn with(config: Config, token: &str, redis: &TestRedis) -> Self {
        Self { client: Client::with_pages(config, redis, &PAGES).await, token: token.to_owned() }
    }

    /// The request with the cookie.
    pub fn signed_in(&self, request: TestRequest) -> TestRequest {
        request.insert_header((COOKIE, format!("other=1; {SESSION}={}", self.token)))
    }

    /// Opens a page.
    pub async fn get(&self, path: &str) -> Answer {
        self.client.send(self.signed_in(TestRequest::get()).uri(path)).await
    }

    /// Sends a form, with the mark of this session.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mark = self.mark().await;
        let marked: Vec<(&str, &str)> =
            [("csrf", mark.as_str())].into_iter().chain(fields.iter().copied()).collect();
        self.post_unmarked(path, &marked).await
    }

    /// Sends a form as it is.
    pub async fn post_unmarked(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.client.send(self.signed_in(TestRequest::post()).uri(path).set_form(fields)).await
    }

    /// The mark, out of the first page.
    pub async fn mark(&self) -> String {
        let page = self.get("/dashboard").await;
        hidden(&page.text, "csrf").unwrap_or_default()
    }
}

/// The value of a hidden field of a page.
pub fn hidden(page: &str, name: &str) -> Option<String> {
    let after = page.split_once(&format!("name=\"{name}\" value=\""))?.1;
    Some(after.split_once('"')?.0.to_owned())
}
