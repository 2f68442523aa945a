//! Traces through real processes and a real collector: one from the webhook to the file.

use crate::support::{
    Answer, Database, Process, Provider,
    collector::{Collector, Seen},
    http::{Callback, ask},
    process::{ACCOUNT_SID, AUTH_TOKEN, Setup},
    provider::recording,
};
use callspool::domain::{ids::JobId, operate::Operator, ports::Operations};
use serde_json::json;
use std::time::{Duration, Instant};

const CALLERS_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLERS_SPAN: &str = "00f067aa0ba902b7";
const CANARY: &str = "s3cret-canary";

fn callers_traceparent() -> String {
    format!("00-{CALLERS_TRACE}-{CALLERS_SPAN}-01")
}

// Numbers of the protocol.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const CONSUMER: i32 = 5;

const WEBHOOK_SPAN: &str = "POST /webhooks/twilio/recording";
const ATTEMPT_SPAN: &str = "process download_only";
const STORE_SPAN: &str = "store recording";

/// Waits until the first attempt has begun, at which the provider stops: what the job's row has.
async fn held_job(database: &Database, provider: &Provider) -> Option<String> {
    provider.asked_times(1).await;
    let kept = "select trace_parent from job";
    sqlx::query_scalar(kept).fetch_one(&mut database.connect().await).await.unwrap()
}

/// The one child of `parent` that is called `name`.
fn child<'a>(spans: &'a [Seen], parent: &Seen, name: &str) -> &'a Seen {
    let mut fitting = spans.iter().filter(|span| span.parent == parent.span_id && span.name == name);
    let child = fitting.next().unwrap_or_else(|| panic!("no {name} below {parent:?}"));
    assert!(fitting.next().is_none() && child.start >= parent.start && child.end <= parent.end, "{child:?}");
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_webhook_to_the_file_across_processes_and_retries() {
    let (database, provider, collector) = (Database::migrated().await, Provider::start(), Collector::start());
    provider.tell(1, [Answer::status(503), Answer::Media(recording(1))]);
    let front = Setup::new(&database).provider(&provider).traced(&collector).var("CALLSPOOL_ROLES", "api,webhooks");
    let worker = Setup::new(&database).provider(&provider).traced(&collector).var("CALLSPOOL_ROLES", "worker");
    let worker = worker.var("OTEL_SERVICE_NAME", "callspool-worker");
    let (front, worker) = tokio::join!(front.run(), worker.run());
    let answer = Callback::completed(1).header("traceparent", &callers_traceparent()).send(&front).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let job_id = answer.json()["id"].to_string();

    collector.spans_named(STORE_SPAN, 1).await;
    let attempts = collector.spans_named(ATTEMPT_SPAN, 2).await;
    let request = collector.spans_named(WEBHOOK_SPAN, 1).await.remove(0);
    let spans = collector.spans();
    for span in &spans {
        assert_eq!(span.trace_id, CALLERS_TRACE, "{span:?}");
        assert_ne!(span.parent, "", "{span:?}");
    }
    assert_eq!(spans.len(), 1 + 2 + 2 + 1);

    assert_eq!((request.parent.as_str(), request.kind, &request.error), (CALLERS_SPAN, SERVER, &None));
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/webhooks/twilio/recording"),
        ("http.response.status_code", "202"),
        ("callspool.business_id", "42"),
        ("callspool.call_sid", "CA1"),
        ("callspool.job_id", &job_id),
        ("callspool.deduplicated", "false"),
    ] {
        assert_eq!(request.attribute(name), value, "{name}");
    }

    let [failed, stored] = attempts.as_slice() else { panic!("{attempts:?}") };
    for (attempt, number) in [(failed, "1"), (stored, "2")] {
        assert_eq!((attempt.parent.as_str(), attempt.kind), (request.span_id.as_str(), CONSUMER));
        for (name, value) in [
            ("messaging.system", "callspool"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", "download_only"),
            ("messaging.message.id", &job_id),
            ("callspool.business_id", "42"),
            ("callspool.call_sid", "CA1"),
            ("callspool.job_id", &job_id),
            ("callspool.attempt", number),
        ] {
            assert_eq!(attempt.attribute(name), value, "{name}");
        }
        let fetch = child(&spans, attempt, "GET");
        assert_eq!((fetch.kind, fetch.attribute("server.address")), (CLIENT, "127.0.0.1"));
        let status = if number == "1" { "503" } else { "200" };
        assert_eq!(fetch.attribute("http.response.status_code"), status);
        assert_eq!(fetch.error, attempt.error);
    }
    assert_eq!((failed.error.as_deref(), failed.attribute("error.type")), (Some("http_status"), "http_status"));
    assert_eq!(stored.error, None);
    let file = child(&spans, stored, STORE_SPAN);
    assert_eq!((file.kind, file.attribute("callspool.bytes"), &file.error), (INTERNAL, "10000", &None));

    assert_eq!((request.service(), stored.service()), ("callspool", "callspool-worker"));
    assert_eq!(request.resource["service.instance.id"], front.instance().await);
    assert_eq!(stored.resource["service.instance.id"], worker.instance().await);
    for (process, marker) in [(&front, "ENQUEUE"), (&worker, "WORKER_PICKED")] {
        assert_eq!(process.event(marker).await["trace_id"], CALLERS_TRACE);
    }
    let all = format!("{spans:?}");
    assert!(!all.contains(AUTH_TOKEN) && !all.contains('?') && !all.contains("Recordings"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_bulk_hang_below_its_one_request() {
    let (database, provider, collector) = (Database::migrated().await, Provider::start(), Collector::start());
    let process = Setup::new(&database).provider(&provider).traced(&collector).run().await;
    let recording = |n| format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Recordings/RE{n}");
    let line = |n| json!({ "business_id": n, "call_sid": format!("CA{n}"), "recording_url": recording(n) });
    let lines: Vec<String> = (1..=3).map(|n| line(n).to_string()).collect();
    let headers = format!("Content-Type: application/x-ndjson\r\ntraceparent: {}\r\n", callers_traceparent());
    let answer = ask(&process, "POST /v1/jobs/bulk", &headers, lines.join("\n").as_bytes()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let request = collector.spans_named("POST /v1/jobs/bulk", 1).await.remove(0);
    assert_eq!(
        (request.trace_id.as_str(), request.parent.as_str(), request.kind),
        (CALLERS_TRACE, CALLERS_SPAN, SERVER)
    );
    for (name, value) in [("callspool.jobs", "3"), ("http.response.status_code", "202")] {
        assert_eq!(request.attribute(name), value, "{name}");
    }
    for attempt in collector.spans_named(ATTEMPT_SPAN, 3).await {
        assert_eq!(attempt.parent, request.span_id, "{attempt:?}");
    }
    assert_eq!(process.event("ENQUEUE").await["trace_id"], CALLERS_TRACE);
    let refused = ask(&process, "POST /v1/jobs/bulk", &headers, b"{}").await;
    assert_eq!((refused.status, collector.spans_named("POST /v1/jobs/bulk", 1).await.len()), (422, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_no_traceparent_is_ignored_and_a_refused_webhook_makes_no_span() {
    let (database, provider, collector) = (Database::migrated().await, Provider::start(), Collector::start());
    let process = Setup::new(&database).provider(&provider).traced(&collector).run().await;
    let forged = Callback::completed(1).header("traceparent", &callers_traceparent()).signature("wrong");
    assert_eq!(forged.send(&process).await.status, 403);
    let good = callers_traceparent();
    for (number, junk) in
        (1..).zip(["junk", "", &good.to_uppercase(), &good.replace("00-4", "cc-4"), &format!("{good}-x")])
    {
        let callback = Callback::completed(number).header("traceparent", junk);
        assert_eq!(callback.send(&process).await.status, 202);
    }
    let twice = Callback::completed(6).header("traceparent", &good).header("traceparent", &good);
    assert_eq!(twice.send(&process).await.status, 202);
    process.enqueue(42, 7).await;
    collector.spans_named("POST /v1/jobs", 1).await;
    let requests = collector.spans_named(WEBHOOK_SPAN, 6).await;
    assert_eq!(requests.len(), 6);
    let mut traces: Vec<&str> = requests.iter().map(|span| span.trace_id.as_str()).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 6, "each begins its own");
    assert!(requests.iter().all(|span| span.parent.is_empty() && span.trace_id != CALLERS_TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_nothing_is_sent_and_nothing_kept() {
    let (database, provider, collector) = (Database::migrated().await, Provider::start(), Collector::start());
    provider.tell(1, [Answer::Held(recording(1))]);
    let traces = format!("{}/v1/traces", collector.base());
    let setup = Setup::new(&database).provider(&provider).var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces);
    let mut process = setup.var("OTEL_SERVICE_NAME", "off").var("OTEL_BSP_SCHEDULE_DELAY", "50").run().await;
    let answer = Callback::completed(1).header("traceparent", &callers_traceparent()).send(&process).await;
    assert_eq!(answer.status, 202);
    assert_eq!(held_job(&database, &provider).await, None);
    provider.release(1);
    process.event("WORKER_RELEASE_SLOT").await;
    process.terminate();
    assert_eq!(process.exit_code().await, 0);
    assert!(collector.requests().is_empty());
    for marker in ["ENQUEUE", "WORKER_PICKED"] {
        assert!(process.events(marker)[0].get("trace_id").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sampler_leaves_out_no_process_sends_and_no_line_names() {
    let (database, provider, collector) = (Database::migrated().await, Provider::start(), Collector::start());
    provider.tell(1, [Answer::Held(recording(1))]);
    let never = Setup::new(&database).provider(&provider).traced(&collector);
    let never = never.var("OTEL_TRACES_SAMPLER", "parentbased_always_off").run().await;
    never.enqueue(42, 1).await;
    let picked = never.event("WORKER_PICKED").await;
    assert!(picked.get("trace_id").is_none(), "{picked}");
    let kept = held_job(&database, &provider).await.unwrap();
    assert!(kept.ends_with("-00"), "others are told that it is not recorded: {kept}");
    // One that its caller records comes after all.
    let asked = Callback::completed(2).header("traceparent", &callers_traceparent());
    assert_eq!(asked.send(&never).await.status, 202);
    collector.spans_named(ATTEMPT_SPAN, 1).await;
    assert!(collector.spans().iter().all(|span| span.trace_id == CALLERS_TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_its_operator_cancels_ends_with_that_word() {
    let (database, provider, collector) = (Database::migrated().await, Provider::start(), Collector::start());
    provider.tell(1, [Answer::Held(recording(1))]);
    let process = Setup::new(&database).provider(&provider).traced(&collector).run().await;
    let id = process.enqueue(42, 1).await;
    provider.asked_times(1).await;
    database.store().cancel(&[JobId(id)], None, &Operator::new("dana")).await.unwrap();
    let attempt = collector.spans_named(ATTEMPT_SPAN, 1).await.remove(0);
    assert_eq!(attempt.error.as_deref(), Some("cancelled"));
    // The body was not read to its end.
    assert_eq!(collector.spans_named("GET", 1).await[0].error.as_deref(), Some("given_up"));
}

/// Enqueues, waits until all is stored, and drains: how long that last part took.
async fn stores_and_drains(process: &mut Process) -> Duration {
    for number in 1..=20 {
        process.enqueue(i64::from(number), number).await;
    }
    process.event_number("WORKER_RELEASE_SLOT", 20).await;
    let began = Instant::now();
    process.terminate();
    assert_eq!(process.exit_code().await, 0, "{}", process.everything());
    assert_eq!(process.events("WORKER_DOWNLOAD_DONE").len(), 20);
    began.elapsed()
}

fn warnings(process: &Process) -> Vec<String> {
    let about = |line: &serde_json::Value| line["message"].as_str().unwrap_or_default().contains("the collector");
    process.lines().iter().filter(|line| about(line)).map(|line| line["reason"].to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_spans_and_one_warning() {
    let (database, provider) = (Database::migrated().await, Provider::start());
    let setup = Setup::new(&database).provider(&provider).var("OTEL_BSP_SCHEDULE_DELAY", "10");
    let mut process = setup.var("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").run().await;
    let drain = stores_and_drains(&mut process).await;
    assert!(drain < Duration::from_secs(8), "{drain:?}");
    assert_eq!(warnings(&process), ["\"it cannot be reached\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_holds_up_neither_recordings_nor_the_drain() {
    let (database, provider, collector) = (Database::migrated().await, Provider::start(), Collector::silent());
    let setup = Setup::new(&database).provider(&provider).traced(&collector);
    let mut process = setup.var("OTEL_BSP_MAX_QUEUE_SIZE", "8").run().await;
    let drain = stores_and_drains(&mut process).await;
    assert!(!collector.requests().is_empty());
    assert!(drain < Duration::from_secs(8), "{drain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_when_the_process_stops() {
    let (database, provider, collector) = (Database::migrated().await, Provider::start(), Collector::start());
    let setup = Setup::new(&database).provider(&provider).traced(&collector);
    let mut process = setup.var("OTEL_BSP_SCHEDULE_DELAY", "3600000").run().await;
    process.enqueue(42, 1).await;
    process.event("WORKER_RELEASE_SLOT").await;
    assert!(collector.spans().is_empty());
    process.terminate();
    assert_eq!(process.exit_code().await, 0);
    let mut names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    names.sort();
    assert_eq!(names, ["GET", "POST /v1/jobs", ATTEMPT_SPAN, STORE_SPAN]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collectors_key_is_sent_to_it_and_shown_nowhere() {
    let (database, provider, collector) = (Database::migrated().await, Provider::start(), Collector::start());
    let setup = || {
        let setup = Setup::new(&database).provider(&provider).traced(&collector);
        let headers = format!("api-key={CANARY},Authorization=Basic%20{CANARY}");
        setup.var("OTEL_EXPORTER_OTLP_HEADERS", &headers).var("CALLSPOOL__LOG__LEVEL", "trace")
    };
    let shown = setup().say(&["config", "show", "--json"]).await;
    let value = |key: &str| {
        let values = shown.json();
        values.as_array().unwrap().iter().find(|value| value["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!(value("telemetry.otlp_headers"), "********");
    assert_eq!(value("telemetry.otlp_endpoint"), collector.base());
    assert_eq!((value("telemetry.service_name"), value("telemetry.sampler_arg")), ("callspool".into(), "1".into()));

    let mut process = setup().run().await;
    process.enqueue(42, 1).await;
    collector.spans_named(STORE_SPAN, 1).await;
    process.terminate();
    assert_eq!(process.exit_code().await, 0);
    for headers in collector.requests() {
        assert_eq!((headers["api-key"].as_str(), &headers["authorization"]), (CANARY, &format!("Basic {CANARY}")));
        assert_eq!(headers["content-type"], "application/x-protobuf");
    }
    for text in [process.everything(), format!("{shown:?}"), format!("{:?}", collector.spans())] {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_collector_is_refused_at_start_with_all_other_faults() {
    let database = Database::migrated().await;
    let said = Setup::new(&database)
        .var("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret-canary@collector:4318")
        .var("OTEL_EXPORTER_OTLP_HEADERS", CANARY)
        .var("OTEL_TRACES_SAMPLER", "xray")
        .var("OTEL_TRACES_SAMPLER_ARG", "2")
        .var("CALLSPOOL__WORKER__COUNT", "many")
        .say(&["config", "check"])
        .await;
    assert_eq!(said.code, 78);
    for fault in [
        "telemetry.otlp_endpoint (from OTEL_EXPORTER_OTLP_ENDPOINT): allowed is an http or https URL",
        "telemetry.otlp_headers (from OTEL_EXPORTER_OTLP_HEADERS): allowed is name=value",
        "telemetry.sampler (from OTEL_TRACES_SAMPLER): allowed is one of: always_on",
        "telemetry.sampler_arg (from OTEL_TRACES_SAMPLER_ARG): allowed is a number from 0 to 1",
        "worker.count",
    ] {
        assert!(said.err.contains(fault), "{fault} is not in:\n{}", said.err);
    }
    assert!(!said.err.contains(CANARY));
}
