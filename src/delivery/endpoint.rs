//! Where a webhook's requests go and what they have in common: made once from its settings, kept beside its record.

use std::time::Duration;

use http::header::{ACCEPT, HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use super::classify::Trouble;
use super::client::Outgoing;
use super::proxy::{self, Proxy};
use super::request::Template;
use crate::domain::webhook::Settings;
use crate::domain::{EventBody, EventId, Millis, TraceContext};
use crate::policy::address::{self, Guard};

/// One webhook as the sender sees it. Holds for as long as the settings that it was made from.
#[derive(Debug)]
pub struct Endpoint {
    url: Result<Uri, Unfit>,
    template: Template,
    timeout: Duration,
    /// What a proxy is shown that takes the request as a whole.
    proxy_authorization: Option<HeaderValue>,
}

/// Why nothing can be requested.
#[derive(Clone, Copy, Debug)]
enum Unfit {
    Blocked(address::Fault),
    /// HTTP has no way to write the URL.
    Unwritable,
}

impl Endpoint {
    /// The endpoint of a webhook. Its URL is checked here ([`address::check_url`]), which gives the same answer every
    /// time; the addresses of its host are checked at every connection.
    pub fn new(settings: &Settings, require_https: bool, guard: &Guard, proxy: Option<&Proxy>) -> Self {
        let url = address::check_url(&settings.url, require_https, guard).map_err(Unfit::Blocked);
        let url = url.and_then(|url| url.as_str().parse::<Uri>().map_err(|_| Unfit::Unwritable));
        let host = url.as_ref().ok().and_then(Uri::authority);
        let host = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let mut connection = HeaderMap::new();
        connection.insert(ACCEPT, HeaderValue::from_static("*/*"));
        connection.extend(host.map(|host| (HOST, host)));
        let is_forwarded = url.as_ref().is_ok_and(proxy::is_forwarded);
        Self {
            proxy_authorization: proxy.filter(|_| is_forwarded).and_then(|proxy| proxy.authorization.clone()),
            url,
            template: Template::new(settings, connection),
            timeout: Duration::from_secs(settings.timeout_seconds.into()),
        }
    }

    /// How long one attempt may take, all of it.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The request of one attempt.
    ///
    /// # Errors
    /// Nothing may be requested of the URL, or nothing can be.
    pub fn request(
        &self,
        event_id: &EventId,
        event: &EventBody,
        attempt: u32,
        at: Millis,
        trace: Option<TraceContext>,
    ) -> Result<Outgoing, Trouble> {
        let url = self.url.as_ref().map_err(|unfit| match unfit {
            Unfit::Blocked(fault) => Trouble::Blocked(*fault),
            Unfit::Unwritable => Trouble::Unwritable,
        })?;
        let mut request = Request::new(Full::new(event.bytes.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.clone();
        let mut headers = self.template.headers(event_id, event, attempt, at, trace);
        if let Some(value) = &self.proxy_authorization {
            headers.insert(PROXY_AUTHORIZATION, value.clone());
        }
        *request.headers_mut() = headers;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::send::tests::{event, settings};

    #[test]
    fn a_url_is_asked_for_as_it_is_written() {
        for (url, host, path) in [
            ("http://example.com", "example.com", "/"),
            ("http://example.com:80/", "example.com", "/"),
            ("https://example.com:443/a", "example.com", "/a"),
            ("https://Example.com:8443/a/b?c=d&e#f", "example.com:8443", "/a/b?c=d&e"),
            ("http://[2606:4700::1111]:8080/?q", "[2606:4700::1111]:8080", "/?q"),
            ("http://example.com//a//b", "example.com", "//a//b"),
            ("http://bücher.example/ä{}|\"", "xn--bcher-kva.example", "/%C3%A4%7B%7D|%22"),
        ] {
            let endpoint = Endpoint::new(&settings(url), false, &Guard::default(), None);
            let id = "evt_1".parse().expect("an id");
            let request = endpoint.request(&id, &event(), 1, Millis(0), None).expect(url);
            assert_eq!(request.headers()[HOST], host, "{url}");
            assert_eq!(request.uri().path_and_query().expect("a path"), path, "{url}");
        }
    }
}
