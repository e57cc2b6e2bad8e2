//! Reads query parameters and collects every fault. Parameters that no route knows are ignored, as browsers, proxies
//! and campaign links add theirs; a known one is checked strictly.

use actix_web::HttpRequest;
use url::form_urlencoded;

use super::error::Error;
use crate::domain::Millis;

/// Rows on a page when the client does not say.
pub const DEFAULT_LIMIT: u32 = 20;
/// The most rows on a page.
pub const MAX_LIMIT: u32 = 100;

/// The parameters of one request.
#[derive(Debug)]
pub struct Query {
    pairs: Vec<(String, String)>,
    faults: Vec<String>,
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Counts from 1.
    pub page: u32,
    /// Rows on a page, 1..=100.
    pub limit: u32,
}

impl Page {
    /// Rows before the page.
    pub fn offset(self) -> u64 {
        u64::from(self.page - 1) * u64::from(self.limit)
    }

    /// The page's part of a whole list.
    pub fn slice<T>(self, all: &[T]) -> &[T] {
        let start = usize::try_from(self.offset()).unwrap_or(usize::MAX).min(all.len());
        let end = start.saturating_add(self.limit as usize).min(all.len());
        &all[start..end]
    }
}

impl Query {
    /// The parameters of `request`.
    pub fn of(request: &HttpRequest) -> Self {
        Self::parse(request.query_string())
    }

    /// The parameters of a query string, without its `?`.
    pub fn parse(text: &str) -> Self {
        Self { pairs: form_urlencoded::parse(text.as_bytes()).into_owned().collect(), faults: Vec::new() }
    }

    /// Notes a fault.
    pub fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    /// A parameter as it is given; a fault when given twice.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let mut values = self.pairs.iter().filter(|(given, _)| given == name).map(|(_, value)| value);
        let first = values.next().cloned();
        if values.next().is_some() {
            self.faults.push(format!("{name} should be given once"));
        }
        first
    }

    /// `true` or `false`, nothing else.
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.text(name)?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.faults.push(format!("{name} must be true or false"));
                None
            }
        }
    }

    /// A time in RFC 3339.
    pub fn time(&mut self, name: &str) -> Option<Millis> {
        let text = self.text(name)?;
        // A plus sign that was not escaped stands for a space in a query.
        let time = Millis::parse_rfc3339(&text.replace(' ', "+"));
        if time.is_none() {
            self.faults
                .push(format!("{name} must be an RFC 3339 date-time, such as 2026-01-15T10:30:00.000Z"));
        }
        time
    }

    /// `page` and `limit`; 0 and absence mean the default.
    pub fn page(&mut self) -> Page {
        let page = self.number("page", u32::MAX).max(1);
        let limit = match self.number("limit", MAX_LIMIT) {
            0 => DEFAULT_LIMIT,
            given => given,
        };
        Page { page, limit }
    }

    /// As [`Self::page`], but `None` when neither is given.
    pub fn page_if_asked(&mut self) -> Option<Page> {
        let asked = self.pairs.iter().any(|(name, _)| name == "page" || name == "limit");
        asked.then(|| self.page())
    }

    fn number(&mut self, name: &str, most: u32) -> u32 {
        let Some(text) = self.text(name) else { return 0 };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && number <= most => number,
            _ => {
                self.faults.push(format!("{name} must be an integer from 0 to {most}"));
                0
            }
        }
    }

    /// Ends the check.
    ///
    /// # Errors
    /// Every fault noted.
    pub fn finish(self) -> Result<(), Error> {
        if self.faults.is_empty() { Ok(()) } else { Err(Error::Invalid(self.faults)) }
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_defaults_and_a_bound() {
        let cases = [
            ("", Some((1, 20))),
            ("page=0&limit=0", Some((1, 20))),
            ("page=3&limit=100", Some((3, 100))),
            ("other=x&page=2", Some((2, 20))),
            ("limit=101", None),
            ("page=-1", None),
            ("page=%2B1", None),
            ("page=", None),
            ("page=1&page=2", None),
            ("page=99999999999", None),
            ("limit=1.5", None),
        ];
        for (text, expected) in cases {
            let mut query = Query::parse(text);
            let Page { page, limit } = query.page();
            let found = query.finish().is_ok().then_some((page, limit));
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(Query::parse("isActive=true").page_if_asked(), None);
    }

    #[test]
    fn booleans_are_true_or_false() {
        for (text, expected) in [
            ("on=true", Ok(Some(true))),
            ("on=false", Ok(Some(false))),
            ("", Ok(None)),
            ("on=", Err(())),
            ("on=1", Err(())),
            ("on=TRUE", Err(())),
        ] {
            let mut query = Query::parse(text);
            let found = query.boolean("on");
            assert_eq!(query.finish().map(|()| found).map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn times_are_rfc_3339_with_any_offset() {
        let at = Some(Millis(1_768_473_000_000));
        for (text, expected) in [
            ("since=2026-01-15T10:30:00Z", Ok(at)),
            ("since=2026-01-15T11:30:00%2B01:00", Ok(at)),
            ("since=2026-01-15T11:30:00+01:00", Ok(at)),
            ("", Ok(None)),
            ("since=", Err(())),
            ("since=yesterday", Err(())),
            ("since=1768473000", Err(())),
        ] {
            let mut query = Query::parse(text);
            let found = query.time("since");
            assert_eq!(query.finish().map(|()| found).map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn a_page_past_the_end_is_empty() {
        let all = [1, 2, 3];
        let page = |page, limit| Page { page, limit };
        assert_eq!(page(1, 2).slice(&all), [1, 2]);
        assert_eq!(page(2, 2).slice(&all), [3]);
        assert!(page(u32::MAX, 100).slice(&all).is_empty());
    }
}
