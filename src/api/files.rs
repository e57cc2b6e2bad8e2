//! Answers with a file that lies in memory: type, `ETag`, and 304 where the client has it.
//!
//! Sources: RFC 9110 sections 8.8.3 (`ETag`) and 13.1.2 (`If-None-Match`), RFC 9111 section 5.2.2.4 (`no-cache`: keep it,
//! but ask).

use std::borrow::Cow;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Bytes of the hash that names a version.
const NAME_BYTES: usize = 16;

/// A file.
#[derive(Clone, Debug)]
pub struct File {
    content_type: &'static str,
    bytes: Bytes,
    tag: String,
}

impl File {
    /// A file of that type with these bytes.
    pub fn new(content_type: &'static str, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        let bytes = match bytes.into() {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&bytes)[..NAME_BYTES]));
        Self { content_type, bytes, tag }
    }
}

/// The answer to `request` for `file`.
pub fn answer(request: &HttpRequest, file: &File) -> HttpResponse {
    if is_known(request, &file.tag) {
        return head(&mut HttpResponse::NotModified(), file).finish();
    }
    head(&mut HttpResponse::Ok(), file)
        .insert_header((CONTENT_TYPE, file.content_type))
        .body(file.bytes.clone())
}

fn head<'a>(response: &'a mut HttpResponseBuilder, file: &File) -> &'a mut HttpResponseBuilder {
    response.insert_header((ETAG, file.tag.as_str())).insert_header((CACHE_CONTROL, "no-cache"))
}

/// Whether the client has that version. Compared weakly: a proxy that codes the body may weaken the tag.
fn is_known(request: &HttpRequest, tag: &str) -> bool {
    let lines = request.headers().get_all(IF_NONE_MATCH).filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_client_that_has_the_file_is_not_sent_it_again() {
        let file = File::new("text/css", b"a{}".as_slice());
        let tag = file.tag.clone();
        let cases = [
            (None, 200),
            (Some("*".to_owned()), 304),
            (Some(tag.clone()), 304),
            (Some(format!("\"other\", W/{tag}")), 304),
            (Some("\"other\"".to_owned()), 200),
            (Some(tag.trim_matches('"').to_owned()), 200),
        ];
        for (given, status) in cases {
            let mut request = TestRequest::get();
            if let Some(tags) = &given {
                request = request.insert_header((IF_NONE_MATCH, tags.as_str()));
            }
            let answer = answer(&request.to_http_request(), &file);
            assert_eq!(answer.status(), status, "{given:?}");
            assert_eq!(answer.headers().get(ETAG).unwrap(), tag.as_str());
            assert_eq!(answer.headers().contains_key(CONTENT_TYPE), status == 200);
        }
    }
}
