//! The pages of webhooks, against a real Redis.

mod creating;

use std::time::Duration;

use serde_json::{Value, json};

use super::testing::{HOSTILE, is_harmless};
use crate::api::testing::{Answer, admin, config, token, user};
use crate::clock;
use crate::dashboard::testing::{Browser, hidden};
use crate::domain::{EncryptionKey, Shard, WebhookId};
use crate::store::testing::TestRedis;

const LIST: &str = "/dashboard/webhooks";
const NEW: &str = "/dashboard/webhooks/new";
/// What a browser sends of the fields that always stand in the form.
const USUAL: [(&str, &str); 5] = [
    ("retryAttempts", "3"),
    ("retryDelaySeconds", "60"),
    ("retryBackoff", "fixed"),
    ("timeoutSeconds", "30"),
    ("maxConcurrency", "16"),
];
const GOOD: [(&str, &str); 4] =
    [("name", "first"), ("url", "https://example.com/hook"), ("events", "lead.*"), ("isActive", "on")];

/// Ann's browser, and her token for the API.
struct Bench {
    redis: TestRedis,
    browser: Browser,
    ann: String,
}

impl std::ops::Deref for Bench {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        &self.browser
    }
}

impl Bench {
    async fn new() -> Self {
        let redis = TestRedis::start().await;
        let ann = user("ann");
        Self { browser: Browser::of(&ann, &redis).await, redis, ann }
    }

    async fn browser_of(&self, token: &str) -> Browser {
        Browser::of(token, &self.redis).await
    }

    /// A webhook made over the API: its path below `/dashboard` and its secret.
    async fn webhook(&self, more: Value) -> (String, String) {
        let mut body = json!({"name": "first", "url": "https://example.com/hook", "events": ["lead.*"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.client.post(&self.ann, "/api/webhooks", body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let made = made.json();
        (format!("{LIST}/{}", made["id"].as_str().unwrap()), made["secret"].as_str().unwrap().to_owned())
    }

    async fn stored(&self, path: &str) -> Value {
        self.client.get(&self.ann, &path.replace("/dashboard", "/api")).await.json()
    }

    async fn all(&self) -> Vec<Value> {
        self.client.get(&self.ann, "/api/webhooks").await.json().as_array().unwrap().clone()
    }

    /// Fills the form at `path` in as it stands, with `given` in the place of what has the same names.
    async fn send(&self, path: &str, given: &[(&str, &str)]) -> Answer {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let ids = ["form", "version"].map(|name| (name, hidden(&page.text, name)));
        let mut fields: Vec<(&str, &str)> = Vec::new();
        for (name, value) in &ids {
            fields.extend(value.as_deref().map(|value| (*name, value)));
        }
        fields.extend(USUAL.iter().filter(|(name, _)| !given.iter().any(|(other, _)| other == name)));
        fields.extend(given);
        self.post(path, &fields).await
    }
}

fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = base.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    kept.chain(more).copied().collect()
}

#[actix_web::test]
async fn an_edit_saves_what_was_changed_and_nothing_else() {
    let bench = Bench::new().await;
    let more = json!({"headers": {"X-Key": "k"}, "rateLimitPerSecond": 5, "retrySchedule": [5, 10], "description": "a\nb"});
    let (path, _) = bench.webhook(more).await;
    let edit = format!("{path}/edit");
    let page = bench.get(&edit).await;
    assert!(page.text.contains("type=\"password\" value=\"k\""), "{}", page.text);
    assert!(
        page.text.contains("value=\"lead.*\" checked") && page.text.contains("value=\"5 10\""),
        "{}",
        page.text
    );
    let before = bench.stored(&path).await;
    let same = with(
        &GOOD,
        &[
            ("headerName", "X-Key"),
            ("headerValue", "k"),
            ("rateLimitPerSecond", "5"),
            ("retrySchedule", "5 10"),
            ("description", "a\r\nb"),
        ],
    );
    let saved = bench.send(&edit, &same).await;
    assert_eq!((saved.status, saved.header("location")), (303, format!("{path}?done=saved").as_str()));
    assert_eq!(bench.stored(&path).await, before, "what stands as it stood is not written");
    let saved = bench.send(&edit, &with(&same, &[("name", "second"), ("rateLimitPerSecond", "")])).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    let after = bench.stored(&path).await;
    assert_eq!((&after["name"], &after["rateLimitPerSecond"]), (&json!("second"), &Value::Null));
    for kept in ["headers", "retrySchedule", "events", "url", "isActive", "description"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    let wrong = bench.send(&edit, &with(&same, &[("url", "x")])).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.text.contains("id=\"url-fault\""), "{}", wrong.text);
    assert_eq!(bench.stored(&path).await, after);
}

#[actix_web::test]
async fn who_was_overtaken_sees_both_and_nothing_is_written() {
    let bench = Bench::new().await;
    let (path, _) = bench.webhook(json!({})).await;
    let edit = format!("{path}/edit");
    let version = hidden(&bench.get(&edit).await.text, "version").unwrap();
    let api = path.replace("/dashboard", "/api");
    let patched = bench.client.patch(&bench.ann, &api, json!({"name": "theirs", "timeoutSeconds": 9})).await;
    assert_eq!(patched.status, 200);
    let fields = with(&with(&GOOD, &USUAL), &[("name", "mine"), ("version", &version)]);
    let told = bench.post(&edit, &fields).await;
    assert_eq!(told.status, 412, "{}", told.text);
    for words in
        ["Somebody else changed this webhook", "<span>theirs</span>", "<span>mine</span>", "value=\"mine\""]
    {
        assert!(told.text.contains(words), "{words}: {}", told.text);
    }
    assert_eq!(bench.stored(&path).await["name"], "theirs");
    let present = hidden(&told.text, "version").unwrap();
    let saved = bench.post(&edit, &with(&fields, &[("version", &present)])).await;
    assert_eq!((saved.status, bench.stored(&path).await["name"].clone()), (303, json!("mine")));
    let without = bench.post(&edit, &with(&GOOD, &USUAL)).await;
    assert_eq!(without.status, 412, "a form that names no version overwrites nothing");
}

#[actix_web::test]
async fn events_that_are_no_longer_offered_are_kept() {
    let bench = Bench::new().await;
    let (path, _) = bench.webhook(json!({"events": ["lead.created", "opportunity.won"]})).await;
    let mut poorer = config();
    let types = poorer.catalogue.types().iter().filter(|kind| kind.event != "opportunity.won").cloned();
    poorer.catalogue = crate::domain::Catalogue::new(types.collect());
    let bench = Bench { browser: Browser::with(poorer, &bench.ann, &bench.redis).await, ..bench };
    let edit = format!("{path}/edit");
    let page = bench.get(&edit).await;
    assert!(
        page.text.contains("No longer offered") && page.text.contains("value=\"opportunity.won\" checked")
    );
    let same = [("events", "lead.created"), ("events", "opportunity.won"), ("name", "second")];
    let given: Vec<(&str, &str)> =
        GOOD.iter().filter(|(name, _)| *name != "events" && *name != "name").chain(&same).copied().collect();
    assert_eq!(bench.send(&edit, &given).await.status, 303);
    assert_eq!(bench.stored(&path).await["events"], json!(["lead.created", "opportunity.won"]));
    let more: Vec<(&str, &str)> = given.iter().copied().chain([("events", "lead.updated")]).collect();
    let refused = bench.send(&edit, &more).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text.contains("unknown event type &quot;opportunity.won&quot;"), "{}", refused.text);
}

#[actix_web::test]
async fn a_new_secret_is_shown_once_and_the_form_works_once() {
    let bench = Bench::new().await;
    let (path, former) = bench.webhook(json!({"headers": {"X-Key": "k"}})).await;
    let page = format!("{path}/secret");
    let id = hidden(&bench.get(&page).await.text, "form").unwrap();
    let shown = bench.post(&page, &[("form", &id), ("gracePeriodSeconds", "3600")]).await;
    assert_eq!(shown.status, 200, "{}", shown.text);
    assert!(shown.text.contains("webhook-signature") && !shown.text.contains(&former), "{}", shown.text);
    let secret =
        shown.text.split_once("id=\"secret-value\">").unwrap().1.split_once('<').unwrap().0.to_owned();
    let again = bench.post(&page, &[("form", &id), ("gracePeriodSeconds", "3600")]).await;
    assert_eq!(again.status, 409);
    assert!(
        again.text.contains("This form was sent before") && !again.text.contains(&secret),
        "{}",
        again.text
    );
    let none = bench.send(&page, &[("gracePeriodSeconds", "0")]).await;
    assert!(none.text.contains("Nothing is signed with a former one"), "{}", none.text);
    assert_eq!(bench.stored(&path).await["headers"], json!({"X-Key": "k"}));
}

#[actix_web::test]
async fn a_secret_that_cannot_be_is_refused_beside_its_field() {
    let bench = Bench::new().await;
    let (path, former) = bench.webhook(json!({})).await;
    let page = format!("{path}/secret");
    let wrong = bench.send(&page, &[("gracePeriodSeconds", "604801"), ("secret", "typed")]).await;
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.text.contains("id=\"secret-fault\"") && wrong.text.contains("id=\"gracePeriodSeconds-fault\"")
    );
    assert!(wrong.text.contains("value=\"typed\""), "what was typed is kept");
    let same = bench.send(&page, &[("gracePeriodSeconds", "0"), ("secret", &former)]).await;
    assert_eq!(same.status, 409);
    assert!(same.text.contains("present one already"), "{}", same.text);
}

#[actix_web::test]
async fn a_webhook_whose_secret_cannot_be_read_gets_its_headers_anew() {
    let redis = TestRedis::start().await;
    let ann = user("ann");
    let mut encrypting = config();
    encrypting.security.encryption_key = Some(EncryptionKey::new([7; 32]));
    let bench = Bench { browser: Browser::with(encrypting, &ann, &redis).await, redis, ann };
    let (path, _) = bench.webhook(json!({"headers": {"X-Key": "former-value"}})).await;
    let bench = Bench { browser: bench.browser_of(&bench.ann).await, ..bench };
    let settings = bench.get(&format!("{path}/edit")).await;
    assert!(settings.text.contains("once it has a new secret"), "{}", settings.text);
    assert!(!settings.text.contains("Save changes") && settings.text.contains(&format!("{path}/secret")));
    let page = format!("{path}/secret");
    let form = bench.get(&page).await;
    assert!(form.text.contains("value=\"X-Key\"") && !form.text.contains("former-value"), "{}", form.text);
    assert!(!form.text.contains("gracePeriodSeconds"), "there is nothing to overlap with");
    let wrong = bench.send(&page, &[("headerName", "Host"), ("headerValue", "x")]).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.text.contains("headers.Host: this header is set by the service"), "{}", wrong.text);
    let shown = bench.send(&page, &[("headerName", "X-Key"), ("headerValue", "fresh")]).await;
    assert!(shown.status == 200 && shown.text.contains("secret-value"), "{}", shown.text);
    assert_eq!(bench.stored(&path).await["headers"], json!({"X-Key": "fresh"}));
}

#[actix_web::test]
async fn pausing_and_deleting_ask_first() {
    let bench = Bench::new().await;
    let (path, _) = bench.webhook(json!({})).await;
    let question = bench.get(&format!("{path}/pause")).await;
    assert!(
        question.text.contains("Pause this webhook?") && question.text.contains("(nothing now)"),
        "{}",
        question.text
    );
    assert_eq!(bench.stored(&path).await["isActive"], true, "a question changes nothing");
    for (step, is_active) in [("pause", false), ("resume", true), ("reset-failures", true)] {
        let done = bench.post(&format!("{path}/{step}"), &[]).await;
        assert_eq!(done.status, 303, "{step}: {}", done.text);
        assert!(done.header("location").starts_with(&format!("{path}?done=")), "{step}");
        assert_eq!(bench.stored(&path).await["isActive"], is_active, "{step}");
    }
    let question = bench.get(&format!("{path}/delete")).await;
    assert!(
        question.text.contains("This cannot be undone") && question.text.contains("0 attempts"),
        "{}",
        question.text
    );
    assert_eq!(bench.all().await.len(), 1);
    let done = bench.post(&format!("{path}/delete"), &[]).await;
    assert_eq!((done.status, done.header("location")), (303, "/dashboard/webhooks?done=deleted"));
    assert!(bench.all().await.is_empty());
    assert!(bench.get(done.header("location")).await.text.contains("The webhook was deleted"));
}

#[actix_web::test]
async fn to_everybody_else_it_does_not_exist() {
    let bench = Bench::new().await;
    let (path, _) = bench.webhook(json!({})).await;
    let bob = bench.browser_of(&user("bob")).await;
    for step in ["edit", "pause", "delete", "secret"] {
        assert_eq!(bob.get(&format!("{path}/{step}")).await.status, 404, "{step}");
    }
    for step in ["edit", "pause", "resume", "reset-failures", "delete", "secret"] {
        assert_eq!(bob.post(&format!("{path}/{step}"), &GOOD).await.status, 404, "{step}");
        let odd = bob.post(&format!("{LIST}/nonsense/{step}"), &GOOD).await;
        assert_eq!(odd.status, 404, "{step}");
    }
    assert!(bob.get(LIST).await.text.contains("No webhooks yet"));
    assert_eq!(bob.get(&format!("{LIST}?all=true")).await.status, 403);
    assert_eq!(bench.all().await.len(), 1);
}

#[actix_web::test]
async fn who_may_only_look_is_offered_nothing_and_refused_everything() {
    let bench = Bench::new().await;
    let (path, _) = bench.webhook(json!({})).await;
    let looking = token(json!({"sub": "ann", "organizationId": "acme", "role": "VIEWER"}));
    let viewer = bench.browser_of(&looking).await;
    let list = viewer.get(LIST).await;
    assert!(list.text.contains("first") && !list.text.contains("New webhook"), "{}", list.text);
    let settings = viewer.get(&format!("{path}/edit")).await;
    assert_eq!(settings.status, 200);
    assert!(settings.text.contains("not change them") && !settings.text.contains("Other things"));
    // Signing out is the one form there is.
    assert_eq!(settings.text.matches("method=\"post\"").count(), 1, "{}", settings.text);
    for page in [NEW.to_owned(), format!("{path}/pause"), format!("{path}/delete"), format!("{path}/secret")]
    {
        assert_eq!(viewer.get(&page).await.status, 403, "{page}");
    }
    assert_eq!(viewer.post(NEW, &GOOD).await.status, 403);
    for step in ["edit", "pause", "resume", "reset-failures", "delete", "secret"] {
        assert_eq!(viewer.post(&format!("{path}/{step}"), &GOOD).await.status, 403, "{step}");
    }
    assert_eq!(bench.all().await.len(), 1);
}

#[actix_web::test]
async fn an_administrator_may_look_at_all_pause_and_delete() {
    let bench = Bench::new().await;
    let (path, _) = bench.webhook(json!({"headers": {"X-Key": "topsecret"}})).await;
    let chief = bench.browser_of(&admin("chief")).await;
    assert!(chief.get(LIST).await.text.contains("No webhooks yet"));
    let all = chief.get(&format!("{LIST}?all=true")).await;
    assert!(all.text.contains("data-label=\"Owner\">ann<"), "{}", all.text);
    let settings = chief.get(&format!("{path}/edit")).await;
    assert!(settings.text.contains("It belongs to somebody else") && settings.text.contains("X-Key: •••"));
    assert!(!settings.text.contains("topsecret"));
    assert!(
        settings.text.contains(&format!("{path}/pause")) && settings.text.contains(&format!("{path}/delete"))
    );
    assert!(
        !settings.text.contains("New secret") && !settings.text.contains("Save changes"),
        "{}",
        settings.text
    );
    assert_eq!(chief.get(&format!("{path}/secret")).await.status, 403);
    assert_eq!(chief.post(&format!("{path}/edit"), &GOOD).await.status, 403);
    assert_eq!(chief.post(&format!("{path}/pause"), &[]).await.status, 303);
    let paused = chief.get(&format!("{path}/edit")).await;
    assert!(!paused.text.contains("/resume"), "what would be refused is not offered");
    assert_eq!(chief.post(&format!("{path}/delete"), &[]).await.status, 303);
}

#[actix_web::test]
async fn of_more_than_a_thousand_the_newest_come_first_and_only_a_search_looks_at_all() {
    let bench = Bench::new().await;
    bench.webhook(json!({})).await;
    let index: Vec<String> = bench.redis.redis.query(redis::cmd("KEYS").arg("*}:all:*")).await.unwrap();
    assert_eq!(index.len(), 1, "{index:?}");
    // Older entries, too young to be swept, of which there are no records.
    let mut add = redis::cmd("ZADD");
    add.arg(&index[0]);
    let older = clock::now().minus(Duration::from_secs(1)).0;
    for number in 0..1000 {
        add.arg(older).arg(WebhookId::new(Shard(0), &format!("{number:022}")).as_str());
    }
    bench.redis.redis.query::<u32>(&add).await.unwrap();
    let chief = bench.browser_of(&admin("chief")).await;
    let all = chief.get(&format!("{LIST}?all=true")).await.text;
    for part in
        ["With 1,001 webhooks this list shows the newest first", "1–25 of 1001", ">first<", ">Active<"]
    {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(!all.contains("<span class=\"muted\">1<"), "nothing was counted: {all}");
    let active = chief.get(&format!("{LIST}?all=true&state=active")).await.text;
    assert!(
        active.contains(">Active <span class=\"muted\">1<") && !active.contains("newest first."),
        "{active}"
    );
    let found = chief.get(&format!("{LIST}?all=true&q=first")).await.text;
    assert!(found.contains(">All <span class=\"muted\">1<") && found.contains(">first<"), "{found}");
    let beyond = chief.get(&format!("{LIST}?all=true&page={}", usize::MAX)).await;
    assert!(beyond.status == 200 && beyond.text.contains("None found"), "{}", beyond.text);
}

#[actix_web::test]
async fn the_list_is_searched_and_narrowed() {
    let bench = Bench::new().await;
    assert!(bench.get(LIST).await.text.contains("Create your first webhook"));
    bench.webhook(json!({"name": "Leads", "isActive": false})).await;
    bench.webhook(json!({"name": "Deals", "events": ["opportunity.won"]})).await;
    let all = bench.get(LIST).await.text;
    assert!(
        all.find("Deals") < all.find("Leads") && all.contains(">Paused <span class=\"muted\">1<"),
        "{all}"
    );
    let paused = bench.get(&format!("{LIST}?state=paused")).await.text;
    assert!(paused.contains(">Leads<") && !paused.contains(">Deals<"), "{paused}");
    let found = bench.get(&format!("{LIST}?q=lead.created")).await.text;
    assert!(found.contains(">Leads<") && !found.contains(">Deals<"), "{found}");
    let none = bench.get(&format!("{LIST}?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")).await.text;
    assert!(none.contains("None found") && none.contains("Show all") && is_harmless(&none), "{none}");
}

#[actix_web::test]
async fn nothing_that_a_webhook_holds_runs_on_any_page() {
    let bench = Bench::new().await;
    let more = json!({
        "name": HOSTILE, "description": HOSTILE, "url": "https://example.com/\"><script>alert(1)</script>",
        "headers": {"X-Key": HOSTILE}, "filter": {"x": HOSTILE},
    });
    let (path, _) = bench.webhook(more).await;
    for page in [
        LIST.to_owned(),
        format!("{path}/edit"),
        format!("{path}/pause"),
        format!("{path}/delete"),
        format!("{path}/secret"),
    ] {
        let shown = bench.get(&page).await;
        assert_eq!(shown.status, 200, "{page}");
        assert!(is_harmless(&shown.text), "{page}: {}", shown.text);
    }
    let names = [
        "name",
        "url",
        "events",
        "description",
        "retryAttempts",
        "retrySchedule",
        "filter",
        "secret",
        "headerName",
        "headerValue",
    ];
    let hostile: Vec<(&str, &str)> = names.map(|name| (name, HOSTILE)).into();
    for page in [NEW.to_owned(), format!("{path}/edit"), format!("{path}/secret")] {
        let shown = bench.send(&page, &hostile).await;
        assert_eq!(shown.status, 400, "{page}: {}", shown.text);
        assert!(is_harmless(&shown.text), "{page}: {}", shown.text);
    }
    let secret = bench.send(&format!("{path}/secret"), &[("gracePeriodSeconds", "0")]).await;
    assert!(secret.status == 200 && is_harmless(&secret.text), "{}", secret.text);
}

#[actix_web::test]
async fn a_form_of_a_webhook_that_got_locked_comes_back_as_it_is_shown() {
    let bench = Bench::new().await;
    let mut sealed = config();
    sealed.security.encryption_key =
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".parse::<EncryptionKey>().ok();
    let owner = Browser::with(sealed, &bench.ann, &bench.redis).await;
    let body = json!({"name": "first", "url": "https://example.com/hook", "events": ["lead.*"]});
    let made = owner.client.post(&bench.ann, "/api/webhooks", body).await.json();
    let path = format!("{LIST}/{}/edit", made["id"].as_str().unwrap());
    for more in [&[][..], &[("preview", "1")], &[("version", "1")]] {
        let saved = bench.post(&path, &with(&with(&GOOD, &USUAL), more)).await;
        assert_eq!(saved.status, 409, "{}", saved.text);
        assert!(saved.text.contains("Nothing was saved.") && saved.text.contains("once it has a new secret"));
        assert!(!saved.text.contains("name=\"url\""), "there is no form: {}", saved.text);
    }
}
