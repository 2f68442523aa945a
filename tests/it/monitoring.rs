//! `monitoring/`: Prometheus understands every query of the alerts and of the dashboard, and `/metrics` has what it asks for.

use callspool::{
    domain::{
        ids::BusinessId,
        observation::{BusinessSlots, FleetGauges, FleetReading, MetricsPage, Observation, Observer},
    },
    telemetry::metrics::{
        Metrics, ProcessGauges,
        table::{self, Kind, Metric, Scope},
    },
};
use promql_parser::{
    label::{MatchOp, Matchers},
    parser::{self, Expr, LabelModifier, VectorSelector},
    util::{ExprVisitor, walk_expr},
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fs,
};

fn file(name: &str) -> String {
    fs::read_to_string(format!("{}/monitoring/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// What Prometheus adds to every series.
const ADDED: [&str; 2] = ["instance", "job"];

/// Selectors and grouping labels of a query.
#[derive(Default)]
struct Asked {
    selectors: Vec<VectorSelector>,
    labels: BTreeSet<String>,
}

impl ExprVisitor for Asked {
    type Error = Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
        match expr {
            Expr::VectorSelector(selector) => self.selectors.push(selector.clone()),
            Expr::MatrixSelector(matrix) => self.selectors.push(matrix.vs.clone()),
            Expr::Aggregate(aggregate) => {
                if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = &aggregate.modifier {
                    self.labels.extend(labels.labels.iter().cloned());
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

/// A page with everything that a fleet can have, for the values of labels.
fn page() -> String {
    let metrics = Metrics::new("1.0.0", ProcessGauges::default);
    for group in ["recording_worker", "slot_manager"] {
        metrics.observe(Observation::ActorStarted { group, generation: 1 });
    }
    let slots = BusinessSlots { business_id: BusinessId::try_from(42).unwrap(), in_use: 1, limit: 5 };
    metrics.text(true, &FleetReading::Fleet(FleetGauges { businesses: vec![slots], ..FleetGauges::default() }))
}

fn metric(name: &str) -> &'static Metric {
    let found = table::ALL.iter().find(|metric| {
        let of_histogram =
            ["_bucket", "_sum", "_count"].iter().any(|suffix| format!("{}{suffix}", metric.name) == name);
        if metric.kind == Kind::Histogram { of_histogram } else { metric.name == name }
    });
    found.unwrap_or_else(|| panic!("there is no metric {name}"))
}

/// Parses `query`, and refuses it where a name, a label or a label's value in it is none.
fn check(query: &str, page: &str) {
    let expr = parser::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let mut asked = Asked::default();
    let Ok(_) = walk_expr(&mut asked, &expr);
    assert!(!asked.selectors.is_empty(), "{query}");
    let mut labels: BTreeSet<&str> = ADDED.into();
    for VectorSelector { name, matchers, .. } in &asked.selectors {
        let name = name.as_deref().unwrap_or_else(|| panic!("a selector without a name: {query}"));
        let metric = metric(name);
        check_matchers(matchers, metric, page, query);
        labels.extend(metric.labels);
        if name.ends_with("_bucket") {
            labels.insert("le");
        }
        assert!(metric.scope == Scope::Process || !query.contains(&format!("sum({name}")), "of the fleet: {query}");
        let counts = metric.kind != Kind::Gauge;
        let is_rated = query.contains("rate(") || query.contains("increase(");
        assert!(!is_rated || counts, "a rate of a gauge: {query}");
    }
    for label in &asked.labels {
        assert!(labels.contains(label.as_str()), "no label {label}: {query}");
    }
}

fn check_matchers(matchers: &Matchers, metric: &Metric, page: &str, query: &str) {
    for matcher in &matchers.matchers {
        if ADDED.contains(&matcher.name.as_str()) {
            continue;
        }
        assert!(metric.labels.contains(&matcher.name.as_str()), "{} has no label {}", metric.name, matcher.name);
        let values: Vec<&str> = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
            MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
        };
        for value in values {
            let pair = format!("{}=\"{value}\"", matcher.name);
            let of_it = |line: &&str| line.starts_with(metric.name) && line.contains(&pair);
            assert!(page.lines().any(|line| of_it(&line)), "{} never has {pair}: {query}", metric.name);
        }
    }
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    lasts: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[test]
fn every_alert_asks_for_what_there_is_and_says_what_to_do() {
    let (rules, page): (Rules, _) = (serde_norway::from_str(&file("alerts.yml")).unwrap(), page());
    let mut names = BTreeSet::new();
    for Rule { alert, expr, lasts, labels, annotations } in rules.groups.iter().flat_map(|group| &group.rules) {
        assert!(names.insert(alert), "{alert} twice");
        check(expr, &page);
        assert!(promql_parser::util::parse_duration(lasts).is_ok(), "{alert}: {lasts}");
        assert!(["critical", "warning", "info"].contains(&labels["severity"].as_str()), "{alert}");
        assert_eq!(annotations.keys().collect::<Vec<_>>(), ["action", "description", "summary"], "{alert}");
        for text in annotations.values() {
            assert!(text.len() > 15, "{alert}: {text}");
            for label in text.split("$labels.").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
                let told = expr.contains(&format!("by ({label}")) || expr.contains(&format!(", {label})"));
                assert!(told || (ADDED.contains(&label) && !expr.contains('(')), "{alert}: no label {label}");
            }
        }
    }
    assert!(rules.groups.iter().all(|group| !group.name.is_empty()));
    assert!(names.len() > 10);
}

#[test]
fn every_panel_of_the_dashboard_asks_for_what_there_is() {
    let (dashboard, page): (Value, _) = (serde_json::from_str(&file("grafana-dashboard.json")).unwrap(), page());
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is another's");
        let place = |name| panel["gridPos"][name].as_u64().unwrap();
        for (x, y) in (place("x")..place("x") + place("w"))
            .flat_map(|x| (place("y")..place("y") + place("h")).map(move |y| (x, y)))
        {
            assert!(x < 24 && taken.insert((x, y)), "{title} lies over another");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            // As Grafana puts them in.
            let query =
                target["expr"].as_str().unwrap().replace("$__rate_interval", "5m").replace("$instance", ".*");
            check(&query, &page);
        }
    }
    let rows: Vec<&str> =
        panels.iter().filter(|p| p["type"] == "row").map(|p| p["title"].as_str().unwrap()).collect();
    assert_eq!(rows, ["Now", "Queue", "Latency", "Slots", "Failures", "Process", "Database"]);
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(definition) = variable["definition"].as_str() {
            let asked = definition.strip_prefix("label_values(").and_then(|rest| rest.split(',').next()).unwrap();
            metric(asked);
        }
    }
}

#[test]
fn every_metric_stands_on_the_dashboard() {
    let dashboard = file("grafana-dashboard.json");
    for metric in table::ALL {
        assert!(dashboard.contains(metric.name), "{}", metric.name);
    }
}

#[test]
#[should_panic(expected = "there is no metric callspool_jobs_total")]
fn a_query_for_a_metric_that_is_none_is_refused() {
    check("sum(rate(callspool_jobs_total[5m]))", &page());
}

#[test]
#[should_panic(expected = "never has state=\"redy\"")]
fn a_query_for_a_value_that_never_comes_is_refused() {
    check("max(callspool_jobs{state=\"redy\"})", &page());
}
