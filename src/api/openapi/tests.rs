//! The document against the routes, the program and itself.

use std::collections::BTreeSet;

use actix_web::test::TestRequest;
use serde_json::Value;

use super::*;
use crate::api::routes::all;
use crate::api::testing::{Client, config};
use crate::config::Layers;

/// Routes that are pages for people, and not operations.
const PAGES: [&str; 3] = ["/docs", "/docs/", "/docs/{asset}"];

fn shipped() -> Value {
    let mut layers = Layers::default();
    layers.set("auth.jwt_secret", "no token is made or checked here", "a test");
    document(Subject::of(&layers.check().expect("the settings that are built in")))
}

#[test]
fn every_route_is_described_and_every_described_operation_is_a_route() {
    let document = shipped();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let methods = item.as_object().expect("an item").keys().filter(|key| *key != "parameters");
        described.extend(methods.map(|method| (method.clone(), path.clone())));
    }
    let routed: BTreeSet<_> = all()
        .filter(|(_, path)| !PAGES.contains(path))
        .map(|(method, path)| ((*method).to_owned(), format!("/api{path}")))
        .collect();
    assert_eq!(described, routed);
}

#[test]
fn the_committed_document_is_what_the_program_prints() {
    let printed = serde_json::to_string_pretty(&shipped()).expect("it is JSON") + "\n";
    let committed = include_str!("../../../docs/openapi.json");
    assert!(
        printed == committed,
        "docs/openapi.json is not what the program prints: cargo run -- openapi > docs/openapi.json"
    );
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_referred_to() {
    let document = shipped();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for kind in ["schemas", "headers", "parameters", "responses"] {
        for name in document["components"][kind].as_object().expect(kind).keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(found.contains(&reference), "nothing refers to {reference}");
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(reference) if name == "$ref" => drop(found.insert(reference.to_owned())),
                    _ => references(member, found),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_operation_says_what_a_reader_needs() {
    let document = shipped();
    let tags: BTreeSet<&str> =
        document["tags"].as_array().expect("tags").iter().filter_map(|tag| tag["name"].as_str()).collect();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in
            item.as_object().expect("an item").iter().filter(|(key, _)| *key != "parameters")
        {
            let name = format!("{method} {path}");
            for field in ["summary", "description", "operationId"] {
                assert!(operation[field].as_str().is_some_and(|text| !text.is_empty()), "{name}: {field}");
            }
            assert!(ids.insert(operation["operationId"].as_str()), "{name}: its operationId is taken");
            assert!(operation["tags"][0].as_str().is_some_and(|tag| tags.contains(tag)), "{name}");
            let answers = operation["responses"].as_object().expect("responses");
            assert!(answers.keys().any(|status| status.starts_with('2')), "{name}: no good answer");
            for (status, answer) in answers {
                let reference = answer["$ref"].as_str().and_then(|there| there.strip_prefix('#'));
                let answer = reference.map_or(answer, |there| document.pointer(there).expect(there));
                assert!(answer["headers"].get("X-Request-Id").is_some(), "{name} {status}");
                let has_body = !["204", "304"].contains(&status.as_str());
                let content = &answer["content"]["application/json"];
                assert_eq!(content["examples"].is_object(), has_body, "{name} {status}: an example");
            }
            let has_token = operation["security"] != serde_json::json!([]);
            for status in ["401", "403", "429", "503"] {
                assert_eq!(answers.contains_key(status), has_token, "{name} {status}");
            }
        }
    }
}

#[actix_web::test]
async fn the_document_is_served_without_a_token_and_only_when_it_is_new() {
    let client = Client::alone(config()).await;
    for path in ["/api/openapi.json", "/api/api/openapi.json"] {
        let answer = client.send(TestRequest::get().uri(path)).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        assert_eq!(answer.json()["components"]["schemas"]["EventType"]["enum"][0], "lead.created");
        assert_eq!(answer.header("cache-control"), "no-cache");
        let again = TestRequest::get().uri(path).insert_header(("if-none-match", answer.header("etag")));
        let again = client.send(again).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""));
    }
}
