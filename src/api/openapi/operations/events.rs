//! Publishing, what became of an event, and the document itself.

use serde_json::{Value, json};

use crate::api::openapi::examples::Examples;
use crate::api::openapi::operation::Access::{Publish, ReadOrPublish};
use crate::api::openapi::operation::Operation;
use crate::api::publish::MAX_KEY;

const TAG: &str = "Events";
const USED: &str = "the idempotency key or id was used for another event";

/// Those of events and of the document.
pub fn operations(examples: Examples<'_>) -> Vec<Operation> {
    vec![publish(examples), batch(examples), show(examples), document()]
}

fn publish(examples: Examples<'_>) -> Operation {
    Operation::new("post", "/events", "publishEvent")
        .about(
            TAG,
            "Publish an event",
            "202 means stored: it will be delivered at least once to every active webhook of the organization that matches. \
             Give an `Idempotency-Key` or an `id` and repeat freely: within 24 hours the same one sends nothing twice. A 503 may \
             have been stored: repeat it with the same key.",
        )
        .access(Publish)
        .with([idempotency_key()])
        .body("NewEvent", [("with an id", examples.new_event()), ("the least", examples.small_event())])
        .answers(202, "It is stored.", "TakenEvent", examples.taken())
        .links(["getEvent"], &[("id", "$response.body#/id")])
        .conflicts([USED])
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "schema": {"type": "string", "pattern": "^[!-~]+$", "minLength": 1, "maxLength": MAX_KEY},
        "description": "Wins over `id`. With another `type` or `data` than before it is refused with 409.",
        "example": "order-4711-won",
    })
}

fn batch(examples: Examples<'_>) -> Operation {
    let answer = json!({"accepted": 1, "duplicates": 0, "events": [examples.taken()]});
    Operation::new("post", "/events/batch", "publishBatch")
        .about(
            TAG,
            "Publish many events",
            "All of one organization; all are valid, or none is taken. Give each an `id` to repeat freely: a batch takes no \
             `Idempotency-Key`. It may be 16 times as long as one event.",
        )
        .access(Publish)
        .body("NewBatch", [("two", examples.batch())])
        .answers(202, "They are stored.", "TakenBatch", answer)
        .links(["getEvent"], &[("id", "$response.body#/events/0/id")])
        .conflicts([USED])
}

fn show(examples: Examples<'_>) -> Operation {
    Operation::new("get", "/events/{id}", "getEvent")
        .about(
            TAG,
            "Read an event",
            "The event, and where it stands at each of the caller's webhooks that subscribe to its type; where it is pending or \
             failed, also what its last attempt came to, as far as that attempt is among the rows of the log that are looked at: the \
             50 newest of a pending delivery, 50 on either side of the end of a failed one, fewer each where there are more \
             than ten such webhooks. Else those members are null; `GET /api/webhooks/{id}/deliveries?eventId=` looks through all of it.",
        )
        .access(ReadOrPublish)
        .answers(200, "The event.", "EventStatus", examples.event_status())
}

fn document() -> Operation {
    let example =
        json!({"openapi": "3.1.0", "info": {"title": "SalesOS Webhooks", "version": "0.1.0"}, "paths": {}});
    Operation::new("get", "/openapi.json", "getDocument")
        .about("Documentation", "Read this document", "`GET /api/docs` is a page to read and try it.")
        .answers(200, "The document.", "Document", example)
        .headers(["ETag"])
        .answers_nothing(304, "`If-None-Match` names it.")
}
