//! The list of webhooks: searched, narrowed to a state, a page at a time.
//!
//! What is read is bounded by the quotas (`limits.webhooks_per_user`, and `limits.webhooks_per_tenant` where an administrator
//! looks at all): every record, for the search and the order look at all of them, two hundred a round trip. Figures are read
//! where they decide something: of the active webhooks that were found, which may be failing, and of those on the page. Where
//! there are many and nothing is searched for, the records and figures of the page alone are read, and the newest come first.

use actix_web::{HttpRequest, HttpResponse, web};

use super::rows;
use crate::api::access::webhooks_of;
use crate::api::webhooks::view::status_of;
use crate::api::{App, Error};
use crate::dashboard::form::Form;
use crate::dashboard::page::{Page, Section};
use crate::dashboard::visit::Visit;
use crate::domain::{Catalogue, Pattern, Status, Webhook};
use crate::store::webhooks::{Figures, Indexed, Webhooks, Whose};

/// Webhooks on a page.
pub const PAGE: usize = 25;
/// Where more are listed, all of them are read only if something is looked for among them.
const MOST_READ: usize = 1000;
/// Of what is searched for, this many characters count.
const LONGEST_SEARCH: usize = 200;

/// Which states are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All of them.
    All,
    /// Those in that state.
    Only(Status),
}

impl Shown {
    /// In the order in which they are offered.
    pub const ALL: [Self; 5] = [
        Self::All,
        Self::Only(Status::Active),
        Self::Only(Status::Failing),
        Self::Only(Status::Inactive),
        Self::Only(Status::Disabled),
    ];

    /// Its word in an address.
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Only(Status::Active) => "active",
            Self::Only(Status::Failing) => "failing",
            Self::Only(Status::Inactive) => "paused",
            Self::Only(Status::Disabled) => "off",
        }
    }

    fn of_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|shown| shown.word() == word).unwrap_or(Self::All)
    }

    fn holds(self, status: Status) -> bool {
        self == Self::All || self == Self::Only(status)
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is searched for; empty = nothing.
    pub search: String,
    /// The states.
    pub shown: Shown,
    /// Whose.
    pub scope: Scope,
    /// Counts from 1.
    pub page: usize,
}

/// Whose webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The visitor's.
    Own,
    /// Those of the whole organization.
    Everybody,
}

impl Asked {
    /// What an address asks for; what makes no sense in it is left out.
    pub fn of(query: &str) -> Self {
        let form = Form::parse(query.as_bytes());
        let search = form.filled("q").unwrap_or_default();
        Self {
            search: search.chars().take(LONGEST_SEARCH).collect(),
            shown: Shown::of_word(form.one("state").unwrap_or_default()),
            scope: if form.one("all") == Some("true") { Scope::Everybody } else { Scope::Own },
            page: form.one("page").and_then(|page| page.parse().ok()).unwrap_or(1).max(1),
        }
    }

    /// How many stand on the pages before.
    pub fn skipped(&self) -> usize {
        (self.page - 1).saturating_mul(PAGE)
    }
}

/// A webhook, and how it does.
#[derive(Clone, Debug)]
pub struct Row {
    /// The webhook.
    pub webhook: Webhook,
    /// Its figures; empty until they are needed.
    pub figures: Figures,
}

impl Row {
    fn new(webhook: Webhook) -> Self {
        Self { webhook, figures: Figures::default() }
    }

    fn status(&self) -> Status {
        status_of(&self.webhook, self.figures)
    }
}

/// What is shown.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Those of the page.
    pub rows: Vec<Row>,
    /// How many there are, whatever is searched for.
    pub all: usize,
    /// How many were found, for each of [`Shown::ALL`]; `None` = there are too many to count, and the newest come first.
    pub counts: Option<[usize; 5]>,
    /// How many are in the states that are shown.
    pub found: usize,
}

/// `GET /dashboard/webhooks`
///
/// # Errors
/// 403 for those who may not see everybody's, or the store's.
pub async fn show(app: web::Data<App>, visit: Visit, request: HttpRequest) -> Result<HttpResponse, Error> {
    let asked = Asked::of(request.query_string());
    let whose = match asked.scope {
        Scope::Own => Whose::Of(&visit.user),
        Scope::Everybody if visit.is_admin => Whose::All,
        Scope::Everybody => {
            return Err(Error::Forbidden("the webhooks of others are for administrators to see"));
        }
    };
    let listed = read(&webhooks_of(&app, &visit), whose, &visit, &asked, &app.config.catalogue).await?;
    let body = rows::page(&visit, &asked, &listed);
    Ok(Page { title: "Webhooks", section: Section::Webhooks, trail: &[], scripts: &[], body }.answer(&visit))
}

async fn read(
    webhooks: &Webhooks<'_>,
    whose: Whose<'_>,
    visit: &Visit,
    asked: &Asked,
    catalogue: &Catalogue,
) -> Result<Listed, Error> {
    let entries = webhooks.list(whose).await?;
    if is_newest_first(entries.len(), asked) {
        return newest(webhooks, whose, visit, asked, &entries).await;
    }
    let mut found = webhooks.read(&entries, whose, visit.now).await?;
    let all = found.len();
    found.retain(|webhook| is_found(webhook, &asked.search, catalogue));
    let mut rows: Vec<Row> = found.into_iter().map(Row::new).collect();
    fill(webhooks, &mut rows, |row| row.webhook.is_active).await?;
    let counts = Shown::ALL.map(|shown| rows.iter().filter(|row| shown.holds(row.status())).count());
    let mut rows = page(rows, asked);
    fill(webhooks, &mut rows, |row| !row.webhook.is_active).await?;
    let place = Shown::ALL.iter().position(|shown| *shown == asked.shown);
    Ok(Listed { rows, all, counts: Some(counts), found: place.map_or(0, |place| counts[place]) })
}

/// Whether of so many webhooks the page's alone are read.
fn is_newest_first(listed: usize, asked: &Asked) -> bool {
    listed > MOST_READ && asked.search.is_empty() && asked.shown == Shown::All
}

/// The page's own, in the order of the index.
async fn newest(
    webhooks: &Webhooks<'_>,
    whose: Whose<'_>,
    visit: &Visit,
    asked: &Asked,
    entries: &[Indexed],
) -> Result<Listed, Error> {
    let start = asked.skipped().min(entries.len());
    let entries_of_page = &entries[start..entries.len().min(start + PAGE)];
    let found = webhooks.read(entries_of_page, whose, visit.now).await?;
    let mut rows: Vec<Row> = found.into_iter().map(Row::new).collect();
    fill(webhooks, &mut rows, |_| true).await?;
    Ok(Listed { rows, all: entries.len(), counts: None, found: entries.len() })
}

/// Reads the figures of some rows.
async fn fill(webhooks: &Webhooks<'_>, rows: &mut [Row], wanted: impl Fn(&Row) -> bool) -> Result<(), Error> {
    let rows: Vec<&mut Row> = rows.iter_mut().filter(|row| wanted(row)).collect();
    let figures = webhooks.figures(rows.iter().map(|row| &row.webhook.id)).await?;
    rows.into_iter().zip(figures).for_each(|(row, figures)| row.figures = figures);
    Ok(())
}

/// The rows of the page that is asked for: what needs looking at first, else the newest first.
fn page(mut rows: Vec<Row>, asked: &Asked) -> Vec<Row> {
    rows.retain(|row| asked.shown.holds(row.status()));
    // Keeps the order among equals, which is newest first.
    rows.sort_by_key(|row| match row.status() {
        Status::Failing => 0,
        Status::Disabled => 1,
        Status::Active | Status::Inactive => 2,
    });
    rows.into_iter().skip(asked.skipped()).take(PAGE).collect()
}

/// Whether `search` is in its name, endpoint, description, id or events, or names an event type that it gets.
fn is_found(webhook: &Webhook, search: &str, catalogue: &Catalogue) -> bool {
    let wanted = search.to_lowercase();
    let settings = &webhook.settings;
    let holds = |text: &str| text.to_lowercase().contains(&wanted);
    let is_event = catalogue.get(search).is_some();
    let gets = |pattern: &Pattern| holds(&pattern.to_string()) || (is_event && pattern.matches(search));
    wanted.is_empty()
        || [settings.name.as_str(), &settings.url, webhook.id.as_str()].into_iter().any(holds)
        || settings.description.as_deref().is_some_and(holds)
        || settings.events.iter().any(gets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::config;
    use crate::dashboard::webhooks::testing::webhook;
    use crate::domain::DisabledReason;

    #[test]
    fn an_address_asks_for_something_sensible_whatever_it_says() {
        let asked = Asked::of("q=+Lead+&state=paused&all=true&page=3");
        assert_eq!((asked.search.as_str(), asked.shown.word(), asked.page), ("Lead", "paused", 3));
        assert_eq!(asked.scope, Scope::Everybody);
        let odd = Asked::of("state=x&all=yes&page=-1&q=+");
        assert_eq!((odd.shown, odd.scope, odd.page, odd.search.as_str()), (Shown::All, Scope::Own, 1, ""));
        assert_eq!(Asked::of("page=0").page, 1);
        assert_eq!(Asked::of(&format!("q={}", "x".repeat(500))).search.len(), LONGEST_SEARCH);
    }

    #[test]
    fn a_webhook_is_found_by_what_a_person_knows_of_it() {
        let catalogue = config().catalogue;
        let mut one = webhook();
        one.settings.events = vec!["lead.*".parse().unwrap()];
        one.settings.description = Some("for the Warehouse".into());
        for search in
            ["", "WAREHOUSE", "leads to", "example.com", "wh_00abc", "lead.*", "lead.created", "for the w"]
        {
            assert!(is_found(&one, search, &catalogue), "{search}");
        }
        for search in ["opportunity.won", "hidden", "whsec", "lead.unknown"] {
            assert!(!is_found(&one, search, &catalogue), "{search}");
        }
    }

    #[test]
    fn of_many_the_page_alone_is_read_unless_something_is_looked_for() {
        for (listed, query, expected) in [
            (MOST_READ, "", false),
            (MOST_READ + 1, "", true),
            (MOST_READ + 1, "all=true&page=7", true),
            (MOST_READ + 1, "q=lead", false),
            (MOST_READ + 1, "state=failing", false),
        ] {
            assert_eq!(is_newest_first(listed, &Asked::of(query)), expected, "{listed} {query}");
        }
    }

    #[test]
    fn what_needs_looking_at_comes_first_then_the_newest() {
        let row = |name: &str, reason: Option<DisabledReason>| {
            let mut webhook = webhook();
            webhook.settings.name = name.into();
            webhook.disabled_reason = reason;
            Row { webhook, figures: Figures::default() }
        };
        let names = |rows: Vec<Row>| {
            rows.into_iter().map(|row| row.webhook.settings.name).collect::<Vec<_>>().join(" ")
        };
        let rows = vec![row("new", None), row("old", None), row("gone", Some(DisabledReason::Gone))];
        assert_eq!(names(page(rows.clone(), &Asked::of(""))), "gone new old");
        assert_eq!(names(page(rows.clone(), &Asked::of("state=active"))), "new old");
        assert_eq!(names(page(rows.clone(), &Asked::of("page=2"))), "");
        assert_eq!(names(page(rows, &Asked::of(&format!("page={}", usize::MAX)))), "");
        let many: Vec<Row> = (0..30).map(|number| row(&number.to_string(), None)).collect();
        assert_eq!(names(page(many.clone(), &Asked::of("page=2"))), "25 26 27 28 29");
        assert_eq!(page(many, &Asked::of("")).len(), PAGE);
    }
}
