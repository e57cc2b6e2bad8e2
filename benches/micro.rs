//! What the decisions of one delivery cost by themselves, in ns: no Redis, no HTTP, no actor. Beside the CPU time of a whole
//! delivery (`cargo bench --bench throughput`) it tells which of them is worth a thought.
//!
//! `policy/…` are functions of that module; `api/…` and `store/…` the two places of other rooms where text is read and
//! made for each delivery. A name is chosen by a part of it: `cargo bench --bench micro -- lane`.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the arguments")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use salesos_webhooks::api::fields::Fields;
use salesos_webhooks::domain::*;
use salesos_webhooks::policy::breaker::{self, Standing};
use salesos_webhooks::policy::lane::{Delivery, Effect, Input, Known, Lane, Limits};
use salesos_webhooks::policy::matching::Subscriptions;
use salesos_webhooks::policy::placement::{Member, Placement};
use salesos_webhooks::policy::sealing::Keyring;
use salesos_webhooks::policy::{json, signing};
use salesos_webhooks::store::attempts::{decode, encode};
use salesos_webhooks::store::record;
use serde_json::json;

/// Bytes of a published body.
const BYTES: usize = 1024;
const NOW: Millis = Millis(1_768_473_000_000);
const SUBSCRIPTIONS: u32 = 10_000;

fn main() {
    // `cargo test --all-targets` starts benches too, without this argument: there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let criterion = Criterion::default().without_plots().warm_up_time(Duration::from_secs(1));
    let mut criterion = criterion.measurement_time(Duration::from_secs(2)).configure_from_args();
    for measure in [signing, matching, filter, lane, placement, publish, log_row, stored_record] {
        measure(&mut criterion);
    }
    criterion.final_summary();
}

/// Both signatures of one attempt, by the signer that a webhook keeps.
fn signing(criterion: &mut Criterion) {
    let secret = Secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into());
    let (signer, body) = (signing::Signer::new(&secret), published());
    criterion.bench_function("policy/signing/both_headers", |bench| {
        bench.iter(|| {
            let standard = signing::standard_header([&signer], "evt_1", NOW.as_secs(), black_box(&body));
            (signer.hex(black_box(&body)), standard)
        });
    });
}

/// `remembered` is the ordinary case; `changed` the first event of a tenant after one of its webhooks was changed, the
/// change included.
fn matching(criterion: &mut Criterion) {
    for tenants in [1, 1000] {
        let mut table = Subscriptions::default();
        (0..SUBSCRIPTIONS).for_each(|number| subscribe(&mut table, number, tenants));
        let (tenant, event_type) = (tenant(0), Arc::from("lead.created"));
        let name = |what| format!("policy/matching/{SUBSCRIPTIONS}_of_{tenants}_tenants/{what}");
        criterion.bench_function(&name("remembered"), |bench| {
            bench.iter(|| table.matching(black_box(&tenant), &event_type, b"").targets.len());
        });
        criterion.bench_function(&name("changed"), |bench| {
            bench.iter(|| {
                subscribe(&mut table, 0, tenants);
                table.matching(black_box(&tenant), &event_type, b"").targets.len()
            });
        });
    }
}

/// What filters cost: a webhook's own share of an event is the difference of ten and one.
fn filter(criterion: &mut Criterion) {
    const USUAL: &str = r#"{"amount":{"gte":1000},"stage":"won","owner.region":{"in":["EU","UK"]}}"#;
    let worst = (0..32).map(|n| format!(r#""a.b{n}":{{"nin":[1,2,3,4,5,6]}}"#)).collect::<Vec<_>>().join(",");
    let worst = format!("{{{worst}}}");
    let usual_body = published();
    let array = vec!["7"; 20_000].join(",");
    let worst_body = format!(r#"{{"data":{{"a":[{{"b":[{array}]}}]}}}}"#);
    for (what, text, body) in
        [("usual_1_KiB", USUAL, &usual_body[..]), ("32_conditions_40_KiB", &worst, worst_body.as_bytes())]
    {
        for count in [1, 10] {
            let mut table = Subscriptions::default();
            for number in 0..count {
                let mut webhook = webhook(number, 1, "*");
                webhook.settings.filter = Some(Filter::parse(text).expect("a filter"));
                table.insert(&webhook, Arc::from("owner"));
            }
            let (tenant, event_type) = (tenant(0), Arc::from("lead.created"));
            criterion.bench_function(&format!("policy/filter/{what}/{count}"), |bench| {
                bench.iter(|| table.matching(black_box(&tenant), &event_type, body).targets.len());
            });
        }
    }
}

/// The stored text of a webhook, made and read: with and without a key, and with no headers or as many as there may be, 8 KiB
/// of them.
fn stored_record(criterion: &mut Criterion) {
    const MOST_HEADERS: usize = 50;
    let key = EncryptionKey::new([7; 32]);
    for (what, ring) in [("plain", Keyring::new(None, &[])), ("sealed", Keyring::new(Some(&key), &[]))] {
        for headers in [0, MOST_HEADERS] {
            let mut webhook = webhook(0, 1, "*");
            webhook.settings.secret = Secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into());
            let header = |number| (format!("X-Header-{number:03}"), "v".repeat(150));
            webhook.settings.headers = (0..headers).map(header).collect();
            let text = record::encode(&webhook, &ring).expect("it is not locked");
            let name = |step| format!("store/record/{what}/{headers}_headers/{step}");
            criterion.bench_function(&name("encode"), |bench| {
                bench.iter(|| record::encode(black_box(&webhook), &ring));
            });
            criterion.bench_function(&name("decode"), |bench| {
                bench.iter(|| record::decode(&webhook.id, black_box(&text), &ring));
            });
        }
    }
}

/// One in ten subscribes to what is asked for.
fn subscribe(table: &mut Subscriptions, number: u32, tenants: u32) {
    let pattern = if (number / tenants).is_multiple_of(10) { "lead.*" } else { "quote.sent" };
    table.insert(&webhook(number, tenants, pattern), Arc::from("owner"));
}

fn webhook(number: u32, tenants: u32, pattern: &str) -> Webhook {
    let settings = serde_json::json!({
        "tenant": tenant(number % tenants), "owner": "ann", "name": "x", "url": "https://example.com/",
        "events": [pattern], "retries": { "attempts": 3, "delay_seconds": 60, "backoff": "fixed" },
        "timeout_seconds": 30, "max_concurrency": 16, "secret": "0", "created_at": 1,
    });
    Webhook {
        id: WebhookId::new(Shard(0), &format!("{number:022}")),
        version: 1,
        is_active: true,
        disabled_reason: None,
        updated_at: NOW,
        settings: serde_json::from_value(settings).expect("settings"),
        locked: None,
    }
}

fn tenant(number: u32) -> Tenant {
    Tenant::Organization(number.to_string().into())
}

/// The whole way of one delivery through its lane: queued and started, attempted, recorded.
fn lane(criterion: &mut Criterion) {
    let mut lane = Lane::<()>::new(limits(), Standing::default(), Known::EmptyUpTo(EntryId::ZERO));
    let event = EventId::made(NOW, 1);
    let mut entry = EntryId::ZERO;
    criterion.bench_function("policy/lane/queued_attempted_recorded", |bench| {
        bench.iter(|| {
            let previous = entry;
            entry = EntryId { ms: NOW.0, seq: previous.seq + 1 };
            let delivery = Delivery { entry, event: event.clone(), attempt: 1, body: Some(()) };
            let queued = Input::Delivered { previous, deliveries: vec![delivery] };
            let started = lane.step(queued, entry, NOW);
            assert!(matches!(started[0], Effect::Start(_)));
            let attempted = Input::Attempted { entry, result: Box::new(success()), jitter: 0.5 };
            let ended = lane.step(attempted, entry, NOW);
            assert!(matches!(ended[0], Effect::Record(_)));
            lane.step(Input::Recorded { entry, receipt: Receipt::Recorded }, entry, NOW)
        });
    });
}

fn limits() -> Limits {
    Limits {
        active: true,
        max_concurrency: 16,
        ordered: false,
        rate_per_second: None,
        retries: Retries { attempts: 3, delay_seconds: 60, backoff: Backoff::Fixed, schedule: None },
        max_age: Duration::from_secs(86_400),
        max_pending: 100_000,
        breaker: breaker::Policy {
            failure_threshold: 10,
            pause: Duration::from_secs(30),
            max_pause: Duration::from_secs(900),
            disable_after: Duration::from_secs(5 * 86_400),
        },
    }
}

fn success() -> AttemptResult {
    AttemptResult {
        at: NOW,
        elapsed: Duration::from_millis(5),
        status: Some(200),
        response_body: None,
        failure: None,
        retry_after: None,
    }
}

/// Made anew by every node whenever one comes or goes.
fn placement(criterion: &mut Criterion) {
    let member = |joined: u64| Member { joined, id: format!("node-{joined}").parse().expect("a name") };
    let members: Vec<Member> = (0..100).map(member).collect();
    criterion.bench_function("policy/placement/64_partitions_on_100_nodes", |bench| {
        bench.iter_batched(|| members.clone(), |members| Placement::of(members, 64), BatchSize::SmallInput);
    });
}

/// What `POST /api/events` does with a body that has no fault, up to the bytes that receivers get.
fn publish(criterion: &mut Criterion) {
    let sample = json!({ "id": 1 });
    let [event, label, description, category] =
        ["lead.created", "Lead", "A lead was created.", "Leads"].map(Into::into);
    let catalogue = Catalogue::new(vec![EventType { event, label, description, category, sample }]);
    let body = published();
    criterion.bench_function("api/publish/read_and_write_1_KiB", |bench| {
        bench.iter(|| event_body(&catalogue, black_box(&body)));
    });
}

fn event_body(catalogue: &Catalogue, body: &[u8]) -> String {
    let mut fields = Fields::parse(body).expect("an object");
    fields.require(&["type"]);
    let event_type = fields.string("type", 1..=255).expect("a text");
    catalogue.get(&event_type).expect("it is known");
    let data = json::compact(fields.take("data").expect("given").get()).expect("an object");
    fields.finish().expect("nothing is left");
    json::event_body(&EventId::made(NOW, rand::random()), &event_type, NOW, Some("acme"), &data)
}

/// As a CRM may publish it.
fn published() -> Vec<u8> {
    let lead = json!({
        "id": 4711,
        "email": "ada@example.com",
        "name": "Ada Example",
        "score": 0.75,
        "tags": ["new", "web", "newsletter"],
        "owner": { "id": 12, "name": "Grace Example" },
        "address": { "street": "Main Street 1", "city": "Springfield", "country": "US" },
        "notes": "",
    });
    let mut event = json!({ "type": "lead.created", "data": lead });
    let missing = BYTES - event.to_string().len();
    event["data"]["notes"] = "x".repeat(missing).into();
    event.to_string().into_bytes()
}

fn log_row(criterion: &mut Criterion) {
    let row = AttemptRow {
        id: None,
        event_id: EventId::made(NOW, 1),
        event_type: "lead.created".into(),
        url: "https://example.com/hooks/salesos".into(),
        at: NOW,
        attempt: 1,
        elapsed_ms: 12,
        status: Some(200),
        error_kind: None,
        error_message: None,
        next_retry_at: None,
        response_body: None,
        body_beside: false,
        custom_headers: vec![],
        is_test: false,
    };
    let answer = Some("{\"ok\":true}".to_owned());
    criterion.bench_function("store/log_row/make", |bench| {
        bench.iter_batched(
            || (row.clone(), answer.clone()),
            |(row, answer)| encode(row, answer),
            BatchSize::SmallInput,
        );
    });
    let (text, _) = encode(row.clone(), answer.clone());
    criterion.bench_function("store/log_row/parse", |bench| {
        bench.iter(|| decode(EntryId::ZERO, black_box(&text)));
    });
}
