//! `/openapi.json` says what is served, and what is served is in it.

use crate::support::{
    Database,
    http::{OPENAPI, RawAnswer, raw},
    process::{Process, Setup, json},
};
use serde_json::Value;
use std::collections::BTreeSet;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// As the router writes it, with something for each part.
fn concrete(template: &str) -> String {
    let parts = template.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn methods(item: &Value) -> BTreeSet<String> {
    METHODS.iter().filter(|method| item.get(**method).is_some()).map(|method| (*method).to_uppercase()).collect()
}

async fn bare(process: &Process, method: &str, path: &str) -> RawAnswer {
    raw(process, format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_every_description_is_a_route() {
    let database = Database::migrated().await;
    let process = Setup::new(&database).var("CALLSPOOL_API_TOKEN", "t").run().await;
    let served = json(process.get("/openapi.json").await).await;
    assert_eq!(served, *OPENAPI, "it needs no token, and a process with every role serves all of it");
    for (template, item) in OPENAPI["paths"].as_object().unwrap() {
        let (path, described) = (concrete(template), methods(item));
        for method in METHODS.map(str::to_uppercase) {
            let answer = bare(&process, &method, &path).await;
            assert_eq!(answer.status != 405, described.contains(&method), "{method} {path}: {answer:?}");
            assert!(!answer.body.contains("there is no such route"), "{method} {path}");
            if answer.status == 405 {
                let allow = answer.head.split("allow: ").nth(1).unwrap().split("\r\n").next().unwrap();
                let mut allowed: BTreeSet<String> = allow.split(", ").map(str::to_uppercase).collect();
                assert_eq!(allowed.remove("HEAD"), described.contains("GET"), "{path}");
                assert_eq!(allowed, described, "{path}");
            }
        }
    }
}

/// Whatever is served goes through the one table.
#[test]
fn no_other_file_makes_routes() {
    let http = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http");
    let mut folders = vec![std::path::PathBuf::from(http)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if !entry.ends_with("server.rs") {
                let text = std::fs::read_to_string(&entry).unwrap();
                for word in ["web::resource(", "web::scope(", ".service("] {
                    assert!(!text.contains(word), "{word} in {}", entry.display());
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_describes_only_what_its_roles_serve() {
    let database = Database::migrated().await;
    let process = Setup::new(&database).var("CALLSPOOL_ROLES", "api").run().await;
    let served = json(process.get("/openapi.json").await).await;
    let paths = served["paths"].as_object().unwrap();
    assert!(paths.contains_key("/v1/jobs") && !paths.contains_key("/webhooks/twilio/recording"));
    let process = Setup::new(&database).var("CALLSPOOL_ROLES", "worker").run().await;
    assert_eq!(process.get("/openapi.json").await.status(), 404);
}

/// What the OpenAPI 3.1 specification asks of a document beyond what its types can say.
#[test]
fn the_document_is_sound() {
    let document = &*OPENAPI;
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in methods(item) {
            let operation = &item[method.to_lowercase()];
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} twice");
            let parts: BTreeSet<&str> =
                path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
            let none = Vec::new();
            let parameters = operation["parameters"].as_array().unwrap_or(&none);
            let described: BTreeSet<&str> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(parts, described, "{path}");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                assert!(status.len() == 3 && answer["description"].is_string(), "{path} {status}");
            }
        }
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut used = BTreeSet::new();
    references(document, &mut used);
    let names: BTreeSet<String> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    assert_eq!(used, names, "what is named is there, and what is there is named");
}

fn references(value: &Value, used: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            used.extend(map.get("$ref").map(|reference| reference.as_str().unwrap().to_owned()));
            map.values().for_each(|value| references(value, used));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, used)),
        _ => {}
    }
}
