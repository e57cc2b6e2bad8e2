//! What a browser sends when a form is sent: names and texts, in order, names possibly repeated.
//!
//! A form may hold a token or a secret, so what is written of one for those who debug is the names of its fields.
//!
//! Source: the URL standard, section 5 (`application/x-www-form-urlencoded`).

use std::fmt;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use url::form_urlencoded;

use crate::api::Error;
use crate::api::body::read_form;

/// The most fields of a form; the rest is not looked at.
const MOST_FIELDS: usize = 1000;

/// The fields of a form.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Form {
    /// Reads the body of a request, of at most `limit` bytes as they are sent.
    ///
    /// # Errors
    /// 415 when it is no form, 413 when it is too long, 408 when it does not arrive in time.
    pub fn read(
        request: &HttpRequest,
        payload: &mut Payload,
        limit: usize,
    ) -> impl Future<Output = Result<Self, Error>> + use<> {
        let reading = read_form(request, payload, limit);
        async { reading.await.map(|bytes| Self::parse(&bytes)) }
    }

    /// The fields in `text`, of a body or of a query.
    pub fn parse(text: &[u8]) -> Self {
        // Browsers end the lines of a text with CR LF, whatever was typed.
        let field = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (name.into_owned(), value.replace("\r\n", "\n"))
        };
        Self(form_urlencoded::parse(text).take(MOST_FIELDS).map(field).collect())
    }

    /// The first value of a field.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first value of a field, white space around it cut off; `None` where nothing is left.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.one(name).map(str::trim).filter(|text| !text.is_empty())
    }

    /// Whether a box was ticked, or a button of that name was pressed.
    pub fn has(&self, name: &str) -> bool {
        self.one(name).is_some()
    }

    /// All values of a field, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_not_written_for_those_who_debug() {
        let form = Form::parse(b"token=a.b.c&secret=whsec_x");
        assert_eq!(format!("{form:?}"), r#"{"token", "secret"}"#);
    }

    #[test]
    fn fields_come_in_order_and_lines_end_in_one_way() {
        let form = Form::parse(b"a=1&b=x%0D%0Ay&a=2&c=+&d");
        assert_eq!(form.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((form.one("b"), form.filled("c"), form.one("c")), (Some("x\ny"), None, Some(" ")));
        assert_eq!((form.has("d"), form.has("e")), (true, false));
        let many = "a=1&".repeat(MOST_FIELDS + 5);
        assert_eq!(Form::parse(many.as_bytes()).all("a").count(), MOST_FIELDS);
    }
}
