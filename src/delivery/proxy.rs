//! The forward proxy that deliveries go through, where the settings name one.
//!
//! An https endpoint gets a tunnel (RFC 9110, section 9.3.6); the proxy sees a host name, a port and TLS. A request to an http
//! endpoint goes to the proxy as a whole, with the absolute URL (RFC 9112, section 3.2.2). The credentials (RFC 7617) go with
//! either and never to an endpoint.
//!
//! The proxy looks names up by itself. What the guard found here is no promise of where it connects to: it has to enforce the
//! ranges itself (docs/security.md).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::uri::Scheme;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::ProxyUrl;

/// The longest head of an answer to `CONNECT`, in bytes.
const LONGEST_HEAD: usize = 8192;

/// Why an attempt did not get through the proxy. Names neither the proxy nor what it said: the text reaches the webhook's
/// owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It cannot be reached, or does not speak as a proxy does. Ours.
    #[error("the proxy of the service could not be reached")]
    Unreached,
    /// It wants other credentials than it gets. Ours.
    #[error("the proxy of the service refused its authentication")]
    Unauthenticated,
    /// It opens no tunnel to that endpoint.
    #[error("the proxy refused the connection")]
    Refused,
}

/// The proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where it is: `http://host:port/`.
    pub url: Uri,
    /// What it is shown; marked as sensitive, so that it is never printed.
    pub authorization: Option<HeaderValue>,
}

impl Proxy {
    /// The proxy of the settings, which hold an http URL with a host and nothing behind it.
    pub fn new(url: &ProxyUrl) -> Self {
        let (host, port) =
            (url.0.host_str().unwrap_or_default(), url.0.port_or_known_default().unwrap_or(80));
        let at = format!("http://{host}:{port}/").parse().expect("the parts of a URL make one");
        Self { url: at, authorization: authorization(url) }
    }
}

fn authorization(ProxyUrl(url): &ProxyUrl) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    let text = format!("Basic {}", STANDARD.encode(credentials));
    let mut value = HeaderValue::try_from(text).expect("base64 is a header's value");
    value.set_sensitive(true);
    Some(value)
}

/// Whether a request to that URL goes to the proxy as a whole, and not through a tunnel.
pub fn is_forwarded(to: &Uri) -> bool {
    to.scheme() == Some(&Scheme::HTTP)
}

/// Has the proxy at the other end of `stream` connect it to the host of `to`.
pub async fn tunnel(stream: &mut TcpStream, to: &Uri, proxy: &Proxy) -> Result<(), Fault> {
    let head = connect_head(to, proxy.authorization.as_ref());
    stream.write_all(&head).await.map_err(|_| Fault::Unreached)?;
    let mut answer = Vec::new();
    // One at a time, so that nothing is read of what the endpoint says behind it; it is once for each connection.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == LONGEST_HEAD {
            return Err(Fault::Unreached);
        }
        answer.push(stream.read_u8().await.map_err(|_| Fault::Unreached)?);
    }
    match status(&answer) {
        Some(200..=299) => Ok(()),
        Some(407) => Err(Fault::Unauthenticated),
        Some(_) => Err(Fault::Refused),
        None => Err(Fault::Unreached),
    }
}

fn connect_head(to: &Uri, authorization: Option<&HeaderValue>) -> Vec<u8> {
    let (host, port) = (to.host().unwrap_or_default(), to.port_u16().unwrap_or(443));
    let mut head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(value) = authorization {
        head.extend(b"Proxy-Authorization: ");
        head.extend(value.as_bytes());
        head.extend(b"\r\n");
    }
    head.extend(b"\r\n");
    head
}

/// The status of an answer: `HTTP/1.1 200 Connection established`.
fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let (version, rest) = line.split_once(' ')?;
    let code = rest.split(' ').next().filter(|code| code.len() == 3)?;
    version.starts_with("HTTP/1.").then(|| code.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str) -> Proxy {
        Proxy::new(&ProxyUrl(url.parse().expect("a URL")))
    }

    #[test]
    fn the_credentials_of_the_url_are_shown_to_the_proxy_alone() {
        let plain = proxy("http://proxy.corp:3128");
        assert_eq!((plain.url.to_string().as_str(), plain.authorization), ("http://proxy.corp:3128/", None));
        assert_eq!(proxy("http://[fd00::1]").url.to_string(), "http://[fd00::1]:80/");
        // RFC 7617, section 2.
        let known = proxy("http://Aladdin:open%20sesame@proxy.corp:3128");
        let expected = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        assert_eq!(known.authorization.as_ref().expect("credentials"), expected);
        assert!(!format!("{known:?}").contains("QWxh"), "{known:?}");
        assert!(proxy("http://user@proxy.corp").authorization.is_some());
    }

    #[test]
    fn a_tunnel_is_asked_for_by_name_and_port() {
        for (to, line) in [
            ("https://example.com/hook?a=b", "CONNECT example.com:443 HTTP/1.1"),
            ("https://example.com:8443/", "CONNECT example.com:8443 HTTP/1.1"),
            ("https://[2606:4700::1111]/", "CONNECT [2606:4700::1111]:443 HTTP/1.1"),
        ] {
            let known = proxy("http://a:b@proxy.corp");
            let head = connect_head(&to.parse().expect("a URL"), known.authorization.as_ref());
            let head = String::from_utf8(head).expect("text");
            assert_eq!(head.lines().next(), Some(line));
            assert!(head.ends_with("\r\nProxy-Authorization: Basic YTpi\r\n\r\n"), "{head}");
        }
    }

    #[test]
    fn only_a_status_line_has_a_status() {
        for (line, expected) in [
            ("HTTP/1.1 200 Connection established", Some(200)),
            ("HTTP/1.0 407 Proxy Authentication Required", Some(407)),
            ("HTTP/1.1 502", Some(502)),
            ("HTTP/1.1 20", None),
            ("HTTP/1.1  200 OK", None),
            ("SSH-2.0-OpenSSH 200 x", None),
            ("", None),
        ] {
            assert_eq!(status(format!("{line}\r\nA: b\r\n\r\n").as_bytes()), expected, "{line}");
        }
    }
}
