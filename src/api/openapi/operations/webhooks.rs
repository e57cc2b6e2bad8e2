//! Webhooks: what a user subscribes to, its switches, its secret, and trying it.

use serde_json::{Value, json};

use crate::api::openapi::examples::Examples;
use crate::api::openapi::operation::Access::{Read, Write};
use crate::api::openapi::operation::{Operation, flag, pages};

const TAG: &str = "Webhooks";
const TRYING: &str = "Secrets and tests";
const ID_OF_BODY: &[(&str, &str)] = &[("id", "$response.body#/id")];
const SAME_ID: &[(&str, &str)] = &[("id", "$request.path.id")];

/// Those of webhooks.
pub fn operations(examples: Examples<'_>) -> Vec<Operation> {
    let mut all = vec![list(examples), create(examples), catalogue(examples)];
    all.extend([show(examples), update(examples), delete()]);
    all.extend(switches(examples));
    all.extend([regenerate_secret(examples), test(examples), filter_test(examples)]);
    all
}

fn list(examples: Examples<'_>) -> Operation {
    Operation::new("get", "/webhooks", "listWebhooks")
        .about(
            TAG,
            "List webhooks",
            "The caller's webhooks, newest first; without `page` and `limit` all of them.",
        )
        .access(Read)
        .with([
            flag("isActive", "Only those that are active, or are not."),
            flag("all", "All webhooks of the organization, with `ownerId`; needs a role of administrators."),
        ])
        .with(pages())
        .answers_list(200, "The webhooks.", "Webhook", json!([examples.webhook()]))
        .headers(["X-Total-Count"])
}

fn create(examples: Examples<'_>) -> Operation {
    let next = [
        "getWebhook",
        "updateWebhook",
        "testWebhook",
        "listDeliveries",
        "getWebhookStatistics",
        "deactivateWebhook",
        "activateWebhook",
        "resetFailures",
        "regenerateSecret",
        "testFilter",
        "deleteWebhook",
    ];
    Operation::new("post", "/webhooks", "createWebhook")
        .about(
            TAG,
            "Create a webhook",
            "It gets every event of the organization that it subscribes to from now on. The answer holds the `secret`, this \
             once. A host that resolves to anything but public addresses is refused; one that does not resolve is taken and \
             looked at again at every connection.",
        )
        .access(Write)
        .body("NewWebhook", [("every field", examples.new_webhook()), ("the least", examples.small_webhook())])
        .answers(201, "It is created.", "CreatedWebhook", examples.created_webhook())
        .headers(["ETag", "Location"])
        .links(next, ID_OF_BODY)
        .conflicts(["the user has 1000 webhooks, which is the most allowed"])
}

fn catalogue(examples: Examples<'_>) -> Operation {
    Operation::new("get", "/webhooks/events", "listEventTypes")
        .about(TAG, "List event types", "What may be published and subscribed to, with samples.")
        .access(Read)
        .answers_list(200, "The catalogue.", "CatalogueEntry", examples.catalogue())
}

fn show(examples: Examples<'_>) -> Operation {
    Operation::new("get", "/webhooks/{id}", "getWebhook")
        .about(TAG, "Read a webhook", "Its settings, its state and its counts.")
        .access(Read)
        .answers(200, "The webhook.", "Webhook", examples.webhook())
        .headers(["ETag"])
}

fn update(examples: Examples<'_>) -> Operation {
    let requests = [
        ("pace and filter", json!({"rateLimitPerSecond": 5, "filter": {"amount": {"gte": 1000}}})),
        ("clear", json!({"description": null, "filter": null, "retrySchedule": null})),
        ("schedule", json!({"retrySchedule": [5, 60, 600, 3600]})),
    ];
    Operation::new("patch", "/webhooks/{id}", "updateWebhook")
        .about(
            TAG,
            "Change a webhook",
            "The given fields replace the stored ones, `events`, `headers` and `filter` as a whole; null clears those that may be \
             null. It holds from the next attempt on, for what is queued too.",
        )
        .access(Write)
        .writes()
        .needs_secrets()
        .body("WebhookChanges", requests)
        .answers(200, "As it is now.", "Webhook", examples.webhook())
        .headers(["ETag"])
}

fn delete() -> Operation {
    Operation::new("delete", "/webhooks/{id}", "deleteWebhook")
        .about(TAG, "Delete a webhook", "What is queued for it is dropped, its log goes.")
        .access(Write)
        .guarded()
        .answers_nothing(204, "It is gone.")
        .links(["getWebhook"], SAME_ID)
}

fn switches(examples: Examples<'_>) -> [Operation; 3] {
    let switch = |path, id, summary, description| {
        Operation::new("post", path, id)
            .about(TAG, summary, description)
            .access(Write)
            .writes()
            .answers(200, "As it is now.", "Webhook", examples.webhook())
            .headers(["ETag"])
    };
    [
        switch(
            "/webhooks/{id}/activate",
            "activateWebhook",
            "Switch a webhook on",
            "Clears `disabledReason`, failures and pause; what was queued goes out.",
        ),
        switch(
            "/webhooks/{id}/deactivate",
            "deactivateWebhook",
            "Switch a webhook off",
            "Nothing is queued for it any more; what is queued waits.",
        ),
        switch(
            "/webhooks/{id}/reset-failures",
            "resetFailures",
            "Forget failures",
            "Forgets the failures in a row, the pause that they led to, and why the service switched it off. It does not \
             switch it on.",
        ),
    ]
}

fn regenerate_secret(examples: Examples<'_>) -> Operation {
    let requests = [
        ("a day", json!({"gracePeriodSeconds": 86_400})),
        ("at once", json!({"gracePeriodSeconds": 0})),
        ("one of your own", json!({"secret": examples.secret()})),
    ];
    Operation::new("post", "/webhooks/{id}/regenerate-secret", "regenerateSecret")
        .about(
            TRYING,
            "Make a new secret",
            "`webhook-signature` also carries a signature made with the former secret until `previousSecretExpiresAt`; \
             `X-Webhook-Signature` is made with the new one alone. At most four former ones sign at a time.\n\nOf a webhook whose \
             secret the service cannot decrypt any more, the headers are lost too: `headers` is then a member of this request, \
             and needed if it had any.",
        )
        .access(Write)
        .writes()
        .optional_body("SecretRequest", requests)
        .answers(200, "The new secret, shown this once.", "NewSecret", examples.new_secret())
        .headers(["ETag"])
        .conflicts([
            "4 former secrets are still in their grace period, the first of them until 2026-01-16T10:30:00.000Z: wait for it, or end them all with gracePeriodSeconds 0",
            "this secret is the webhook's present one already: nothing was changed",
        ])
}

fn test(examples: Examples<'_>) -> Operation {
    let sample: Value = json!({"event": examples.event_type()});
    let data = json!({"event": examples.event_type(), "data": {"name": "Ada Lovelace"}});
    Operation::new("post", "/webhooks/{id}/test", "testWebhook")
        .about(
            TRYING,
            "Send a test",
            "One attempt, at once, to an inactive webhook too; with `event` the sample of that type, with `data` that in its place, \
             within the limit of an event. It is logged and not counted, and what it comes to is the answer, whether the endpoint took it or not.",
        )
        .access(Write)
        .optional_body("TestRequest", [("a sample", sample), ("data", data)])
        .answers(200, "What the attempt came to.", "TestReport", examples.test_report())
        .links(["listDeliveries"], SAME_ID)
        .conflicts(["a test of this webhook is running"])
        .needs_secrets()
}

fn filter_test(examples: Examples<'_>) -> Operation {
    let requests = [
        ("data and another filter", json!({"data": {"amount": 5}, "filter": {"amount": {"gte": 1000}}})),
        ("a sample", json!({"event": examples.event_type()})),
    ];
    Operation::new("post", "/webhooks/{id}/filter-test", "testFilter")
        .about(
            TRYING,
            "Try a filter",
            "Whether the data would pass, and what keeps it. Changes nothing and sends nothing.",
        )
        .access(Read)
        .body("FilterTest", requests)
        .answers(200, "The verdict.", "FilterVerdict", examples.verdict())
}
