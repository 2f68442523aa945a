//! docker-compose.yml, read as compose reads it.

use serde_norway::Value;
use std::{collections::BTreeMap, fs};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docker-compose.yml");

fn services() -> BTreeMap<String, Value> {
    let mut file: Value = serde_norway::from_str(&fs::read_to_string(FILE).unwrap()).unwrap();
    file.apply_merge().unwrap();
    serde_norway::from_value(file["services"].clone()).unwrap()
}

/// A service's variables; `None` where it is no process of ours.
fn environment(service: &Value) -> Option<BTreeMap<String, String>> {
    (service["image"] == "callspool").then(|| serde_norway::from_value(service["environment"].clone()).unwrap())
}

#[test]
fn there_are_the_three_containers_of_the_product_and_their_database() {
    let names: Vec<_> = services().into_keys().collect();
    assert_eq!(names, ["postgres", "prosaas-api", "prosaas-calls", "worker"]);
}

#[test]
fn only_the_api_migrates() {
    for (name, service) in services() {
        let Some(variables) = environment(&service) else { continue };
        let expected = if name == "prosaas-api" { "1" } else { "0" };
        assert_eq!(variables["RUN_MIGRATIONS"], expected, "{name}");
    }
}

#[test]
fn together_they_have_every_role_once() {
    let roles: Vec<_> =
        services().values().filter_map(environment).map(|variables| variables["CALLSPOOL_ROLES"].clone()).collect();
    assert_eq!(roles, ["api", "webhooks", "worker"]);
}

#[test]
fn whoever_stores_and_whoever_serves_share_the_recordings() {
    for (name, service) in services() {
        let mounted = serde_norway::to_string(&service["volumes"]).unwrap().contains("recordings:");
        assert_eq!(mounted, ["prosaas-api", "worker"].contains(&name.as_str()), "{name}");
    }
}

#[test]
fn compose_waits_longer_than_the_drain_and_makes_nobody_wait_for_a_migration() {
    let defaults = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/default.toml")).unwrap();
    let grace = defaults.lines().find_map(|line| line.strip_prefix("grace_seconds = ")).unwrap();
    for (name, service) in services() {
        if environment(&service).is_some() {
            let stop = service["stop_grace_period"].as_str().unwrap().trim_end_matches('s');
            assert!(stop.parse::<u32>().unwrap() >= grace.parse::<u32>().unwrap() + 10, "{name}");
            assert!(service["depends_on"].is_null(), "{name}: the schema gate waits, not compose");
        }
    }
}

#[test]
fn no_secret_stands_in_the_file() {
    for (name, service) in services() {
        let Value::Mapping(variables) = &service["environment"] else { continue };
        for (variable, value) in variables {
            let variable = variable.as_str().unwrap();
            if ["PASSWORD", "TOKEN", "ACCOUNT_SID"].iter().any(|word| variable.contains(word)) {
                assert!(value.as_str().unwrap().starts_with("${"), "{name}: {variable}");
            }
        }
    }
}

#[test]
fn every_variable_is_one_that_callspool_knows() {
    use callspool::settings::{Settings, Vars};
    for (name, service) in services() {
        let Some(variables) = environment(&service) else { continue };
        // As compose puts them in: a placeholder for what is required, the default for the rest.
        let filled = variables.into_iter().map(|(variable, value)| {
            let value = value.replace("${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}", "p");
            let value = match value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                Some(inner) => {
                    inner.split_once(":-").map_or("AC00000000000000000000000000000001", |(_, d)| d).to_owned()
                }
                None => value,
            };
            (variable, value)
        });
        let image = [("CALLSPOOL_HTTP_BIND", "0.0.0.0:8080")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let vars: Vars = filled.chain(image).collect();
        Settings::load(Some("production"), None, &vars).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
