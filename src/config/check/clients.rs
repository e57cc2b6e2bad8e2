//! The checks of what is said of clients: the proxies in front of them, and the origins of their pages.

use ipnet::IpNet;
use url::{Origin, Url};

use super::{Check, Origins};

/// The most entries of either list: each is compared with every request that needs it.
const MOST: usize = 64;
/// Stands for every origin.
const ANY: &str = "*";

impl Check<'_> {
    pub(super) fn trusted_proxies(&mut self, texts: &[String]) -> Vec<IpNet> {
        let networks: Vec<IpNet> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        let holds = networks.len() == texts.len()
            && networks.len() <= MOST
            && networks.iter().all(|network| network.prefix_len() > 0);
        let expected =
            format!("at most {MOST} networks as CIDR, such as 10.20.0.0/16 or fd00::/8, none of them /0");
        self.demand("server.trusted_proxies", holds, &expected);
        networks
    }

    pub(super) fn origins(&mut self, texts: &[String]) -> Origins {
        if texts == [ANY] {
            return Origins::Any;
        }
        let holds = texts.len() <= MOST && texts.iter().all(|text| is_origin(text));
        let expected = format!(
            "at most {MOST} origins, such as https://app.example.com or http://localhost:3000 (lower case, no path, no \
             slash at the end, no default port), or \"*\" alone"
        );
        self.demand("api.cors_allowed_origins", holds, &expected);
        Origins::These(texts.to_vec())
    }
}

/// Whether `text` is an origin just as browsers write it, or no page would ever match it.
/// Source: the URL standard (WHATWG), section 4.7, serialization of an origin.
fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_web = ["http", "https"].contains(&url.scheme());
    // A pattern is no origin; it would be taken as a host that has this name.
    let is_pattern = text.contains('*');
    is_web
        && !is_pattern
        && matches!(url.origin(), Origin::Tuple(..))
        && url.origin().ascii_serialization() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_that_a_browser_sends() {
        for text in [
            "https://app.example.com",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "https://[2001:db8::1]:8443",
            "https://xn--bcher-kva.example",
        ] {
            assert!(is_origin(text), "{text}");
        }
        for text in [
            "",
            "*",
            "null",
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com/x",
            "https://app.example.com?x",
            "https://App.example.com",
            "HTTPS://app.example.com",
            "https://app.example.com:443",
            "http://localhost:80",
            "https://user@app.example.com",
            "https://*.example.com",
            "https://b\u{fc}cher.example",
            "ftp://example.com",
            "chrome-extension://abcdef",
            " https://app.example.com",
        ] {
            assert!(!is_origin(text), "{text}");
        }
    }
}
