//! The settings of a webhook as a form holds them: texts, whatever was typed. They become the JSON body that the API takes, so
//! that its rules alone say what is wrong with them. Pure.
//!
//! [`Draft::changes`] leaves out what stands as it stood, so that the audit log names what somebody changed. Two drafts are
//! compared as the JSON that they become: how a number or a filter was spelled is no change.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::webhooks::rules::{MAX_DELAY_SECONDS, MAX_RETRIES};
use crate::dashboard::form::Form;
use crate::dashboard::pretty::pretty;
use crate::domain::{Backoff, Pattern, Retries, Webhook};
use crate::policy::json::compact;

/// What stands for an empty schedule: no retries. Nothing at all stands for no schedule.
pub const NO_RETRIES: &str = "none";
/// The most header rows that are read; the API takes fewer headers.
const MOST_ROWS: usize = 100;

/// What a form holds.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// `name`
    pub name: String,
    /// `description`; empty = null
    pub description: String,
    /// `url`
    pub url: String,
    /// In order, each once.
    pub events: Vec<String>,
    /// Names and values; rows of which nothing was filled in are left out.
    pub headers: Vec<(String, String)>,
    /// `isActive`
    pub is_active: bool,
    /// `retryAttempts`
    pub retry_attempts: String,
    /// `retryDelaySeconds`
    pub retry_delay_seconds: String,
    /// `retryBackoff`
    pub retry_backoff: String,
    /// `retrySchedule`: seconds with spaces between them, or [`NO_RETRIES`]; empty = null
    pub retry_schedule: String,
    /// `timeoutSeconds`
    pub timeout_seconds: String,
    /// `rateLimitPerSecond`; empty = null
    pub rate_limit_per_second: String,
    /// `maxConcurrency`
    pub max_concurrency: String,
    /// `ordered`
    pub ordered: bool,
    /// `filter`, as JSON; empty = null
    pub filter: String,
    /// The secret that is asked for; empty = one is made.
    pub secret: String,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draft(***)")
    }
}

/// A field by its name in the API, and what it becomes.
type Written = (&'static str, Box<RawValue>);

impl Draft {
    /// What was sent.
    pub fn of_form(form: &Form) -> Self {
        let text = |name| form.one(name).unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            description: text("description"),
            url: text("url"),
            events: in_order(form.all("events").map(str::to_owned).collect()),
            headers: header_rows(form),
            is_active: form.has("isActive"),
            retry_attempts: text("retryAttempts"),
            retry_delay_seconds: text("retryDelaySeconds"),
            retry_backoff: text("retryBackoff"),
            retry_schedule: text("retrySchedule"),
            timeout_seconds: text("timeoutSeconds"),
            rate_limit_per_second: text("rateLimitPerSecond"),
            max_concurrency: text("maxConcurrency"),
            ordered: form.has("ordered"),
            filter: text("filter"),
            secret: text("secret"),
        }
    }

    /// What is stored; the secret is not shown again.
    pub fn of_webhook(webhook: &Webhook) -> Self {
        let settings = &webhook.settings;
        let Retries { attempts, delay_seconds, backoff, schedule } = &settings.retries;
        let filter = settings.filter.as_ref().and_then(|filter| serde_json::to_string(filter).ok());
        Self {
            // Browsers take line breaks out of a line, and write them in one way in a text.
            name: settings.name.replace(['\r', '\n'], ""),
            description: lines(settings.description.as_deref().unwrap_or_default()),
            url: settings.url.clone(),
            events: in_order(settings.events.iter().map(Pattern::to_string).collect()),
            headers: settings.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            is_active: webhook.is_active,
            retry_attempts: attempts.to_string(),
            retry_delay_seconds: delay_seconds.to_string(),
            retry_backoff: word(*backoff).to_owned(),
            retry_schedule: schedule.as_deref().map(listed).unwrap_or_default(),
            timeout_seconds: settings.timeout_seconds.to_string(),
            rate_limit_per_second: settings
                .rate_limit_per_second
                .map(|rate| rate.to_string())
                .unwrap_or_default(),
            max_concurrency: settings.max_concurrency.to_string(),
            ordered: settings.ordered,
            filter: filter.map(|json| pretty(&json)).unwrap_or_default(),
            secret: String::new(),
        }
    }

    /// The body of a creation.
    pub fn body(&self) -> Vec<u8> {
        let mut fields = self.fields();
        if !self.secret.trim().is_empty() {
            fields.push(("secret", raw(self.secret.trim())));
        }
        object(&fields)
    }

    /// The body of a change: the fields that differ from `stored`.
    pub fn changes(&self, stored: &Self) -> Vec<u8> {
        let mut fields = self.fields();
        fields.retain(|(name, _)| self.differs(stored, name));
        object(&fields)
    }

    /// Whether a field, by its name in the API, becomes something else than that of `other`.
    pub fn differs(&self, other: &Self, name: &str) -> bool {
        let written = |draft: &Self| draft.fields().into_iter().find(|(known, _)| *known == name);
        written(self).map(|(_, value)| value.to_string())
            != written(other).map(|(_, value)| value.to_string())
    }

    /// The names of all fields that a change can send.
    pub fn names(&self) -> Vec<&'static str> {
        self.fields().into_iter().map(|(name, _)| name).collect()
    }

    /// The retries, if what was typed are numbers within their bounds.
    pub fn retries(&self) -> Option<Retries> {
        let number = |text: &str, most| text.trim().parse::<u32>().ok().filter(|number| *number <= most);
        let schedule = match delays(&self.retry_schedule) {
            None => None,
            Some(parts) if parts.len() > MAX_RETRIES as usize => return None,
            Some(parts) => {
                Some(parts.iter().map(|part| number(part, MAX_DELAY_SECONDS)).collect::<Option<Vec<u32>>>()?)
            }
        };
        if schedule.is_some() {
            let backoff = Backoff::Fixed;
            return Some(Retries { attempts: 0, delay_seconds: 0, backoff, schedule });
        }
        Some(Retries {
            attempts: number(&self.retry_attempts, MAX_RETRIES)?,
            delay_seconds: number(&self.retry_delay_seconds, MAX_DELAY_SECONDS)?,
            backoff: serde_json::from_value(self.retry_backoff.as_str().into()).ok()?,
            schedule: None,
        })
    }

    /// What it subscribes to, as far as it can be read.
    pub fn patterns(&self) -> Vec<Pattern> {
        self.events.iter().filter_map(|text| text.parse().ok()).collect()
    }

    fn fields(&self) -> Vec<Written> {
        vec![
            ("name", raw(self.name.trim())),
            ("description", raw(&filled(&self.description))),
            ("url", raw(self.url.trim())),
            ("events", raw(&self.events)),
            ("headers", pairs(&self.headers)),
            ("isActive", raw(&self.is_active)),
            ("retryAttempts", number(&self.retry_attempts)),
            ("retryDelaySeconds", number(&self.retry_delay_seconds)),
            ("retryBackoff", raw(&self.retry_backoff)),
            ("retrySchedule", schedule(&self.retry_schedule)),
            ("timeoutSeconds", number(&self.timeout_seconds)),
            ("rateLimitPerSecond", filled(&self.rate_limit_per_second).map_or(raw(&()), number)),
            ("maxConcurrency", number(&self.max_concurrency)),
            ("ordered", raw(&self.ordered)),
            ("filter", filled(&self.filter).map_or(raw(&()), json)),
        ]
    }
}

/// The rows of headers in a form: names and values in turn.
pub fn header_rows(form: &Form) -> Vec<(String, String)> {
    let pair = |(name, value): (&str, &str)| (name.trim().to_owned(), value.trim().to_owned());
    let rows = form.all("headerName").zip(form.all("headerValue")).take(MOST_ROWS).map(pair);
    rows.filter(|(name, value)| !name.is_empty() || !value.is_empty()).collect()
}

/// Headers as a JSON object; a name that is given twice stands in it twice, for the API to say so.
pub fn pairs(headers: &[(String, String)]) -> Box<RawValue> {
    let members: Vec<String> =
        headers.iter().map(|(name, value)| format!("{}:{}", raw(name), raw(value))).collect();
    RawValue::from_string(format!("{{{}}}", members.join(","))).unwrap_or_else(|_| raw(&()))
}

/// Anything that can be written as JSON.
pub fn raw(value: &(impl Serialize + ?Sized)) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A body of these fields.
pub fn object(fields: &[(&'static str, Box<RawValue>)]) -> Vec<u8> {
    let members: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(",")).into_bytes()
}

/// The word of the API.
pub fn word(backoff: Backoff) -> &'static str {
    match backoff {
        Backoff::Fixed => "fixed",
        Backoff::Linear => "linear",
        Backoff::Exponential => "exponential",
    }
}

fn in_order(mut events: Vec<String>) -> Vec<String> {
    events.sort();
    events.dedup();
    events
}

fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn listed(delays: &[u32]) -> String {
    if delays.is_empty() {
        return NO_RETRIES.to_owned();
    }
    delays.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

/// `None` where nothing but space was typed.
fn filled(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// What is no number stays a text, for the API to say what it must be.
fn number(text: &str) -> Box<RawValue> {
    text.trim().parse::<u64>().map_or_else(|_| raw(text), |number| raw(&number))
}

fn delays(text: &str) -> Option<Vec<&str>> {
    match filled(text)? {
        NO_RETRIES => Some(Vec::new()),
        text => Some(text.split([' ', ',', ';', '\n', '\t']).filter(|part| !part.is_empty()).collect()),
    }
}

fn schedule(text: &str) -> Box<RawValue> {
    delays(text).map_or(raw(&()), |parts| raw(&parts.into_iter().map(number).collect::<Vec<_>>()))
}

/// JSON as it is stored; what is none stays a text.
fn json(text: &str) -> Box<RawValue> {
    let compacted = RawValue::from_string(text.to_owned()).ok().and_then(|json| {
        let compact = compact(json.get()).ok()?;
        RawValue::from_string(compact).ok()
    });
    compacted.unwrap_or_else(|| raw(text))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dashboard::webhooks::testing::webhook;
    use crate::domain::Filter;

    fn value(body: Vec<u8>) -> Value {
        serde_json::from_slice(&body).expect("JSON")
    }

    #[test]
    fn a_form_becomes_the_body_of_the_api() {
        let form = b"name=+A+&description=&url=https%3A%2F%2Fa.example&events=lead.*&events=*&events=*&headerName=X-A&headerValue=1\
            &headerName=&headerValue=&isActive=on&retryAttempts=3&retryDelaySeconds=x&retryBackoff=linear&retrySchedule=30,+60\
            &timeoutSeconds=&rateLimitPerSecond=&maxConcurrency=16&filter=%7B%22a%22%3A+1.50%7D&secret=+s+";
        let expected = json!({
            "name": "A", "description": null, "url": "https://a.example", "events": ["*", "lead.*"], "headers": {"X-A": "1"},
            "isActive": true, "retryAttempts": 3, "retryDelaySeconds": "x", "retryBackoff": "linear", "retrySchedule": [30, 60],
            "timeoutSeconds": "", "rateLimitPerSecond": null, "maxConcurrency": 16, "ordered": false, "filter": {"a": 1.5},
            "secret": "s",
        });
        let body = Draft::of_form(&Form::parse(form)).body();
        assert!(String::from_utf8_lossy(&body).contains("1.50"), "numbers stay as they were typed");
        assert_eq!(value(body), expected);
    }

    #[test]
    fn what_is_stored_and_comes_back_unchanged_is_no_change() {
        let mut stored = webhook();
        stored.settings.description = Some(" two\r\nlines".into());
        stored.settings.retries.schedule = Some(Vec::new());
        stored.settings.filter = Filter::parse(r#"{"amount":{"gte":1000.0}}"#).ok();
        let shown = Draft::of_webhook(&stored);
        assert!(shown.filter.contains("\n  \"amount\""), "{}", shown.filter);
        assert_eq!(shown.retry_schedule, "none");
        assert_eq!(value(shown.changes(&shown.clone())), json!({}));
        let compact = Draft { filter: "{\"amount\" : {\"gte\":1000.0} }".into(), ..shown.clone() };
        assert_eq!(value(compact.changes(&shown)), json!({}));
        let mut changed = shown.clone();
        changed.headers.push(("X-B".into(), "2".into()));
        changed.retry_schedule = "5 10".into();
        changed.filter = String::new();
        let changes = value(changed.changes(&shown));
        let names: Vec<&str> = changes.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(changes["retrySchedule"], json!([5, 10]));
        assert_eq!(changes["filter"], Value::Null);
    }

    #[test]
    fn a_name_given_twice_is_kept_for_the_api_to_refuse() {
        let twice = [("X-A".to_owned(), "1".to_owned()), ("X-A".to_owned(), "\"2\"".to_owned())];
        assert_eq!(pairs(&twice).get(), r#"{"X-A":"1","X-A":"\"2\""}"#);
    }

    #[test]
    fn retries_are_read_where_they_can_be() {
        let draft = Draft::of_webhook(&webhook());
        assert_eq!(
            draft.retries().as_ref().map(|retries| retries.attempts),
            draft.retry_attempts.parse().ok()
        );
        for schedule in ["30 x", "86401", &"1 ".repeat(21)] {
            assert_eq!(
                Draft { retry_schedule: schedule.into(), ..draft.clone() }.retries(),
                None,
                "{schedule}"
            );
        }
        assert_eq!(Draft { retry_attempts: "21".into(), ..draft.clone() }.retries(), None);
        assert_eq!(Draft { retry_backoff: "Fixed".into(), ..draft }.retries(), None);
    }
}
