//! A webhook for the tests of its pages.

use crate::domain::webhook::Settings;
use crate::domain::{Backoff, Millis, Pattern, Retries, Secret, Webhook};

/// A text that would run if it were not escaped.
pub const HOSTILE: &str = "\"><script>alert(1)</script>'<img src=x onerror=alert(2)>";

/// One of `ann` in `acme`.
pub fn webhook() -> Webhook {
    Webhook {
        id: "wh_00abcdefghijklmnopqrstuv".parse().expect("an id"),
        version: 7,
        is_active: true,
        disabled_reason: None,
        updated_at: Millis(5),
        settings: Settings {
            tenant: "org:acme".parse().expect("a tenant"),
            owner: "ann".parse().expect("a user"),
            name: "Leads to the warehouse".into(),
            description: None,
            url: "https://example.com/hook".into(),
            events: vec![Pattern::Everything],
            headers: [("X-Key".to_owned(), "hidden".to_owned())].into(),
            retries: Retries { attempts: 3, delay_seconds: 60, backoff: Backoff::Fixed, schedule: None },
            timeout_seconds: 30,
            rate_limit_per_second: None,
            max_concurrency: 16,
            ordered: false,
            filter: None,
            secret: Secret("whsec_abc".into()),
            former_secrets: Vec::new(),
            created_at: Millis(1),
        },
        locked: None,
    }
}

/// Whether nothing of [`HOSTILE`] stands unescaped in a page.
pub fn is_harmless(page: &str) -> bool {
    !page.contains("<script>alert") && !page.contains("<img src=x") && !page.contains("\">&lt;script")
}
