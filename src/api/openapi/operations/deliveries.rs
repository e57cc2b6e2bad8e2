//! The log of attempts, sending again, and the statistics.

use serde_json::json;

use crate::api::openapi::bodies::time;
use crate::api::openapi::examples::{EVENT, Examples};
use crate::api::openapi::operation::Access::{Read, Write};
use crate::api::openapi::operation::{Operation, flag, pages, query};

const LOG: &str = "Deliveries";
const STATISTICS: &str = "Statistics";
const ATTEMPT_OF_LISTING: &[(&str, &str)] =
    &[("id", "$request.path.id"), ("attemptId", "$response.body#/logs/0/id")];
const SAME_ID: &[(&str, &str)] = &[("id", "$request.path.id")];

/// Those of deliveries and statistics.
pub fn operations(examples: Examples<'_>) -> Vec<Operation> {
    let mut all = vec![list(examples), show(examples), retry()];
    all.extend([recover(examples), recovery(examples), cancel(examples)]);
    all.extend(statistics(examples));
    all
}

fn list(examples: Examples<'_>) -> Operation {
    let text = json!({"type": "string"});
    Operation::new("get", "/webhooks/{id}/deliveries", "listDeliveries")
        .about(
            LOG,
            "Read the log",
            "A row an attempt, newest first. `requestPayload` is given up to 4 KiB, else null with `payloadTruncated`.",
        )
        .access(Read)
        .with([
            flag("success", "Only attempts that succeeded, or that failed."),
            query("event", &text, "Only this type, or this family (`lead.*`)."),
            query("eventId", &text, "Only this event."),
            query("since", &time("At this time or later."), "Only attempts made then or later."),
            query("until", &time("Before this time."), "Only attempts made before."),
            flag("final", "True: only attempts that ended their delivery, tests included; false: only those that another was to follow."),
        ])
        .with(pages())
        .answers(200, "A page of the log.", "DeliveryLog", examples.log())
        .links(["getDelivery", "retryDelivery"], ATTEMPT_OF_LISTING)
}

fn show(examples: Examples<'_>) -> Operation {
    Operation::new("get", "/webhooks/{id}/deliveries/{attemptId}", "getDelivery")
        .about(
            LOG,
            "Read an attempt",
            "With the whole payload and the headers that were sent, without signatures.",
        )
        .access(Read)
        .answers(200, "The attempt.", "WholeAttempt", examples.whole_attempt())
}

fn retry() -> Operation {
    Operation::new("post", "/webhooks/{id}/deliveries/{attemptId}/retry", "retryDelivery")
        .about(
            LOG,
            "Send an event again",
            "Queues the event of that attempt for the webhook again, each time it is called; the endpoint sees the same \
             `webhook-id`.",
        )
        .access(Write)
        .answers(202, "It is queued.", "Queued", json!({"queued": 1, "eventId": EVENT}))
        .conflicts([
            "the webhook is not active",
            "the body of the event is no longer kept",
            "a test is not sent again: make another one",
        ])
}

fn recover(examples: Examples<'_>) -> Operation {
    let dry =
        json!({"since": "2026-01-14T00:00:00.000Z", "until": "2026-01-15T00:00:00.000Z", "dryRun": true});
    Operation::new("post", "/webhooks/{id}/recover", "beginRecovery")
        .about(
            LOG,
            "Recover what failed for good",
            "Queues every event again whose delivery failed for good in that span, each once, at the webhook's own pace. One \
             recovery of a webhook at a time.",
        )
        .access(Write)
        .body("RecoveryRequest", [("since a time", examples.recovery_request()), ("only say what it would do", dry)])
        .answers(200, "What it would queue (`dryRun`).", "RecoveryAnswer", examples.dry_recovery())
        .answers(202, "It has begun.", "RecoveryAnswer", examples.begun_recovery())
        .links(["getRecovery", "cancelRecovery"], SAME_ID)
        .conflicts([
            "a recovery of this webhook is under way: wait for its end, or end it with DELETE",
            "the webhook is not active",
        ])
}

fn recovery(examples: Examples<'_>) -> Operation {
    Operation::new("get", "/webhooks/{id}/recover", "getRecovery")
        .about(LOG, "Read the last recovery", "How far it is.")
        .access(Read)
        .answers(200, "How it stands.", "Recovery", examples.running_recovery())
}

fn cancel(examples: Examples<'_>) -> Operation {
    Operation::new("delete", "/webhooks/{id}/recover", "cancelRecovery")
        .about(
            LOG,
            "End a recovery",
            "What it has queued stays queued, the rest stays recoverable. 404 when none is under way.",
        )
        .access(Write)
        .answers(200, "How it stood when it ended.", "Recovery", examples.ended_recovery())
}

fn statistics(examples: Examples<'_>) -> [Operation; 2] {
    [
        Operation::new("get", "/webhooks/stats", "getStatistics")
            .about(
                STATISTICS,
                "Read the caller's figures",
                "`deliveriesLast24h`, the success rate, `byEvent`, `byWebhook` and `timeline` count attempts; `deliveries` counts \
                 pairs of an event and a webhook. `cluster` is given to the roles of administrators and publishers.",
            )
            .access(Read)
            .answers(200, "The figures.", "Statistics", examples.statistics()),
        Operation::new("get", "/webhooks/{id}/stats", "getWebhookStatistics")
            .about(STATISTICS, "Read a webhook's figures", "The same figures of one webhook.")
            .access(Read)
            .answers(200, "The figures.", "WebhookStatistics", examples.webhook_statistics()),
    ]
}
